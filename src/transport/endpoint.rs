//! The QUIC endpoint: the socket, TLS, and every transport setting with its reason.

use super::congestion;
use super::fec::Fec;
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

/// A connection on which nothing comes for this long is lost. Much before that a new one is dialled
/// beside it, so this only bounds how long a dead one is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Something is sent at least this often: it holds NAT and firewall state, and silence can be told
/// from idleness.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// What a connection that is dialled takes for its round trip until it knows it. By that QUIC sends
/// its first packets again after three times as long, which is never: who dials begins another
/// connection before (`redial`), and in a long cut the repetitions of all of them would be most of
/// what is sent.
const DIAL_RTT: Duration = Duration::from_millis(3400);
/// Incoming connections that wait to be looked at; beyond, strangers' packets are dropped.
const MAX_INCOMING: usize = 64;
/// Bytes that a stranger's connection may have buffered before it is looked at.
const INCOMING_BUFFER: u64 = 16 << 10;
/// Datagrams that are dropped from a port before its endpoint begins.
const MAX_DISCARDED: usize = 4096;

/// Largest UDP payload that is tried on routes that take jumbo frames: 9,000 bytes less the headers
/// of IPv6 and UDP.
const JUMBO: u16 = 8952;
/// And on all others: Ethernet's 1,500 bytes less these headers.
const USUAL: u16 = 1452;

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
        /// What was asked for.
        addr: String,
        /// What the system says.
        source: io::Error,
        /// What to do.
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
    /// quinn's.
    pub quic: quinn::Endpoint,
    /// Where it is bound.
    pub local: SocketAddr,
    /// The port was taken: only dialling works.
    pub ephemeral: bool,
    /// What the user should know about the socket.
    pub notes: Vec<String>,
    /// The other settings, for routes that take jumbo frames.
    pub jumbo: Jumbo,
    /// What makes lost packets again.
    pub fec: Fec,
}

/// What makes the congestion controllers of a connection.
pub type Factory = Arc<dyn ControllerFactory + Send + Sync>;

/// Begins connections: where the route takes jumbo frames, with a search for how large packets may
/// be on all of the path. It is not begun elsewhere, as it would go on at the smallest size for a
/// dozen round trips, until it finds the usual.
#[derive(Clone)]
pub struct Jumbo {
    client: ClientConfig,
    server: ServerConfig,
    congestion: Congestion,
}

impl Jumbo {
    /// Dials.
    ///
    /// # Errors
    /// quinn's, for an address that cannot be dialled.
    pub fn connect(
        &self,
        endpoint: &quinn::Endpoint,
        addr: SocketAddr,
    ) -> Result<Connecting, ConnectError> {
        match socket::takes_jumbo_frames(addr) {
            true => endpoint.connect_with(self.client.clone(), addr, SERVER_NAME),
            false => endpoint.connect(addr, SERVER_NAME),
        }
    }

