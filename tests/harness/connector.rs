//! A peer of the library without the program around it: an endpoint and its connector.

use rft::config::{Bind, Config, PeerAddress};
use rft::event::{Event, EventSink};
use rft::hindrance::Finding;
use rft::internals::crypto::handshake::PeerId;
use rft::internals::crypto::password::PasswordKey;
use rft::internals::peering::{Fatal, connector};
use rft::internals::proto::message::InstallationId;
use rft::internals::session::installation::Identity;
use rft::internals::session::{ControlReceiver, Session};
use rft::internals::transport::endpoint::Endpoint;
use rft::internals::transport::fec::Fec;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longest wait for anything that must happen.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// A free port of loopback, for [`config`].
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// One end of a session, as the connector hands it over.
pub type SessionEnd = (Session, ControlReceiver);

/// A running connector.
pub struct Peer {
    pub local: SocketAddr,
    pub sessions: mpsc::Receiver<SessionEnd>,
    pub run: JoinHandle<Result<(), Fatal>>,
    pub quic: quinn::Endpoint,
    pub fec: Fec,
    /// Wrong passwords that the user was told of.
    pub auth_failures: Arc<AtomicUsize>,
    /// The messages of all warnings.
    pub warnings: Arc<Mutex<Vec<String>>>,
    /// The reasons for waiting that the user was told, in order.
    pub hindrances: Arc<Mutex<Vec<Finding>>>,
}

/// A peer that binds `local` and dials `peer`, if there is one.
pub fn config(local: SocketAddr, peer: Option<SocketAddr>) -> Config {
    let peer = peer.map(|peer| PeerAddress { host: peer.ip().to_string(), port: peer.port() });
    let mut config = Config::new(peer, local.port(), "unused");
    config.bind = Some(Bind { addr: local.ip(), port: Some(local.port()) });
    config
}

/// Starts a peer with an identity of its own.
pub fn start(config: Config, key: [u8; 32]) -> Peer {
    let process = PeerId::random(&mut rand::rngs::SysRng).unwrap();
    // All peers that dial are one installation, so that one of them may replace another.
    let installation = InstallationId([u8::from(config.peer.is_some()); 16]);
    start_as(Identity { process, installation }, config, key)
}

/// Starts a peer with this identity.
pub fn start_as(own: Identity, config: Config, key: [u8; 32]) -> Peer {
    let (auth_failures, warnings) =
        (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<_>>>::default());
    let hindrances = Arc::<Mutex<Vec<_>>>::default();
    let (counter, messages, found) = (auth_failures.clone(), warnings.clone(), hindrances.clone());
    let events = EventSink::new(move |event| match event {
        Event::AuthFailed { count, .. } => {
            counter.fetch_add(usize::try_from(count).unwrap(), Ordering::SeqCst);
        }
        Event::Warning { message, .. } => messages.lock().unwrap().push(message),
        Event::Waiting { finding: Some(finding), .. } => found.lock().unwrap().push(finding),
        _ => {}
    });
    let endpoint = Endpoint::open(&config).unwrap();
    let (local, quic, fec) = (endpoint.local, endpoint.quic.clone(), endpoint.fec.clone());
    let (adopted, sessions) = mpsc::channel(1);
    let run = tokio::spawn(async move {
        connector::run(&endpoint, &config, PasswordKey::from_bytes(key), own, events, adopted).await
    });
    Peer { local, sessions, run, quic, fec, auth_failures, warnings, hindrances }
}

impl Peer {
    /// The next session.
    pub async fn session(&mut self) -> SessionEnd {
        tokio::time::timeout(TIMEOUT, self.sessions.recv())
            .await
            .expect("a session in time")
            .expect("a session")
    }

    /// Waits until the connector gives up, and returns why.
    pub async fn ends(self) -> Fatal {
        tokio::time::timeout(TIMEOUT, self.run).await.expect("an end in time").unwrap().unwrap_err()
    }

    /// Whether the user is warned within `time` with a message for which `is_so` holds.
    pub async fn is_warned_within(&self, time: Duration, is_so: impl Fn(&str) -> bool) -> bool {
        let is_warned = || self.warnings.lock().unwrap().iter().any(|message| is_so(message));
        poll(time, is_warned).await;
        is_warned()
    }

    /// Whether the user is told within `time` that this is the reason for waiting.
    pub async fn is_told_within(&self, time: Duration, finding: Finding) -> bool {
        let is_told = || self.hindrances.lock().unwrap().contains(&finding);
        poll(time, is_told).await;
        is_told()
    }

    /// The user is told of this many wrong passwords, and of no more until now. The responder may
    /// notice a moment after the initiator.
    pub async fn counts_auth_failures(&self, expected: usize) {
        poll(TIMEOUT, || self.auth_failures.load(Ordering::SeqCst) >= expected).await;
        assert_eq!(self.auth_failures.load(Ordering::SeqCst), expected);
    }

    /// No session began, the connector still runs, and it counted this many wrong passwords.
    pub async fn stays_unmoved(mut self, auth_failures: usize) {
        self.counts_auth_failures(auth_failures).await;
        assert!(self.sessions.try_recv().is_err(), "a stranger got a session");
        assert!(!self.run.is_finished());
    }
}

async fn poll(time: Duration, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + time;
    while !is_so() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The two ends of one session. Either side may replace sessions before both agree on the last.
pub async fn settle(a: &mut Peer, b: &mut Peer) -> (SessionEnd, SessionEnd) {
    let (mut at_a, mut at_b) = tokio::join!(a.session(), b.session());
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while at_a.0.id() != at_b.0.id() {
        tokio::select! {
            Some(newer) = a.sessions.recv() => at_a = newer,
            Some(newer) = b.sessions.recv() => at_b = newer,
            () = tokio::time::sleep_until(deadline) => panic!("the sides stay on different sessions"),
        }
    }
    (at_a, at_b)
}
