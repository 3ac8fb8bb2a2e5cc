//! The QUIC endpoint: socket, TLS, and each transport setting with its reason.

use super::congestion;
use super::fec::Fec;
use super::mtu::{ETHERNET_PAYLOAD, JUMBO_PAYLOAD, takes_jumbo_frames};
use super::socket;
use super::tls;
use super::tls::{SERVER_NAME, TlsError};
use crate::cause;
use crate::config::{Bind, Config, Congestion};
use quinn::{
    ClientConfig, ConnectError, Connecting, ConnectionError, EndpointConfig, IdleTimeout, Incoming,
    MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use quinn_proto::congestion::ControllerFactory;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// A connection without a packet from the peer for this long is lost (RFC 9000, section 10.1). rft
/// dials a new one much earlier, so this only limits how long a dead one is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of keep-alive packets: they hold NAT and firewall state, and distinguish a lost
/// connection from an idle one.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Initial RTT of a dialled connection (RFC 9002, section 6.2.2). QUIC retransmits its first
/// packets after three times as long. The dialler opens another connection before that
/// (`peering::backoff`), so they are never retransmitted: during a long outage the retransmissions
/// of all attempts would be most of the traffic.
const DIAL_RTT: Duration = Duration::from_millis(3400);
/// Incoming connections that wait for admission. Beyond that, QUIC drops first packets.
const MAX_INCOMING: usize = 64;
/// Bytes that QUIC buffers for a connection that waits for admission.
const INCOMING_BUFFER: u64 = 16 << 10;
/// Datagrams that are dropped from a port before its endpoint begins.
const MAX_DISCARDED: usize = 4096;

/// How a connection is closed; the application error code of CONNECTION_CLOSE (protocol.md
/// section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// An orderly end.
    Goodbye = 0x00,
    /// Something before authentication was wrong; nothing more is said.
    Authentication = 0x01,
    /// The other of two connections is kept, or this is the dialler itself.
    Duplicate = 0x02,
    /// Too many guesses or strangers; later perhaps.
    Busy = 0x03,
    /// A newer session took this one's place.
    Superseded = 0x04,
    /// The initiator could not take the session keys.
    KeysRefused = 0x05,
    /// An authenticated peer broke the protocol.
    Protocol = 0x06,
    /// A session with another installation lives.
    Occupied = 0x07,
    /// A session with another process of the same installation lives, which displaced this one.
    Copied = 0x08,
}

impl CloseCode {
    /// As QUIC carries it.
    pub fn var_int(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// Whether the peer closed with this code.
    pub fn is_reason_of(self, error: &ConnectionError) -> bool {
        matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == self.var_int())
    }
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address could not be bound.
    #[error("cannot bind UDP {addr}: {}; {advice}", cause::of(.source))]
    Bind {
        /// The requested address.
        addr: String,
        /// The operating system's error.
        source: io::Error,
        /// The remedy.
        advice: &'static str,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The runtime cannot drive the socket.
    #[error("cannot drive the UDP socket: {}", cause::of(.0))]
    Drive(io::Error),
}

/// A bound endpoint that listens and dials.
pub struct Endpoint {
    /// quinn's endpoint.
    pub quic: quinn::Endpoint,
    /// The bound address.
    pub local: SocketAddr,
    /// The configured port was taken: this endpoint has another one and can only dial.
    pub ephemeral: bool,
    /// Notes for the user about the socket.
    pub notes: Vec<String>,
    /// Opens connections, with larger packets where the route takes jumbo frames.
    pub jumbo: Jumbo,
    /// Forward error correction on this endpoint's socket.
    pub fec: Fec,
}

/// The factory of a connection's congestion controllers.
pub type Factory = Arc<dyn ControllerFactory + Send + Sync>;

/// Opens connections. Where the route begins with jumbo frames, path MTU discovery searches up to
/// their size. Elsewhere it searches up to Ethernet's size, because the longer search would stay at
/// the minimum size for a dozen round trips.
#[derive(Clone)]
pub struct Jumbo {
    client: ClientConfig,
    server: ServerConfig,
    congestion: Congestion,
}

impl Jumbo {
    /// Dials `addr`.
    ///
    /// # Errors
    /// quinn's, if the address cannot be dialled.
    pub fn connect(
        &self,
        endpoint: &quinn::Endpoint,
        addr: SocketAddr,
    ) -> Result<Connecting, ConnectError> {
        match takes_jumbo_frames(addr) {
            true => endpoint.connect_with(self.client.clone(), addr, SERVER_NAME),
            false => endpoint.connect(addr, SERVER_NAME),
        }
    }

