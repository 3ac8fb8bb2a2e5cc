//! Whether a host answers on a UDP port, and if not, why.
//!
//! The endpoint's socket is not connected, and the system reports an ICMP error only to a connected
//! one. So a probe has a connected socket of its own. It sends a QUIC packet of a version that no
//! server speaks (RFC 9000 section 15): each QUIC server answers it with a much smaller list of its
//! versions (section 6), and keeps no state for it.

mod icmp;

use crate::hindrance::Hindrance;
use rand::{Rng, RngExt};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// Size of a probe in bytes: that of a client's first packet. A server ignores smaller ones, and a
/// path that does not carry it carries no QUIC (RFC 9000 section 14.1).
pub const PROBE_LEN: usize = 1200;
/// Times after the first packet at which another one is sent: one of three is not lost.
const REPEATS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1000)];
/// How long a probe waits for an answer. The system asks three times in three seconds for a
/// neighbour on the local network before it reports that there is none.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(3500);
/// A version that is reserved for forcing negotiation: 0x?a?a?a?a.
const RESERVED_VERSION: u32 = 0x1a2a_3a4a;
/// Length of the connection ids of a probe, in bytes.
const ID_LEN: usize = 8;
/// WSAEMSGSIZE, which std gives no kind.
#[cfg(windows)]
const WINDOWS_TOO_LARGE: i32 = 10040;

/// What a probe has found out about a port that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Time from the packet to the answer.
    pub rtt: Duration,
    /// The QUIC versions that the answer lists; `None` if it is not QUIC's.
    pub versions: Option<Vec<u32>>,
}

/// Probes `to` with a socket of its own, up to three times. `local` is the address of the endpoint,
/// whose IP address the probe shares.
///
/// # Errors
/// The [`Hindrance`], [`Hindrance::NoAnswer`] after [`PROBE_TIMEOUT`].
pub async fn probe(local: IpAddr, to: SocketAddr) -> Result<Answered, Hindrance> {
    let prober = Prober::open(local, to).await?;
    let begun = Instant::now();
    for until in REPEATS.into_iter().chain([PROBE_TIMEOUT]) {
        let left = (begun + until).saturating_duration_since(Instant::now());
        match prober.ask(PROBE_LEN, left).await {
            Err(Hindrance::NoAnswer) => {}
            result => return result,
        }
    }
    Err(Hindrance::NoAnswer)
}

/// A connected socket that asks one address.
#[derive(Debug)]
pub struct Prober {
    socket: UdpSocket,
    to: SocketAddr,
    /// Whether a packet was sent.
    asked: AtomicBool,
}

impl Prober {
    /// Connects a socket of its own to `to`, from the IP address of `local` if that is of the same
    /// family.
    ///
    /// # Errors
    /// The [`Hindrance`] that shows without a packet, such as a missing route.
    pub async fn open(local: IpAddr, to: SocketAddr) -> Result<Self, Hindrance> {
        if needs_zone(to) {
            return Err(Hindrance::NoZone);
        }
        let to = canonical(to);
        let socket = connect(local, to).await.map_err(|error| judge(&error, None))?;
        Ok(Self { socket, to, asked: AtomicBool::new(false) })
    }

    /// The address that this host sends from.
    pub fn source(&self) -> Option<IpAddr> {
        self.socket.local_addr().ok().map(|addr| addr.ip())
    }

