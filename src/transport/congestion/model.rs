//! What is known of the path: its delivery rate, its round-trip time without a queue, the queue's
//! delay, and how much it loses by itself. All of it is counted in round trips.

mod tally;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tally::{MAX_LOSS, Tally};

/// Rounds for which the largest delivery rate is remembered: longer than a probe cycle, so that the
/// rate found by the last probe up is still known at the next one.
const RATE_ROUNDS: u64 = 12;
/// The least round-trip time is looked for anew after this (draft-ietf-ccwg-bbr: 10 s).
pub const MIN_RTT_LIFE: Duration = Duration::from_secs(10);

/// Acknowledgements that make a round a busy one, whatever the application gives.
const BUSY_ACKS: f64 = 16.0;
/// Of what arrived with the news of a loss, the share that the loss counts for at the most.
const SCATTERED: f64 = 0.25;
/// Packets by which the path's own loss is known.
const SURE_PACKETS: f64 = 500.0;

/// Whether packets left below the path's rate or not: loss that stays below it is the path's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Less than the path carries.
    Below,
    /// About what the path carries, or more.
    Full,
}

/// How large the window was in a round, beside what the path needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// So much smaller, on a path that loses packets, that the path is not full.
    Tiny,
    /// Smaller.
    Small,
    /// About as large.
    Level,
    /// Larger: a queue is our own doing.
    Large,
}

/// One finished round trip.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// The last delivery rate sampled, bytes per second: earlier ones still hold part of what was
    /// delivered before the round.
    pub rate: f64,
    /// Least round-trip time beyond the path's, seconds.
    pub queue: f64,
    /// Least round-trip time, seconds.
    pub least: f64,
    /// Mean round-trip time, seconds.
    pub mean: f64,
    /// Share of bytes lost.
    pub loss: f64,
    /// The same, where what is found lost at one time counts for no more than two packets, or a
    /// quarter of what arrived then: a burst of losses is one mishap, while a path that is too full
    /// loses packets all the time.
    pub scattered_loss: f64,
    /// Bytes acknowledged and lost.
    pub bytes: f64,
    /// Enough was sent to tell how the path is under load.
    pub busy: bool,
    /// The application sent less than it could.
    pub app_limited: bool,
}

/// The path's model.
#[derive(Clone, Debug)]
pub struct Model {
    rates: VecDeque<(u64, f64)>,
    /// Count of round trips.
    pub round: u64,
    round_end: u64,
    /// Round-trip time without a queue, seconds; 0 before the first sample.
    pub min_rtt: f64,
    min_rtt_met: Option<Instant>,
    /// Within a round, the mean round-trip time beyond the round's least, seconds, smoothed.
    pub spread: f64,
    /// Queueing delay in the last round, seconds.
    pub queue: f64,
    below: Tally,
    all: Tally,
    now_below: Tally,
    now_all: Tally,
    /// Lost in this round, as [`Round::scattered_loss`] counts, bytes.
    scattered: f64,
    /// When the last acknowledgements came, and bytes in them.
    batch: (Option<Instant>, f64),
    /// The last rounds' counts, newest first.
    past: [Tally; 2],
    /// Rounds in which the application did not hold back: only they make rates old.
    busy_rounds: u64,
    /// The least round-trip time is one that was seen under load.
    loaded: bool,
    rtt_least: f64,
    rtt_sum: f64,
    rtt_count: f64,
    rate_last: f64,
    app_limited: bool,
    window_before: Window,
    slow_rounds: u32,
    slow_rate: f64,
    mtu: f64,
}

impl Model {
    /// Size of a packet, bytes.
    pub fn mtu(&self) -> f64 {
        self.mtu
    }

    /// Nothing known.
    pub fn new(mtu: u16) -> Self {
        Self {
            rates: VecDeque::new(),
            round: 0,
            round_end: 0,
            min_rtt: 0.0,
            min_rtt_met: None,
            spread: 0.0,
            queue: 0.0,
            below: Tally::default(),
            all: Tally::default(),
            now_below: Tally::default(),
            now_all: Tally::default(),
            scattered: 0.0,
            batch: (None, 0.0),
            past: [Tally::default(); 2],
            busy_rounds: 0,
            loaded: false,
            rtt_least: f64::MAX,
            rtt_sum: 0.0,
            rtt_count: 0.0,
            rate_last: 0.0,
            app_limited: false,
            window_before: Window::Large,
            slow_rounds: 0,
            slow_rate: 0.0,
            mtu: f64::from(mtu),
        }
    }

