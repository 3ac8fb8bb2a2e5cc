//! Startup: from the initial window to the path's rate in a few round trips, with little overshoot.
//!
//! Three sources say how far to grow. The path probe measures an idle path before the first file
//! (`probed_rate`). Packet trains measure a busy path while the window still grows (`capacity`).
//! Without either, the window doubles every round until the rate stops growing or a queue appears.

#[cfg(test)]
mod tests;

use std::time::Instant;

use super::dispersion::{Estimate, Trains};
use super::model::{Model, Round};

/// The window is this many times the data delivered in a round trip, so the rate doubles every
/// round (draft-ietf-ccwg-bbr paces at 2.77 and limits the window to 2; here the window is the only
/// control).
const GAIN: f64 = 2.0;
/// The same while `capacity` says where to stop: a paced jump as in careful resume
/// (draft-ietf-tsvwg-careful-resume).
const CAPACITY_GAIN: f64 = 8.0;
/// Share of the probed rate that may leave in the first round trip (the jump of careful resume,
/// section 4.3). quinn's pacer, with late timers and no acknowledgement to wake it, sends three
/// quarters of it in a round trip: half of the BDP.
const JUMP: f64 = 0.65;
/// The window grows to this many times `capacity`: enough to see a queue.
const CAPACITY_MARGIN: f64 = 1.25;
/// Packet trains that arrive unspread at more than this many times the earlier estimate show that
/// the estimate was wrong.
const WRONG_ESTIMATE: f64 = 2.0;
/// Growth of the rate by which a round shows that the path is not full yet (draft-ietf-ccwg-bbr).
pub(super) const GROWTH: f64 = 1.25;
/// Growth by which a round shows that the path was far from full in the round before.
const FAST_GROWTH: f64 = 1.4;
/// Loss beyond twice that of the last round that grew, among enough packets not to be chance, ends
/// Startup even while the rate grows.
const CLEAR_LOSS: f64 = 0.12;
const CLEAR_LOSS_PACKETS: f64 = 300.0;
/// Consecutive acknowledgements that must all be late for Startup to see a queue.
const LATE_ACKS: u32 = 16;
/// Acknowledgements that measure the queue of other senders after a pause.
const FIRST_ACKS: u32 = 8;
/// Initial window, packets. RFC 6928 allows 10; large content networks use 32, and quinn paces it.
pub(super) const INITIAL_PACKETS: f64 = 32.0;
/// On a long path the first window is larger: it carries this rate, in bytes per second (8 Mbit/s),
/// up to a limit. Doubling from 32 packets would take three more rounds at an RTT of 1 s.
const INITIAL_RATE: f64 = 1e6;
const MAX_INITIAL_PACKETS: f64 = 256.0;
/// Jitter, seconds: RTTs of an idle path may be shorter by this than those of a busy path without a
/// queue.
const JITTER: f64 = 0.025;

/// The window of the first round, bytes.
pub(crate) fn first_window(min_rtt: f64, mtu: f64) -> f64 {
    (INITIAL_RATE * min_rtt / mtu).clamp(INITIAL_PACKETS, MAX_INITIAL_PACKETS) * mtu
}

/// The minimum RTT of a group of acknowledgements.
#[derive(Clone, Copy, Debug)]
struct AckGroup {
    count: u32,
    /// Seconds.
    min_rtt: f64,
}

impl AckGroup {
    const EMPTY: Self = Self { count: 0, min_rtt: f64::MAX };

    fn add(&mut self, rtt: f64) {
        self.count += 1;
        self.min_rtt = self.min_rtt.min(rtt);
    }
}

/// A finished round, for comparison with the next one.
#[derive(Clone, Copy, Debug)]
struct PreviousRound {
    /// Seconds.
    min_rtt: f64,
    /// Seconds.
    mean_rtt: f64,
    /// Delivery rate, bytes per second.
    rate: f64,
}

