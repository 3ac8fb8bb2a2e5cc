//! The path's model: delivery rate, minimum RTT, queueing delay and path loss, updated once a
//! round.
//!
//! Path loss occurs at any sending rate. Loss that falls when the sender slows down is congestion.

mod round;
mod tally;
#[cfg(test)]
mod tests;
mod variability;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(crate) use round::{Load, Round, WindowLevel};
use tally::{MAX_LOSS, Tally};
use variability::Variability;

/// Window of the maximum filter of the delivery rate, in rounds: longer than a cycle, so that the
/// rate that one ProbeUp found is still known at the next.
const RATE_ROUNDS: u64 = 12;
/// The minimum RTT is measured again if it was not seen for this long (draft-ietf-ccwg-bbr: 10 s).
pub(super) const MIN_RTT_LIFE: Duration = Duration::from_secs(10);

/// A round with this many acknowledgements counts as busy even if the application limited it.
const BUSY_ACKS: f64 = 16.0;
/// A burst of losses counts as at most this share of the bytes acknowledged with it.
const MAX_BURST_LOSS: f64 = 0.25;
/// Packets sent below the path's rate from which path loss is known.
const PATH_LOSS_PACKETS: f64 = 500.0;

/// The path's model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Maximum filter of the delivery rate: (busy round, bytes per second), largest rate first.
    rates: VecDeque<(u64, f64)>,
    /// Rounds so far.
    pub round: u64,
    round_end: u64,
    /// RTT without a queue, seconds; 0 before the first sample.
    pub min_rtt: f64,
    /// When an RTT close to the minimum was last seen.
    min_rtt_at: Option<Instant>,
    /// Mean RTT of a round beyond the round's minimum RTT, seconds, smoothed: the path's jitter.
    pub spread: f64,
    /// Queueing delay in the last round, seconds.
    pub queue: f64,
    /// The same by the round's mean RTT.
    mean_queue: f64,
    /// Recent rounds: packets with [`Load::Below`], and all packets.
    below: Tally,
    all: Tally,
    /// The same in this round.
    round_below: Tally,
    round_all: Tally,
    /// Bytes lost in this round with bursts limited, for [`Round::scattered_loss`].
    scattered: f64,
    /// When the last batch of acknowledgements arrived, and its bytes.
    batch: (Option<Instant>, f64),
    /// All packets of the last two rounds, newest first.
    past: [Tally; 2],
    /// Rounds that the application did not limit: only these age the rates.
    busy_rounds: u64,
    /// The minimum RTT was measured under load.
    min_rtt_is_loaded: bool,
    /// RTTs of this round, seconds.
    round_min_rtt: f64,
    rtt_sum: f64,
    rtt_count: f64,
    last_rate: f64,
    app_limited: bool,
    previous_level: WindowLevel,
    /// Consecutive rounds that suggest a slower path, and their largest rate.
    slow_rounds: u32,
    slow_rate: f64,
    /// How variable the rate is, kept up to date by the phases.
    pub variability: Variability,
    mtu: f64,
}

impl Model {
    /// Packet size, bytes.
    pub(crate) fn mtu(&self) -> f64 {
        self.mtu
    }

    /// The model of an unknown path.
    pub(crate) fn new(mtu: u16) -> Self {
        Self {
            rates: VecDeque::new(),
            round: 0,
            round_end: 0,
            min_rtt: 0.0,
            min_rtt_at: None,
            spread: 0.0,
            queue: 0.0,
            mean_queue: 0.0,
            below: Tally::default(),
            all: Tally::default(),
            round_below: Tally::default(),
            round_all: Tally::default(),
            scattered: 0.0,
            batch: (None, 0.0),
            past: [Tally::default(); 2],
            busy_rounds: 0,
            min_rtt_is_loaded: false,
            round_min_rtt: f64::MAX,
            rtt_sum: 0.0,
            rtt_count: 0.0,
            last_rate: 0.0,
            app_limited: false,
            previous_level: WindowLevel::Above,
            slow_rounds: 0,
            slow_rate: 0.0,
            variability: Variability::default(),
            mtu: f64::from(mtu),
        }
    }

    /// Sets the packet size, bytes.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    /// Delivery rate, bytes per second; 0 before the first sample.
    pub(crate) fn rate(&self) -> f64 {
        self.rates.front().map_or(0.0, |r| r.1)
    }

    /// A packet was acknowledged after `rtt` seconds.
    pub(crate) fn on_ack(&mut self, now: Instant, rtt: f64, bytes: u64, load: Load) {
        self.round_all.acked += bytes as f64;
        let batch = if self.batch.0 == Some(now) { self.batch.1 } else { 0.0 };
        self.batch = (Some(now), batch + bytes as f64);
        if load == Load::Below {
            self.round_below.acked += bytes as f64;
        }
        self.round_min_rtt = self.round_min_rtt.min(rtt);
        self.rtt_sum += rtt;
        self.rtt_count += 1.0;
        // On a path with jitter that keeps the order, packets wait for those before them. So RTTs
        // of a busy path are longer than those of an idle one, even without a queue.
        if self.min_rtt == 0.0 || (rtt < self.min_rtt && !self.min_rtt_is_loaded) {
            self.min_rtt = rtt;
        }
        if rtt <= self.min_rtt * 1.05 + 0.002 + self.spread {
            self.min_rtt_at = Some(now);
        }
    }

