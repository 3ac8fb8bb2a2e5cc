//! Start-up: from the first window to the path's rate, in few round trips and with little beyond
//! it.

use std::time::Instant;

use super::dispersion::{Estimate, Trains};
use super::model::{Model, Round};

/// A window of so many times what was delivered doubles the rate every round
/// (draft-ietf-ccwg-bbr paces at 2.77 and bounds by 2; here the bound is all there is).
const GAIN: f64 = 2.0;
/// The same while the trains tell where to stop: a paced jump, as careful resume makes it
/// (draft-ietf-tsvwg-careful-resume).
const KEEN_GAIN: f64 = 8.0;
/// Of what the trains of an idle path said that it carries, the share that may be under way at once
/// (the jump of careful resume, section 4.3 there). Where nothing comes back yet that wakes it,
/// quinn's pacer lets three quarters of that leave in a round trip, as its timers are late: half of
/// what the path carries.
const JUMP: f64 = 0.65;
/// The window goes so far beyond what the trains say that the path carries: enough to see a queue.
const BEYOND: f64 = 1.25;
/// Trains that say so many times what those before said, and that it is still not all, show that
/// those were wrong.
const MISTAKEN: f64 = 2.0;
/// Growth by which a round shows that the path is not full yet (draft-ietf-ccwg-bbr).
pub const GROWTH: f64 = 1.25;
/// Growth by which a round shows that the path was far from full in the round before.
const LEAP: f64 = 1.4;
/// Loss beyond twice that of the round before, among so many packets that it is not chance, ends
/// start-up even while the rate grows.
const CLEAR_LOSS: f64 = 0.12;
const CLEAR_PACKETS: f64 = 300.0;
/// Acknowledgements in a row that must all be late for start-up to see a queue.
const LATE_ACKS: u32 = 16;
/// Acknowledgements of the first packets after a pause: what queue they met is not the sender's.
const FIRST_ACKS: u32 = 8;
/// Packets that may leave before anything is known. RFC 6928 allows 10; 32 is what large content
/// networks use, and it is paced.
pub const INITIAL_PACKETS: f64 = 32.0;
/// On a long path more may leave in the first round: at this rate, bytes per second (8 Mbit/s), and
/// at most so many packets. Doubling from 32 packets would take a path of 1 s three rounds longer.
const INITIAL_RATE: f64 = 1e6;
const MAX_INITIAL_PACKETS: f64 = 256.0;
/// Jitter, seconds: the round trips of an idle path, which its own packets have not filled yet, may
/// be so much shorter than those of a busy one without a queue.
const JITTER: f64 = 0.025;

/// Bytes that may leave in the first round.
pub fn first_window(min_rtt: f64, mtu: f64) -> f64 {
    (INITIAL_RATE * min_rtt / mtu).clamp(INITIAL_PACKETS, MAX_INITIAL_PACKETS) * mtu
}

/// What a round says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupEnd {
    /// The path may carry more.
    Grow,
    /// The path is full.
    Full,
}

/// What start-up remembers of a round.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// Least and mean round-trip time, seconds.
    least: f64,
    mean: f64,
    /// Delivery rate, bytes per second.
    rate: f64,
}

/// The state of start-up.
#[derive(Clone, Debug)]
pub struct Startup {
    /// The rate to beat, bytes per second, and the rounds that did not.
    best: f64,
    flat: u32,
    /// Grows with what is acknowledged, bytes.
    window: f64,
    /// Share lost in the last round that grew: it is made up for.
    loss: f64,
    /// Acknowledgements in a row, and the least of their round-trip times, seconds.
    late: (u32, f64),
    /// Acknowledgements since a pause, and the least round-trip time of the first of them, seconds.
    first: (u32, f64),
    /// The round before, if it was a busy one.
    before: Option<Before>,
    trains: Trains,
    /// What the trains say that the path carries, bytes per second, until later ones say otherwise.
    room: Option<f64>,
    /// What they said on the idle path, before there was anything to send.
    seen: Option<f64>,
}

impl Startup {
    /// Starts with a `window` of so many bytes; more than `best` is news.
    pub fn new(window: f64, best: f64, flat: u32, loss: f64) -> Self {
        Self {
            best,
            flat,
            window,
            loss,
            late: (0, f64::MAX),
            first: (0, f64::MAX),
            before: None,
            trains: Trains::default(),
            room: None,
            seen: None,
        }
    }

    /// The path was not used for so long that it may have changed: half of what was seen of it is
    /// tried.
    pub fn go_stale(&mut self) {
        self.seen = self.seen.map(|rate| rate / 2.0);
    }

    /// What the idle path's trains said that it carries, bytes per second.
    pub fn seen(&self) -> Option<f64> {
        self.seen
    }

    /// Whether so many bytes under way are far less than the path carries, by what was seen of it
    /// when it was idle.
    pub fn is_below(&self, in_flight: f64, model: &Model) -> bool {
        self.seen.is_some_and(|rate| in_flight <= JUMP * rate * model.min_rtt)
    }

