//! The state machine: from the model of the path to the window.

mod target;

use std::time::{Duration, Instant};

use super::cubic::Cubic;
use super::model::{Load, Model, Round, Window};
use super::sampler::Sampler;
use super::startup::{GROWTH, INITIAL_PACKETS, Startup, StartupEnd};

/// Probing for more: so many bandwidth-delay products beyond the first, but at first on a long path
/// only so many seconds' worth, which a short queue holds.
const UP_GAIN: f64 = 0.25;
const UP_QUEUE: f64 = 0.06;
/// A rate that grows so much while cruising is probed at once.
const NEWS: f64 = 1.04;
/// Draining what probing left, and measuring the path's own loss below its rate.
const DOWN_GAIN: f64 = 0.95;
/// A path that was not used for so long may have changed.
const STALE: Duration = Duration::from_secs(30);
/// Now and then so much less that loss must fall if it is congestion, whoever else takes part in it
/// …
const DEEP_GAIN: f64 = 0.7;
/// … once in so many cycles, or in so many while loss has been the path's own, when more than this
/// share is lost.
const DEEP_CYCLES: u64 = 3;
const DEEP_CYCLES_CALM: u64 = 6;
const DEEP_LOSS: f64 = 0.02;
/// Loss beyond the path's own that is not chance.
const EXCESS: f64 = 0.01;
/// Rounds with a queue that is not ours before the sender competes for its share.
const CROWDED_ROUNDS: u32 = 4;
/// How often it is tried whether a competitor has gone.
const COMPETITIVE_PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// What the sender is doing.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Growing until the path is full.
    Startup(Startup),
    /// Less than the path carries, for a round after the queue is gone; it carries `least`, if no
    /// less was delivered yet.
    ProbeDown { gain: f64, since: Option<u64>, least: f64 },
    /// What the path carries, until this round, or until it carries more than this rate.
    Cruise { until: u64, best: f64 },
    /// More, to see whether the path carries more: gain, the rate to beat, and since which round.
    ProbeUp { gain: f64, best: f64, since: u64 },
    /// Nearly nothing, to see the round-trip time without a queue: since which round, least seen.
    ProbeRtt { since: Option<u64>, least: f64 },
    /// Beside a loss-based sender.
    Competitive(Cubic),
    /// A pause from that, to see whether the queue goes away.
    CompetitiveProbe { cubic: Cubic, since: Option<u64> },
}

/// The controller without quinn: time comes in, a window comes out.
#[derive(Clone, Debug)]
pub struct Core {
    sampler: Sampler,
    /// The path's model.
    pub model: Model,
    phase: Phase,
    mtu: f64,
    in_flight: f64,
    srtt: f64,
    /// When more was last sent than the application held back.
    busy_at: Instant,
    crowded: u32,
    cycle: u64,
    peak: f64,
    trial_at: Instant,
    marked: f64,
    marked_at: Instant,
    fresh: bool,
    delivered_at_round: (u64, Instant),
    recent_rate: f64,
}

impl Core {
    /// A controller for a path of which nothing is known.
    pub fn new(now: Instant, mtu: u16) -> Self {
        Self {
            sampler: Sampler::new(now),
            model: Model::new(mtu),
            phase: Phase::Startup(Startup::new(INITIAL_PACKETS * f64::from(mtu), 0.0, 0, 0.0)),
            mtu: f64::from(mtu),
            in_flight: 0.0,
            srtt: 0.1,
            busy_at: now,
            crowded: 0,
            cycle: 0,
            peak: 0.0,
            trial_at: now,
            marked: 1.0,
            marked_at: now,
            fresh: true,
            delivered_at_round: (0, now),
            recent_rate: 0.0,
        }
    }

