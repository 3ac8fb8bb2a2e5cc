//! The state that dialling, accepting and adopting share.

use super::admission::Admission;
use super::findings::Findings;
use super::liveness::{CounterReader, Liveness};
use super::reports::{FailedGuesses, LogLines};
use super::tie_break::Current;
use crate::config::{Config, PeerAddress};
use crate::crypto::handshake::{PeerId, Role};
use crate::crypto::password::PasswordKey;
use crate::event::{Event, EventSink};
use crate::proto::message::{InstallationId, Label, Settings};
use crate::session::canonical;
use crate::session::handshake::Authenticated;
use crate::session::installation::{Clash, Clashes, Identity};
use crate::transport::close_code::CloseCode;
use crate::transport::connection_config::ConnectionConfig;
use crate::transport::endpoint::Endpoint;
use crate::transport::fec::Fec;
use crate::transport::quic_socket::LastReceived;
use crate::transport::rate_limit::RateLimit;
use crate::transport::ticks::Ticks;
use quinn::Connection;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// File streams that the peer may have open at once: enough that thousands of small files a second
/// do not wait for each other's receipts over a long path.
const MAX_STREAMS: u32 = 1024;

/// The state of one peer's connector.
pub(crate) struct PeeringState {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) connection_config: ConnectionConfig,
    pub(crate) fec: Fec,
    pub(crate) limit: RateLimit,
    pub(crate) last_received: LastReceived,
    ticks: Ticks,
    /// The thread that drives QUIC.
    pub(super) quic_thread: Handle,
    pub(crate) local: SocketAddr,
    pub(crate) key: PasswordKey,
    pub(crate) own: Identity,
    pub(crate) admission: Admission,
    pub(crate) events: EventSink,
    pub(crate) peer: Option<PeerAddress>,
    pub(crate) exit_on_auth_failure: bool,
    /// The name of this host, which an authenticated peer is told.
    host: Label,
    pub(crate) streams: u32,
    pub(crate) memory: u64,
    held: Mutex<Option<Held>>,
    clashes: Mutex<Clashes>,
    failed_guesses: Mutex<FailedGuesses>,
    log_lines: Mutex<LogLines>,
    findings: Mutex<Findings>,
}

/// The session that this side last adopted, alive or not.
pub(crate) struct Held {
    connection: Connection,
    peer: Identity,
    id: [u8; 16],
    role: Role,
    since: Instant,
    counters: CounterReader,
    liveness: Liveness,
}

impl Held {
    /// A connection that was just adopted.
    pub(crate) fn new(adopted: &Authenticated) -> Self {
        let (now, established) = (Instant::now(), &adopted.established);
        Self {
            connection: adopted.connection.clone(),
            peer: Identity {
                process: established.peer,
                installation: adopted.settings.installation,
            },
            id: established.session_id,
            role: established.role,
            since: now,
            counters: CounterReader::new(adopted.connection.clone()),
            liveness: Liveness::new(now),
        }
    }

    /// The session as [`tie_break::decide`](super::tie_break::decide) takes it, unless it is
    /// closed.
    fn current(&mut self, last_received: &LastReceived) -> Option<Current> {
        self.connection.close_reason().is_none().then(|| Current {
            peer: self.peer,
            session: self.id,
            role: self.role,
            age: self.since.elapsed(),
            alive: self.alive(last_received, Instant::now()),
        })
    }

    /// Whether packets arrive in both directions. Called every [`Liveness::interval`].
    fn alive(&mut self, last_received: &LastReceived, now: Instant) -> bool {
        self.liveness.look(self.counters.read(Some(last_received.get())), now);
        self.connection.close_reason().is_none() && self.liveness.alive(self.connection.rtt(), now)
    }
}

impl PeeringState {
    pub(crate) fn new(
        endpoint: &Endpoint,
        config: &Config,
        key: PasswordKey,
        own: Identity,
        events: EventSink,
    ) -> Self {
        Self {
            endpoint: endpoint.quic.clone(),
            connection_config: endpoint.connection_config.clone(),
            fec: endpoint.fec.clone(),
            limit: endpoint.limit.clone(),
            last_received: endpoint.last_received.clone(),
            ticks: endpoint.ticks,
            quic_thread: endpoint.quic_thread.clone(),
            local: endpoint.local,
            key,
            own,
            admission: Admission::new(Instant::now()),
            events,
            peer: config.peer.clone(),
            exit_on_auth_failure: config.exit_on_auth_failure,
            host: Label::new(&config.host_name),
            streams: if config.exchange.receives() { MAX_STREAMS } else { 0 },
            memory: config.memory,
            held: Mutex::new(None),
            clashes: Mutex::default(),
            failed_guesses: Mutex::default(),
            log_lines: Mutex::new(LogLines::new(Instant::now())),
            findings: Mutex::default(),
        }
    }