    /// `bytes` were declared lost.
    pub(crate) fn on_lost(&mut self, bytes: u64, load: Load) {
        self.round_all.lost += bytes as f64;
        self.scattered += (bytes as f64).min((2.0 * self.mtu).max(MAX_BURST_LOSS * self.batch.1));
        if load == Load::Below {
            self.round_below.lost += bytes as f64;
        }
    }

    /// A delivery rate was sampled over `interval` seconds.
    pub(crate) fn on_rate(&mut self, rate: f64, interval: f64, app_limited: bool) {
        self.app_limited |= app_limited;
        // Over less than half an RTT a burst of acknowledgements looks like a fast path.
        if interval < 0.5 * self.min_rtt || (app_limited && rate <= self.rate()) {
            return;
        }
        self.last_rate = rate;
        self.insert(rate);
    }

    fn insert(&mut self, rate: f64) {
        while self.rates.back().is_some_and(|r| r.1 <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((self.busy_rounds, rate));
    }

    /// Ends the round if the acknowledged packet was sent after it began: `delivered_before` counts
    /// the bytes delivered when that packet was sent. `level` is the window of the current phase.
    pub(crate) fn end_round(
        &mut self,
        delivered_before: u64,
        delivered: u64,
        level: WindowLevel,
    ) -> Option<Round> {
        if delivered_before < self.round_end {
            return None;
        }
        self.round_end = delivered;
        self.round += 1;
        let busy = self.rtt_count >= BUSY_ACKS || (!self.app_limited && self.rtt_count >= 4.0);
        if !self.app_limited {
            self.busy_rounds += 1;
        }
        if busy && self.min_rtt_is_loaded {
            self.min_rtt = self.min_rtt.min(self.round_min_rtt);
        }
        if self.rtt_count > 0.0 {
            self.queue = self.round_min_rtt - self.min_rtt;
            self.mean_queue = self.rtt_sum / self.rtt_count - self.min_rtt;
            let spread = self.rtt_sum / self.rtt_count - self.round_min_rtt;
            if level == WindowLevel::Even && !self.congested() {
                self.spread += 0.2 * (spread - self.spread);
            }
        }
        let round = Round {
            rate: self.last_rate,
            queue: self.queue,
            min_rtt: self.round_min_rtt,
            mean_rtt: self.rtt_sum / self.rtt_count.max(1.0),
            bytes: self.round_all.acked + self.round_all.lost,
            busy,
            loss: self.round_all.share(),
            scattered_loss: Tally { lost: self.scattered, ..self.round_all }.share(),
            app_limited: self.app_limited,
        };
        if !self.loss_may_be_congestion() {
            // A round with implausible loss was not below the path's rate, even if the path probe
            // found so: a policer lets the few packets of a probe through.
            if self.round_below.is_plausible(self.mtu) {
                self.below.add(self.round_below);
            }
            self.all.add(self.round_all);
        }
        self.detect_slower_path(level, &round);
        self.past = [self.round_all, self.past[0]];
        self.round_below = Tally::default();
        self.round_all = Tally::default();
        self.scattered = 0.0;
        (self.round_min_rtt, self.rtt_sum, self.rtt_count) = (f64::MAX, 0.0, 0.0);
        self.last_rate = 0.0;
        self.app_limited = false;
        while self.rates.len() > 1 && self.rates[0].0 + RATE_ROUNDS < self.busy_rounds {
            self.rates.pop_front();
        }
        Some(round)
    }

    /// Forgets the earlier rates if the path has become slower. The signs are a queue and a lower
    /// rate for two rounds, or for one if the rate is much lower, although the window did not
    /// exceed the BDP. In a window far below the BDP a lower rate is expected, and the apparent
    /// queue is jitter or the rest of an earlier one.
    fn detect_slower_path(&mut self, level: WindowLevel, round: &Round) {
        let much = round.rate < 0.6 * self.rate();
        // The packet that ends a round was sent when the round before ended.
        let previous = std::mem::replace(&mut self.previous_level, level);
        let far_below = level == WindowLevel::FarBelow || previous == WindowLevel::FarBelow;
        if !far_below
            && (level != WindowLevel::Above || much)
            && self.congested()
            && !round.app_limited
            && round.rate > 0.0
            && round.rate < 0.85 * self.rate()
        {
            self.slow_rounds += 1;
            self.slow_rate = self.slow_rate.max(round.rate);
        } else {
            (self.slow_rounds, self.slow_rate) = (0, 0.0);
        }
        if self.slow_rounds >= 2 || (self.slow_rounds == 1 && much) {
            self.set_rate(self.slow_rate);
        }
    }

    /// The round before the last one was far from filling the path: its minimum RTT, `min_rtt`
    /// seconds, was without a queue, and its loss was path loss.
    pub(crate) fn was_far_from_full(&mut self, min_rtt: f64) {
        self.min_rtt_is_loaded = true;
        self.min_rtt = self.min_rtt.max(min_rtt);
        if self.past[1].is_plausible(self.mtu) {
            self.below.add(self.past[1]);
        }
    }

    /// Whether enough packets were sent below the path's rate to know path loss.
    pub(crate) fn knows_loss(&self) -> bool {
        self.below.acked + self.below.lost > PATH_LOSS_PACKETS * self.mtu
    }

    /// Replaces all remembered rates by `rate`, in bytes per second.
    pub(crate) fn set_rate(&mut self, rate: f64) {
        self.rates.clear();
        self.rates.push_back((self.busy_rounds, rate));
        (self.slow_rounds, self.slow_rate) = (0, 0.0);
    }

    /// A cycle is over: older loss weighs less. After the `first` cycle, which contains Startup,
    /// only packets below the path's rate count, because Startup overshoots.
    pub(crate) fn end_cycle(&mut self, first: bool) {
        if first {
            self.all = self.below;
        }
        self.below.forget();
        self.all.forget();
    }

    /// The path's jitter, seconds: at most what may count as jitter on a path of this RTT.
    pub(crate) fn jitter(&self) -> f64 {
        self.spread.min(0.25 * self.min_rtt + 0.005)
    }

    /// Seconds' worth of data beyond the BDP that a variable rate calls for; 0 on a steady path.
    pub(crate) fn variable_slack(&self) -> f64 {
        self.variability.slack(self.min_rtt, self.rate())
    }

    /// Queueing delay, in seconds, that does not count as a queue: the sender's own bursts and, on
    /// slow paths, a few packets; on a variable path also a part of the slack.
    pub(crate) fn queue_tolerance(&self) -> f64 {
        self.steady_queue_tolerance() + 0.5 * self.variable_slack()
    }

    /// The same on a steady path.
    fn steady_queue_tolerance(&self) -> f64 {
        0.005 + 0.15 * self.min_rtt + self.packets(4.0)
    }

    /// Transmission time of `n` packets, seconds.
    pub(crate) fn packets(&self, n: f64) -> f64 {
        if self.rate() > 0.0 { n * self.mtu / self.rate() } else { 0.0 }
    }

    /// Whether the last round had a queue.
    pub(crate) fn congested(&self) -> bool {
        self.queue > self.queue_tolerance()
    }

    /// Whether the loss of the last round may be congestion. On a variable path the queue overflows
    /// and drains within one round, so its mean counts there, without the tolerance for the slack. A
    /// round after an outage may lose nearly all packets and have no queue.
    fn loss_may_be_congestion(&self) -> bool {
        let overflows = || {
            self.mean_queue > self.steady_queue_tolerance() + self.jitter()
                || self.round_all.share() > MAX_LOSS
        };
        self.congested() || (self.variable_slack() > 0.0 && overflows())
    }

    /// Path loss, as a share of all bytes: the overall loss rate, but at most the loss rate below
    /// the path's rate, with a margin for chance.
    pub(crate) fn path_loss(&self) -> f64 {
        let all = self.all.share();
        let sampled = self.below.acked + self.below.lost;
        if sampled < 50.0 * self.mtu {
            return all.min(MAX_LOSS);
        }
        all.min(1.25 * self.below.share() + 0.01).min(MAX_LOSS)
    }

    /// Recent loss rate of rounds without a queue.
    pub(crate) fn loss(&self) -> f64 {
        self.all.share()
    }

    /// Loss rate beyond path loss: loss that the sender causes without a queue.
    pub(crate) fn excess_loss(&self) -> f64 {
        (self.all.share() - self.path_loss()).max(0.0)
    }

    /// The sending rate that fills the path, bytes per second: the delivery rate and, unless a
    /// queue shows that loss is congestion, path loss on top.
    pub(crate) fn path_rate(&self) -> f64 {
        let loss = if self.loss_may_be_congestion() { 0.0 } else { self.path_loss() };
        self.rate() / (1.0 - loss)
    }

    /// Whether the minimum RTT may have changed, because it was not seen for [`MIN_RTT_LIFE`].
    pub(crate) fn min_rtt_is_old(&self, now: Instant) -> bool {
        self.min_rtt_at.is_some_and(|at| now.saturating_duration_since(at) > MIN_RTT_LIFE)
    }

    /// Replaces the minimum RTT by `rtt` seconds, measured while the path was nearly empty.
    pub(crate) fn set_min_rtt(&mut self, now: Instant, rtt: f64) {
        self.min_rtt = rtt;
        self.min_rtt_at = Some(now);
    }
}