    /// Packets of another size fit now.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
        self.model.set_mtu(mtu);
    }

    /// What it is doing.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What the idle path's trains said that it carries, bytes per second.
    pub fn seen(&self) -> Option<f64> {
        match &self.phase {
            Phase::Startup(startup) => startup.seen(),
            _ => None,
        }
    }

    /// `bytes` left at `now`.
    pub fn on_sent(&mut self, now: Instant, bytes: u64) {
        let idle = self.in_flight <= 0.0;
        if idle && now.saturating_duration_since(self.busy_at) > STALE {
            self.go_stale();
        }
        let load = self.load();
        self.sampler.on_sent(now, u64::from(load == Load::Full), idle);
        self.in_flight += bytes as f64;
    }

    /// What was known of the path is old: half of it is tried (draft-ietf-tsvwg-careful-resume,
    /// section 3.2), and the rest found out again.
    fn go_stale(&mut self) {
        if let Phase::Startup(startup) = &mut self.phase {
            startup.go_stale();
            return;
        }
        let rate = self.model.rate() / 4.0;
        self.model.set_rate(rate);
        self.enter_startup(rate / GROWTH, 0);
    }

    fn load(&self) -> Load {
        match self.phase {
            Phase::ProbeDown { gain, .. } if gain > DEEP_GAIN => Load::Full,
            Phase::ProbeDown { .. } | Phase::ProbeRtt { .. } | Phase::CompetitiveProbe { .. } => {
                Load::Below
            }
            Phase::Startup(ref startup) if startup.is_below(self.in_flight, &self.model) => {
                Load::Below
            }
            _ => Load::Full,
        }
    }

    /// A packet that left at `sent` was acknowledged.
    pub fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, srtt: Duration) {
        let rtt = now.saturating_duration_since(sent).as_secs_f64().max(1e-6);
        let phase = self.sampler.on_ack(now, sent, bytes);
        let load = if phase == Some(0) { Load::Below } else { Load::Full };
        self.model.on_ack(now, rtt, bytes, load);
        self.srtt = srtt.as_secs_f64();
        match &mut self.phase {
            Phase::ProbeRtt { least, .. } => *least = least.min(rtt),
            Phase::Competitive(cubic) => cubic.on_ack(now, bytes as f64, rtt),
            Phase::Startup(startup) => {
                startup.on_ack(now, sent, bytes as f64, rtt, self.in_flight, &self.model);
            }
            _ => {}
        }
    }

    /// `bytes` were lost, of which the newest left at `sent`; none means a congestion mark (ECN).
    pub fn on_lost(&mut self, now: Instant, sent: Instant, bytes: u64) {
        if bytes == 0 {
            if sent >= self.marked_at {
                self.marked = (self.marked * 0.85).max(0.4);
                self.marked_at = now;
            }
        } else {
            let load =
                if self.sampler.phase_of(sent) == Some(0) { Load::Below } else { Load::Full };
            self.model.on_lost(bytes, load);
            self.in_flight = (self.in_flight - bytes as f64).max(0.0);
        }
        let Phase::Competitive(cubic) = &mut self.phase else {
            return;
        };
        if cubic.on_lost(now, sent)
            && now.saturating_duration_since(self.trial_at) > COMPETITIVE_PROBE_INTERVAL
        {
            let cubic = cubic.clone();
            self.trial_at = now;
            self.phase = Phase::CompetitiveProbe { cubic, since: None };
        }
    }

    /// A batch of acknowledgements is complete.
    pub fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        self.in_flight = in_flight as f64;
        if app_limited {
            self.sampler.app_limited(in_flight);
        }
        let keep = Duration::from_secs_f64(4.0 * self.srtt.clamp(0.01, 60.0) + 1.0);
        let Some(sample) = self.sampler.finish(now, keep) else {
            return;
        };
        if !sample.app_limited {
            self.busy_at = now;
        }
        self.model.on_rate(sample.rate, sample.interval, sample.app_limited);
        let window = match self.phase {
            Phase::Startup(_) | Phase::ProbeUp { .. } | Phase::Competitive(_) => Window::Large,
            Phase::Cruise { .. } => Window::Level,
            Phase::ProbeDown { gain, .. } if gain <= DEEP_GAIN => Window::Tiny,
            // A pause that finds a queue all the same shows that somebody else sends too: there the
            // lower rate is ours.
            Phase::ProbeDown { .. } | Phase::ProbeRtt { .. } | Phase::CompetitiveProbe { .. } => {
                Window::Small
            }
        };
        let delivered = self.sampler.delivered();
        let round = self.model.end_round(sample.delivered_before, delivered, window);
        if let Some(round) = round {
            self.marked = (self.marked + 0.05).min(1.0);
            let (before, since) = self.delivered_at_round;
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            self.recent_rate = (delivered - before) as f64 / seconds.max(1e-6);
            self.delivered_at_round = (delivered, now);
            self.on_round(now, &round);
        }
        if let Phase::Startup(startup) = &mut self.phase
            && startup.sees_queue(&self.model)
        {
            let least = startup.least_rate();
            self.down(least);
        }
        self.watch_flight();
    }

    /// From now on less than the path carries, which is `least` at the least, in bytes per second,
    /// as far as that is known.
    fn down(&mut self, least: f64) {
        self.cycle += 1;
        let calm = self.model.excess_loss() < EXCESS;
        let cycles = if calm { DEEP_CYCLES_CALM } else { DEEP_CYCLES };
        let deep = self.cycle.is_multiple_of(cycles) || (self.fresh && !self.model.knows_loss());
        let lossy = self.model.loss() > DEEP_LOSS;
        let gain = if deep && lossy { DEEP_GAIN } else { DOWN_GAIN };
        self.phase = Phase::ProbeDown { gain, since: None, least };
    }

    fn watch_flight(&mut self) {
        let window = self.target();
        let drained = self.in_flight <= window + 2.0 * self.mtu;
        let round = self.model.round;
        match &mut self.phase {
            Phase::ProbeDown { since, .. }
            | Phase::ProbeRtt { since, .. }
            | Phase::CompetitiveProbe { since, .. }
                if drained && since.is_none() =>
            {
                *since = Some(round);
            }
            _ => {}
        }
    }

    fn on_round(&mut self, now: Instant, round: &Round) {
        let count = self.model.round;
        if self.count_crowd(round) {
            self.compete(now, round);
            return;
        }
        if let Phase::Startup(startup) = &mut self.phase {
            if startup.on_round(&mut self.model, round) == StartupEnd::Full {
                self.down(0.0);
            }
            return;
        }
        match self.phase.clone() {
            Phase::ProbeDown { since: Some(since), .. } if count >= since + 2 => self.end_down(),
            Phase::Cruise { until, .. } if count >= until && self.model.min_rtt_is_old(now) => {
                self.phase = Phase::ProbeRtt { since: None, least: f64::MAX };
            }
            Phase::Cruise { until, best } if count >= until || self.is_news(best, round) => {
                let gain = 1.0 + UP_GAIN.min(UP_QUEUE / self.model.min_rtt);
                self.phase = Phase::ProbeUp { gain, best: self.model.rate(), since: count };
            }
            Phase::ProbeUp { gain, best, since } if count >= since + 2 => {
                self.end_up(gain, best, round)
            }
            Phase::ProbeRtt { since: Some(since), least } if count >= since + 2 => {
                if least < f64::MAX {
                    self.model.set_min_rtt(now, least);
                }
                self.cruise();
            }
            Phase::CompetitiveProbe { cubic, since: Some(since) } if count >= since + 2 => {
                if round.queue < 0.5 * self.crowd() {
                    self.crowded = 0;
                    self.cruise();
                } else {
                    self.phase = Phase::Competitive(cubic);
                }
            }
            Phase::Competitive(cubic)
                if now.saturating_duration_since(self.trial_at)
                    > 2 * COMPETITIVE_PROBE_INTERVAL =>
            {
                self.trial_at = now;
                self.phase = Phase::CompetitiveProbe { cubic, since: None };
            }
            _ => {}
        }
    }

    /// Seconds of queue that, when they remain after our own part is drained, show that somebody
    /// else keeps the queue full.
    fn crowd(&self) -> f64 {
        // By the path's rate, not by what is left of our share: that would hide the queue.
        let rate = self.peak.max(self.model.rate()).max(1.0);
        0.01 + 0.1 * self.model.min_rtt + self.least() / rate
    }

    /// Counts rounds in which a queue stays although our part of it is small.
    fn count_crowd(&mut self, round: &Round) -> bool {
        match self.phase {
            Phase::ProbeDown { .. } | Phase::Cruise { .. } if round.queue > self.crowd() => {
                self.crowded += 1;
            }
            Phase::ProbeDown { .. } | Phase::Cruise { .. } => self.crowded = 0,
            _ => {}
        }
        self.crowded >= CROWDED_ROUNDS
    }

    fn compete(&mut self, now: Instant, round: &Round) {
        // Half of what the path carried before the other came, or what is left of our share.
        let rate = self.recent_rate.max(0.5 * self.peak);
        let window = rate * (self.model.min_rtt + round.queue);
        self.trial_at = now;
        self.crowded = 0;
        self.phase = Phase::Competitive(Cubic::new(now, window.max(self.least()), self.mtu));
    }

    fn end_down(&mut self) {
        self.model.end_cycle(self.fresh);
        self.fresh = false;
        self.peak = self.model.rate().max(0.97 * self.peak);
        self.cruise();
    }

    /// The path carries more than it did, without a queue.
    fn is_news(&self, best: f64, round: &Round) -> bool {
        self.model.rate() > NEWS * best && round.queue < 0.25 * self.model.tolerance()
    }

    fn end_up(&mut self, gain: f64, best: f64, round: &Round) {
        let rate = self.model.rate();
        // The path carries more than was known: find out how much at start-up's speed.
        let grown = rate >= best * (1.0 + 0.5 * (gain - 1.0));
        if !grown || self.model.congested() || round.app_limited {
            self.down(0.0);
        } else if gain < 1.0 + UP_GAIN {
            self.phase =
                Phase::ProbeUp { gain: 1.0 + UP_GAIN, best: rate, since: self.model.round };
        } else {
            self.enter_startup(rate, 1);
        }
    }

    fn enter_startup(&mut self, best: f64, flat: u32) {
        let loss = self.model.path_loss();
        self.phase = Phase::Startup(Startup::new(self.target(), best, flat, loss));
    }

    fn cruise(&mut self) {
        // Two senders must not probe in step: what was delivered so far differs between them.
        let vary = (self.sampler.delivered() / self.mtu as u64) % 3;
        self.phase = Phase::Cruise { until: self.model.round + 3 + vary, best: self.model.rate() };
    }

    /// Bytes under way, as far as is known: what is acknowledged counts until the batch is
    /// complete.
    pub fn in_flight(&self) -> f64 {
        self.in_flight
    }

    /// Round-trip time, smoothed.
    pub fn srtt(&self) -> Duration {
        Duration::from_secs_f64(self.srtt.clamp(0.0, 60.0))
    }
}