    /// Sends one packet of `len` bytes, at least [`PROBE_LEN`], and waits for its answer. Answers
    /// to earlier packets do not count.
    ///
    /// # Errors
    /// The [`Hindrance`], [`Hindrance::NoAnswer`] after `timeout`.
    pub async fn ask(&self, len: usize, timeout: Duration) -> Result<Answered, Hindrance> {
        let failed = |error: &io::Error| match judge(error, mtu(&self.socket, self.to)) {
            // This host had a route, so a router has none.
            Hindrance::NoRoute if self.asked.load(Ordering::Relaxed) => self.unreachable(),
            Hindrance::HostUnreachable => self.unreachable(),
            hindrance => hindrance,
        };
        let packet = packet(len, &mut rand::rng());
        let id = &packet[7 + ID_LEN..7 + 2 * ID_LEN];
        let sent = Instant::now();
        // The error may be that of the packet before, which the system reports here.
        self.socket.send(&packet).await.map_err(|error| failed(&error))?;
        self.asked.store(true, Ordering::Relaxed);
        let mut answer = [0; 512];
        let receive = async {
            loop {
                let len = self.socket.recv(&mut answer).await.map_err(|error| failed(&error))?;
                match versions(&answer[..len], id) {
                    Some((true, versions)) => return Ok(Some(versions)),
                    // To an earlier packet.
                    Some((false, _)) => {}
                    None => return Ok(None),
                }
            }
        };
        match tokio::time::timeout(timeout, receive).await {
            Ok(versions) => Ok(Answered { rtt: sent.elapsed(), versions: versions? }),
            Err(_) => Err(Hindrance::NoAnswer),
        }
    }
}

impl Prober {
    /// Why a router or the host itself says that it cannot be reached: a firewall that rejects
    /// packets says so with the same error as a network without that host.
    fn unreachable(&self) -> Hindrance {
        match icmp::is_prohibited(&self.socket) {
            true => Hindrance::Prohibited,
            false => Hindrance::HostUnreachable,
        }
    }
}

/// Whether the system needs to know the interface for this address, and does not.
pub fn needs_zone(to: SocketAddr) -> bool {
    matches!(to, SocketAddr::V6(to) if to.ip().is_unicast_link_local() && to.scope_id() == 0)
}

/// An address of the endpoint's dual-stack socket as one of its own family.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

async fn connect(local: IpAddr, to: SocketAddr) -> io::Result<UdpSocket> {
    let local = match local.to_canonical() {
        local if local.is_ipv4() == to.is_ipv4() && !local.is_unspecified() => local,
        _ if to.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = super::socket::bind(SocketAddr::new(local, 0))?;
    // No fragments, as for QUIC's packets. Where the system has no such option the probe finds no
    // path that is too small.
    drop(quinn::udp::UdpSocketState::new((&socket).into()));
    icmp::report_errors(&socket, to);
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(to).await?;
    Ok(socket)
}

/// A long header of a reserved version, and random bytes: a packet that no server mistakes for
/// another one.
fn packet(len: usize, rng: &mut impl Rng) -> Vec<u8> {
    let mut packet = vec![0; len.max(PROBE_LEN)];
    rng.fill(&mut packet[..]);
    packet[0] |= 0xc0;
    packet[1..5].copy_from_slice(&RESERVED_VERSION.to_be_bytes());
    (packet[5], packet[6 + ID_LEN]) = (ID_LEN as u8, ID_LEN as u8);
    packet
}

/// The versions in a Version Negotiation packet (RFC 9000 section 17.2.1), and whether it answers
/// the packet with the source connection id `id`.
fn versions(packet: &[u8], id: &[u8]) -> Option<(bool, Vec<u32>)> {
    let (head, ids) = packet.split_at_checked(5)?;
    if head[0] & 0x80 == 0 || head[1..] != [0; 4] {
        return None;
    }
    let (destination, rest) = split_id(ids)?;
    let (_, rest) = split_id(rest)?;
    let versions =
        rest.chunks_exact(4).map(|one| one.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)));
    Some((destination == id, versions.collect()))
}

fn split_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// The hindrance that an error of a connected UDP socket stands for.
fn judge(error: &io::Error, mtu: Option<u32>) -> Hindrance {
    if is_too_large(error) {
        return Hindrance::PathTooSmall { mtu };
    }
    match error.kind() {
        // Windows reports a closed port as a reset.
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Hindrance::PortClosed,
        ErrorKind::PermissionDenied => Hindrance::Prohibited,
        ErrorKind::HostUnreachable => Hindrance::HostUnreachable,
        // A blackhole route is an invalid argument, a family without an address not available.
        ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable
        | ErrorKind::Unsupported
        | ErrorKind::InvalidInput => Hindrance::NoRoute,
        _ => {
            tracing::debug!(%error, "an unusual error of a probe");
            Hindrance::NoAnswer
        }
    }
}