/// The state of Startup.
#[derive(Clone, Debug)]
pub(super) struct Startup {
    /// The rate to exceed, bytes per second, and consecutive rounds that did not.
    best_rate: f64,
    rounds_without_growth: u32,
    /// Grows with acknowledged bytes.
    window: f64,
    /// Loss rate of the last round that grew: the window compensates for it.
    loss: f64,
    /// The newest acknowledgements, for the test for a queue.
    newest_acks: AckGroup,
    /// The first acknowledgements after a pause.
    first_acks: AckGroup,
    /// The round before, if it was a busy one.
    previous: Option<PreviousRound>,
    trains: Trains,
    /// The rate of the busy path by its packet trains, bytes per second.
    capacity: Option<f64>,
    /// The rate of the idle path by the path probe's trains, bytes per second.
    probed_rate: Option<f64>,
}

impl Startup {
    /// Starts with a `window` in bytes and the path's known loss rate. The path is full once
    /// rounds fail to exceed `best_rate` (bytes per second); some may have failed already.
    pub(super) fn new(window: f64, best_rate: f64, rounds_without_growth: u32, loss: f64) -> Self {
        Self {
            best_rate,
            rounds_without_growth,
            window,
            loss,
            newest_acks: AckGroup::EMPTY,
            first_acks: AckGroup::EMPTY,
            previous: None,
            trains: Trains::default(),
            capacity: None,
            probed_rate: None,
        }
    }

    /// The path was idle for long and may have changed: halves the probed rate.
    pub(super) fn go_stale(&mut self) {
        self.probed_rate = self.probed_rate.map(|rate| rate / 2.0);
    }

    /// The rate that the path probe found, in bytes per second.
    pub(super) fn probed_rate(&self) -> Option<f64> {
        self.probed_rate
    }

    /// The rate of the busy path by its packet trains, in bytes per second. It is known earlier
    /// than the delivery rate, which lags by a round trip.
    pub(super) fn capacity(&self) -> Option<f64> {
        self.capacity
    }

    /// Whether these bytes in flight are far below the probed rate, so that loss is path loss.
    pub(super) fn is_below_probed_rate(&self, in_flight: f64, model: &Model) -> bool {
        self.probed_rate.is_some_and(|rate| in_flight <= JUMP * rate * model.min_rtt)
    }

    /// The window of the first round on this path, bytes.
    fn first_window(&self, model: &Model) -> f64 {
        match self.probed_rate {
            Some(rate) => (JUMP * rate * model.min_rtt).max(INITIAL_PACKETS * model.mtu()),
            None => first_window(model.min_rtt, model.mtu()),
        }
    }

