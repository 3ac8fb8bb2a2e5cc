//! Transitions: derives the facts of a round for the current phase, and sets up the next phase.

use std::time::{Duration, Instant};

use super::target::SLACK;
use super::{COMPETITIVE_PROBE_INTERVAL, Core, DEEP_GAIN, EXCESS, Running};
use crate::transport::congestion::cubic::Cubic;
use crate::transport::congestion::model::Round;
use crate::transport::congestion::phase::{self, Phase, RoundFacts};
use crate::transport::congestion::startup::Startup;

/// ProbeUp's window is larger than the BDP by this share of it.
const UP_GAIN: f64 = 0.25;
/// On a long path ProbeUp first adds only this many seconds' worth of data, which a short queue
/// holds.
const UP_QUEUE: f64 = 0.06;
/// Growth of the delivery rate during Cruise that starts ProbeUp at once.
const CRUISE_GROWTH: f64 = 1.04;
/// Rounds for which ProbeDown, ProbeUp, ProbeRTT and the competitive probe keep their window.
const PHASE_ROUNDS: u64 = 2;
/// ProbeDown's window, in BDP: drains the queue that ProbeUp left.
const DOWN_GAIN: f64 = 0.95;
/// Loss above which some of the ProbeDown phases are deep: one in [`DEEP_CYCLES`], or one in
/// [`DEEP_CYCLES_CALM`] while all loss is path loss.
const DEEP_LOSS: f64 = 0.02;
const DEEP_CYCLES: u64 = 3;
const DEEP_CYCLES_CALM: u64 = 6;
/// Rounds with a foreign queue that start competitive mode.
const FOREIGN_QUEUE_ROUNDS: u32 = 4;
/// A round without a mark gives back this much of the window.
const ECN_RECOVERY: f64 = 0.05;
/// Loss beyond path loss by which a round on a variable path shows that the queue has overflowed
/// (draft-ietf-ccwg-bbr: 2 %), and the same in packets.
const OVERFLOW_LOSS: f64 = 0.02;
const OVERFLOW_PACKETS: f64 = 3.0;
/// An overflow multiplies the window by the first, as in CUBIC (RFC 9438), and each round without
/// one adds the second to the limit, in packets. Additive recovery makes the shares of two senders
/// converge.
const OVERFLOW_BETA: f64 = 0.7;
const OVERFLOW_RECOVERY: f64 = 2.0;
/// The limit is at least this many BDP and [`SLACK`], more than Cruise has on a steady path without
/// jitter: where few packets make a round, chance looks like an overflow.
const OVERFLOW_MIN_GAIN: f64 = 1.2;

impl Core {
    pub(crate) fn on_round(&mut self, now: Instant, delivered: u64, round: &Round) {
        self.ecn_factor = (self.ecn_factor + ECN_RECOVERY).min(1.0);
        let (before, since) = self.round_start;
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        self.round_rate = (delivered - before) as f64 / seconds.max(1e-6);
        self.round_start = (delivered, now);
        self.update_variability(now, round);
        let facts = self.facts(now, round);
        self.advance(now, facts, 0.0);
    }

    /// Measures how variable the path is. On a variable one, a queue that overflows limits the
    /// window: the slack alone would fill a short queue all the time.
    fn update_variability(&mut self, now: Instant, round: &Round) {
        let full = matches!(self.phase(), Phase::ProbeDown | Phase::Cruise | Phase::ProbeUp);
        let rate = (full && !round.app_limited && round.rate > 0.0).then_some(round.rate);
        self.model.variability.on_round(now, rate);
        if self.model.variable_slack() == 0.0 {
            self.max_window = f64::INFINITY;
        } else if self.has_overflowed(round) {
            let seconds = OVERFLOW_MIN_GAIN * self.model.min_rtt + SLACK;
            let min = self.model.rate() * seconds;
            self.max_window = (OVERFLOW_BETA * self.target()).max(min);
        } else {
            self.max_window += OVERFLOW_RECOVERY * self.mtu;
        }
    }

    /// Whether a round lost clearly more than the path does: so much that the queue overflowed, and
    /// more packets than chance would take.
    fn has_overflowed(&self, round: &Round) -> bool {
        let excess = round.loss - 1.5 * self.model.path_loss();
        excess > OVERFLOW_LOSS && excess * round.bytes > OVERFLOW_PACKETS * self.mtu
    }

    /// The facts of this round for the current phase.
    fn facts(&mut self, now: Instant, round: &Round) -> RoundFacts {
        let count = self.model.round;
        let over = |start: u64| count >= start + PHASE_ROUNDS;
        let mut facts = RoundFacts::default();
        match &mut self.running {
            Running::Startup(startup) => facts.path_full = startup.on_round(&mut self.model, round),
            Running::ProbeDown { drained, .. } | Running::ProbeRtt { drained, .. } => {
                facts.time_is_up = drained.is_some_and(over);
            }
            Running::Cruise { until, start_rate } => {
                facts.time_is_up = count >= *until;
                facts.min_rtt_is_old = self.model.min_rtt_is_old(now);
                facts.rate_grew = self.model.rate() > CRUISE_GROWTH * *start_rate
                    && round.queue < 0.25 * self.model.queue_tolerance();
            }
            Running::ProbeUp { gain, start_rate, start } => {
                facts.time_is_up = over(*start);
                facts.full_gain = *gain >= 1.0 + UP_GAIN;
                let grown = self.model.rate() >= *start_rate * (1.0 + 0.5 * (*gain - 1.0));
                facts.rate_grew = grown && !self.model.congested() && !round.app_limited;
            }
            Running::Competitive(_) => {
                facts.time_is_up =
                    self.competitive_probe_is_due(now, 2 * COMPETITIVE_PROBE_INTERVAL);
            }
            Running::CompetitiveProbe { drained, .. } => {
                facts.time_is_up = drained.is_some_and(over);
                facts.queue_is_gone = round.queue < 0.5 * self.foreign_queue();
            }
        }
        facts.foreign_queue = self.count_foreign_queue(round);
        facts
    }

