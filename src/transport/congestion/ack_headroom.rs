//! Headroom beyond the congestion window, so that acknowledgements always get out.
//!
//! While the window is full and the application has data, quinn sends nothing, not even
//! acknowledgements, although these are not congestion controlled (RFC 9002, section 7). So two
//! peers that send to each other could silence each other: one drains its own queue and is silent
//! for a round trip; the other, which only returns receipts, gets no acknowledgement, soon fills
//! its small window, and is silent too.

use std::time::{Duration, Instant};

/// Packets that may leave beyond the bytes in flight while the sender is application-limited: it
/// does not fill the path.
const APP_LIMITED_PACKETS: f64 = 32.0;
/// With more windows than this in flight, draining takes longer than any phase of the controller
/// stays silent.
const OVERFULL_WINDOWS: f64 = 2.0;
/// Share of the acknowledged bytes that may be sent while an overfull window drains.
const TRICKLE: f64 = 0.25;
/// Maximum credit for that, packets.
const MAX_CREDIT: f64 = 4.0;

/// Widens the congestion window where acknowledgements would stop otherwise. Pure.
#[derive(Clone, Debug)]
pub(super) struct AckHeadroom {
    mtu: f64,
    /// Credit for sending while an overfull window drains, bytes.
    credit: f64,
    /// The sender counts as application-limited until then.
    app_limited_until: Option<Instant>,
    /// The window of an application-limited sender, bytes; 0 otherwise.
    app_limited_window: f64,
}

impl AckHeadroom {
    /// For packets of `mtu` bytes.
    pub(super) fn new(mtu: u16) -> Self {
        Self { mtu: f64::from(mtu), credit: 0.0, app_limited_until: None, app_limited_window: 0.0 }
    }

    /// Sets the packet size, bytes.
    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = f64::from(mtu);
    }

    /// `bytes` were sent.
    pub(super) fn on_sent(&mut self, bytes: u64) {
        self.credit = (self.credit - bytes as f64).max(0.0);
    }

    /// `bytes` were acknowledged.
    pub(super) fn on_ack(&mut self, bytes: u64) {
        self.credit = (self.credit + TRICKLE * bytes as f64).min(MAX_CREDIT * self.mtu);
    }

    /// A batch of acknowledgements is complete.
    pub(super) fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        srtt: Duration,
    ) {
        if app_limited {
            self.app_limited_until = Some(now + 2 * srtt);
            self.app_limited_window = in_flight as f64 + APP_LIMITED_PACKETS * self.mtu;
        } else if self.app_limited_until.is_some_and(|until| now > until) {
            self.app_limited_until = None;
            self.app_limited_window = 0.0;
        }
    }

    /// The window to give to quinn, in bytes: `window` is the controller's, and `in_flight` are the
    /// unacknowledged bytes.
    pub(super) fn widen(&self, window: u64, in_flight: f64) -> u64 {
        // quinn sends a packet only if the window has room for it and one byte more.
        let trickles = self.credit > self.mtu && in_flight > OVERFULL_WINDOWS * window as f64;
        let trickle = if trickles { in_flight + self.credit + 1.0 } else { 0.0 };
        window.max(self.app_limited_window.max(trickle) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);
    const PACKET: u64 = 1200;

    /// Bytes of `n` packets.
    fn packets(n: u64) -> f64 {
        (n * PACKET) as f64
    }

    #[test]
    fn a_sender_that_drains_its_queue_is_not_silent() {
        let mut ack_headroom = AckHeadroom::new(1200);
        let (mut in_flight, mut sent) = (200, 0);
        for _ in 0..100 {
            ack_headroom.on_ack(PACKET);
            in_flight -= 1;
            // quinn sends another packet.
            while (in_flight + 1) * PACKET < ack_headroom.widen(50 * PACKET, packets(in_flight)) {
                ack_headroom.on_sent(PACKET);
                (in_flight, sent) = (in_flight + 1, sent + 1);
            }
        }
        assert!((20..=25).contains(&sent), "{sent}");
        let short = ack_headroom.widen(100 * PACKET, packets(in_flight));
        assert_eq!(short, 100 * PACKET, "short pauses are the controller's");
    }

    #[test]
    fn the_credit_is_limited() {
        let mut ack_headroom = AckHeadroom::new(1200);
        ack_headroom.on_ack(500 * PACKET);
        assert!(ack_headroom.widen(8 * PACKET, packets(500)) <= 504 * PACKET + 1);
    }

    #[test]
    fn a_window_with_room_is_unchanged() {
        let mut ack_headroom = AckHeadroom::new(1200);
        ack_headroom.on_ack(5 * PACKET);
        ack_headroom.on_end_acks(Instant::now(), 5 * PACKET, false, RTT);
        assert_eq!(ack_headroom.widen(50 * PACKET, packets(5)), 50 * PACKET);
    }

    #[test]
    fn an_application_limited_sender_is_not_held_back() {
        let now = Instant::now();
        let mut ack_headroom = AckHeadroom::new(1200);
        ack_headroom.on_end_acks(now, 20 * PACKET, true, RTT);
        assert_eq!(ack_headroom.widen(8 * PACKET, packets(20)), 52 * PACKET);
        // Not even without acknowledgements for a round trip.
        ack_headroom.on_end_acks(now + RTT, 40 * PACKET, false, RTT);
        assert_eq!(ack_headroom.widen(8 * PACKET, packets(40)), 52 * PACKET);
        // A sender that goes on filling the window is held to it again.
        ack_headroom.on_end_acks(now + 3 * RTT, 40 * PACKET, false, RTT);
        assert_eq!(ack_headroom.widen(70 * PACKET, packets(40)), 70 * PACKET);
    }
}