    /// Why there is no session.
    pub(crate) fn findings(&self) -> MutexGuard<'_, Findings> {
        lock(&self.findings)
    }

    /// The host that is dialled, as the user wrote it.
    pub(crate) fn host(&self) -> Option<String> {
        self.peer.as_ref().map(|peer| peer.host.clone())
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        lock(&self.held)
    }

    /// This side's first message on a new connection to the process `peer`.
    pub(crate) fn settings(&self, peer: PeerId) -> Settings {
        let (last_session, current) = match &mut *self.held() {
            Some(held) => {
                let current = held.current(&self.last_received);
                (held.id, current.filter(|current| current.alive))
            }
            None => ([0; 16], None),
        };
        Settings {
            last_session,
            last_alive: current.is_some(),
            streams: self.streams,
            capabilities: Settings::ACCEPTS_COMPRESSED
                | Settings::ACCEPTS_REPAIR
                | Settings::ACCEPTS_LIMITS,
            installation: self.own.installation,
            partner: current.map(|current| current.peer.installation),
            displaced: current.is_some_and(|current| current.peer.process != peer)
                && self.is_displaced(peer),
            version: Label::new(env!("CARGO_PKG_VERSION")),
            host: self.host,
        }
    }

    /// The session, unless it is closed.
    pub(crate) fn current(&self) -> Option<Current> {
        self.held().as_mut()?.current(&self.last_received)
    }

    /// Whether another process of its installation has displaced the process `peer`.
    pub(crate) fn is_displaced(&self, peer: PeerId) -> bool {
        lock(&self.clashes).is_displaced(peer)
    }

    /// Makes `new` the session, and ends the previous one.
    pub(crate) fn replace(&self, new: Held) {
        let (mut clashes, peer) = (lock(&self.clashes), new.peer);
        clashes.accepted();
        let Some(old) = self.held().replace(new) else { return };
        if old.peer.installation == peer.installation && old.peer.process != peer.process {
            clashes.displace(old.peer.process, peer.process);
        }
        old.connection.close(CloseCode::Superseded.var_int(), b"");
    }

    /// Warns the user of a clash, once an hour at most. `text` is called only for a new warning.
    pub(crate) fn tell_clash(
        &self,
        clash: Clash,
        refused: Option<InstallationId>,
        text: impl FnOnce() -> String,
    ) {
        if lock(&self.clashes).is_news(clash, refused, Instant::now()) {
            self.events.warn(None, text());
        }
    }

    /// Whether a session was ever adopted. Later failures are retried, not fatal.
    pub(crate) fn had_session(&self) -> bool {
        self.held().is_some()
    }

    /// Counts a wrong password from `peer`, and tells the user at most once a minute for each
    /// source.
    pub(crate) fn auth_failed(&self, peer: SocketAddr) {
        let count = lock(&self.failed_guesses).count(peer, Instant::now());
        if let Some(count) = count {
            self.events.emit(Event::AuthFailed { peer, count });
        }
    }

    /// Emits the counts of wrong passwords whose minute has passed.
    pub(crate) fn tell_failures(&self) {
        let due = lock(&self.failed_guesses).due(Instant::now());
        for (peer, count) in due {
            self.events.emit(Event::AuthFailed { peer, count });
        }
    }

    /// Whether the session is alive, and when it is to be checked again.
    pub(crate) fn check(&self) -> (bool, Instant) {
        let now = Instant::now();
        let (alive, interval) = match &mut *self.held() {
            Some(held) => (held.alive(&self.last_received, now), held.liveness.interval()),
            None => (false, Liveness::BUSY_INTERVAL),
        };
        match interval {
            Liveness::IDLE_INTERVAL => (alive, self.ticks.next(interval, now)),
            _ => (alive, now + interval),
        }
    }

    /// The peer's address, for how long it has not answered, and the RTT, as of the last check;
    /// `None` without a session.
    pub(crate) fn silence(&self) -> Option<(SocketAddr, Duration, Duration)> {
        let held = self.held();
        let held = held.as_ref().filter(|held| held.connection.close_reason().is_none())?;
        let (remote, rtt) = (canonical(held.connection.remote_address()), held.connection.rtt());
        Some((remote, held.liveness.missing(Instant::now()), rtt))
    }

    /// The connection of the session, unless it is closed.
    pub(crate) fn connection(&self) -> Option<Connection> {
        let connection = self.held().as_ref()?.connection.clone();
        connection.close_reason().is_none().then_some(connection)
    }

    /// Whether one more line about connections that were not accepted may be logged, and how many
    /// were left out before it.
    pub(crate) fn may_log(&self) -> Option<u64> {
        lock(&self.log_lines).take(Instant::now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
