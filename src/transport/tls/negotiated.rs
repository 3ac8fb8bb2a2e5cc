//! The key exchange group of each connection, which quinn does not report.
//!
//! rustls completes the exchange within one call of [`crypto::Session::read_handshake`], on the
//! caller's thread. So each group records its completion in a variable of the thread
//! ([`Recorded`]), and the session around quinn's takes it from there after the call
//! ([`Recording`]).

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn::{ConnectError, ConnectionId, Side};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// The group of the exchange that was completed last on this thread, until a session takes it.
    static COMPLETED: Cell<Option<NamedGroup>> = const { Cell::new(None) };
}

/// A group that records its completed exchanges in [`COMPLETED`].
#[derive(Debug)]
pub(crate) struct Recorded<G: ?Sized + 'static>(pub &'static G);

impl<G: SupportedKxGroup + ?Sized> SupportedKxGroup for Recorded<G> {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(RecordedExchange(self.0.start()?)))
    }

    fn start_and_complete(&self, peer_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        self.0
            .start_and_complete(peer_share)
            .inspect(|completed| COMPLETED.set(Some(completed.group)))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

/// An exchange of a [`Recorded`] group.
struct RecordedExchange(Box<dyn ActiveKeyExchange>);

impl ActiveKeyExchange for RecordedExchange {
    fn complete(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
        let group = self.0.group();
        self.0.complete(peer_share).inspect(|_| COMPLETED.set(Some(group)))
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        self.0.hybrid_component()
    }

    fn complete_hybrid_component(
        self: Box<Self>,
        peer_share: &[u8],
    ) -> Result<SharedSecret, Error> {
        let group = self.0.hybrid_component().map(|(group, _)| group);
        self.0.complete_hybrid_component(peer_share).inspect(|_| COMPLETED.set(group))
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn group(&self) -> NamedGroup {
        self.0.group()
    }
}

/// quinn's server configuration, with sessions that know their group.
pub(crate) struct NegotiatedServer(pub Arc<QuicServerConfig>);

impl crypto::ServerConfig for NegotiatedServer {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        crypto::ServerConfig::initial_keys(&*self.0, version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let inner = crypto::ServerConfig::start_session(self.0.clone(), version, params);
        Box::new(Recording { inner, group: None })
    }
}

/// quinn's client configuration, with sessions that know their group.
pub(crate) struct NegotiatedClient {
    pub config: Arc<QuicClientConfig>,
    /// The group of the first key share.
    pub preferred: &'static dyn SupportedKxGroup,
}

impl crypto::ClientConfig for NegotiatedClient {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        // quinn panics when rustls cannot make a ClientHello. The one reason for that is a random
        // generator that fails, which this finds first.
        self.preferred.start().map_err(|error| {
            tracing::error!(%error, "no key share could be made for a dial");
            ConnectError::EndpointStopping
        })?;
        let inner =
            crypto::ClientConfig::start_session(self.config.clone(), version, server_name, params)?;
        Ok(Box::new(Recording { inner, group: None }))
    }
}

/// The result of a connection's TLS negotiation: its [`quinn::Connection::handshake_data`].
pub(crate) struct Negotiated {
    /// The key exchange group.
    pub group: NamedGroup,
}

/// quinn's session, and the group that it negotiated.
struct Recording {
    inner: Box<dyn crypto::Session>,
    group: Option<NamedGroup>,
}

impl crypto::Session for Recording {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        COMPLETED.set(None);
        let read = self.inner.read_handshake(buf);
        self.group = COMPLETED.take().or(self.group);
        read
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.group.map(|group| Box::new(Negotiated { group }) as Box<dyn Any>)
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}
