//! Binds the UDP socket. One socket both listens and dials, so that a firewall needs one rule and
//! NAT mappings line up.

use super::fec::Fec;
use super::plain_socket::PlainSocket;
use super::quic_socket::{LastReceived, QuicSocket};
use super::rate_limit::{LimitedSocket, RateLimit};
use super::runtime::QuicThread;
use crate::cause;
use quinn::{AsyncUdpSocket, Runtime};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Kernel buffer requested for each direction, in bytes. At 1 Gbit/s it holds 30 ms of packets,
/// which arrive while the process is not scheduled. The system's maximum may be lower.
pub const KERNEL_BUFFER: usize = 4 << 20;
/// With a smaller buffer the receiver drops packets at a few hundred Mbit/s, so rft tells the user.
const MIN_KERNEL_BUFFER: usize = 512 << 10;

/// A bound socket, ready for an endpoint.
#[derive(Debug)]
pub struct BoundSocket {
    /// The socket for quinn.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// The bound address.
    pub local: SocketAddr,
    /// Notes for the user: socket options that this system lacks.
    pub notes: Vec<String>,
    /// Forward error correction on this socket, off until it knows the session's path.
    pub fec: Fec,
    /// When the socket received a datagram last.
    pub last_received: LastReceived,
    /// The rate limit of this socket.
    pub limit: RateLimit,
}

/// Readies a socket for an endpoint that is driven by this thread.
///
/// # Errors
/// The operating system's.
pub(crate) fn wrap(
    std_socket: std::net::UdpSocket,
    thread: &QuicThread,
) -> io::Result<BoundSocket> {
    let local = std_socket.local_addr()?;
    let (mut notes, fec, limit) = (Vec::new(), Fec::default(), RateLimit::default());
    if let Some(note) = size_buffers(&std_socket) {
        notes.push(note);
    }
    let plain = std_socket.try_clone()?;
    let socket: Arc<dyn AsyncUdpSocket> = match thread.wrap_udp_socket(std_socket) {
        Ok(socket) => {
            drop(plain);
            if socket.max_transmit_segments() == 1 && cfg!(target_os = "linux") {
                notes.push(
                    "this system sends UDP packets one by one (no segmentation offload), which costs speed"
                        .into(),
                );
            }
            socket
        }
        Err(error) => {
            notes.push(format!(
                "this system lacks UDP socket options ({}); rft works over a plain socket, more slowly",
                cause::of(&error)
            ));
            let _guard = thread.enter();
            Arc::new(PlainSocket::new(plain)?)
        }
    };
    let socket = Arc::new(LimitedSocket::new(socket, limit.clone(), thread.handle()));
    let last_received = LastReceived::new();
    let socket =
        Arc::new(QuicSocket { socket, fec: fec.clone(), last_received: last_received.clone() });
    Ok(BoundSocket { socket, local, notes, fec, last_received, limit })
}

/// Binds all addresses of both families, or of IPv4 alone where there is no IPv6.
///
/// # Errors
/// The operating system's error of the last attempt.
pub fn bind_all(port: u16) -> io::Result<std::net::UdpSocket> {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    match bind(v6) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind(v4),
        bound => bound,
    }
}

/// Opens a bound, non-blocking socket; an unspecified IPv6 address serves both families.
///
/// # Errors
/// The operating system's.
pub fn bind(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Requests large kernel buffers. Returns a note if the system grants only small ones.
fn size_buffers(socket: &std::net::UdpSocket) -> Option<String> {
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    let granted = socket.recv_buffer_size().unwrap_or(0);
    (granted < MIN_KERNEL_BUFFER && cfg!(target_os = "linux")).then(|| {
        format!(
            "the system grants a UDP buffer of only {} KiB; for fast links: sysctl -w net.core.rmem_max={KERNEL_BUFFER} net.core.wmem_max={KERNEL_BUFFER}",
            granted >> 10
        )
    })
}

/// What UDP sockets of this system can do.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Granted kernel buffer for received packets, in bytes.
    pub receive_buffer: usize,
    /// The same for sent packets.
    pub send_buffer: usize,
    /// Packets that one call sends.
    pub gso: usize,
    /// Packets that one call receives.
    pub gro: usize,
}

