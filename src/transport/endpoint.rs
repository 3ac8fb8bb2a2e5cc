//! The QUIC endpoint on a bound port.

use super::connection_config::ConnectionConfig;
use super::fec::Fec;
use super::mtu::JUMBO_PAYLOAD;
use super::port::{BindError, Port};
use super::quic_socket::LastReceived;
use super::rate_limit::RateLimit;
use super::runtime::QuicThread;
use super::socket;
use super::ticks::Ticks;
use super::tls;
use super::tls::TlsError;
use crate::cause;
use crate::config::Config;
use quinn::EndpointConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
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
    /// Opens and accepts connections.
    pub connection_config: ConnectionConfig,
    /// Forward error correction on this endpoint's socket.
    pub fec: Fec,
    /// The rate limit of this endpoint, for all connections together.
    pub limit: RateLimit,
    /// When the socket received a datagram last.
    pub last_received: LastReceived,
    /// The times of periodic checks.
    pub ticks: Ticks,
    /// The thread that drives QUIC.
    pub quic_thread: Handle,
    /// The end of that thread.
    end: Option<oneshot::Receiver<()>>,
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
        let mut thread = QuicThread::start().map_err(EndpointError::Drive)?;
        let bound = socket::wrap(socket, &thread).map_err(EndpointError::Drive)?;
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
        let connection_config = ConnectionConfig::new(tls, config.congestion, bound.limit.clone());
        let (quic_thread, end) = (thread.handle().clone(), thread.take_end());
        let runtime = Arc::new(thread);
        let server = Some(connection_config.server());
        let quic = quinn::Endpoint::new_with_abstract_socket(limits, server, bound.socket, runtime)
            .map_err(EndpointError::Drive)?;
        Ok(Self {
            quic,
            local: bound.local,
            ephemeral,
            notes: bound.notes,
            connection_config,
            fec: bound.fec,
            limit: bound.limit,
            last_received: bound.last_received,
            ticks: Ticks::since(Instant::now()),
            quic_thread,
            end,
        })
    }

    /// Says goodbye to the peers and waits until the port is free, for at most `timeout` each. The
    /// caller has let go of the connections.
    pub async fn close(self, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, self.quic.wait_idle()).await;
        // The thread ends when everything else is dropped.
        if let Some(end) = self.into_end() {
            let _ = tokio::time::timeout(timeout, end).await;
        }
    }

    fn into_end(self) -> Option<oneshot::Receiver<()>> {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bind;
    use crate::transport::connection_config::UNAUTHENTICATED_WINDOW;

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
                stranger
                    .connection_config
                    .connect(&stranger.quic, host.local)
                    .unwrap()
                    .await
                    .unwrap()
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
}

#[cfg(all(test, target_os = "linux"))]
mod jumbo_tests {
    use super::*;
    use crate::config::{Bind, PeerAddress};
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
            right.connection_config.accept(incoming, |factory| factory).unwrap().await.unwrap()
        };
        let dialled = async {
            left.connection_config.connect(&left.quic, right.local).unwrap().await.unwrap()
        };
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
