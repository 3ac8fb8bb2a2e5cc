//! The controller without quinn: it runs the phases and derives the window from the path's model.

mod target;
mod transitions;

use std::time::{Duration, Instant};

use super::cubic::Cubic;
use super::model::{Load, Model, WindowLevel};
use super::phase::{Phase, RoundFacts};
use super::sampler::Sampler;
use super::startup::{GROWTH, INITIAL_PACKETS, Startup};

/// The window of a deep ProbeDown, in BDP: so far below the path's rate that loss must fall if it
/// is congestion, even if another sender takes part in it.
const DEEP_GAIN: f64 = 0.7;
/// Loss beyond path loss that is more than chance.
const EXCESS: f64 = 0.01;
/// A path that was idle for this long may have changed.
const STALE_AFTER: Duration = Duration::from_secs(30);
/// Minimum time between competitive probes: the next loss after it starts one, and at twice this
/// time one starts without a loss.
const COMPETITIVE_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// An ECN mark multiplies the window by this, at most once a round trip, and down to this minimum.
const ECN_BETA: f64 = 0.85;
const ECN_MIN: f64 = 0.4;
/// An outage of the path is at least this long, and this many minimum RTTs.
const MIN_OUTAGE: Duration = Duration::from_millis(100);
const OUTAGE_RTTS: f64 = 2.0;

/// A phase with its own variables. Rounds are numbered as [`Model::round`]; `drained` is the round
/// in which the bytes in flight first fitted into the phase's window.
#[derive(Clone, Debug)]
enum Running {
    Startup(Startup),
    /// `min_rate` is a lower bound of the path's rate, in bytes per second, where Startup had an
    /// estimate that delivery samples do not show yet.
    ProbeDown {
        gain: f64,
        drained: Option<u64>,
        min_rate: f64,
    },
    /// Ends in round `until`, or when the rate exceeds `start_rate` clearly.
    Cruise {
        until: u64,
        start_rate: f64,
    },
    ProbeUp {
        gain: f64,
        start_rate: f64,
        start: u64,
    },
    /// `min_rtt` is the smallest RTT of this phase, in seconds.
    ProbeRtt {
        drained: Option<u64>,
        min_rtt: f64,
    },
    Competitive(Cubic),
    CompetitiveProbe {
        cubic: Cubic,
        drained: Option<u64>,
    },
}

/// The controller's state: time and acknowledgements come in, a window comes out.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    sampler: Sampler,
    /// The path's model.
    pub model: Model,
    running: Running,
    mtu: f64,
    /// Bytes sent and neither acknowledged nor declared lost.
    in_flight: f64,
    /// Smoothed RTT, seconds.
    srtt: f64,
    /// When the application last sent as much as the window allowed.
    busy_at: Instant,
    /// Consecutive rounds with a foreign queue.
    foreign_queue_rounds: u32,
    /// ProbeDown phases so far.
    cycle: u64,
    /// The highest rate of recent cycles, bytes per second: it outlives the start of a competitor.
    peak_rate: f64,
    competitive_probe_at: Instant,
    /// Reduction of the window by ECN marks, and when the last one applied.
    ecn_factor: f64,
    ecn_at: Instant,
    /// The ProbeDown phase that follows the first Startup has not ended.
    first_cycle: bool,
    /// Bytes delivered when the last round ended, and when that was.
    round_start: (u64, Instant),
    /// Bytes per second delivered in the last round.
    round_rate: f64,
    /// Maximum window after the queue of a variable path overflowed, bytes.
    max_window: f64,
}

impl Core {
    /// A controller for an unknown path.
    pub(crate) fn new(now: Instant, mtu: u16) -> Self {
        let startup = Startup::new(INITIAL_PACKETS * f64::from(mtu), 0.0, 0, 0.0);
        Self {
            sampler: Sampler::new(now),
            model: Model::new(mtu),
            running: Running::Startup(startup),
            mtu: f64::from(mtu),
            in_flight: 0.0,
            srtt: 0.1,
            busy_at: now,
            foreign_queue_rounds: 0,
            cycle: 0,
            peak_rate: 0.0,
            competitive_probe_at: now,
            ecn_factor: 1.0,
            ecn_at: now,
            first_cycle: true,
            round_start: (0, now),
            round_rate: 0.0,
            max_window: f64::INFINITY,
        }
    }

