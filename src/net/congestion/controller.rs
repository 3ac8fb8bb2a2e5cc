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
#[derive(Debug)]
pub struct PathEstimate {
    rate: AtomicU64,
    min_rtt: AtomicU64,
    /// Until when, in nanoseconds after `begun`.
    room: AtomicU64,
    begun: Instant,
}

impl PathEstimate {
    /// Of a path that carries `rate` bytes per second, for tests of what follows it.
    #[cfg(test)]
    pub fn of(rate: u64, min_rtt: Duration) -> Self {
        let min_rtt = AtomicU64::new(min_rtt.as_nanos() as u64);
        Self { rate: rate.into(), min_rtt, ..Self::new(Instant::now()) }
    }

    fn new(begun: Instant) -> Self {
        Self { rate: AtomicU64::new(0), min_rtt: AtomicU64::new(0), room: AtomicU64::new(0), begun }
    }

    /// The path has room until then; `None`: it has none.
    pub(in crate::net) fn set_room(&self, until: Option<Instant>) {
        let nanos = until.map_or(0, |until| until.saturating_duration_since(self.begun).as_nanos() as u64);
        self.room.store(nanos, Ordering::Relaxed);
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

    /// Whether the application sends less than the path carries, which loses packets by itself. Of a path from which
    /// no acknowledgement comes any more nobody knows.
    pub fn has_room(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun).as_nanos() < u128::from(self.room.load(Ordering::Relaxed))
    }

    /// Bandwidth-delay product in bytes: what must be under way to fill the path.
    pub fn bdp(&self) -> Option<u64> {
        let bytes = self.bandwidth()? as f64 * self.min_rtt()?.as_secs_f64();
        Some(bytes as u64)
    }
}

/// A path that loses more than this by itself, of all packets, is one that loses packets.
const LOSSY: f64 = 0.002;
/// Once so many packets more are under way than when the application had nothing more to send, it has again.
const ROOM_PACKETS: f64 = 32.0;
/// So long after an acknowledgement, and four round trips, another should have come.
const ROOM_LASTS: Duration = Duration::from_millis(200);

/// Bytes under way beyond which the path has no room any more, if it has any.
#[derive(Clone, Copy, Debug, Default)]
struct Room(Option<f64>);

impl Room {
    /// Whether it is used up just now, with so much under way.
    fn ends(&mut self, in_flight: f64) -> bool {
        self.0.take_if(|until| in_flight > *until).is_some()
    }
}

/// Our controller behind quinn's trait.
#[derive(Clone, Debug)]
pub struct Bbr {
    core: Core,
    allowance: Allowance,
    room: Room,
    estimate: Arc<PathEstimate>,
}

impl Bbr {
    /// A controller for a new path.
    pub fn new(now: Instant, mtu: u16) -> Self {
        Self {
            core: Core::new(now, mtu),
            allowance: Allowance::new(mtu),
            room: Room::default(),
            estimate: Arc::new(PathEstimate::new(now)),
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
        if self.room.ends(self.core.in_flight()) {
            self.estimate.set_room(None);
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, rtt: &RttEstimator) {
        self.core.on_ack(now, sent, bytes, rtt.get());
        self.allowance.on_ack(bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _largest: Option<u64>) {
        self.core.on_end_acks(now, in_flight, app_limited);
        self.allowance.on_end_acks(now, in_flight, app_limited, self.core.srtt());
        let lossy = self.core.model.path_loss() > LOSSY;
        self.room =
            Room((app_limited && lossy).then(|| in_flight as f64 + ROOM_PACKETS * self.core.model.mtu()));
        self.estimate.set_room(self.room.0.map(|_| now + ROOM_LASTS + 4 * self.core.srtt()));
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

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1200;
    const RTT: Duration = Duration::from_millis(50);

    /// `rounds` of 200 packets, of which every `nth` is lost, while the application holds back or not.
    fn rounds(bbr: &mut Bbr, begin: Instant, rounds: u32, nth: u64, app_limited: bool) {
        for round in 0..rounds {
            let sent = begin + RTT * round;
            for n in 0..200 {
                bbr.core.on_sent(sent + Duration::from_micros(200 * n), PACKET);
            }
            for n in 0..200 {
                let (sent, now) = (sent + Duration::from_micros(200 * n), sent + RTT);
                match n % nth == nth - 1 {
                    true => bbr.on_congestion_event(now, sent, false, PACKET),
                    false => bbr.core.on_ack(now + Duration::from_micros(200 * n), sent, PACKET, RTT),
                }
            }
            bbr.on_end_acks(sent + 2 * RTT, 0, app_limited, None);
        }
    }

    #[test]
    fn a_lossy_path_has_room_until_there_is_something_to_send() {
        let begin = Instant::now();
        let (mut clean, mut lossy) = (Bbr::new(begin, 1200), Bbr::new(begin, 1200));
        rounds(&mut clean, begin, 4, u64::MAX, true);
        assert!(!clean.estimate().has_room(begin + 5 * RTT), "nothing is lost: what would repeating help?");
        rounds(&mut lossy, begin, 4, 50, false);
        assert!(!lossy.estimate().has_room(begin + 5 * RTT), "the path is full");
        rounds(&mut lossy, begin + 4 * RTT, 1, 50, true);
        assert!(lossy.estimate().has_room(begin + 7 * RTT));
        assert!(!lossy.estimate().has_room(begin + 20 * RTT), "nothing comes any more");
        let sent =
            |bbr: &mut Bbr, packets| (0..packets).for_each(|n| bbr.on_sent(begin + 9 * RTT, PACKET, n));
        sent(&mut lossy, 30);
        assert!(lossy.estimate().has_room(begin + 7 * RTT));
        sent(&mut lossy, 10);
        assert!(!lossy.estimate().has_room(begin + 7 * RTT), "bulk has begun");
    }
}
