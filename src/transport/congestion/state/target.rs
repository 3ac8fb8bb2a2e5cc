//! From the phase and the model of the path to the bytes that should be under way.

use super::{Core, EXCESS, Phase};
use crate::transport::congestion::startup::{INITIAL_PACKETS, first_window};

/// Least window: enough for three later packets to reveal a loss even when one of them is lost too.
const MIN_PACKETS: f64 = 8.0;
/// Cruising keeps so many times the bandwidth-delay product under way …
const CRUISE_GAIN: f64 = 1.05;
/// … and so many seconds' worth beyond it: bursts, timers of a millisecond, batched reads.
const SLACK: f64 = 0.002;
/// Share of the bandwidth-delay product kept under way while the least round-trip time is measured.
const PROBE_RTT_GAIN: f64 = 0.5;

impl Core {
    pub(crate) fn least(&self) -> f64 {
        MIN_PACKETS * self.mtu
    }

    /// Gain while sending at the path's rate: lower where what exceeds it is lost at once, because
    /// there is no queue (a policer).
    fn full_gain(&self) -> f64 {
        let excess = (self.model.excess_loss() - EXCESS).max(0.0);
        (CRUISE_GAIN - 2.0 * excess).max(0.96)
    }

    /// Seconds beyond the round-trip time for which data is kept under way.
    fn slack(&self) -> f64 {
        SLACK + self.model.spread.min(0.25 * self.model.min_rtt + 0.005)
    }

    /// Bytes that should be under way.
    pub(crate) fn target(&self) -> f64 {
        let model = &self.model;
        if model.rate() == 0.0 {
            return first_window(model.min_rtt, self.mtu);
        }
        let rate = model.path_rate();
        let product = |gain: f64| rate * (gain * model.min_rtt + self.slack());
        let window = match &self.phase {
            Phase::Startup(startup) => startup.window(model, self.slack()),
            Phase::ProbeDown { gain, least, .. } => {
                rate.max(*least) * (gain * model.min_rtt + model.spread.min(0.25 * model.min_rtt))
            }
            Phase::Cruise { .. } => product(self.full_gain()),
            Phase::ProbeUp { gain, .. } => product(*gain),
            Phase::ProbeRtt { .. } => PROBE_RTT_GAIN * rate * model.min_rtt,
            Phase::Competitive(cubic) => cubic.window().max(rate * model.min_rtt),
            Phase::CompetitiveProbe { .. } => PROBE_RTT_GAIN * self.recent_rate * model.min_rtt,
        };
        window * self.marked
    }

    /// Bytes that may be under way.
    pub fn window(&self) -> u64 {
        self.target().max(self.least()) as u64
    }

    /// The window at the start.
    pub fn initial_window(&self) -> u64 {
        (INITIAL_PACKETS * self.mtu) as u64
    }

    /// The rate that the window stands for, bytes per second.
    pub fn pacing_rate(&self) -> u64 {
        (self.window() as f64 / self.srtt.max(1e-6)) as u64
    }
}
