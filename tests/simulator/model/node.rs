//! The two ends of a flow: a `quinn_proto` client that sends and a server that reads unordered.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::congestion::ControllerFactory;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, ServerConfig, StreamId, TransportConfig, VarInt,
};
use rft::internals::transport::congestion::{
    Congestion, UPDATE_INTERVAL, estimate, factory, send_window,
};
use rft::internals::transport::fec::sender::AppData;

use super::path_probe::Probing;
use super::repair::Repair;

/// The controller of the sender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The controller under test.
    Ours,
    /// quinn's CUBIC.
    Cubic,
}

/// The sending application.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// This many bytes at once.
    Bulk(u64),
    /// Chunks of `bytes` every `every` seconds until `until`, then a bulk of `then` bytes.
    Trickle {
        /// Size of a chunk.
        bytes: u64,
        /// Seconds between chunks.
        every: f64,
        /// When the trickle ends, seconds after the flow's start.
        until: f64,
        /// Size of the bulk after it.
        then: u64,
    },
    /// `count` files of `bytes`. The first comes `after` seconds from the start of the flow, each
    /// later one `pause` seconds after the arrival of the one before.
    Files {
        /// Idle seconds before the first.
        after: f64,
        /// Size of each.
        bytes: u64,
        /// Seconds between two.
        pause: f64,
        /// How many.
        count: u32,
    },
}

/// One flow over the shared link.
#[derive(Clone, Copy, Debug)]
pub struct FlowConfig {
    /// The controller of its sender.
    pub kind: Kind,
    /// When it connects, seconds.
    pub start: f64,
    /// Its application.
    pub source: Source,
    /// UDP payload of its packets. On a very fast link one larger packet stands for several.
    pub mtu: u16,
    /// Flow-control windows, bytes; also the maximum that the sender keeps for retransmission.
    pub window: u64,
    /// Both ends probe the idle path, as a session does, and the application sends nothing before
    /// the connection is [`IDLE`] old. The times of `source` count from then on.
    pub probe: bool,
    /// Both ends use forward error correction.
    pub repair: bool,
}

/// Idle time of a session with a path probe, seconds.
pub const IDLE: f64 = 5.0;

/// One endpoint with its one connection.
pub struct Node {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    peer: SocketAddr,
    sends: bool,
    window: u64,
    window_due: f64,
    stream: Option<StreamId>,
    /// Bytes still to be written, and bytes that QUIC took.
    to_write: u64,
    written: u64,
    probes: bool,
    probe: Option<Probing>,
    repair: Option<Repair>,
    /// Bytes read by the application.
    pub read: u64,
    /// When the connection was established, seconds.
    pub connected: Option<f64>,
    /// Why the connection died, if it did.
    pub failure: Option<String>,
    buffer: Vec<u8>,
}

/// Datagrams in one GSO batch, as quinn sends them.
const BATCH: usize = 10;
const BLOCK: Bytes = Bytes::from_static(&[0; 65536]);

