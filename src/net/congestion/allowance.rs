//! What may leave beyond the congestion window, so that acknowledgements always can.
//!
//! quinn sends nothing while the window is full and there is something to send, acknowledgements included,
//! though they are not congestion controlled (RFC 9002, section 7). Two peers that send to each other would
//! so stop each other: the one drains a queue that it made, and is silent for a round trip; the other, which only
//! returns receipts, hears no acknowledgement, soon has its small window full, and is silent too.

use std::time::{Duration, Instant};

/// Packets that may leave beyond what is under way while the application sends less than it could: it is not
/// what fills the path.
const ROOM_PACKETS: f64 = 32.0;
/// So many windows under way take long to drain: longer than the controller's own pauses.
const FAR_TOO_MUCH: f64 = 2.0;
/// Of what is acknowledged meanwhile, the share that may be sent anew.
const TRICKLE: f64 = 0.25;
/// The most of that which is saved up, packets.
const MOST_SAVED: f64 = 4.0;

/// Pure: time comes in, a window comes out.
#[derive(Clone, Debug)]
pub struct Allowance {
    mtu: f64,
    in_flight: f64,
    /// Bytes of acknowledged ones that were not sent anew yet.
    saved: f64,
    /// The application holds back until then.
    limited_until: Option<Instant>,
    room: f64,
}

impl Allowance {
    /// For packets of this size, bytes.
    pub fn new(mtu: u16) -> Self {
        Self { mtu: f64::from(mtu), in_flight: 0.0, saved: 0.0, limited_until: None, room: 0.0 }
    }

    /// Packets of another size fit now.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    /// `bytes` left.
    pub fn on_sent(&mut self, bytes: u64) {
        self.in_flight += bytes as f64;
        self.saved = (self.saved - bytes as f64).max(0.0);
    }

    /// `bytes` were acknowledged.
    pub fn on_ack(&mut self, bytes: u64) {
        self.in_flight = (self.in_flight - bytes as f64).max(0.0);
        self.saved = (self.saved + TRICKLE * bytes as f64).min(MOST_SAVED * self.mtu);
    }

    /// `bytes` were lost.
    pub fn on_lost(&mut self, bytes: u64) {
        self.in_flight = (self.in_flight - bytes as f64).max(0.0);
    }

    /// A batch of acknowledgements is complete; so much is under way.
    pub fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, srtt: Duration) {
        self.in_flight = in_flight as f64;
        if app_limited {
            self.limited_until = Some(now + 2 * srtt);
            self.room = self.in_flight + ROOM_PACKETS * self.mtu;
        } else if self.limited_until.is_some_and(|until| now > until) {
            self.limited_until = None;
            self.room = 0.0;
        }
    }

    /// The window, bytes, where congestion control alone would have it at `window`.
    pub fn widen(&self, window: u64) -> u64 {
        // quinn wants room for a whole packet, and one byte more.
        let trickles = self.saved > self.mtu && self.in_flight > FAR_TOO_MUCH * window as f64;
        let trickle = if trickles { self.in_flight + self.saved + 1.0 } else { 0.0 };
        window.max(self.room.max(trickle) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    /// Whether quinn would send one more packet.
    fn may_send(allowance: &Allowance, window: u64) -> bool {
        allowance.in_flight as u64 + 1200 < allowance.widen(window)
    }

    #[test]
    fn a_queue_is_drained_without_silence() {
        let now = Instant::now();
        let mut allowance = Allowance::new(1200);
        allowance.on_sent(200 * 1200);
        let mut sent = 0;
        for _ in 0..100 {
            allowance.on_ack(1200);
            allowance.on_end_acks(now, allowance.in_flight as u64, false, RTT);
            while may_send(&allowance, 50 * 1200) {
                allowance.on_sent(1200);
                sent += 1;
            }
        }
        assert!((20..=25).contains(&sent), "{sent}");
        assert_eq!(allowance.widen(100 * 1200), 100 * 1200, "a short pause is left to the controller");
    }

    #[test]
    fn what_is_saved_up_is_little() {
        let mut allowance = Allowance::new(1200);
        allowance.on_sent(1000 * 1200);
        allowance.on_ack(500 * 1200);
        assert!(allowance.widen(8 * 1200) <= 504 * 1200 + 1);
    }

    #[test]
    fn a_window_with_room_stays_as_it_is() {
        let mut allowance = Allowance::new(1200);
        allowance.on_sent(10 * 1200);
        allowance.on_ack(5 * 1200);
        allowance.on_end_acks(Instant::now(), 5 * 1200, false, RTT);
        assert_eq!(allowance.widen(50 * 1200), 50 * 1200);
    }

    #[test]
    fn who_has_little_to_send_is_not_held_back() {
        let now = Instant::now();
        let mut allowance = Allowance::new(1200);
        allowance.on_sent(20 * 1200);
        allowance.on_end_acks(now, 20 * 1200, true, RTT);
        assert_eq!(allowance.widen(8 * 1200), 52 * 1200);
        // Not even while it hears nothing for a round trip.
        allowance.on_end_acks(now + RTT, 40 * 1200, false, RTT);
        assert_eq!(allowance.widen(8 * 1200), 52 * 1200);
        // But who goes on sending as much as is let out is held to the window again.
        allowance.on_end_acks(now + 3 * RTT, 40 * 1200, false, RTT);
        assert_eq!(allowance.widen(70 * 1200), 70 * 1200);
    }
}