    /// Packets have another size now.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    /// Delivery rate, bytes per second; 0 before the first sample.
    pub fn rate(&self) -> f64 {
        self.rates.front().map_or(0.0, |r| r.1)
    }

    /// A packet was acknowledged.
    pub fn on_ack(&mut self, now: Instant, rtt: f64, bytes: u64, load: Load) {
        self.now_all.acked += bytes as f64;
        let batch = if self.batch.0 == Some(now) { self.batch.1 } else { 0.0 };
        self.batch = (Some(now), batch + bytes as f64);
        if load == Load::Below {
            self.now_below.acked += bytes as f64;
        }
        self.rtt_least = self.rtt_least.min(rtt);
        self.rtt_sum += rtt;
        self.rtt_count += 1.0;
        // With jitter, and no reordering, packets wait for those before them: a busy path has
        // longer round trips than an idle one, without a queue.
        if self.min_rtt == 0.0 || (rtt < self.min_rtt && !self.loaded) {
            self.min_rtt = rtt;
        }
        if rtt <= self.min_rtt * 1.05 + 0.002 + self.spread {
            self.min_rtt_met = Some(now);
        }
    }

    /// Bytes were lost.
    pub fn on_lost(&mut self, bytes: u64, load: Load) {
        self.now_all.lost += bytes as f64;
        self.scattered += (bytes as f64).min((2.0 * self.mtu).max(SCATTERED * self.batch.1));
        if load == Load::Below {
            self.now_below.lost += bytes as f64;
        }
    }

    /// A delivery rate was sampled over `interval` seconds.
    pub fn on_rate(&mut self, rate: f64, interval: f64, app_limited: bool) {
        self.app_limited |= app_limited;
        // Over less than half a round trip a burst of acknowledgements looks like a fast path.
        if interval < 0.5 * self.min_rtt || (app_limited && rate <= self.rate()) {
            return;
        }
        self.rate_last = rate;
        self.insert(rate);
    }