    /// A packet that was sent at `sent` was acknowledged. `in_flight` is from before the
    /// acknowledgement: a window that is not used does not grow.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: f64,
        rtt: f64,
        in_flight: f64,
        model: &Model,
    ) {
        let train_ended = self.trains.on_ack(now, sent, bytes as u64, model.min_rtt);
        if train_ended
            && self.capacity.is_none()
            && let Estimate::Capacity(rate) = self.trains.estimate()
        {
            self.capacity = Some(rate);
        }
        self.newest_acks.add(rtt);
        if self.first_acks.count < FIRST_ACKS {
            self.first_acks.add(rtt);
        }
        let window = self.window.max(self.first_window(model));
        if 2.0 * in_flight >= window {
            let gain = if self.capacity.is_some() { CAPACITY_GAIN } else { GAIN };
            self.window = window + (gain - 1.0) * bytes / (1.0 - self.loss(model));
        }
    }

    /// Whether the newest packets were all late, because the bytes in flight exceed the BDP: each
    /// further round would double the queue. Resets the test.
    pub(super) fn sees_queue(&mut self, model: &Model) -> bool {
        let AckGroup { count, min_rtt } = self.newest_acks;
        if count < LATE_ACKS {
            return false;
        }
        self.newest_acks = AckGroup::EMPTY;
        // HyStart++, RFC 9406, section 4.2: an eighth of the RTT, 4 to 16 ms, beyond the round
        // before.
        let step = (model.min_rtt / 8.0).clamp(0.004, 0.016) + model.packets(4.0);
        let base = match self.previous {
            Some(previous) => model.min_rtt.max(previous.mean_rtt),
            None => model.min_rtt + JITTER,
        };
        // A queue that the first packets met belongs to another sender. A sender that gave way to
        // it at once would never get a share.
        min_rtt > base.max(self.first_acks.min_rtt) + step
    }

    /// A round is over. Returns whether the path is full.
    pub(super) fn on_round(&mut self, model: &mut Model, round: &Round) -> bool {
        self.update_estimates(model, round);
        self.credit_previous_round(model, round);
        self.is_full(model, round)
    }

    /// Takes the estimates of this round's trains: those of a round that sends next to nothing are
    /// the path probe's, all others measure the busy path.
    fn update_estimates(&mut self, model: &Model, round: &Round) {
        let quiet = round.bytes < first_window(model.min_rtt, model.mtu());
        let estimate = if quiet { self.trains.estimate_idle() } else { self.trains.end_round() };
        match estimate {
            Estimate::Capacity(rate) if !quiet => self.capacity = Some(rate),
            Estimate::Capacity(rate) => (self.capacity, self.probed_rate) = (None, Some(rate)),
            Estimate::AtLeast(rate) => {
                self.capacity = self.capacity.and_then(|known| raise(known, rate));
                self.probed_rate = self.probed_rate.and_then(|known| raise(known, rate));
            }
            Estimate::Unknown => self.capacity = self.capacity.filter(|_| round.busy),
        }
    }

    /// If this round delivered much more than the one before, that one was far from filling the
    /// path: the model takes its RTT as unqueued and its loss as path loss.
    fn credit_previous_round(&mut self, model: &mut Model, round: &Round) {
        let rate = model.rate();
        if let Some(previous) = self.previous
            && round.busy
            && rate >= FAST_GROWTH * previous.rate
        {
            model.was_far_from_full(previous.min_rtt);
        }
        if !round.busy {
            self.first_acks = AckGroup::EMPTY;
        }
        self.previous = round.busy.then_some(PreviousRound {
            min_rtt: round.min_rtt,
            mean_rtt: round.mean_rtt,
            rate,
        });
    }

    /// Whether the path is full: clear loss, or no growth for three rounds, or for one round with a
    /// queue or more loss.
    fn is_full(&mut self, model: &Model, round: &Round) -> bool {
        let rate = model.rate();
        if round.scattered_loss > CLEAR_LOSS + 2.0 * self.loss
            && round.bytes > CLEAR_LOSS_PACKETS * model.mtu()
        {
            return true;
        }
        if rate >= self.best_rate * GROWTH {
            (self.best_rate, self.rounds_without_growth, self.loss) = (rate, 0, round.loss);
            return false;
        }
        if round.app_limited {
            return false;
        }
        self.rounds_without_growth += 1;
        self.rounds_without_growth >= 3
            || model.congested()
            || round.scattered_loss > 0.05 + 1.5 * self.loss
    }

    /// The loss rate that the window compensates for.
    fn loss(&self, model: &Model) -> f64 {
        self.loss.min(model.path_loss())
    }

    /// The window, in bytes; `slack` is in seconds' worth of data beyond the BDP.
    pub(super) fn window(&self, model: &Model, slack: f64) -> f64 {
        let first = self.first_window(model);
        let bdp =
            |rate: f64, gain: f64| rate / (1.0 - self.loss(model)) * (gain * model.min_rtt + slack);
        let doubled = bdp(model.rate(), GAIN);
        if self.rounds_without_growth > 0 {
            return doubled;
        }
        let grown = doubled.max(self.window);
        let window = match self.capacity {
            Some(capacity) => grown.min(bdp(capacity.max(model.rate()), CAPACITY_MARGIN)),
            None => grown,
        };
        window.max(first)
    }
}

/// The estimate `known` after trains that arrived unspread at `rate`: the path carries at least
/// that. `None` if the difference shows that the estimate was wrong.
fn raise(known: f64, rate: f64) -> Option<f64> {
    let raised = if rate > CAPACITY_MARGIN * known { rate } else { known };
    (rate <= WRONG_ESTIMATE * known).then_some(raised)
}