impl Node {
    /// The two ends of a flow, sender first.
    pub fn pair(flow: &FlowConfig, index: u16, base: Instant, seed: u64) -> (Self, Self) {
        let transport = Arc::new(transport(flow));
        let (client, server) = tls();
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport.clone());
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(transport);
        let address =
            |n: u16| SocketAddr::new(Ipv4Addr::new(10, 0, 0, n as u8).into(), 4000 + index);
        let (left, right) = (address(1), address(2));
        let mut sender = Self::new(None, right, seed, flow);
        let receiver = Self::new(Some(Arc::new(server)), left, seed ^ 0xff, flow);
        let now = base + Duration::from_secs_f64(flow.start);
        let connected = sender.endpoint.connect(now, client, right, "sim");
        sender.connection = Some(connected.expect("connect"));
        (sender, receiver)
    }

    fn new(
        server: Option<Arc<ServerConfig>>,
        peer: SocketAddr,
        seed: u64,
        flow: &FlowConfig,
    ) -> Self {
        let mut config = EndpointConfig::default();
        let mut bytes = [7u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        // As in rft's endpoint: the fixed bit distinguishes QUIC's packets from repair packets.
        config.rng_seed(Some(bytes)).grease_quic_bit(false);
        config.max_udp_payload_size(flow.mtu.max(1472)).expect("payload size");
        Self {
            sends: server.is_none(),
            window: flow.window,
            window_due: 0.0,
            endpoint: Endpoint::new(Arc::new(config), server, true, Some(bytes)),
            connection: None,
            peer,
            stream: None,
            to_write: 0,
            written: 0,
            probes: flow.probe,
            probe: None,
            repair: flow.repair.then(Repair::new),
            read: 0,
            connected: None,
            failure: None,
            buffer: Vec::new(),
        }
    }

    /// The application gets `bytes` more to send.
    pub fn give(&mut self, bytes: u64) {
        self.to_write += bytes;
    }

    /// A datagram arrives at `now`.
    pub fn receive(&mut self, now: Instant, data: &[u8]) {
        if !self.repair.as_mut().is_some_and(|repair| repair.on_received(data)) {
            self.handle(now, data);
        }
        while let Some(packet) = self.repair.as_mut().and_then(Repair::recovered) {
            self.handle(now, &packet);
        }
    }

    fn handle(&mut self, now: Instant, data: &[u8]) {
        self.buffer.clear();
        let event = self.endpoint.handle(
            now,
            self.peer,
            None,
            None,
            BytesMut::from(data),
            &mut self.buffer,
        );
        match event {
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut self.buffer, None);
                self.connection = accepted.ok();
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            _ => {}
        }
    }

    /// When its next timer is due.
    pub fn timeout(&mut self) -> Option<Instant> {
        let quic = self.connection.as_mut().and_then(|c| c.1.poll_timeout());
        let train = self.probe.as_ref().map(Probing::due);
        let block = self.repair.as_ref().and_then(Repair::due);
        [quic, train, block].into_iter().flatten().min()
    }

    /// Runs due timers.
    pub fn expire(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.connection
            && connection.poll_timeout().is_some_and(|t| t <= now)
        {
            connection.handle_timeout(now);
        }
        if let Some((_, connection)) = &mut self.connection {
            self.probe = self.probe.take().and_then(|probe| probe.send(now, connection));
        }
    }

    /// Lets the application read and write, then hands each outgoing datagram to `send`.
    pub fn drive(&mut self, now: Instant, seconds: f64, mut send: impl FnMut(&[u8])) {
        let Some((handle, mut connection)) = self.connection.take() else {
            return;
        };
        if let Some(repair) = &mut self.repair {
            repair.expire(now, &mut send);
        }
        loop {
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    connection.handle_event(event);
                }
            }
            self.application(&mut connection, now, seconds);
            self.buffer.clear();
            let Some(transmit) = connection.poll_transmit(now, BATCH, &mut self.buffer) else {
                break;
            };
            let segment = transmit.segment_size.unwrap_or(transmit.size).max(1);
            let packets = &self.buffer[..transmit.size];
            packets.chunks(segment).for_each(&mut send);
            if let Some(repair) = &mut self.repair {
                let data = AppData { written: self.written, blocked: self.to_write > 0 };
                repair.on_sent(now, packets, segment, data, &mut send);
            }
        }
        self.connection = Some((handle, connection));
    }

    fn application(&mut self, connection: &mut Connection, now: Instant, seconds: f64) {
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected => self.connect(connection, now, seconds),
                Event::ConnectionLost { reason } => self.failure = Some(reason.to_string()),
                _ => {}
            }
        }
        if self.connected.is_none() {
            return;
        }
        if self.sends {
            self.follow_window(connection, seconds);
            self.write_all(connection);
            return;
        }
        if self.stream.is_none() {
            self.stream = connection.streams().accept(Dir::Uni);
        }
        self.read_all(connection);
    }

    /// The connection is established.
    fn connect(&mut self, connection: &mut Connection, now: Instant, seconds: f64) {
        self.connected = Some(seconds);
        if let Some(repair) = &mut self.repair {
            repair.follow(estimate(connection.congestion_state().clone_box().into_any()));
        }
        if self.probes {
            self.probe = Probing::begin(now, connection);
        }
    }

    /// Updates the send window as a session does.
    fn follow_window(&mut self, connection: &mut Connection, seconds: f64) {
        if seconds < self.window_due {
            return;
        }
        self.window_due = seconds + UPDATE_INTERVAL.as_secs_f64();
        let path = connection.stats().path;
        let window = send_window(path.cwnd, path.sent_packets, path.lost_packets, self.window);
        connection.set_send_window(window);
    }

    fn write_all(&mut self, connection: &mut Connection) {
        if self.to_write > 0 && self.stream.is_none() {
            self.stream = connection.streams().open(Dir::Uni);
        }
        while let Some(id) = self.stream.filter(|_| self.to_write > 0) {
            let block = BLOCK.slice(..(self.to_write.min(65536) as usize));
            match connection.send_stream(id).write_chunks(&mut [block]) {
                Ok(taken) => {
                    self.to_write -= taken.bytes as u64;
                    self.written += taken.bytes as u64;
                }
                Err(_) => break,
            }
        }
    }

    fn read_all(&mut self, connection: &mut Connection) {
        let Some(id) = self.stream else { return };
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(false) else {
            return;
        };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.read += chunk.bytes.len() as u64;
        }
        let _ = chunks.finalize();
    }

    /// Number of recovered packets.
    pub fn recovered_count(&self) -> u64 {
        self.repair.as_ref().map_or(0, Repair::recovered_count)
    }

    /// The connection, for reports of its counters and its controller's window.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().map(|c| &mut c.1)
    }
}

fn transport(flow: &FlowConfig) -> TransportConfig {
    let controller: Arc<dyn ControllerFactory + Send + Sync> = match flow.kind {
        Kind::Ours => factory(Congestion::Bbr),
        Kind::Cubic => factory(Congestion::Cubic),
    };
    let mut transport = TransportConfig::default();
    let window = VarInt::from_u64(flow.window).expect("window");
    transport
        .congestion_controller_factory(controller)
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(flow.window)
        // Room for one received datagram of a path probe, which is not read, and for a train to
        // send.
        .datagram_receive_buffer_size(Some(usize::from(flow.mtu).max(2048)))
        .datagram_send_buffer_size(1 << 23)
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .max_idle_timeout(Some(VarInt::from_u32(60_000).into()));
    if flow.mtu > 1452 {
        transport.initial_mtu(flow.mtu).mtu_discovery_config(None);
    }
    transport
}

fn tls() -> (QuicClientConfig, QuicServerConfig) {
    // Ed25519 signatures have a fixed length, so the handshake's packets have the same size in
    // every run.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
    let names = vec!["sim".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|p| p.self_signed(&key))
        .expect("certificate");
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("root");
    let client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("certificate");
    (
        QuicClientConfig::try_from(client).expect("client"),
        QuicServerConfig::try_from(server).expect("server"),
    )
}
