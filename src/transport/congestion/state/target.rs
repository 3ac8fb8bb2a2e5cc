//! The window of each phase.

use super::{Core, EXCESS, Running};
use crate::transport::congestion::startup::{INITIAL_PACKETS, first_window};

/// Minimum window: loss detection needs three later packets, even when one of them is lost too.
const MIN_PACKETS: f64 = 8.0;
/// Cruise's window, in BDP.
const CRUISE_GAIN: f64 = 1.05;
/// Cruise's gain where the path drops all data above its rate at once, as a policer does.
const MIN_CRUISE_GAIN: f64 = 0.96;
/// Seconds' worth of data beyond the BDP: covers bursts, timers of 1 ms and batched reads.
pub(super) const SLACK: f64 = 0.002;
/// The window of ProbeRTT and of the competitive probe, in BDP.
const PROBE_RTT_GAIN: f64 = 0.5;

impl Core {
    /// Minimum window, bytes.
    pub(crate) fn min_window(&self) -> f64 {
        MIN_PACKETS * self.mtu
    }

    /// Cruise's gain: lower where a policer drops data above its rate without queueing it.
    fn cruise_gain(&self) -> f64 {
        let excess = (self.model.excess_loss() - EXCESS).max(0.0);
        (CRUISE_GAIN - 2.0 * excess).max(MIN_CRUISE_GAIN)
    }

    /// Seconds' worth of data beyond the BDP.
    fn slack(&self) -> f64 {
        SLACK + self.model.jitter() + self.model.variable_slack()
    }

    /// The window that the current phase wants, in bytes.
    pub(crate) fn target(&self) -> f64 {
        let model = &self.model;
        if model.rate() == 0.0 {
            return first_window(model.min_rtt, self.mtu);
        }
        let rate = model.path_rate();
        let bdp = |gain: f64| rate * (gain * model.min_rtt + self.slack());
        let window = match &self.running {
            Running::Startup(startup) => startup.window(model, self.slack()),
            Running::ProbeDown { gain, min_rate, .. } => {
                let slack = model.spread.min(0.25 * model.min_rtt) + model.variable_slack();
                rate.max(*min_rate) * (gain * model.min_rtt + slack)
            }
            Running::Cruise { .. } => bdp(self.cruise_gain()),
            Running::ProbeUp { gain, .. } => bdp(*gain),
            Running::ProbeRtt { .. } => PROBE_RTT_GAIN * rate * model.min_rtt,
            Running::Competitive(cubic) => cubic.window().max(rate * model.min_rtt),
            Running::CompetitiveProbe { .. } => PROBE_RTT_GAIN * self.round_rate * model.min_rtt,
        };
        (window * self.ecn_factor).min(self.max_window)
    }

    /// The congestion window, in bytes.
    pub(crate) fn window(&self) -> u64 {
        self.target().max(self.min_window()) as u64
    }

    /// The congestion window of a new connection, in bytes.
    pub(crate) fn initial_window(&self) -> u64 {
        (INITIAL_PACKETS * self.mtu) as u64
    }

    /// The rate at which the window leaves, in bytes per second.
    pub(crate) fn pacing_rate(&self) -> u64 {
        (self.window() as f64 / self.srtt.max(1e-6)) as u64
    }
}
