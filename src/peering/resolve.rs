//! The addresses of the peer's name, resolved again from time to time.

use super::Fatal;
use crate::cause;
use crate::config::PeerAddress;
use crate::transport::{reach, socket};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A name is resolved again after this time.
const AGE: Duration = Duration::from_secs(30);

/// The resolver's answer. Without a network it may take long.
type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The peer's addresses. There is always at least one: earlier addresses stay until others are
/// found.
pub(crate) struct Names {
    peer: PeerAddress,
    local: SocketAddr,
    found: Vec<SocketAddr>,
    at: Instant,
    lookup: Option<oneshot::Receiver<io::Result<Vec<SocketAddr>>>>,
    /// Whether the last answer had a usable address.
    resolves: bool,
    ask: fn(&PeerAddress) -> LookupFuture,
}

impl Names {
    /// Resolves the name and waits for the answer.
    ///
    /// # Errors
    /// A sentence for people, if there is no address that `local` can send to.
    pub(crate) async fn look_up(peer: PeerAddress, local: SocketAddr) -> Result<Self, String> {
        Self::look_up_by(peer, local, resolve).await
    }

    async fn look_up_by(
        peer: PeerAddress,
        local: SocketAddr,
        ask: fn(&PeerAddress) -> LookupFuture,
    ) -> Result<Self, String> {
        let found = usable(ask(&peer).await, local)?;
        Ok(Self { peer, local, found, at: Instant::now(), lookup: None, resolves: true, ask })
    }

    /// The known addresses; at least one.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.found
    }

    /// Whether the last answer of the resolver had a usable address.
    pub(crate) fn resolves(&self) -> bool {
        self.resolves
    }

    /// Whether each address is this socket itself: an address of this host with this side's port.
    /// No other program can have bound it.
    pub(crate) fn lead_only_here(&self) -> bool {
        self.found.iter().all(|addr| {
            let ip = addr.ip().to_canonical();
            let bound = self.local.ip().to_canonical();
            addr.port() == self.local.port()
                && (bound.is_unspecified() || bound == ip)
                && UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
        })
    }

    /// Resolves the name again when it is due, and takes an answer that has arrived. Returns
    /// whether the addresses are new. Never waits: a resolver that does not answer must not delay
    /// dialling.
    pub(crate) fn refresh(&mut self) -> bool {
        let Some(lookup) = &mut self.lookup else {
            if self.at.elapsed() >= AGE {
                self.ask_again();
            }
            return false;
        };
        let answer = match lookup.try_recv() {
            Ok(answer) => answer,
            Err(oneshot::error::TryRecvError::Empty) => return false,
            Err(oneshot::error::TryRecvError::Closed) => Err(io::ErrorKind::Interrupted.into()),
        };
        self.lookup = None;
        let usable = usable(answer, self.local);
        self.resolves = usable.is_ok();
        match usable {
            Ok(found) => {
                (self.found, self.at) = (found, Instant::now());
                true
            }
            Err(error) => {
                tracing::info!(peer = %self.peer.host, %error, "name not found; the addresses from before stay");
                false
            }
        }
    }

    fn ask_again(&mut self) {
        let (send, lookup) = oneshot::channel();
        let answer = (self.ask)(&self.peer);
        tokio::spawn(async move { send.send(answer.await) });
        self.lookup = Some(lookup);
    }
}

/// Resolves the peer's name once, on the calling thread.
///
/// # Errors
/// [`Fatal::PeerAddress`] when it has no address that `local` can send to.
pub(crate) fn check(peer: &PeerAddress, local: SocketAddr) -> Result<(), Fatal> {
    let found = (peer.host.as_str(), peer.port).to_socket_addrs().map(Iterator::collect);
    match usable(found, local) {
        Ok(_) => Ok(()),
        Err(reason) => Err(Fatal::PeerAddress { host: peer.host.clone(), reason }),
    }
}

fn resolve(peer: &PeerAddress) -> LookupFuture {
    let (host, port) = (peer.host.clone(), peer.port);
    Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
}

fn usable(
    found: io::Result<Vec<SocketAddr>>,
    local: SocketAddr,
) -> Result<Vec<SocketAddr>, String> {
    let found = found.map_err(|error| cause::of(&error))?;
    let usable: Vec<_> = found
        .iter()
        .copied()
        .filter(|addr| can_send(local, *addr) && !reach::needs_zone(*addr))
        .collect();
    if usable.is_empty() {
        if let Some(addr) = found.iter().find(|addr| reach::needs_zone(**addr)) {
            return Err(zone_missing(addr.ip()));
        }
        return Err(match found.is_empty() {
            true => "the name has no address".into(),
            false => format!("its addresses cannot be reached from {local}; see --bind"),
        });
    }
    Ok(usable)
}

/// The interfaces have no order, so the system cannot choose one for a link-local address.
fn zone_missing(ip: IpAddr) -> String {
    let zones = socket::link_local_zones();
    let example = zones.first().map_or("eth0", String::as_str);
    let here = match zones.is_empty() {
        true => String::new(),
        false => format!(" (here: {})", zones.join(", ")),
    };
    format!(
        "a link-local address needs its zone, the interface that leads to the peer{here}, as in {ip}%{example}"
    )
}

fn can_send(local: SocketAddr, to: SocketAddr) -> bool {
    match local {
        SocketAddr::V4(_) => to.is_ipv4(),
        SocketAddr::V6(v6) => to.is_ipv6() || v6.ip().is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LOCAL: &str = "127.0.0.1:1";

    fn peer() -> PeerAddress {
        PeerAddress { host: "bob".into(), port: 4000 }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4000))
    }

    /// Answers at once, then never.
    fn goes_silent(_: &PeerAddress) -> LookupFuture {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        match ASKED.fetch_add(1, Ordering::Relaxed) {
            0 => Box::pin(async { Ok(vec![address(1)]) }),
            _ => Box::pin(std::future::pending()),
        }
    }

    #[tokio::test]
    async fn a_resolver_that_goes_silent_holds_nothing_up() {
        let mut names =
            Names::look_up_by(peer(), LOCAL.parse().unwrap(), goes_silent).await.unwrap();
        names.at = Instant::now().checked_sub(AGE).unwrap();
        for _ in 0..3 {
            assert!(!names.refresh());
            assert_eq!(names.addresses(), [address(1)]);
            tokio::task::yield_now().await;
        }
    }

    /// A first address, then another, then none.
    fn moves(_: &PeerAddress) -> LookupFuture {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match asked {
                0 => Ok(vec![address(1)]),
                1 => Ok(vec![address(2), "[2001:db8::1]:4000".parse().unwrap()]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }

    #[tokio::test]
    async fn a_new_address_is_taken_and_a_failure_changes_nothing() {
        let mut names = Names::look_up_by(peer(), LOCAL.parse().unwrap(), moves).await.unwrap();
        assert_eq!(names.addresses(), [address(1)]);
        for taken in [true, false] {
            names.at = Instant::now().checked_sub(AGE).unwrap();
            assert!(!names.refresh(), "it is asked only now");
            while names.lookup.is_some() {
                tokio::task::yield_now().await;
                assert!(!names.refresh() || taken);
            }
            assert_eq!(
                names.addresses(),
                [address(2)],
                "what this socket cannot send to is left out"
            );
        }
    }
}
