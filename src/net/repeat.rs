//! What is sent while the link has room is sent twice, on links that lose packets.
//!
//! A file ends with a round trip for what was lost of it, and another for what of that was lost again, while the link
//! carries next to nothing. A second copy of each packet of that time costs nothing that anybody waits for, and arrives
//! where the first did not (Flach et al., "Reducing Web Latency: the Virtue of Gentle Aggression", SIGCOMM 2013, section
//! 4.3). Copies are whole UDP datagrams: to QUIC the later of two is a duplicate, which it drops (RFC 9000, section 12.3).

use super::congestion::PathEstimate;
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, Transmit};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Share of the path's rate that copies may take at most.
const SHARE: f64 = 1.0 / 8.0;
/// Bytes of copies that may be saved up: a dozen packets.
const SAVED: f64 = 12.0 * 1452.0;
/// Refilled at least so fast, bytes per second, while little is known of the path.
const LEAST_RATE: f64 = 20e3;
/// A copy follows after this part of a round trip, so that a burst of losses does not take both, …
const DELAY: f64 = 1.0 / 8.0;
/// … and within these: QUIC takes no packet for new that comes 128 packets late.
const DELAYS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(15)];

/// Decides which packets are sent again. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Repeats(Arc<Mutex<Option<Followed>>>);

/// The path of the session.
#[derive(Debug)]
struct Followed {
    peer: SocketAddr,
    path: Arc<PathEstimate>,
    saved: f64,
    at: Instant,
}

impl Repeats {
    /// From now on packets to this address may be repeated, as its path's estimate has it.
    pub fn follow(&self, peer: SocketAddr, path: Arc<PathEstimate>) {
        let followed = Followed { peer, path, saved: SAVED, at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(followed);
    }

    /// After how long this packet, which just left, is to be sent again; `None` for never.
    fn again(&self, peer: SocketAddr, bytes: usize, now: Instant) -> Option<Duration> {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followed.as_mut().filter(|followed| followed.peer == peer)?.again(bytes, now)
    }

    /// Sees to it that what just left through `socket` is repeated if it should be.
    pub(super) fn sent(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) {
        let Some(delay) = self.again(transmit.destination, transmit.contents.len(), Instant::now()) else {
            return;
        };
        let (socket, copy) = (socket.clone(), Copy::of(transmit));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // If the socket is full there is no room for copies.
            let _ = socket.try_send(&copy.transmit());
        });
    }
}

impl Followed {
    fn again(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        if !self.path.has_room(now) {
            return None;
        }
        let rate = (SHARE * self.path.bandwidth().unwrap_or(0) as f64).max(LEAST_RATE);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.saved = (self.saved + rate * passed).min(SAVED);
        self.at = now;
        if self.saved < bytes as f64 {
            return None;
        }
        self.saved -= bytes as f64;
        let rtt = self.path.min_rtt().unwrap_or_default();
        Some(rtt.mul_f64(DELAY).clamp(DELAYS[0], DELAYS[1]))
    }
}

/// A datagram, or several of one size, with all that the system needs to send it.
struct Copy {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    contents: Vec<u8>,
    segment_size: Option<usize>,
    src_ip: Option<IpAddr>,
}

impl Copy {
    fn of(transmit: &Transmit<'_>) -> Self {
        Self {
            destination: transmit.destination,
            ecn: transmit.ecn,
            contents: transmit.contents.to_vec(),
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        }
    }

    fn transmit(&self) -> Transmit<'_> {
        Transmit {
            destination: self.destination,
            ecn: self.ecn,
            contents: &self.contents,
            segment_size: self.segment_size,
            src_ip: self.src_ip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1452;

    /// A path of 10 MB/s and 80 ms that is followed, with its estimate.
    fn follow(peer: SocketAddr) -> (Repeats, Arc<PathEstimate>) {
        let path = Arc::new(PathEstimate::of(10_000_000, Duration::from_millis(80)));
        let repeats = Repeats::default();
        repeats.follow(peer, path.clone());
        (repeats, path)
    }

    #[test]
    fn only_what_has_room_and_belongs_to_the_session_is_repeated() {
        let (peer, other) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let now = Instant::now();
        assert_eq!(Repeats::default().again(peer, PACKET, now), None, "nobody has a session yet");
        let (repeats, path) = follow(peer);
        assert_eq!(repeats.again(peer, PACKET, now), None, "the path is full");
        path.set_room(Some(now + Duration::from_secs(2)));
        assert_eq!(repeats.again(peer, PACKET, now), Some(Duration::from_millis(10)));
        assert_eq!(repeats.again(other, PACKET, now), None);
    }

    #[test]
    fn copies_take_no_more_than_their_share() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let (repeats, path) = follow(peer);
        let begin = Instant::now();
        path.set_room(Some(begin + Duration::from_secs(2)));
        // A second of twice what the path carries.
        let copies = (0..14_000u32).filter(|n| {
            let now = begin + Duration::from_secs(1) * *n / 14_000;
            repeats.again(peer, PACKET, now).is_some()
        });
        let bytes = copies.count() * PACKET;
        assert!((1_200_000..1_300_000).contains(&bytes), "{bytes}");
    }
}