/// Opens a socket, asks for the buffers of an endpoint, and closes it.
///
/// # Errors
/// The operating system's.
pub fn abilities() -> io::Result<Abilities> {
    let socket = bind_all(0)?;
    size_buffers(&socket);
    let granted = socket2::SockRef::from(&socket);
    let (receive_buffer, send_buffer) = (granted.recv_buffer_size()?, granted.send_buffer_size()?);
    // A system without the options still has the plain socket.
    let state = quinn::udp::UdpSocketState::new((&socket).into());
    let (gso, gro) = state.map_or((1, 1), |state| (state.max_gso_segments(), state.gro_segments()));
    Ok(Abilities { receive_buffer, send_buffer, gso, gro })
}

/// The addresses under which other hosts may reach this socket. If all interfaces are bound, these
/// are the interfaces' addresses, and loopback only if there is no other.
pub fn reachable_addresses(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let mut found: Vec<_> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|ip| local.is_ipv6() || ip.is_ipv4())
        .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    if found.iter().any(|ip| !ip.is_loopback()) {
        found.retain(|ip| !ip.is_loopback());
    }
    found.sort_by_key(|ip| ip.is_ipv6());
    found.dedup();
    found.into_iter().map(|ip| SocketAddr::new(ip, local.port())).collect()
}

/// The zones of link-local IPv6 addresses on this host, loopback left out: names of interfaces, and
/// on Windows their numbers.
pub fn link_local_zones() -> Vec<String> {
    let mut zones: Vec<_> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| matches!(interface.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .filter_map(|interface| match interface.index {
            index if cfg!(windows) => index.map(|index| index.to_string()),
            _ => Some(interface.name),
        })
        .collect();
    zones.sort();
    zones.dedup();
    zones
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::udp::RecvMeta;
    #[cfg(target_os = "linux")]
    use quinn::udp::Transmit;
    use std::io::IoSliceMut;

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = bind(first.local_addr().unwrap());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn one_socket_serves_both_families() {
        let thread = QuicThread::start().unwrap();
        let Ok(bound) = bind_all(0).and_then(|socket| wrap(socket, &thread)) else { return };
        if bound.local.is_ipv6() {
            let v4 = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            v4.send_to(b"x", ("127.0.0.1", bound.local.port())).unwrap();
            let mut storage = [0; 16];
            let mut meta = [RecvMeta::default()];
            let n = std::future::poll_fn(|cx| {
                bound.socket.poll_recv(cx, &mut [IoSliceMut::new(&mut storage)], &mut meta)
            })
            .await
            .unwrap();
            assert_eq!((n, meta[0].len, storage[0]), (1, 1, b'x'));
        }
    }

    /// The system would refuse all of them in one call.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn ten_jumbo_packets_are_sent_at_once() {
        let thread = QuicThread::start().unwrap();
        let bound = || wrap(bind("127.0.0.1:0".parse().unwrap()).unwrap(), &thread).unwrap();
        let (a, b) = (bound(), bound());
        let contents: Vec<u8> = (0..10u8).flat_map(|n| vec![n; 8952]).collect();
        let transmit = Transmit {
            destination: b.local,
            ecn: None,
            contents: &contents,
            segment_size: Some(8952),
            src_ip: None,
        };
        let mut poller = a.socket.clone().create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        a.socket.try_send(&transmit).unwrap();
        let (mut came, mut storage, mut meta) =
            (Vec::new(), vec![0; 1 << 16], [RecvMeta::default()]);
        while came.len() < contents.len() {
            let receive = std::future::poll_fn(|cx| {
                b.socket.poll_recv(cx, &mut [IoSliceMut::new(&mut storage)], &mut meta)
            });
            tokio::time::timeout(std::time::Duration::from_secs(30), receive)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(meta[0].stride, 8952);
            came.extend_from_slice(&storage[..meta[0].len]);
        }
        assert_eq!(came, contents);
    }

    #[test]
    fn a_bound_address_is_the_only_reachable_one() {
        let addr = "127.0.0.2:4433".parse().unwrap();
        assert_eq!(reachable_addresses(addr), [addr]);
    }
}