    /// Accepts `incoming`. `hold` wraps the factory of the connection's congestion controllers.
    /// QUIC drops the factory with the connection, so the wrapper can hold a resource for as long
    /// as the connection lives.
    ///
    /// # Errors
    /// quinn's, if the connection's first packet is unusable.
    pub fn accept(
        &self,
        incoming: Incoming,
        hold: impl FnOnce(Factory) -> Factory,
    ) -> Result<Connecting, ConnectionError> {
        let largest = if takes_jumbo_frames(incoming.remote_address()) {
            JUMBO_PAYLOAD
        } else {
            ETHERNET_PAYLOAD
        };
        let mut transport = transport(self.congestion, largest);
        transport.congestion_controller_factory(hold(congestion::factory(self.congestion)));
        let mut server = self.server.clone();
        server.transport_config(Arc::new(transport));
        incoming.accept_with(Arc::new(server))
    }
}

/// A port that is bound and taken while this lives, for an endpoint to come.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    ephemeral: bool,
}

impl Port {
    /// Binds the configured address. If its port is taken and there is a peer to dial, binds an
    /// ephemeral port instead. Needs no runtime.
    ///
    /// # Errors
    /// No address could be bound.
    pub fn bind(config: &Config) -> Result<Self, EndpointError> {
        let attempt = |port| match config.bind {
            Some(bind) => socket::bind(SocketAddr::new(bind.addr, port)),
            None => socket::bind_all(port),
        };
        let port = config.bind.and_then(|bind| bind.port).unwrap_or(config.port);
        let error = match attempt(port) {
            Ok(socket) => return Ok(Self { socket, ephemeral: false }),
            Err(error) => error,
        };
        let taken = error.kind() == io::ErrorKind::AddrInUse;
        let chosen = config.bind.is_some_and(|bind| bind.port.is_some());
        if taken && config.peer.is_some() && !chosen {
            return attempt(0)
                .map(|socket| Self { socket, ephemeral: true })
                .map_err(|error| bind_error(config.bind, 0, error));
        }
        Err(bind_error(config.bind, port, error))
    }

    /// The local address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local(&self) -> Result<SocketAddr, EndpointError> {
        self.socket.local_addr().map_err(EndpointError::Drive)
    }

    /// Drops what has come so far: the peer's dials that nothing answered, and that it has given
    /// up.
    fn discard(&self) {
        let none_left = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let _ = (0..MAX_DISCARDED).find(|_| self.socket.recv(&mut [0]).is_err_and(none_left));
    }
}

impl Endpoint {
    /// An endpoint on a port that it binds.
    ///
    /// # Errors
    /// [`EndpointError`] if no address could be bound or TLS could not be set up.
    pub fn open(config: &Config) -> Result<Self, EndpointError> {
        Self::on(Port::bind(config)?, config)
    }