    /// Accepts. `hold` gets the factory of the connection's congestion controllers, which QUIC
    /// keeps for as long as it keeps the connection, and gives one that may hold more than that.
    ///
    /// # Errors
    /// quinn's, when the connection's first packet cannot be used.
    pub fn accept(
        &self,
        incoming: Incoming,
        hold: impl FnOnce(Factory) -> Factory,
    ) -> Result<Connecting, ConnectionError> {
        let largest =
            if socket::takes_jumbo_frames(incoming.remote_address()) { JUMBO } else { USUAL };
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
    /// Binds as the configuration says. When its port is taken, an ephemeral one is bound if there
    /// is a peer to dial from it. Needs no runtime.
    ///
    /// # Errors
    /// [`EndpointError::Bind`] when nothing could be bound.
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

    /// Where it is bound.
    ///
    /// # Errors
    /// [`EndpointError::Drive`] with what the system says.
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
    /// [`EndpointError`] when nothing could be bound or TLS could not be set up.
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
            // What the peer may send at most; it finds out itself what arrives.
            let _ = limits.max_udp_payload_size(JUMBO);
        }
        // No drafts of it: the protocol is version 1, and `first_packet` knows no other.
        limits.supported_versions(vec![1]);
        // So that a packet without it is none of QUIC's (`fec`, `first_packet`).
        limits.grease_quic_bit(false);
        let mut server = ServerConfig::with_crypto(tls.server);
        server
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(MAX_INCOMING as u64 * INCOMING_BUFFER);
        let mut client = ClientConfig::new(tls.client);
        server.transport_config(Arc::new(transport(config.congestion, USUAL)));
        let mut dial = |largest| {
            let mut dialled = transport(config.congestion, largest);
            dialled.initial_rtt(DIAL_RTT);
            client.transport_config(Arc::new(dialled));
            client.clone()
        };
        let jumbo =
            Jumbo { client: dial(JUMBO), server: server.clone(), congestion: config.congestion };
        let client = dial(USUAL);

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

/// Everything in it that the peer is told is the same whatever the user configured: strangers get
/// it too.
fn transport(kind: Congestion, largest: u16) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut search = MtuDiscoveryConfig::default();
    search.upper_bound(largest);
    transport
        // Strangers get one stream, for the handshake; an authenticated session raises this.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(LOOK_BUFFER))
        .max_idle_timeout(Some(
            IdleTimeout::try_from(IDLE_TIMEOUT).unwrap_or(VarInt::from_u32(30_000).into()),
        ))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(SEND_WINDOW)
        .mtu_discovery_config(Some(search))
        // Without it quinn goes on with the stream that it is at as long as that has data, whatever
        // the priority of another: bulk would hold up urgent files, receipts and the control stream
        // for good. Streams that are not to be cut up among each other have priorities of their own
        // (`stream::Priority`).
        .send_fairness(true)
        .congestion_controller_factory(congestion::factory(kind));
    transport
}

/// Receive window of each stream, in bytes: no limit beside that of the connection, which is a
/// handshake's worth for a stranger and follows `--memory` in a session. QUIC tells it to
/// everybody, so it does not.
const STREAM_WINDOW: u32 = u32::MAX;

/// Bytes that the other side may send and we not yet have read before it has shown that it knows
/// the password.
const STRANGER_WINDOW: u32 = 64 << 10;

/// Receive buffer of datagrams, in bytes, which is also the limit that is announced to the peer.
/// Nobody reads the datagrams of a path probe ([`super::path_probe`]), so one of the largest packet
/// is enough.
const LOOK_BUFFER: usize = 9 << 10;

/// Bytes that may be sent and not yet acknowledged before the session has measured the link.
pub const SEND_WINDOW: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Transport parameters are told to everybody who finishes TLS, so they give nothing of the
    /// user's choices away: `--memory` and the like come in with a session.
    #[test]
    fn what_strangers_are_told_does_not_depend_on_the_configuration() {
        for largest in [USUAL, JUMBO] {
            let told = |kind| format!("{:?}", transport(kind, largest));
            assert_eq!(told(Congestion::Bbr), told(Congestion::Cubic));
            assert!(
                told(Congestion::Bbr).contains(&format!("stream_receive_window: {STREAM_WINDOW}"))
            );
        }
    }

    /// Whoever finishes TLS may send this much, and no more, whatever `--memory` is.
    #[tokio::test]
    async fn a_strangers_window_does_not_depend_on_the_memory() {
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
            assert_eq!(taken, STRANGER_WINDOW as usize, "--memory {memory}");
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

    /// Loopback takes packets of 64 KiB: both sides find that theirs may be jumbo frames, and send
    /// them.
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
            while largest(&dialled).min(largest(&accepted)) < JUMBO - 100 {
                // The window of a stranger is small.
                recv.read(&mut buf).await.unwrap();
                send.write_all(&buf).await.unwrap();
                answer.write_all(&[0]).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), search).await.unwrap();
        assert!(largest(&dialled) <= JUMBO && largest(&accepted) <= JUMBO);
    }
}
