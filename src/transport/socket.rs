//! The one UDP socket of a peer: it listens and dials, so that a firewall needs one rule and NAT
//! mappings line up.

use super::fec::Fec;
use super::first_packet;
use crate::cause;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What the kernel is asked to buffer each way, in bytes. At 1 Gbit/s this is 30 ms of packets:
/// what arrives while the process is not scheduled. The system's maximum may cut it.
const BUFFER: usize = 4 << 20;
/// Below this the receiver drops packets at a few hundred Mbit/s; the user is told.
const SMALL_BUFFER: usize = 512 << 10;

/// Bytes that an interface takes at once when it is set up for jumbo frames.
#[cfg(target_os = "linux")]
const JUMBO_FRAME: u32 = 9000;
/// Bytes of UDP payload that the system takes in one call: 64 KiB with the headers of IP and UDP.
pub(crate) const MAX_BATCH_BYTES: usize = 65_000;

/// A bound socket, ready for an endpoint.
#[derive(Debug)]
pub struct Bound {
    /// What quinn drives.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Where it is bound.
    pub local: SocketAddr,
    /// What the user should know about it: options that this system does not have.
    pub notes: Vec<String>,
    /// To be told of the session, so that what is lost on its path is repaired where that helps.
    pub fec: Fec,
}

/// Readies a socket for an endpoint. Needs a runtime.
///
/// # Errors
/// What the operating system says.
pub fn wrap(std_socket: std::net::UdpSocket) -> io::Result<Bound> {
    let local = std_socket.local_addr()?;
    let (mut notes, fec) = (Vec::new(), Fec::default());
    if let Some(note) = size_buffers(&std_socket) {
        notes.push(note);
    }
    let plain = std_socket.try_clone()?;
    let socket: Arc<dyn AsyncUdpSocket> = match TokioRuntime.wrap_udp_socket(std_socket) {
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
            Arc::new(PlainSocket::new(plain)?)
        }
    };
    let socket = Arc::new(Wire { socket, fec: fec.clone() });
    Ok(Bound { socket, local, notes, fec })
}

/// Binds all addresses of both families, or of IPv4 alone where there is no IPv6.
///
/// # Errors
/// What the operating system says of the last try.
pub fn bind_all(port: u16) -> io::Result<std::net::UdpSocket> {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    match bind(v6) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind(v4),
        bound => bound,
    }
}

/// A socket that is bound and does not block; an unspecified IPv6 address serves both families.
///
/// # Errors
/// What the operating system says.
pub fn bind(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Asks for large buffers; a note when the system grants only small ones.
fn size_buffers(socket: &std::net::UdpSocket) -> Option<String> {
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    let granted = socket.recv_buffer_size().unwrap_or(0);
    (granted < SMALL_BUFFER && cfg!(target_os = "linux")).then(|| {
        format!(
            "the system grants a UDP buffer of only {} KiB; for fast links: sysctl -w net.core.rmem_max={BUFFER} net.core.wmem_max={BUFFER}",
            granted >> 10
        )
    })
}

/// Whether the route to this address begins on an interface whose packets may have 9,000 bytes:
/// loopback, and networks that are set up for jumbo frames. What all of the path takes, QUIC finds
/// out. Only Linux tells.
pub fn takes_jumbo_frames(peer: SocketAddr) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let any = if peer.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        // Nothing is sent: a socket that is connected knows its route.
        let probe = std::net::UdpSocket::bind((any, 0))
            .and_then(|probe| probe.connect(peer).map(|()| probe));
        let mtu = |probe| if peer.is_ipv4() { ip_mtu(&probe) } else { ipv6_mtu(&probe) }.ok();
        probe.ok().and_then(mtu).is_some_and(|mtu| mtu >= JUMBO_FRAME)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = peer;
        false
    }
}

/// Of either socket, with what is done besides: quinn hands over up to ten packets to be sent in
/// one call, and the system takes 64 KiB, so jumbo frames go in two; and what is lost may be
/// repaired.
#[derive(Debug)]
struct Wire {
    socket: Arc<dyn AsyncUdpSocket>,
    fec: Fec,
}