    /// An endpoint on this port.
    ///
    /// # Errors
    /// [`EndpointError`] when the socket cannot be driven or TLS could not be set up.
    pub fn on(port: Port, config: &Config) -> Result<Self, EndpointError> {
        port.discard();
        let Port { socket, ephemeral } = port;
        let bound = socket::wrap(socket).map_err(EndpointError::Drive)?;
        let tls = tls::configure()?;
        let mut limits = EndpointConfig::default();
        if cfg!(target_os = "linux") {
            // The largest payload that the peer may send. It finds the path's MTU itself.
            let _ = limits.max_udp_payload_size(JUMBO_PAYLOAD);
        }
        // No drafts of QUIC: the protocol uses version 1, and `first_packet` parses no other.
        limits.supported_versions(vec![1]);
        // Packets without the fixed bit are not QUIC's: `fec` and `first_packet` rely on it.
        limits.grease_quic_bit(false);
        let mut server = ServerConfig::with_crypto(tls.server);
        server
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(MAX_INCOMING as u64 * INCOMING_BUFFER);
        let mut client = ClientConfig::new(tls.client);
        server.transport_config(Arc::new(transport(config.congestion, ETHERNET_PAYLOAD)));
        let mut dial = |largest| {
            let mut dialled = transport(config.congestion, largest);
            dialled.initial_rtt(DIAL_RTT);
            client.transport_config(Arc::new(dialled));
            client.clone()
        };
        let jumbo = Jumbo {
            client: dial(JUMBO_PAYLOAD),
            server: server.clone(),
            congestion: config.congestion,
        };
        let client = dial(ETHERNET_PAYLOAD);

        let runtime = Arc::new(TokioRuntime);
        let mut quic =
            quinn::Endpoint::new_with_abstract_socket(limits, Some(server), bound.socket, runtime)
                .map_err(EndpointError::Drive)?;
        quic.set_default_client_config(client);
        Ok(Self { quic, local: bound.local, ephemeral, notes: bound.notes, jumbo, fec: bound.fec })
    }
}

fn bind_error(bind: Option<Bind>, port: u16, source: io::Error) -> EndpointError {
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => "stop that program, or choose another port",
        io::ErrorKind::PermissionDenied => "ports below 1024 need rights: choose a higher one",
        io::ErrorKind::AddrNotAvailable => "see --bind",
        _ => "choose another port or --bind address",
    };
    let addr = match bind {
        Some(bind) => SocketAddr::new(bind.addr, port).to_string(),
        None => format!("port {port}"),
    };
    EndpointError::Bind { addr, source, advice }
}

/// The transport configuration. The transport parameters among it (RFC 9000, section 18) are the
/// same for every user configuration, because unauthenticated peers see them too.
fn transport(kind: Congestion, largest: u16) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut search = MtuDiscoveryConfig::default();
    search.upper_bound(largest);
    transport
        // One stream, for the handshake. An authenticated session raises the limit.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .max_idle_timeout(Some(
            IdleTimeout::try_from(IDLE_TIMEOUT).unwrap_or(VarInt::from_u32(30_000).into()),
        ))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(UNAUTHENTICATED_WINDOW))
        .send_window(SEND_WINDOW)
        .mtu_discovery_config(Some(search))
        // Without fairness quinn continues with the current stream while it has data, even if
        // another has a higher priority: a large file would block urgent files, receipts and the
        // control stream. Files that must not share the path have different priorities
        // (`stream::Priority`).
        .send_fairness(true)
        .congestion_controller_factory(congestion::factory(kind));
    transport
}

/// Receive window of each stream, in bytes: no limit, because the connection's window limits all
/// streams together. That window follows `--memory` in a session, but this one is a transport
/// parameter, which unauthenticated peers see.
const STREAM_WINDOW: u32 = u32::MAX;

/// Receive window of an unauthenticated connection, in bytes.
const UNAUTHENTICATED_WINDOW: u32 = 64 << 10;

/// Receive buffer of datagrams, in bytes, which is also the limit that the peer learns. rft does
/// not read the datagrams of a path probe ([`super::path_probe`]), so room for one packet is
/// enough.
const DATAGRAM_BUFFER: usize = 9 << 10;

