//! quinn's view of the controller, and the path estimate for the rest of the program.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::ack_headroom::AckHeadroom;
use super::state::Core;

/// The controller's estimate of the path, readable from other threads.
#[derive(Debug, Default)]
pub struct PathEstimate {
    rate: AtomicU64,
    min_rtt: AtomicU64,
    /// Path loss and repair share: bits of an `f64` each.
    loss: AtomicU64,
    repair_share: AtomicU64,
    /// Bytes declared lost so far.
    lost: AtomicU64,
    /// How often the connection sent again after a rest without data or bytes in flight.
    restarts: AtomicU64,
    /// The path probe's rate, bytes per second.
    probed_rate: AtomicU64,
    /// Packets that may still leave unpaced.
    burst: AtomicU64,
    /// Path MTU: the largest UDP payload that is known to arrive, bytes.
    mtu: AtomicU64,
}

impl PathEstimate {
    /// A path of `rate` bytes per second and the given path loss, for tests.
    #[cfg(test)]
    pub fn of(rate: u64, min_rtt: Duration, loss: f64) -> Self {
        let min_rtt = AtomicU64::new(min_rtt.as_nanos() as u64);
        Self {
            rate: rate.into(),
            min_rtt,
            loss: loss.to_bits().into(),
            mtu: 1452.into(),
            ..Self::default()
        }
    }