    pub(crate) fn competitive_probe_is_due(&self, now: Instant, interval: Duration) -> bool {
        now.saturating_duration_since(self.competitive_probe_at) > interval
    }

    /// Seconds of queue that show another sender if they remain after this sender's own queue has
    /// drained.
    fn foreign_queue(&self) -> f64 {
        // By the path's rate, not by the share that is left: a small share would hide the queue.
        let rate = self.peak_rate.max(self.model.rate()).max(1.0);
        let own = self.min_window() / rate + self.model.variable_slack();
        0.01 + 0.1 * self.model.min_rtt + own
    }

    /// Counts rounds with a queue while this sender's own window makes none. Returns whether they
    /// are enough to start competitive mode.
    fn count_foreign_queue(&mut self, round: &Round) -> bool {
        if matches!(self.phase(), Phase::ProbeDown | Phase::Cruise) {
            let queued = round.queue > self.foreign_queue();
            self.foreign_queue_rounds = if queued { self.foreign_queue_rounds + 1 } else { 0 };
        }
        self.foreign_queue_rounds >= FOREIGN_QUEUE_ROUNDS
    }

    /// Enters the next phase if the facts call for one. `min_rate` is a known lower bound of the
    /// path's rate, in bytes per second, or 0.
    pub(crate) fn advance(&mut self, now: Instant, facts: RoundFacts, min_rate: f64) {
        match phase::next(self.phase(), facts) {
            None => {}
            Some(Phase::Startup) => self.enter_startup(self.model.rate(), 1),
            Some(Phase::ProbeDown) => self.enter_probe_down(min_rate),
            Some(Phase::Cruise) => self.enter_cruise(now),
            Some(Phase::ProbeUp) => self.enter_probe_up(),
            Some(Phase::ProbeRtt) => {
                self.running = Running::ProbeRtt { drained: None, min_rtt: f64::MAX };
            }
            Some(Phase::Competitive) => self.enter_competitive(now),
            Some(Phase::CompetitiveProbe) => self.enter_competitive_probe(now),
        }
    }

    /// Starts up from the current window; the rate to exceed is `best_rate`, which
    /// `rounds_without_growth` did not exceed yet.
    pub(crate) fn enter_startup(&mut self, best_rate: f64, rounds_without_growth: u32) {
        let loss = self.model.path_loss();
        let startup = Startup::new(self.target(), best_rate, rounds_without_growth, loss);
        self.running = Running::Startup(startup);
    }

    fn enter_probe_down(&mut self, min_rate: f64) {
        self.cycle += 1;
        let calm = self.model.excess_loss() < EXCESS;
        let cycles = if calm { DEEP_CYCLES_CALM } else { DEEP_CYCLES };
        let loss_is_unknown = self.first_cycle && !self.model.knows_loss();
        let deep = self.cycle.is_multiple_of(cycles) || loss_is_unknown;
        let lossy = self.model.loss() > DEEP_LOSS;
        let gain = if deep && lossy { DEEP_GAIN } else { DOWN_GAIN };
        self.running = Running::ProbeDown { gain, drained: None, min_rate };
    }

    fn enter_cruise(&mut self, now: Instant) {
        match self.running {
            Running::ProbeDown { .. } => {
                self.model.end_cycle(self.first_cycle);
                self.first_cycle = false;
                self.peak_rate = self.model.rate().max(0.97 * self.peak_rate);
            }
            Running::ProbeRtt { min_rtt, .. } if min_rtt < f64::MAX => {
                self.model.set_min_rtt(now, min_rtt);
            }
            _ => {}
        }
        // Two senders must not probe in step. The bytes delivered so far differ between them, so
        // they serve as a source of variation.
        let vary = (self.sampler.delivered() / self.mtu as u64) % 3;
        let until = self.model.round + 3 + vary;
        self.running = Running::Cruise { until, start_rate: self.model.rate() };
    }

    fn enter_probe_up(&mut self) {
        let gain = match self.running {
            Running::ProbeUp { .. } => UP_GAIN,
            _ => UP_GAIN.min(UP_QUEUE / self.model.min_rtt),
        };
        let (start_rate, start) = (self.model.rate(), self.model.round);
        self.running = Running::ProbeUp { gain: 1.0 + gain, start_rate, start };
    }

    fn enter_competitive(&mut self, now: Instant) {
        if let Running::CompetitiveProbe { cubic, .. } = &self.running {
            self.running = Running::Competitive(cubic.clone());
            return;
        }
        // Half of the path's rate before the competitor came, or the present share if it is larger.
        let rate = self.round_rate.max(0.5 * self.peak_rate);
        let window = rate * (self.model.min_rtt + self.model.queue);
        self.competitive_probe_at = now;
        self.foreign_queue_rounds = 0;
        let cubic = Cubic::new(now, window.max(self.min_window()), self.mtu);
        self.running = Running::Competitive(cubic);
    }

    fn enter_competitive_probe(&mut self, now: Instant) {
        if let Running::Competitive(cubic) = &self.running {
            self.competitive_probe_at = now;
            self.running = Running::CompetitiveProbe { cubic: cubic.clone(), drained: None };
        }
    }
}
