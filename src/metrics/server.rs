//! The listener: bounded in the number of connections, in the size of requests and in time.

use super::client::ClientStream;
use super::host::HostNames;
use super::site::Site;
use crate::cause;
use crate::daemon::{Handle, SNAPSHOT_INTERVAL};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

/// Connections at once; each needs some tens of kilobytes. Others wait in the system's queue.
const MAX_CONNECTIONS: usize = 32;
/// Maximum length of a request without its body, which is not read.
const MAX_REQUEST: usize = 8 << 10;
/// Maximum number of header fields in it.
const MAX_FIELDS: usize = 64;
/// Maximum time from the start of a connection, or from an answer, to the end of the next request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for a client to read an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Minimum time between two answers over one connection, and between the starts of two connections
/// in one place. So clients in a loop cost little.
const ANSWER_INTERVAL: Duration = SNAPSHOT_INTERVAL;
/// Pause after a failed accept, for example without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The address could not be bound.
    #[error("--metrics: cannot bind TCP {}: {}; {}", .0, cause::of(.1), advice(.1))]
    Bind(SocketAddr, io::Error),
    /// The runtime could not take the listener.
    #[error("the metrics cannot be served: {}", cause::of(.0))]
    Io(#[from] io::Error),
}

/// The remedy.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop that program, or choose another port",
        io::ErrorKind::PermissionDenied => "ports below 1024 need rights: choose a higher one",
        io::ErrorKind::AddrNotAvailable => "give an address of this host",
        _ => "choose another port or address",
    }
}

/// The bound address of the metrics.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    local: SocketAddr,
    names: HostNames,
}

impl MetricsServer {
    /// Binds the address; with port 0 the system chooses one. Needs no runtime. `host` is the name
    /// of this host, which requests may use if the address is not a loopback address.
    ///
    /// # Errors
    /// [`MetricsError::Bind`].
    pub fn bind(address: SocketAddr, host: &str) -> Result<Self, MetricsError> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        };
        let (local, listener) = bind().map_err(|error| MetricsError::Bind(address, error))?;
        Ok(Self { listener, local, names: HostNames::new(local.ip(), host) })
    }

    /// The bound address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Serves clients until this is dropped. Needs the context of a tokio runtime.
    ///
    /// # Errors
    /// [`MetricsError`] if the runtime cannot take the listener.
    pub async fn serve(self, handle: Handle) -> Result<(), MetricsError> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let site = Arc::new(Site::new(handle, self.names));
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a client of the metrics was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let site = site.clone();
            connections.spawn(async move {
                let free_at = Instant::now() + ANSWER_INTERVAL;
                if let Err(error) = serve_connection(stream, site).await {
                    tracing::debug!(%error, "a client of the metrics left");
                }
                sleep_until(free_at).await;
                drop(place);
            });
        }
    }
}

/// Answers the requests of one connection, one after another.
async fn serve_connection(stream: TcpStream, site: Arc<Site>) -> hyper::Result<()> {
    let pace = Arc::new(Mutex::new(pace()));
    let service = service_fn(move |request| {
        let (site, pace) = (site.clone(), pace.clone());
        async move {
            pace.lock().await.tick().await;
            Ok::<_, Infallible>(site.answer(&request).await)
        }
    });
    let stream = TokioIo::new(ClientStream::new(stream, ANSWER_TIMEOUT));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_headers(MAX_FIELDS)
        .max_header_size(MAX_REQUEST)
        .max_buf_size(2 * MAX_REQUEST)
        .serve_connection(stream, service)
        .await
}

/// Its first tick comes at once.
fn pace() -> Interval {
    let mut pace = interval(ANSWER_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