    /// Path MTU discovery changed the packet size, in bytes.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
        self.model.set_mtu(mtu);
    }

    /// The current phase.
    pub(crate) fn phase(&self) -> Phase {
        match self.running {
            Running::Startup(_) => Phase::Startup,
            Running::ProbeDown { .. } => Phase::ProbeDown,
            Running::Cruise { .. } => Phase::Cruise,
            Running::ProbeUp { .. } => Phase::ProbeUp,
            Running::ProbeRtt { .. } => Phase::ProbeRtt,
            Running::Competitive(_) => Phase::Competitive,
            Running::CompetitiveProbe { .. } => Phase::CompetitiveProbe,
        }
    }

    /// The rate that the path probe found before the first file, in bytes per second. Known during
    /// Startup only: afterwards measured rates are better.
    pub(crate) fn probed_rate(&self) -> Option<f64> {
        match &self.running {
            Running::Startup(startup) => startup.probed_rate(),
            _ => None,
        }
    }

    /// `bytes` were sent at `now`.
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: u64) {
        let idle = self.in_flight <= 0.0;
        if idle && now.saturating_duration_since(self.busy_at) > STALE_AFTER {
            self.go_stale();
        }
        self.sampler.on_sent(now, self.load(), idle);
        self.in_flight += bytes as f64;
    }

    /// The path's model is old: starts up again from half of the known rate
    /// (draft-ietf-tsvwg-careful-resume, section 3.2).
    fn go_stale(&mut self) {
        if let Running::Startup(startup) = &mut self.running {
            startup.go_stale();
            return;
        }
        let rate = self.model.rate() / 4.0;
        self.model.set_rate(rate);
        self.enter_startup(rate / GROWTH, 0);
    }

    /// How a packet that is sent now loads the path.
    fn load(&self) -> Load {
        let below = match &self.running {
            Running::ProbeDown { gain, .. } => *gain <= DEEP_GAIN,
            Running::ProbeRtt { .. } | Running::CompetitiveProbe { .. } => true,
            Running::Startup(startup) => startup.is_below_probed_rate(self.in_flight, &self.model),
            _ => false,
        };
        if below { Load::Below } else { Load::Full }
    }

    /// A packet of `bytes` that was sent at `sent` was acknowledged; `srtt` is the smoothed RTT.
    pub(crate) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, srtt: Duration) {
        let rtt = now.saturating_duration_since(sent).as_secs_f64().max(1e-6);
        let load = self.sampler.on_ack(now, sent, bytes, self.min_outage()).unwrap_or(Load::Full);
        self.model.on_ack(now, rtt, bytes, load);
        self.srtt = srtt.as_secs_f64();
        match &mut self.running {
            Running::ProbeRtt { min_rtt, .. } => *min_rtt = min_rtt.min(rtt),
            Running::Competitive(cubic) => cubic.on_ack(now, bytes as f64, rtt),
            Running::Startup(startup) => {
                startup.on_ack(now, sent, bytes as f64, rtt, self.in_flight, &self.model);
            }
            _ => {}
        }
    }

    /// Minimum time without acknowledgements that is an outage of the path. Unknown before the
    /// first RTT.
    fn min_outage(&self) -> Duration {
        if self.model.min_rtt == 0.0 {
            return Duration::MAX;
        }
        MIN_OUTAGE.max(Duration::from_secs_f64(OUTAGE_RTTS * self.model.min_rtt.min(60.0)))
    }

    /// `bytes` were declared lost; the newest of these packets was sent at `sent`. Zero bytes
    /// report an ECN mark.
    pub(crate) fn on_lost(&mut self, now: Instant, sent: Instant, bytes: u64) {
        if bytes == 0 {
            if sent >= self.ecn_at {
                self.ecn_factor = (self.ecn_factor * ECN_BETA).max(ECN_MIN);
                self.ecn_at = now;
            }
        } else {
            let load = self.sampler.load_of(sent).unwrap_or(Load::Full);
            self.model.on_lost(bytes, load);
            self.in_flight = (self.in_flight - bytes as f64).max(0.0);
        }
        if let Running::Competitive(cubic) = &mut self.running
            && cubic.on_lost(now, sent)
        {
            let time_is_up = self.competitive_probe_is_due(now, COMPETITIVE_PROBE_INTERVAL);
            self.advance(now, RoundFacts { time_is_up, ..RoundFacts::default() }, 0.0);
        }
    }

    /// A batch of acknowledgements is complete.
    pub(crate) fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
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
        let delivered = self.sampler.delivered();
        let level = self.window_level();
        if let Some(round) = self.model.end_round(sample.delivered_before, delivered, level) {
            self.on_round(now, delivered, &round);
        }
        if let Running::Startup(startup) = &mut self.running
            && startup.sees_queue(&self.model)
        {
            let facts = RoundFacts { path_full: true, ..RoundFacts::default() };
            let capacity = startup.capacity().unwrap_or(0.0);
            self.advance(now, facts, capacity);
        }
        self.note_drained();
    }

    /// The current window, compared with the BDP. The three probes with a small window are `Below`
    /// and not `FarBelow`: a queue that they find belongs to another sender, and then the lower
    /// rate is this sender's share.
    fn window_level(&self) -> WindowLevel {
        match self.running {
            Running::Startup(_) | Running::ProbeUp { .. } | Running::Competitive(_) => {
                WindowLevel::Above
            }
            Running::Cruise { .. } => WindowLevel::Even,
            Running::ProbeDown { gain, .. } if gain <= DEEP_GAIN => WindowLevel::FarBelow,
            Running::ProbeDown { .. }
            | Running::ProbeRtt { .. }
            | Running::CompetitiveProbe { .. } => WindowLevel::Below,
        }
    }

    /// Notes the round in which the bytes in flight first fit into the phase's window.
    fn note_drained(&mut self) {
        let fits = self.in_flight <= self.target() + 2.0 * self.mtu;
        let round = self.model.round;
        if let Running::ProbeDown { drained, .. }
        | Running::ProbeRtt { drained, .. }
        | Running::CompetitiveProbe { drained, .. } = &mut self.running
            && fits
        {
            drained.get_or_insert(round);
        }
    }

    /// Bytes sent and neither acknowledged nor declared lost. Acknowledged bytes count until their
    /// batch is complete.
    pub(crate) fn in_flight(&self) -> f64 {
        self.in_flight
    }

    /// Smoothed RTT.
    pub(crate) fn srtt(&self) -> Duration {
        Duration::from_secs_f64(self.srtt.clamp(0.0, 60.0))
    }
}
