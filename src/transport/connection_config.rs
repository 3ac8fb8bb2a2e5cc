//! The QUIC configuration of each connection: every transport setting, with its reason.

use super::congestion;
use super::mtu::{ETHERNET_PAYLOAD, JUMBO_PAYLOAD, takes_jumbo_frames};
use super::rate_limit::{LimitedFactory, RateLimit};
use super::tls::{SERVER_NAME, Tls};
use crate::config::Congestion;
use quinn::{
    ClientConfig, ConnectError, Connecting, ConnectionError, IdleTimeout, Incoming,
    MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt,
};
use quinn_proto::congestion::ControllerFactory;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A connection without a packet from the peer for this long is lost (RFC 9000, section 10.1). rft
/// dials a new one much earlier, so this only limits how long a dead one is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The dialling side sends a keep-alive when no packet has crossed for this time. Keep-alives hold
/// NAT and firewall state, and distinguish a lost connection from an idle one.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// The same for the accepting side: longer, so that on a working path the other side's keep-alive
/// and its acknowledgement are enough, and an idle process rarely wakes up.
pub(crate) const ACCEPTED_KEEP_ALIVE: Duration = Duration::from_millis(1250);
/// Initial RTT of a dialled connection (RFC 9002, section 6.2.2). QUIC retransmits its first
/// packets after three times as long. The dialler opens another connection before that
/// (`peering::backoff`), so they are never retransmitted: during a long outage the retransmissions
/// of all attempts would be most of the traffic.
const DIAL_RTT: Duration = Duration::from_millis(3400);
/// Receive window of each stream, in bytes: no limit, because the connection's window limits all
/// streams together. That window follows `--memory` in a session, but this one is a transport
/// parameter, which unauthenticated peers see.
const STREAM_WINDOW: u32 = u32::MAX;
/// Receive window of an unauthenticated connection, in bytes.
pub(super) const UNAUTHENTICATED_WINDOW: u32 = 64 << 10;
/// Receive buffer of datagrams, in bytes, which is also the limit that the peer learns. rft does
/// not read the datagrams of a path probe ([`super::path_probe`]), so room for one packet is
/// enough.
const DATAGRAM_BUFFER: usize = 9 << 10;
/// QUIC's send window in bytes, until the session has measured the path
/// ([`congestion::send_window`]).
pub const SEND_WINDOW: u64 = 8 << 20;
/// Incoming connections that wait for admission. Beyond that, QUIC drops first packets.
const MAX_INCOMING: usize = 64;
/// Bytes that QUIC buffers for a connection that waits for admission.
const INCOMING_BUFFER: u64 = 16 << 10;

/// The factory of a connection's congestion controllers.
pub type Factory = Arc<dyn ControllerFactory + Send + Sync>;

/// The QUIC configuration of dialled and of accepted connections. Where the route begins with
/// jumbo frames, path MTU discovery searches up to their size. Elsewhere it searches up to
/// Ethernet's size, because the longer search would stay at the minimum size for a dozen round
/// trips.
#[derive(Clone)]
pub struct ConnectionConfig {
    client: ClientConfig,
    jumbo_client: ClientConfig,
    server: ServerConfig,
    congestion: Factory,
    limit: RateLimit,
}

impl ConnectionConfig {
    /// The configuration with this certificate, for a socket with this rate limit.
    pub(super) fn new(tls: Tls, congestion: Congestion, limit: RateLimit) -> Self {
        let congestion: Factory =
            Arc::new(LimitedFactory::new(congestion::factory(congestion), limit.clone()));
        let mut server = ServerConfig::with_crypto(tls.server);
        server
            .transport_config(Arc::new(accepted(congestion.clone(), ETHERNET_PAYLOAD)))
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(MAX_INCOMING as u64 * INCOMING_BUFFER);
        let client = |largest| {
            let mut dialled = transport(congestion.clone(), largest);
            dialled.initial_rtt(DIAL_RTT);
            let mut client = ClientConfig::new(tls.client.clone());
            client.transport_config(Arc::new(dialled));
            client
        };
        Self {
            client: client(ETHERNET_PAYLOAD),
            jumbo_client: client(JUMBO_PAYLOAD),
            server,
            congestion,
            limit,
        }
    }

    /// The configuration with which an endpoint listens.
    pub(super) fn server(&self) -> ServerConfig {
        self.server.clone()
    }

    /// Dials `addr`.
    ///
    /// # Errors
    /// quinn's, if the address cannot be dialled.
    pub fn connect(
        &self,
        endpoint: &quinn::Endpoint,
        addr: SocketAddr,
    ) -> Result<Connecting, ConnectError> {
        let client = if self.pays_for(addr) { &self.jumbo_client } else { &self.client };
        endpoint.connect_with(client.clone(), addr, SERVER_NAME)
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
        let largest =
            if self.pays_for(incoming.remote_address()) { JUMBO_PAYLOAD } else { ETHERNET_PAYLOAD };
        let transport = accepted(hold(self.congestion.clone()), largest);
        let mut server = self.server.clone();
        server.transport_config(Arc::new(transport));
        incoming.accept_with(Arc::new(server))
    }

    /// Whether the search for jumbo frames to `addr` pays. A low rate limit leaves no time to save,
    /// and one jumbo frame would be a burst.
    fn pays_for(&self, addr: SocketAddr) -> bool {
        self.limit.allows_burst(JUMBO_PAYLOAD.into()) && takes_jumbo_frames(addr)
    }
}

/// The transport configuration of an accepted connection.
fn accepted(congestion: Factory, largest: u16) -> TransportConfig {
    let mut transport = transport(congestion, largest);
    transport.keep_alive_interval(Some(ACCEPTED_KEEP_ALIVE));
    transport
}

/// The transport configuration. The transport parameters among it (RFC 9000, section 18) are the
/// same for every user configuration, because unauthenticated peers see them too.
fn transport(congestion: Factory, largest: u16) -> TransportConfig {
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
        // (`priority.rs`).
        .send_fairness(true)
        .congestion_controller_factory(congestion);
    transport
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every peer that completes TLS sees the transport parameters, so they must not reveal the
    /// user's options. A session applies `--memory` and the like later.
    #[test]
    fn transport_parameters_do_not_depend_on_the_configuration() {
        for largest in [ETHERNET_PAYLOAD, JUMBO_PAYLOAD] {
            let told = |kind| format!("{:?}", transport(congestion::factory(kind), largest));
            assert_eq!(told(Congestion::Bbr), told(Congestion::Cubic));
            assert!(
                told(Congestion::Bbr).contains(&format!("stream_receive_window: {STREAM_WINDOW}"))
            );
        }
    }
}