#[cfg(unix)]
fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

#[cfg(windows)]
fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WINDOWS_TOO_LARGE)
}

/// The MTU of the path to the connected address, as far as the system knows it.
#[cfg(target_os = "linux")]
fn mtu(socket: &UdpSocket, to: SocketAddr) -> Option<u32> {
    use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
    (if to.is_ipv4() { ip_mtu(socket) } else { ipv6_mtu(socket) }).ok()
}

/// Not known on this system.
#[cfg(not(target_os = "linux"))]
fn mtu(_socket: &UdpSocket, _to: SocketAddr) -> Option<u32> {
    None
}

/// Fuzz target for the answers to a probe.
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing {
    /// Any datagram: its versions are no more than it has room for.
    pub fn probe_answers(data: &[u8]) {
        let id = [7; super::ID_LEN];
        for packet in [data.to_vec(), [&[0x80, 0, 0, 0, 0][..], data].concat()] {
            if let Some((_, versions)) = super::versions(&packet, &id) {
                assert!(versions.len() <= packet.len() / 4);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_closed_port_is_told_from_a_silent_one() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = silent.local_addr().unwrap();
        let begun = Instant::now();
        assert_eq!(probe(LOCAL, to).await, Err(Hindrance::NoAnswer));
        assert!(begun.elapsed() >= PROBE_TIMEOUT);
        drop(silent);
        let begun = Instant::now();
        assert_eq!(probe(LOCAL, to).await, Err(Hindrance::PortClosed));
        assert!(begun.elapsed() < PROBE_TIMEOUT);
    }

    #[tokio::test]
    async fn an_endpoint_answers_with_its_version() {
        let mut config = crate::config::Config::new(None, 0, "unused");
        config.bind = Some(crate::config::Bind { addr: LOCAL, port: Some(0) });
        let endpoint = crate::transport::endpoint::Endpoint::open(&config).unwrap();
        let answered = probe(LOCAL, endpoint.local).await.unwrap();
        assert!(answered.versions.is_some_and(|versions| versions.contains(&1)));
        assert!(answered.rtt < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn only_the_answer_to_the_last_packet_counts() {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let prober = Prober::open(LOCAL, other.local_addr().unwrap()).await.unwrap();
        let answers = tokio::spawn(async move {
            let mut asked = Vec::new();
            for len in [1200, 1400] {
                let mut buf = [0; 2000];
                let (received, from) = other.recv_from(&mut buf).await.unwrap();
                assert_eq!(received, len);
                asked.push(buf[15..23].to_vec());
                // The first question is answered only after the second one.
                for (id, version) in asked.iter().zip([1, 2]).take(2 * (asked.len() - 1)) {
                    let head = [&[0x80, 0, 0, 0, 0, 8][..], id, &[0], &[0, 0, 0, version]];
                    other.send_to(&head.concat(), from).await.unwrap();
                }
            }
        });
        assert_eq!(prober.ask(0, Duration::from_millis(300)).await, Err(Hindrance::NoAnswer));
        let answered = prober.ask(1400, PROBE_TIMEOUT).await.unwrap();
        assert_eq!(answered.versions, Some(vec![2]));
        answers.await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_is_not_quic_has_no_version() {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = other.local_addr().unwrap();
        let answer = tokio::spawn(async move {
            let (_, from) = other.recv_from(&mut [0; 2000]).await.unwrap();
            other.send_to(b"hello", from).await.unwrap();
        });
        assert_eq!(probe(LOCAL, to).await.unwrap().versions, None);
        answer.await.unwrap();
    }

    #[tokio::test]
    async fn a_link_local_address_needs_a_zone() {
        let to = "[fe80::1]:4000".parse().unwrap();
        assert_eq!(probe(Ipv6Addr::UNSPECIFIED.into(), to).await, Err(Hindrance::NoZone));
        assert!(!needs_zone("[fe80::1%1]:4000".parse().unwrap()));
    }
}
