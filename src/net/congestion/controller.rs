//! The controller as quinn sees it, and the estimate that others may read.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::allowance::Allowance;
use super::state::Core;

/// What the controller knows of the path, readable from other threads while the connection works.
#[derive(Debug, Default)]
pub struct PathEstimate {
    rate: AtomicU64,
    min_rtt: AtomicU64,
}

impl PathEstimate {
    /// Delivery rate in bytes per second; `None` before the first measurement.
    pub fn bandwidth(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|&r| r > 0)
    }

    /// Round-trip time without queueing; `None` before the first measurement.
    pub fn min_rtt(&self) -> Option<Duration> {
        let nanos = self.min_rtt.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Bandwidth-delay product in bytes: what must be under way to fill the path.
    pub fn bdp(&self) -> Option<u64> {
        let bytes = self.bandwidth()? as f64 * self.min_rtt()?.as_secs_f64();
        Some(bytes as u64)
    }
}

/// Our controller behind quinn's trait.
#[derive(Clone, Debug)]
pub struct Bbr {
    core: Core,
    allowance: Allowance,
    estimate: Arc<PathEstimate>,
}

impl Bbr {
    /// A controller for a new path.
    pub fn new(now: Instant, mtu: u16) -> Self {
        Self {
            core: Core::new(now, mtu),
            allowance: Allowance::new(mtu),
            estimate: Arc::new(PathEstimate::default()),
        }
    }

    /// The estimate, which follows the connection's controller for as long as that stays on its
    /// path.
    pub fn estimate(&self) -> Arc<PathEstimate> {
        self.estimate.clone()
    }

    /// The arithmetic, for simulators and logs.
    pub(super) fn core(&self) -> &Core {
        &self.core
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        self.core.on_sent(now, bytes);
        self.allowance.on_sent(bytes);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, rtt: &RttEstimator) {
        self.core.on_ack(now, sent, bytes, rtt.get());
        self.allowance.on_ack(bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest: Option<u64>) {
        self.core.on_end_acks(now, in_flight, app_limited);
        self.allowance.on_end_acks(now, in_flight, app_limited, self.core.srtt());
        let nanos = (self.core.model.min_rtt * 1e9) as u64;
        self.estimate.min_rtt.store(nanos, Ordering::Relaxed);
        let rate = self.core.model.rate() as u64;
        self.estimate.rate.store(rate, Ordering::Relaxed);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, _is_persistent: bool, lost_bytes: u64) {
        self.core.on_lost(now, sent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.core.set_mtu(new_mtu);
        self.allowance.set_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.allowance.widen(self.core.window(), self.core.in_flight())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = Some(8 * self.core.pacing_rate());
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.core.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Builds a [`Bbr`] for each new path.
#[derive(Debug, Default)]
pub struct BbrFactory;

impl ControllerFactory for BbrFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Bbr::new(now, current_mtu))
    }
}
