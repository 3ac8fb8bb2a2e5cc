//! The controller as quinn sees it, and the estimate that others may read.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::ack_headroom::AckHeadroom;
use super::state::Core;

/// What the controller knows of the path, readable from other threads while the connection works.
#[derive(Debug, Default)]
pub struct PathEstimate {
    rate: AtomicU64,
    min_rtt: AtomicU64,
    /// Bits of an `f64`, as the next.
    loss: AtomicU64,
    repair_share: AtomicU64,
    /// Bytes that were lost; times that something was sent after all had arrived and there was
    /// nothing more.
    lost: AtomicU64,
    flights: AtomicU64,
    /// Bytes per second that trains of the idle path said.
    seen: AtomicU64,
    /// Packets that may still leave without being paced.
    burst: AtomicU64,
    /// Bytes of the largest packet that is known to arrive.
    mtu: AtomicU64,
}

impl PathEstimate {
    /// Of a path that carries `rate` bytes per second and loses so many of all packets, for tests
    /// of what follows it.
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

    /// Bytes of UDP payload of the largest packet that is known to arrive.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed) as usize
    }

    /// What the path loses by itself, of all packets.
    pub fn loss(&self) -> f64 {
        f64::from_bits(self.loss.load(Ordering::Relaxed))
    }

    /// So much goes below QUIC beside each byte that QUIC sends: the window is smaller by that.
    pub(crate) fn set_repair_share(&self, share: f64) {
        self.repair_share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// Delivery rate in bytes per second; `None` before the first measurement.
    pub fn bandwidth(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|&r| r > 0)
    }

    /// Round-trip time without queueing; `None` before the first measurement.
    pub fn min_rtt(&self) -> Option<Duration> {
        let nanos = self.min_rtt.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Bytes that were lost so far, and how often something was sent after all had arrived and
    /// there was nothing more.
    pub(crate) fn lost_and_flights(&self) -> (u64, u64) {
        (self.lost.load(Ordering::Relaxed), self.flights.load(Ordering::Relaxed))
    }

    /// Something is sent, after all had arrived and there was nothing more.
    pub(crate) fn count_flight(&self) {
        self.flights.fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes are lost, and will be sent again.
    pub(crate) fn count_lost(&self, bytes: u64) {
        self.lost.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of repair that go below QUIC beside each byte that QUIC sends.
    pub fn repair_share(&self) -> f64 {
        f64::from_bits(self.repair_share.load(Ordering::Relaxed))
    }

    /// What trains said that the idle path carries, in bytes per second; `None` as long as they
    /// said nothing.
    pub fn seen(&self) -> Option<u64> {
        Some(self.seen.load(Ordering::Relaxed)).filter(|&rate| rate > 0)
    }

    /// Lets so many packets leave in one train, before the next acknowledgement comes.
    pub(crate) fn burst_credit(&self, packets: u32) {
        self.burst.store(packets.into(), Ordering::Relaxed);
    }

    /// Bandwidth-delay product in bytes: what must be under way to fill the path.
    pub fn bdp(&self) -> Option<u64> {
        let bytes = self.bandwidth()? as f64 * self.min_rtt()?.as_secs_f64();
        Some(bytes as u64)
    }
}

/// Time within which quinn's pacer lets out what may leave at once.
const PACER_INTERVAL: f64 = 2e-3;

/// Our controller behind quinn's trait.
#[derive(Clone, Debug)]
pub struct Bbr {
    core: Core,
    ack_headroom: AckHeadroom,
    estimate: Arc<PathEstimate>,
    /// All that was sent was acknowledged, and there was nothing more.
    quiet: bool,
}

impl Bbr {
    /// A controller for a new path.
    pub fn new(now: Instant, mtu: u16) -> Self {
        let estimate = PathEstimate { mtu: u64::from(mtu).into(), ..PathEstimate::default() };
        let (core, ack_headroom) = (Core::new(now, mtu), AckHeadroom::new(mtu));
        Self { core, ack_headroom, estimate: Arc::new(estimate), quiet: true }
    }

    /// The estimate, which follows the connection's controller for as long as that stays on its
    /// path.
    pub fn estimate(&self) -> Arc<PathEstimate> {
        self.estimate.clone()
    }

    /// The arithmetic, for simulators and logs.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        if std::mem::take(&mut self.quiet) {
            self.estimate.count_flight();
        }
        self.core.on_sent(now, bytes);
        // quinn tells of all packets that leave in one call at once.
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
        self.quiet = in_flight == 0 && app_limited;
        self.estimate.burst.store(0, Ordering::Relaxed);
        self.estimate.seen.store(self.core.seen().unwrap_or_default() as u64, Ordering::Relaxed);
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
        let burst = self.estimate.burst.load(Ordering::Relaxed) as f64;
        let train = burst * self.core.model.mtu() * self.core.srtt().as_secs_f64() / PACER_INTERVAL;
        self.ack_headroom.widen(window.max(train) as u64, self.core.in_flight())
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

    /// After a round of so many packets.
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
    fn the_window_makes_room_for_repair() {
        let bbr = after_a_round(32);
        let before = bbr.window();
        bbr.estimate().set_repair_share(0.25);
        assert_eq!(bbr.window(), before * 4 / 5);
        bbr.estimate().set_repair_share(0.0);
        assert_eq!(bbr.window(), before);
    }

    /// quinn's pacer lets so much out at once: what a window carries in its interval.
    #[test]
    fn a_train_may_leave_at_once_and_no_more() {
        let mut bbr = after_a_round(32);
        let at_once =
            |bbr: &Bbr| bbr.window() as f64 * PACER_INTERVAL / RTT.as_secs_f64() / PACKET as f64;
        let before = bbr.window();
        bbr.estimate().burst_credit(64);
        assert!((63.9..64.1).contains(&at_once(&bbr)), "{}", at_once(&bbr));
        // As quinn tells it: ten in one call.
        for n in 0..6 {
            bbr.on_sent(Instant::now(), 10 * PACKET, 10 * n + 9);
        }
        assert!((3.9..4.1).contains(&at_once(&bbr)), "{}", at_once(&bbr));
        bbr.on_sent(Instant::now(), 4 * PACKET, 63);
        assert_eq!(bbr.window(), before);
        bbr.estimate().burst_credit(64);
        bbr.on_end_acks(Instant::now(), 0, true, None);
        assert!(bbr.window() < 2 * before, "what was not used is over");
    }

    #[test]
    fn a_flight_begins_where_nothing_is_under_way() {
        let mut bbr = after_a_round(32);
        assert_eq!(bbr.estimate().lost_and_flights(), (0, 1));
        bbr.on_sent(Instant::now(), PACKET, 32);
        bbr.on_sent(Instant::now(), PACKET, 33);
        bbr.on_congestion_event(Instant::now(), Instant::now(), false, PACKET);
        assert_eq!(bbr.estimate().lost_and_flights(), (PACKET, 2));
    }

    /// On a path of a few packets' product it happens often.
    #[test]
    fn none_begins_where_all_that_was_under_way_is_lost() {
        let mut bbr = after_a_round(32);
        let begin = Instant::now();
        bbr.on_sent(begin, PACKET, 32);
        bbr.on_sent(begin, PACKET, 33);
        bbr.core.on_ack(begin + RTT, begin, PACKET, RTT);
        bbr.on_end_acks(begin + RTT, PACKET, false, None);
        bbr.on_congestion_event(begin + RTT, begin, false, PACKET);
        bbr.on_sent(begin + RTT, PACKET, 34);
        assert_eq!(bbr.estimate().lost_and_flights(), (PACKET, 2));
    }
}