    /// What the path carries at the least, bytes per second, as far as the trains can tell: what is
    /// delivered is measured over a round trip, and so comes a round trip late.
    pub fn least_rate(&self) -> f64 {
        self.room.unwrap_or(0.0)
    }

    /// Bytes that may leave in the first round on this path.
    fn first(&self, model: &Model) -> f64 {
        match self.seen {
            Some(rate) => (JUMP * rate * model.min_rtt).max(INITIAL_PACKETS * model.mtu()),
            None => first_window(model.min_rtt, model.mtu()),
        }
    }

    /// A packet was acknowledged. `in_flight` counts what was under way before: a window that is
    /// not used does not grow.
    pub fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: f64,
        rtt: f64,
        in_flight: f64,
        model: &Model,
    ) {
        let news = self.trains.on_ack(now, sent, bytes as u64, model.min_rtt);
        if news
            && self.room.is_none()
            && let Estimate::Capacity(rate) = self.trains.estimate()
        {
            self.room = Some(rate);
        }
        self.late = (self.late.0 + 1, self.late.1.min(rtt));
        if self.first.0 < FIRST_ACKS {
            self.first = (self.first.0 + 1, self.first.1.min(rtt));
        }
        let window = self.window.max(self.first(model));
        if 2.0 * in_flight >= window {
            let gain = if self.room.is_some() { KEEN_GAIN } else { GAIN };
            self.window = window + (gain - 1.0) * bytes / (1.0 - self.loss(model));
        }
    }

    /// The newest packets were all late: what is under way by now fills the path, and each further
    /// round would double the queue.
    pub fn sees_queue(&mut self, model: &Model) -> bool {
        let (count, least) = self.late;
        if count < LATE_ACKS {
            return false;
        }
        self.late = (0, f64::MAX);
        // HyStart++, RFC 9406, section 4.2: an eighth of the round-trip time within 4 to 16 ms,
        // beyond the round before.
        let step = (model.min_rtt / 8.0).clamp(0.004, 0.016) + model.packets(4.0);
        let base = match self.before {
            Some(before) => model.min_rtt.max(before.mean),
            None => model.min_rtt + JITTER,
        };
        // A queue that stands already is somebody else's: who gave way to it at once would never
        // get a share.
        least > base.max(self.first.1) + step
    }

    /// A round is over. What it says of the round before goes into the model.
    pub fn on_round(&mut self, model: &mut Model, round: &Round) -> StartupEnd {
        let rate = model.rate();
        // While next to nothing is sent, trains are few: those of several rounds count together.
        let quiet = round.bytes < first_window(model.min_rtt, model.mtu());
        let says = if quiet { self.trains.estimate_idle() } else { self.trains.end_round() };
        // Trains that came as they left say that there is room for as much, even where others said
        // less before.
        let raised = |said: f64, rate| {
            (rate <= MISTAKEN * said).then_some(if rate > BEYOND * said { rate } else { said })
        };
        match says {
            Estimate::Capacity(rate) if !quiet => self.room = Some(rate),
            Estimate::Capacity(rate) => (self.room, self.seen) = (None, Some(rate)),
            Estimate::AtLeast(rate) => {
                self.room = self.room.and_then(|room| raised(room, rate));
                self.seen = self.seen.and_then(|seen| raised(seen, rate));
            }
            Estimate::Unknown => self.room = self.room.filter(|_| round.busy),
        }
        if let Some(before) = self.before
            && round.busy
            && rate >= LEAP * before.rate
        {
            model.was_far_from_full(before.least);
        }
        if !round.busy {
            self.first = (0, f64::MAX);
        }
        self.before = round.busy.then_some(Before { least: round.least, mean: round.mean, rate });
        if round.scattered_loss > CLEAR_LOSS + 2.0 * self.loss
            && round.bytes > CLEAR_PACKETS * model.mtu()
        {
            return StartupEnd::Full;
        }
        if rate >= self.best * GROWTH {
            (self.best, self.flat, self.loss) = (rate, 0, round.loss);
            return StartupEnd::Grow;
        }
        if round.app_limited {
            return StartupEnd::Grow;
        }
        self.flat += 1;
        let full =
            self.flat >= 3 || model.congested() || round.scattered_loss > 0.05 + 1.5 * self.loss;
        if full { StartupEnd::Full } else { StartupEnd::Grow }
    }

    fn loss(&self, model: &Model) -> f64 {
        self.loss.min(model.path_loss())
    }

    /// Bytes that should be under way; `slack` is in seconds beyond the round-trip time.
    pub fn window(&self, model: &Model, slack: f64) -> f64 {
        let first = self.first(model);
        let product =
            |rate: f64, gain: f64| rate / (1.0 - self.loss(model)) * (gain * model.min_rtt + slack);
        let doubled = product(model.rate(), GAIN);
        if self.flat > 0 {
            return doubled;
        }
        let grown = doubled.max(self.window);
        let window = match self.room {
            Some(room) => grown.min(product(room.max(model.rate()), BEYOND)),
            None => grown,
        };
        window.max(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::congestion::model::Load;
    use std::time::Duration;

    /// So many acknowledgements after this round-trip time, in seconds; whether start-up sees a
    /// queue then.
    fn acks(startup: &mut Startup, model: &Model, count: u32, rtt: f64) -> bool {
        let sent = Instant::now();
        for _ in 0..count {
            startup.on_ack(sent + Duration::from_secs_f64(rtt), sent, 1200.0, rtt, 40_000.0, model);
        }
        startup.sees_queue(model)
    }

    /// A path of 50 ms, and a start-up on it.
    fn begin() -> (Model, Startup) {
        let mut model = Model::new(1200);
        model.on_ack(Instant::now(), 0.05, 1200, Load::Full);
        (model, Startup::new(40_000.0, 0.0, 0, 0.0))
    }

    #[test]
    fn a_queue_that_grows_ends_it() {
        let (model, mut startup) = begin();
        assert!(!acks(&mut startup, &model, LATE_ACKS, 0.05));
        assert!(acks(&mut startup, &model, LATE_ACKS, 0.12));
    }

    #[test]
    fn a_queue_that_stood_before_the_first_packet_does_not() {
        let (mut model, mut startup) = begin();
        assert!(!acks(&mut startup, &model, LATE_ACKS, 0.05));
        // A pause, in which somebody else fills the queue.
        startup.on_round(&mut model, &Round { app_limited: true, ..Round::default() });
        assert!(!acks(&mut startup, &model, LATE_ACKS, 0.15));
        assert!(!acks(&mut startup, &model, LATE_ACKS, 0.15));
        // What comes on top is our own.
        assert!(acks(&mut startup, &model, LATE_ACKS, 0.17));
    }

    #[test]
    fn what_jitter_makes_late_is_no_queue() {
        let (mut model, mut startup) = begin();
        assert!(!acks(&mut startup, &model, LATE_ACKS, 0.05));
        let round = Round { least: 0.05, mean: 0.06, busy: true, ..Round::default() };
        startup.on_round(&mut model, &round);
        // A clump of acknowledgements that waited for a late one.
        assert!(!acks(&mut startup, &model, LATE_ACKS, 0.065));
        assert!(acks(&mut startup, &model, LATE_ACKS, 0.075));
    }

    #[test]
    fn losses_all_the_time_end_it_and_a_burst_of_losses_does_not() {
        let full = |scattered_loss| {
            let (mut model, mut startup) = begin();
            let round = Round {
                loss: 0.2,
                scattered_loss,
                bytes: 600_000.0,
                busy: true,
                ..Round::default()
            };
            startup.on_round(&mut model, &round) == StartupEnd::Full
        };
        assert!(full(0.2) && !full(0.05));
    }

    /// Trains of ten packets on an idle path of 50 ms, one a round, whose packets come `gap`
    /// microseconds apart.
    fn look(startup: &mut Startup, model: &mut Model, gap: u64) {
        let begin = Instant::now();
        for train in 0..6 {
            for n in 0..10 {
                let sent = begin + Duration::from_millis(200 * train);
                let now = sent + Duration::from_millis(50) + Duration::from_micros(gap * (n | 1));
                startup.on_ack(now, sent, 1250.0, 0.05, 12_500.0, model);
            }
            startup.on_round(model, &Round { app_limited: true, ..Round::default() });
        }
    }

    #[test]
    fn much_of_what_an_idle_path_carries_leaves_at_once() {
        let (mut model, mut startup) = begin();
        assert_eq!(startup.window(&model, 0.0), 50_000.0);
        // 1,250 bytes each 100 microseconds.
        look(&mut startup, &mut model, 100);
        let product = 12.5e6 * 0.05;
        let window = startup.window(&model, 0.0) / product;
        assert!((0.6..0.75).contains(&window), "{window}");
        assert!(
            startup.is_below(0.6 * product, &model) && !startup.is_below(0.8 * product, &model)
        );
        // Long afterwards it may have changed: half of that.
        startup.go_stale();
        let window = startup.window(&model, 0.0) / product;
        assert!((0.3..0.38).contains(&window), "{window}");
    }

    #[test]
    fn an_idle_path_that_is_slow_gets_no_more_than_an_unknown_short_one() {
        let (mut model, mut startup) = begin();
        // 1,250 bytes each 10 ms: one megabit a second.
        look(&mut startup, &mut model, 10_000);
        assert_eq!(startup.first(&model), INITIAL_PACKETS * 1200.0);
        assert_eq!(startup.window(&model, 0.0), 40_000.0);
    }

    #[test]
    fn an_idle_path_that_slows_nothing_tells_nothing() {
        let (mut model, mut startup) = begin();
        look(&mut startup, &mut model, 0);
        assert_eq!(startup.window(&model, 0.0), 50_000.0);
    }

    #[test]
    fn a_path_that_became_slower_is_seen_by_newer_trains() {
        let (mut model, mut startup) = begin();
        look(&mut startup, &mut model, 100);
        look(&mut startup, &mut model, 300);
        let window = startup.window(&model, 0.0) / (4.17e6 * 0.05);
        assert!((0.6..0.75).contains(&window), "{window}");
    }
}
