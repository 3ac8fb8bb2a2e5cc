//! What may leave beyond the congestion window, so that acknowledgements always can.
//!
//! quinn sends nothing while the window is full and there is something to send, acknowledgements
//! included, though they are not congestion controlled (RFC 9002, section 7). Two peers that send
//! to each other would so stop each other: the one drains a queue that it made, and is silent for a
//! round trip; the other, which only returns receipts, hears no acknowledgement, soon has its small
//! window full, and is silent too.

use std::time::{Duration, Instant};

/// Packets that may leave beyond what is under way while the application sends less than it could:
/// it is not what fills the path.
const ROOM_PACKETS: f64 = 32.0;
/// So many windows under way take long to drain: longer than the controller's own pauses.
const FAR_TOO_MUCH: f64 = 2.0;
/// Of what is acknowledged meanwhile, the share that may be sent anew.
const TRICKLE: f64 = 0.25;
/// The most of that which is saved up, packets.
const MAX_CREDIT: f64 = 4.0;

/// Pure: time comes in, a window comes out.
#[derive(Clone, Debug)]
pub struct AckHeadroom {
    mtu: f64,
    /// Bytes of acknowledged ones that were not sent anew yet.
    saved: f64,
    /// The application holds back until then.
    limited_until: Option<Instant>,
    room: f64,
}

impl AckHeadroom {
    /// For packets of this size, bytes.
    pub fn new(mtu: u16) -> Self {
        Self { mtu: f64::from(mtu), saved: 0.0, limited_until: None, room: 0.0 }
    }

    /// Packets of another size fit now.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    /// `bytes` left.
    pub fn on_sent(&mut self, bytes: u64) {
        self.saved = (self.saved - bytes as f64).max(0.0);
    }

    /// `bytes` were acknowledged.
    pub fn on_ack(&mut self, bytes: u64) {
        self.saved = (self.saved + TRICKLE * bytes as f64).min(MAX_CREDIT * self.mtu);
    }

    /// A batch of acknowledgements is complete; so much is under way.
    pub fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, srtt: Duration) {
        if app_limited {
            self.limited_until = Some(now + 2 * srtt);
            self.room = in_flight as f64 + ROOM_PACKETS * self.mtu;
        } else if self.limited_until.is_some_and(|until| now > until) {
            self.limited_until = None;
            self.room = 0.0;
        }
    }

    /// The window, bytes, where congestion control alone would have it at `window`, and `in_flight`
    /// are under way.
    pub fn widen(&self, window: u64, in_flight: f64) -> u64 {
        // quinn wants room for a whole packet, and one byte more.
        let trickles = self.saved > self.mtu && in_flight > FAR_TOO_MUCH * window as f64;
        let trickle = if trickles { in_flight + self.saved + 1.0 } else { 0.0 };
        window.max(self.room.max(trickle) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);
    const PACKET: u64 = 1200;

    /// Bytes of so many packets.
    fn packets(n: u64) -> f64 {
        (n * PACKET) as f64
    }

    #[test]
    fn a_queue_is_drained_without_silence() {
        let mut ack_headroom = AckHeadroom::new(1200);
        let (mut in_flight, mut sent) = (200, 0);
        for _ in 0..100 {
            ack_headroom.on_ack(PACKET);
            in_flight -= 1;
            // Whether quinn would send one more packet.
            while (in_flight + 1) * PACKET < ack_headroom.widen(50 * PACKET, packets(in_flight)) {
                ack_headroom.on_sent(PACKET);
                (in_flight, sent) = (in_flight + 1, sent + 1);
            }
        }
        assert!((20..=25).contains(&sent), "{sent}");
        let short = ack_headroom.widen(100 * PACKET, packets(in_flight));
        assert_eq!(short, 100 * PACKET, "a short pause is left to the controller");
    }

    #[test]
    fn what_is_saved_up_is_little() {
        let mut ack_headroom = AckHeadroom::new(1200);
        ack_headroom.on_ack(500 * PACKET);
        assert!(ack_headroom.widen(8 * PACKET, packets(500)) <= 504 * PACKET + 1);
    }

    #[test]
    fn a_window_with_room_stays_as_it_is() {
        let mut ack_headroom = AckHeadroom::new(1200);
        ack_headroom.on_ack(5 * PACKET);
        ack_headroom.on_end_acks(Instant::now(), 5 * PACKET, false, RTT);
        assert_eq!(ack_headroom.widen(50 * PACKET, packets(5)), 50 * PACKET);
    }

    #[test]
    fn who_has_little_to_send_is_not_held_back() {
        let now = Instant::now();
        let mut ack_headroom = AckHeadroom::new(1200);
        ack_headroom.on_end_acks(now, 20 * PACKET, true, RTT);
        assert_eq!(ack_headroom.widen(8 * PACKET, packets(20)), 52 * PACKET);
        // Not even while it hears nothing for a round trip.
        ack_headroom.on_end_acks(now + RTT, 40 * PACKET, false, RTT);
        assert_eq!(ack_headroom.widen(8 * PACKET, packets(40)), 52 * PACKET);
        // But who goes on sending as much as is let out is held to the window again.
        ack_headroom.on_end_acks(now + 3 * RTT, 40 * PACKET, false, RTT);
        assert_eq!(ack_headroom.widen(70 * PACKET, packets(40)), 70 * PACKET);
    }
}