    /// Path MTU: the largest UDP payload that is known to arrive, bytes.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed) as usize
    }

    /// Path loss: the share of packets that the path loses by itself.
    pub fn loss(&self) -> f64 {
        f64::from_bits(self.loss.load(Ordering::Relaxed))
    }

    /// Sets the repair bytes that follow each byte of QUIC: the window shrinks accordingly.
    pub(crate) fn set_repair_share(&self, share: f64) {
        self.repair_share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// Delivery rate in bytes per second; `None` before the first measurement.
    pub fn bandwidth(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|&r| r > 0)
    }

    /// RTT without queueing; `None` before the first measurement.
    pub fn min_rtt(&self) -> Option<Duration> {
        let nanos = self.min_rtt.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Bytes declared lost so far, and how often the connection sent again after a rest without
    /// data or bytes in flight.
    pub(crate) fn lost_and_restarts(&self) -> (u64, u64) {
        (self.lost.load(Ordering::Relaxed), self.restarts.load(Ordering::Relaxed))
    }

    /// The connection sends again after a rest.
    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// `bytes` were declared lost, and QUIC will retransmit them.
    pub(crate) fn count_lost(&self, bytes: u64) {
        self.lost.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of repair symbols that follow each byte of QUIC.
    pub fn repair_share(&self) -> f64 {
        f64::from_bits(self.repair_share.load(Ordering::Relaxed))
    }

    /// The rate that the path probe found, in bytes per second; `None` before it has found one and
    /// after Startup.
    pub fn probed_rate(&self) -> Option<u64> {
        Some(self.probed_rate.load(Ordering::Relaxed)).filter(|&rate| rate > 0)
    }

    /// Lets this many packets leave unpaced, as one train, until the next acknowledgement.
    pub(crate) fn burst_credit(&self, packets: u32) {
        self.burst.store(packets.into(), Ordering::Relaxed);
    }

    /// Bandwidth-delay product (BDP), in bytes; `None` before the first measurement.
    pub fn bdp(&self) -> Option<u64> {
        let bytes = self.bandwidth()? as f64 * self.min_rtt()?.as_secs_f64();
        Some(bytes as u64)
    }
}

/// Length of a burst of quinn's pacer, seconds (`BURST_INTERVAL_NANOS` in quinn-proto's
/// connection/pacing.rs): the pacer lets `window * interval / RTT` bytes leave at once.
const PACER_BURST_INTERVAL: f64 = 2e-3;

/// rft's controller behind quinn's trait.
#[derive(Clone, Debug)]
pub struct Bbr {
    core: Core,
    ack_headroom: AckHeadroom,
    estimate: Arc<PathEstimate>,
    /// All sent bytes are acknowledged, and the application has no more.
    at_rest: bool,
}

impl Bbr {
    /// A controller for a new path.
    pub fn new(now: Instant, mtu: u16) -> Self {
        let estimate = PathEstimate { mtu: u64::from(mtu).into(), ..PathEstimate::default() };
        let (core, ack_headroom) = (Core::new(now, mtu), AckHeadroom::new(mtu));
        Self { core, ack_headroom, estimate: Arc::new(estimate), at_rest: true }
    }

    /// The estimate, which stays current for as long as the connection stays on this path.
    pub fn estimate(&self) -> Arc<PathEstimate> {
        self.estimate.clone()
    }

    /// The window that makes quinn's pacer release the burst credit at once, in bytes.
    ///
    /// This works around quinn's pacer, which a controller cannot switch off: it releases only what
    /// the window carries in [`PACER_BURST_INTERVAL`], so a burst needs a window larger than itself
    /// by RTT / interval.
    fn window_for_burst(&self) -> f64 {
        let packets = self.estimate.burst.load(Ordering::Relaxed) as f64;
        let bytes = packets * self.core.model.mtu();
        bytes * self.core.srtt().as_secs_f64() / PACER_BURST_INTERVAL
    }

    /// The controller without quinn, for the simulator and logs.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        if std::mem::take(&mut self.at_rest) {
            self.estimate.count_restart();
        }
        self.core.on_sent(now, bytes);
        // quinn reports all packets of one GSO batch in one call.
        let packets = (bytes as f64 / self.core.model.mtu()).ceil() as u64;
        let burst = self.estimate.burst.load(Ordering::Relaxed);
        self.estimate.burst.store(burst.saturating_sub(packets), Ordering::Relaxed);
        self.ack_headroom.on_sent(bytes);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        _app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.core.on_ack(now, sent, bytes, rtt.get());
        self.ack_headroom.on_ack(bytes);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest: Option<u64>,
    ) {
        self.core.on_end_acks(now, in_flight, app_limited);
        self.ack_headroom.on_end_acks(now, in_flight, app_limited, self.core.srtt());
        self.at_rest = in_flight == 0 && app_limited;
        self.estimate.burst.store(0, Ordering::Relaxed);
        let probed_rate = self.core.probed_rate().unwrap_or_default() as u64;
        self.estimate.probed_rate.store(probed_rate, Ordering::Relaxed);
        self.estimate.loss.store(self.core.model.path_loss().to_bits(), Ordering::Relaxed);
        let nanos = (self.core.model.min_rtt * 1e9) as u64;
        self.estimate.min_rtt.store(nanos, Ordering::Relaxed);
        let rate = self.core.model.rate() as u64;
        self.estimate.rate.store(rate, Ordering::Relaxed);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        _is_persistent: bool,
        lost_bytes: u64,
    ) {
        self.core.on_lost(now, sent, lost_bytes);
        self.estimate.count_lost(lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.core.set_mtu(new_mtu);
        self.ack_headroom.set_mtu(new_mtu);
        self.estimate.mtu.store(new_mtu.into(), Ordering::Relaxed);
    }

    fn window(&self) -> u64 {
        let window = self.core.window() as f64 / (1.0 + self.estimate.repair_share());
        self.ack_headroom.widen(window.max(self.window_for_burst()) as u64, self.core.in_flight())
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

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1200;
    const RTT: Duration = Duration::from_millis(50);

    /// A controller after a round of `packets`.
    fn after_a_round(packets: u64) -> Bbr {
        let begin = Instant::now();
        let mut bbr = Bbr::new(begin, PACKET as u16);
        for n in 0..packets {
            bbr.on_sent(begin, PACKET, n);
        }
        for _ in 0..packets {
            bbr.core.on_ack(begin + RTT, begin, PACKET, RTT);
        }
        bbr.on_end_acks(begin + RTT, 0, true, None);
        bbr
    }

    #[test]
    fn repair_shrinks_the_window() {
        let bbr = after_a_round(32);
        let before = bbr.window();
        bbr.estimate().set_repair_share(0.25);
        assert_eq!(bbr.window(), before * 4 / 5);
        bbr.estimate().set_repair_share(0.0);
        assert_eq!(bbr.window(), before);
    }

    /// Computes the burst as quinn's pacer does.
    #[test]
    fn burst_credit_covers_one_train() {
        let mut bbr = after_a_round(32);
        let at_once = |bbr: &Bbr| {
            bbr.window() as f64 * PACER_BURST_INTERVAL / RTT.as_secs_f64() / PACKET as f64
        };
        let before = bbr.window();
        bbr.estimate().burst_credit(64);
        assert!((63.9..64.1).contains(&at_once(&bbr)), "{}", at_once(&bbr));
        // quinn reports ten packets in one call.
        for n in 0..6 {
            bbr.on_sent(Instant::now(), 10 * PACKET, 10 * n + 9);
        }
        assert!((3.9..4.1).contains(&at_once(&bbr)), "{}", at_once(&bbr));
        bbr.on_sent(Instant::now(), 4 * PACKET, 63);
        assert_eq!(bbr.window(), before);
        bbr.estimate().burst_credit(64);
        bbr.on_end_acks(Instant::now(), 0, true, None);
        assert!(bbr.window() < 2 * before, "unused credit expires");
    }

    #[test]
    fn sending_with_nothing_in_flight_counts_as_a_restart() {
        let mut bbr = after_a_round(32);
        assert_eq!(bbr.estimate().lost_and_restarts(), (0, 1));
        bbr.on_sent(Instant::now(), PACKET, 32);
        bbr.on_sent(Instant::now(), PACKET, 33);
        bbr.on_congestion_event(Instant::now(), Instant::now(), false, PACKET);
        assert_eq!(bbr.estimate().lost_and_restarts(), (PACKET, 2));
    }

    /// This is frequent on a path with a BDP of a few packets.
    #[test]
    fn losing_all_packets_in_flight_is_not_a_restart() {
        let mut bbr = after_a_round(32);
        let begin = Instant::now();
        bbr.on_sent(begin, PACKET, 32);
        bbr.on_sent(begin, PACKET, 33);
        bbr.core.on_ack(begin + RTT, begin, PACKET, RTT);
        bbr.on_end_acks(begin + RTT, PACKET, false, None);
        bbr.on_congestion_event(begin + RTT, begin, false, PACKET);
        bbr.on_sent(begin + RTT, PACKET, 34);
        assert_eq!(bbr.estimate().lost_and_restarts(), (PACKET, 2));
    }
}