/// QUIC's send window in bytes, until the session has measured the path
/// ([`congestion::send_window`]).
pub const SEND_WINDOW: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every peer that completes TLS sees the transport parameters, so they must not reveal the
    /// user's options. A session applies `--memory` and the like later.
    #[test]
    fn transport_parameters_do_not_depend_on_the_configuration() {
        for largest in [ETHERNET_PAYLOAD, JUMBO_PAYLOAD] {
            let told = |kind| format!("{:?}", transport(kind, largest));
            assert_eq!(told(Congestion::Bbr), told(Congestion::Cubic));
            assert!(
                told(Congestion::Bbr).contains(&format!("stream_receive_window: {STREAM_WINDOW}"))
            );
        }
    }

    /// An unauthenticated peer may send this much, and no more, for any `--memory`.
    #[tokio::test]
    async fn the_unauthenticated_window_does_not_depend_on_the_memory() {
        for memory in [1 << 20, 64 << 20, 1 << 34] {
            let mut config = Config::new(None, 0, "unused");
            config.bind = Some(Bind { addr: [127, 0, 0, 1].into(), port: Some(0) });
            config.memory = memory;
            let (host, stranger) =
                (Endpoint::open(&config).unwrap(), Endpoint::open(&config).unwrap());
            let accepted = async { host.quic.accept().await.unwrap().await.unwrap() };
            let dialled = async {
                stranger.jumbo.connect(&stranger.quic, host.local).unwrap().await.unwrap()
            };
            let (_accepted, dialled) = tokio::join!(accepted, dialled);
            let (mut send, _recv) = dialled.open_bi().await.unwrap();
            let mut taken = 0;
            let fill = async {
                while let Ok(n) = send.write(&[0; 10_000]).await {
                    taken += n;
                }
            };
            assert!(tokio::time::timeout(Duration::from_millis(500), fill).await.is_err());
            assert_eq!(taken, UNAUTHENTICATED_WINDOW as usize, "--memory {memory}");
        }
    }

    #[test]
    fn a_port_drops_what_came_before_its_endpoint_begins() {
        let mut config = Config::new(None, 0, "unused");
        config.bind = Some(Bind { addr: [127, 0, 0, 1].into(), port: Some(0) });
        let port = Port::bind(&config).unwrap();
        for length in [1, 1000] {
            UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .send_to(&vec![7; length], port.local().unwrap())
                .unwrap();
        }
        port.discard();
        assert_eq!(port.socket.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod jumbo_tests {
    use super::*;
    use crate::config::PeerAddress;
    use std::path::Path;

    /// Loopback takes packets of 64 KiB: both sides discover that jumbo frames arrive.
    #[tokio::test]
    async fn jumbo_frames_are_found_where_the_route_takes_them() {
        let open = || {
            let peer = PeerAddress { host: "127.0.0.1".into(), port: 1 };
            let mut config = Config::new(Some(peer), 0, Path::new("unused"));
            config.bind = Some(Bind { addr: [127, 0, 0, 1].into(), port: Some(0) });
            Endpoint::open(&config).unwrap()
        };
        let (left, right) = (open(), open());
        let accepted = async {
            let incoming = right.quic.accept().await.unwrap();
            right.jumbo.accept(incoming, |factory| factory).unwrap().await.unwrap()
        };
        let dialled = async { left.jumbo.connect(&left.quic, right.local).unwrap().await.unwrap() };
        let (dialled, accepted) = tokio::join!(dialled, accepted);
        let (mut send, _answers) = dialled.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        let (mut answer, mut recv) = accepted.accept_bi().await.unwrap();
        let largest = |connection: &quinn::Connection| connection.stats().path.current_mtu;
        let search = async {
            let mut buf = [0; 100];
            while largest(&dialled).min(largest(&accepted)) < JUMBO_PAYLOAD - 100 {
                // The unauthenticated window is small.
                recv.read(&mut buf).await.unwrap();
                send.write_all(&buf).await.unwrap();
                answer.write_all(&[0]).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), search).await.unwrap();
        assert!(largest(&dialled) <= JUMBO_PAYLOAD && largest(&accepted) <= JUMBO_PAYLOAD);
    }
}