impl AsyncUdpSocket for Wire {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    /// When the socket is full after the first part, quinn sends both again: a packet that comes
    /// twice counts once.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let whole = transmit.contents.len() <= MAX_BATCH_BYTES;
        let Some(packet) = transmit.segment_size.filter(|_| !whole) else {
            self.socket.try_send(transmit)?;
            self.fec.sent(&self.socket, transmit);
            return Ok(());
        };
        transmit.contents.chunks((MAX_BATCH_BYTES / packet).max(1) * packet).try_for_each(|part| {
            self.socket.try_send(&Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents: part,
                segment_size: (part.len() > packet).then_some(packet),
                src_ip: transmit.src_ip,
            })
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let recovered = self.fec.recovered(bufs, meta);
        if recovered > 0 {
            return Poll::Ready(Ok(recovered));
        }
        let came = ready!(self.socket.poll_recv(cx, bufs, meta))?;
        self.fec.received(&bufs[..came], &meta[..came]);
        for (buf, meta) in bufs.iter_mut().zip(meta.iter()).take(came) {
            drop_first_packets_that_close(&mut buf[..meta.len], meta.stride);
        }
        Poll::Ready(Ok(came))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// Of the datagrams of `stride` bytes in `buf`, has QUIC drop those that would begin a connection
/// only to end it.
fn drop_first_packets_that_close(buf: &mut [u8], stride: usize) {
    for datagram in buf.chunks_mut(stride.max(1)) {
        if first_packet::only_closes(datagram) {
            // Without the fixed bit it is no packet of QUIC's (RFC 9000 section 17.2).
            datagram[0] = 0;
        }
    }
}

/// UDP without any socket option, one datagram a call: for systems where `quinn-udp` cannot set
/// what it needs (Wine, some containers).
#[derive(Debug)]
struct PlainSocket {
    io: tokio::net::UdpSocket,
}

impl PlainSocket {
    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { io: tokio::net::UdpSocket::from_std(socket)? })
    }
}

impl AsyncUdpSocket for PlainSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(PlainPoller { socket: self, writable: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_send_to(transmit.contents, transmit.destination).map(|_| ())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut buf = tokio::io::ReadBuf::new(buf);
        let addr = ready!(self.io.poll_recv_from(cx, &mut buf))?;
        let len = buf.filled().len();
        *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Each connection waits for the socket with a poller of its own.
struct PlainPoller {
    socket: Arc<PlainSocket>,
    writable: Option<Writable>,
}

impl std::fmt::Debug for PlainPoller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainPoller")
    }
}

impl UdpPoller for PlainPoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let socket = &this.socket;
        let future = this.writable.get_or_insert_with(|| {
            let socket = socket.clone();
            Box::pin(async move { socket.io.writable().await })
        });
        let result = ready!(future.as_mut().poll(cx));
        this.writable = None;
        Poll::Ready(result)
    }
}

/// The addresses at which another host may find this socket: those of the interfaces when all are
/// bound, loopback only when there is nothing else.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = bind(first.local_addr().unwrap());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn one_socket_serves_both_families() {
        let Ok(bound) = bind_all(0).and_then(wrap) else { return };
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

    #[tokio::test]
    async fn a_plain_socket_carries_datagrams() {
        let open = || {
            Arc::new(PlainSocket::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap())
        };
        let (a, b) = (open(), open());
        let mut poller = a.clone().create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        let transmit = Transmit {
            destination: b.local_addr().unwrap(),
            ecn: None,
            contents: b"hello",
            segment_size: None,
            src_ip: None,
        };
        a.try_send(&transmit).unwrap();
        let mut storage = [0; 16];
        let mut meta = [RecvMeta::default()];
        std::future::poll_fn(|cx| b.poll_recv(cx, &mut [IoSliceMut::new(&mut storage)], &mut meta))
            .await
            .unwrap();
        assert_eq!(&storage[..meta[0].len], b"hello");
        assert_eq!(meta[0].addr, a.local_addr().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn loopback_takes_jumbo_frames() {
        for addr in ["127.0.0.1:1", "[::ffff:127.0.0.1]:1"] {
            assert!(takes_jumbo_frames(addr.parse().unwrap()), "{addr}");
        }
    }

    /// All of them: in one call the system would take none.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn ten_jumbo_packets_are_sent_at_once() {
        let bound = || bind("127.0.0.1:0".parse().unwrap()).and_then(wrap).unwrap();
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
    fn a_bound_address_is_what_the_other_side_names() {
        let addr = "127.0.0.2:4433".parse().unwrap();
        assert_eq!(reachable_addresses(addr), [addr]);
    }
}
