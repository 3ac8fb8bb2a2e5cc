//! Raw QUIC and raw datagrams, for clients that break the protocol.

use quinn::Connection;
use rft::internals::crypto::EXPORTER_LABEL;
use rft::internals::crypto::handshake::{
    ChannelBinding, Initiator, InitiatorAwaitingM2, M1_LEN, PeerId,
};
use rft::internals::crypto::password::PasswordKey;
use rft::internals::transport::tls;
use rft::internals::transport::tls::SERVER_NAME;
use std::net::SocketAddr;
use std::sync::Arc;

/// A bare QUIC client. The endpoint must live as long as its connections.
pub fn client_at(local: SocketAddr) -> quinn::Endpoint {
    client_with(quinn::ClientConfig::new(tls::configure().unwrap().client), local)
}

/// The same with a configuration that several clients share: making one generates a key pair.
pub fn client_with(config: quinn::ClientConfig, local: SocketAddr) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client(local).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// The same on a free port of loopback.
pub fn client() -> quinn::Endpoint {
    client_at(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// A QUIC server that speaks another protocol than this version's.
pub fn server_of(alpn: &[u8], local: SocketAddr) -> quinn::Endpoint {
    let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut crypto = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    crypto.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(crypto).unwrap();
    quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(crypto)), local).unwrap()
}

/// The destination connection ID of an Initial packet of QUIC version 1; none of any other packet.
pub fn initial_dcid(packet: &[u8]) -> Option<&[u8]> {
    (packet.first()? & 0xf0 == 0xc0 && packet.get(1..5)? == [0, 0, 0, 1]).then_some(())?;
    packet.get(6..6 + usize::from(*packet.get(5)?))
}

/// Whether this is a Retry packet of QUIC version 1.
pub fn is_retry(packet: &[u8]) -> bool {
    packet.len() > 5 && packet[0] & 0xf0 == 0xf0 && packet[1..5] == [0, 0, 0, 1]
}

/// The channel binding of the password exchange.
pub fn binding(connection: &Connection) -> ChannelBinding {
    let mut exported = [0; 96];
    connection.export_keying_material(&mut exported, EXPORTER_LABEL, b"").unwrap();
    ChannelBinding::from_exporter(&exported)
}

/// A well-formed M1 of an initiator with this `key`.
pub fn first_message(
    key: [u8; 32],
    binding: &ChannelBinding,
) -> (InitiatorAwaitingM2, [u8; M1_LEN]) {
    let rng = &mut rand::rngs::SysRng;
    let own = PeerId::random(rng).unwrap();
    Initiator::start(&PasswordKey::from_bytes(key), binding, own, rng).unwrap()
}

/// A deterministic sequence of pseudo-random numbers.
pub struct Noise(u64);

impl Noise {
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()[3]).take(length).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