    fn insert(&mut self, rate: f64) {
        while self.rates.back().is_some_and(|r| r.1 <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((self.busy_rounds, rate));
    }

    /// Ends the round if a packet that left with `delivered_before` bytes delivered closes it. A
    /// queue although the `window` was no larger than the path needs means that the path's rate is
    /// overestimated.
    pub fn end_round(
        &mut self,
        delivered_before: u64,
        delivered: u64,
        window: Window,
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
        if busy && self.loaded {
            self.min_rtt = self.min_rtt.min(self.rtt_least);
        }
        if self.rtt_count > 0.0 {
            self.queue = self.rtt_least - self.min_rtt;
            let spread = self.rtt_sum / self.rtt_count - self.rtt_least;
            if window == Window::Level && !self.congested() {
                self.spread += 0.2 * (spread - self.spread);
            }
        }
        let round = Round {
            rate: self.rate_last,
            queue: self.queue,
            least: self.rtt_least,
            mean: self.rtt_sum / self.rtt_count.max(1.0),
            bytes: self.now_all.acked + self.now_all.lost,
            busy,
            loss: self.now_all.share(),
            scattered_loss: Tally { lost: self.scattered, ..self.now_all }.share(),
            app_limited: self.app_limited,
        };
        if !self.congested() {
            // Who loses so much was not below the path's rate, whatever an idle path seemed to
            // carry: a policer lets a few packets through as if there were none.
            if self.now_below.is_plausible(self.mtu) {
                self.below.add(self.now_below);
            }
            self.all.add(self.now_all);
        }
        self.doubt(window, &round);
        self.past = [self.now_all, self.past[0]];
        self.now_below = Tally::default();
        self.now_all = Tally::default();
        self.scattered = 0.0;
        (self.rtt_least, self.rtt_sum, self.rtt_count) = (f64::MAX, 0.0, 0.0);
        self.rate_last = 0.0;
        self.app_limited = false;
        while self.rates.len() > 1 && self.rates[0].0 + RATE_ROUNDS < self.busy_rounds {
            self.rates.pop_front();
        }
        Some(round)
    }

    /// A queue and a lower rate for two rounds (one, if much lower), although the window was
    /// modest: the path has become slower, and what was measured before says nothing any more. In a
    /// tiny window a lower rate is no news, and what seems a queue is jitter, or what is left of
    /// one.
    fn doubt(&mut self, window: Window, round: &Round) {
        let much = round.rate < 0.6 * self.rate();
        // The packet that ends a round left when the one before it ended.
        let before = std::mem::replace(&mut self.window_before, window);
        let tiny = window == Window::Tiny || before == Window::Tiny;
        if !tiny
            && (window != Window::Large || much)
            && self.congested()
            && !round.app_limited
            && round.rate > 0.0
            && round.rate < 0.85 * self.rate()
        {
            self.slow_rounds += 1;
            self.slow_rate = self.slow_rate.max(round.rate);
        } else {
            self.slow_rounds = 0;
            self.slow_rate = 0.0;
        }
        if self.slow_rounds >= 2 || (self.slow_rounds == 1 && much) {
            self.set_rate(self.slow_rate);
        }
    }

    /// The last round carried so much more than the one before it that the path was far from full
    /// in that: its `least` round-trip time was without a queue, and its loss the path's own.
    pub fn was_far_from_full(&mut self, least: f64) {
        self.loaded = true;
        self.min_rtt = self.min_rtt.max(least);
        if self.past[1].is_plausible(self.mtu) {
            self.below.add(self.past[1]);
        }
    }

    /// Enough was seen below the path's rate to tell its own loss.
    pub fn knows_loss(&self) -> bool {
        self.below.acked + self.below.lost > SURE_PACKETS * self.mtu
    }

    /// Replaces every remembered rate by this one.
    pub fn set_rate(&mut self, rate: f64) {
        self.rates.clear();
        self.rates.push_back((self.busy_rounds, rate));
        self.slow_rounds = 0;
        self.slow_rate = 0.0;
    }

    /// A probe cycle is over: older counts of loss weigh less.
    /// After start-up (`fresh`) only what was seen below the path's rate counts: it overshoots.
    pub fn end_cycle(&mut self, fresh: bool) {
        if fresh {
            self.all = self.below;
        }
        self.below.forget();
        self.all.forget();
    }

    /// Seconds that the queue may take before it counts as one: the sender's own bursts, and on
    /// slow paths a few packets, are none.
    pub fn tolerance(&self) -> f64 {
        0.005 + 0.15 * self.min_rtt + self.packets(4.0)
    }

    /// Time that the path needs for `n` packets, seconds.
    pub fn packets(&self, n: f64) -> f64 {
        if self.rate() > 0.0 { n * self.mtu / self.rate() } else { 0.0 }
    }

    /// The last round had a queue.
    pub fn congested(&self) -> bool {
        self.queue > self.tolerance()
    }

    /// Share that the path loses by itself: what is lost in all, but not more than what is lost
    /// while less is sent than the path carries (with a margin for chance).
    pub fn path_loss(&self) -> f64 {
        let all = self.all.share();
        let sampled = self.below.acked + self.below.lost;
        if sampled < 50.0 * self.mtu {
            return all.min(MAX_LOSS);
        }
        all.min(1.25 * self.below.share() + 0.01).min(MAX_LOSS)
    }

    /// Share lost of late in rounds without a queue, bytes by bytes.
    pub fn loss(&self) -> f64 {
        self.all.share()
    }

    /// Share lost beyond the path's own: what the sender causes without making a queue.
    pub fn excess_loss(&self) -> f64 {
        (self.all.share() - self.path_loss()).max(0.0)
    }

    /// What must be sent for the path to be full: what it delivers and what it loses, unless a
    /// queue says that the loss is congestion. Bytes per second.
    pub fn path_rate(&self) -> f64 {
        let loss = if self.congested() { 0.0 } else { self.path_loss() };
        self.rate() / (1.0 - loss)
    }

    /// The least round-trip time has not been met for so long that it may have changed.
    pub fn min_rtt_is_old(&self, now: Instant) -> bool {
        self.min_rtt_met.is_some_and(|met| now.saturating_duration_since(met) > MIN_RTT_LIFE)
    }

    /// A new least round-trip time was measured with an all but empty path.
    pub fn set_min_rtt(&mut self, now: Instant, rtt: f64) {
        self.min_rtt = rtt;
        self.min_rtt_met = Some(now);
    }
}
