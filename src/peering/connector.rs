//! Finding each other: dialling, being dialled, the handshake, and one session in the end
//! (protocol.md section 3).

use super::admission::{Admission, PendingConnection};
use super::adopt::{adopt, await_adoption};
use super::liveness::{Counters, Liveness};
use super::reports::{FailedGuesses, LogLines};
use super::tie_break::Current;
use super::{Fatal, dial};
use crate::config::{Config, PeerAddress};
use crate::crypto::handshake::{PeerId, Role};
use crate::crypto::password::PasswordKey;
use crate::event::{Event, EventSink};
use crate::proto::message::{InstallationId, Settings};
use crate::session::close;
use crate::session::close::Phase;
use crate::session::handshake::{AuthError, Authenticated, DEADLINE, as_responder};
use crate::session::installation::{Clash, Clashes, Identity};
use crate::session::{ControlReceiver, Session, canonical};
use crate::transport::endpoint::{CloseCode, Endpoint, Jumbo};
use crate::transport::fec::Fec;
use quinn::Connection;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How often the current session is looked at.
const REPEAT_INTERVAL: Duration = Duration::from_millis(100);
/// A peer that is there answers within this; after it, the user is told that we wait.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);

/// All that the tasks of one peer's rendezvous share.
pub(crate) struct PeeringState {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) jumbo: Jumbo,
    pub(crate) fec: Fec,
    pub(crate) local: SocketAddr,
    pub(crate) key: PasswordKey,
    pub(crate) own: Identity,
    pub(crate) admission: Admission,
    pub(crate) events: EventSink,
    pub(crate) peer: Option<PeerAddress>,
    exit_on_auth_failure: bool,
    pub(crate) streams: u32,
    pub(crate) memory: u64,
    held: Mutex<Option<Held>>,
    clashes: Mutex<Clashes>,
    failed_guesses: Mutex<FailedGuesses>,
    log_lines: Mutex<LogLines>,
}

/// The session that this side last adopted, alive or not.
pub(crate) struct Held {
    connection: Connection,
    peer: Identity,
    id: [u8; 16],
    role: Role,
    since: Instant,
    liveness: Liveness,
}

impl Held {
    /// Of a connection that is adopted now.
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
            liveness: Liveness::new(now),
        }
    }

    /// As the leader judges it, unless it is closed.
    fn current(&mut self) -> Option<Current> {
        self.connection.close_reason().is_none().then(|| Current {
            peer: self.peer,
            session: self.id,
            role: self.role,
            age: self.since.elapsed(),
            alive: self.alive(Instant::now()),
        })
    }

    /// Whether the peer hears us, and we hear it. To be asked every [`REPEAT_INTERVAL`].
    fn alive(&mut self, now: Instant) -> bool {
        self.liveness.look(Counters::of(&self.connection), now);
        self.connection.close_reason().is_none() && self.liveness.alive(self.connection.rtt(), now)
    }
}

impl PeeringState {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        lock(&self.held)
    }

    /// What this side says first on a new connection to the process `peer`.
    pub(crate) fn settings(&self, peer: PeerId) -> Settings {
        let (last_session, current) = match &mut *self.held() {
            Some(held) => (held.id, held.current().filter(|current| current.alive)),
            None => ([0; 16], None),
        };
        Settings {
            last_session,
            last_alive: current.is_some(),
            streams: self.streams,
            capabilities: Settings::UNPACKS | Settings::RECOVERS,
            installation: self.own.installation,
            partner: current.map(|current| current.peer.installation),
            displaced: current.is_some_and(|current| current.peer.process != peer)
                && self.is_displaced(peer),
        }
    }

    /// The session that is not closed.
    pub(crate) fn current(&self) -> Option<Current> {
        self.held().as_mut()?.current()
    }

    /// Whether another process of its installation has displaced this one.
    pub(crate) fn is_displaced(&self, peer: PeerId) -> bool {
        lock(&self.clashes).is_displaced(peer)
    }

    /// `new` is the session; the one before, if any, ends.
    pub(crate) fn replace(&self, new: Held) {
        let (mut clashes, peer) = (lock(&self.clashes), new.peer);
        clashes.accepted();
        let Some(old) = self.held().replace(new) else { return };
        if old.peer.installation == peer.installation && old.peer.process != peer.process {
            clashes.displace(old.peer.process, peer.process);
        }
        old.connection.close(CloseCode::Superseded.var_int(), b"");
    }

    /// Tells the user of a clash, but not each time: `text` is made when this is news.
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

    /// Whether a session was ever adopted: then failures are retried, not fatal.
    pub(crate) fn had_session(&self) -> bool {
        self.held().is_some()
    }

    /// Somebody at `peer` does not know the password. The user is told, but not each time.
    pub(crate) fn auth_failed(&self, peer: SocketAddr) {
        let count = lock(&self.failed_guesses).count(peer, Instant::now());
        if let Some(count) = count {
            self.events.emit(Event::AuthFailed { peer, count });
        }
    }

    /// Tells of failures that had to wait for their turn.
    fn tell_failures(&self) {
        let due = lock(&self.failed_guesses).due(Instant::now());
        for (peer, count) in due {
            self.events.emit(Event::AuthFailed { peer, count });
        }
    }

    fn alive(&self) -> bool {
        self.held().as_mut().is_some_and(|held| held.alive(Instant::now()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions as they are adopted, the newest last; each ends the one before.
pub type Sessions = mpsc::Receiver<(Session, ControlReceiver)>;

/// Listens, dials if there is a peer to dial, and hands out each adopted session, until it cannot
/// go on or the receiver is gone.
///
/// # Errors
/// [`Fatal`] when going on makes no sense.
pub async fn run(
    endpoint: &Endpoint,
    config: &Config,
    key: PasswordKey,
    own: Identity,
    events: EventSink,
    sessions: mpsc::Sender<(Session, ControlReceiver)>,
) -> Result<(), Fatal> {
    let shared = Arc::new(PeeringState {
        endpoint: endpoint.quic.clone(),
        jumbo: endpoint.jumbo.clone(),
        fec: endpoint.fec.clone(),
        local: endpoint.local,
        key,
        own,
        admission: Admission::new(Instant::now()),
        events,
        peer: config.peer.clone(),
        exit_on_auth_failure: config.exit_on_auth_failure,
        streams: MAX_STREAMS,
        memory: config.memory,
        held: Mutex::new(None),
        clashes: Mutex::default(),
        failed_guesses: Mutex::default(),
        log_lines: Mutex::new(LogLines::new(Instant::now())),
    });
    let (needed, watch_needed) = watch::channel(true);
    let (authenticated, mut arrivals) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(shared.clone(), authenticated.clone()));
    if shared.peer.is_some() {
        tasks.spawn(dial::run(shared.clone(), watch_needed, authenticated));
    }
    let mut waiting = Waiting { since: Instant::now(), told: false };
    let mut tick = tokio::time::interval(REPEAT_INTERVAL);
    // After a sleep one look is enough.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(arrival) = arrivals.recv() => {
                if let Some(session) = adopt(&shared, arrival).await
                    && sessions.send(session).await.is_err() {
                        return Ok(());
                    }
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok(result) => result?,
                Err(panic) => return Err(Fatal::Internal(panic.to_string())),
            },
            _ = tick.tick() => {}
            () = sessions.closed() => return Ok(()),
        }
        let alive = shared.alive();
        needed.send_if_modified(|needed| std::mem::replace(needed, !alive) == alive);
        waiting.tell(&shared);
        shared.tell_failures();
    }
}

/// File streams that the peer may have open at once: enough that thousands of small files a second
/// do not wait for each other's receipts over a long link.
const MAX_STREAMS: u32 = 1024;

/// Tells the user, once for each time without a session, that nobody is there.
struct Waiting {
    since: Instant,
    told: bool,
}

impl Waiting {
    fn tell(&mut self, shared: &PeeringState) {
        let open =
            shared.held().as_ref().is_some_and(|held| held.connection.close_reason().is_none());
        if open {
            *self = Self { since: Instant::now(), told: false };
        } else if !self.told && self.since.elapsed() >= CLOSE_TIMEOUT {
            self.told = true;
            let peer = shared.peer.as_ref().map(|peer| peer.host.clone());
            let local = crate::transport::socket::reachable_addresses(shared.local);
            shared.events.emit(Event::Waiting { peer, local });
        }
    }
}

/// Accepts connections under the admission's limits and does the responder's part of each
/// handshake.
async fn accept(
    shared: Arc<PeeringState>,
    authenticated: mpsc::Sender<Authenticated>,
) -> Result<(), Fatal> {
    let mut handshakes = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = shared.endpoint.accept() => incoming,
            Some(ended) = handshakes.join_next() => {
                match ended {
                    Ok(result) => result?,
                    // One connection's handshake is no reason to end all others.
                    Err(panic) => tracing::error!(%panic, "a handshake ended by a bug; please report it"),
                }
                continue;
            }
        };
        let Some(incoming) = incoming else { return Ok(()) };
        let Some(pending) = shared.admission.admit(incoming) else { continue };
        let (shared, authenticated) = (shared.clone(), authenticated.clone());
        handshakes.spawn(async move {
            let remote = canonical(pending.remote());
            match welcome(&shared, pending).await {
                Ok(done) => {
                    let _ = authenticated.send(done).await;
                    Ok(())
                }
                Err(error) => responder_failed(&shared, remote, error),
            }
        });
    }
}

/// From a connection's first packet to its adoption, in no more than [`DEADLINE`].
async fn welcome(
    shared: &PeeringState,
    pending: PendingConnection,
) -> Result<Authenticated, AuthError> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let (connecting, guesses, seat) = pending.accept(&shared.admission, &shared.jumbo)?;
    let connecting = within(deadline, connecting).await?;
    let connection =
        connecting.map_err(|error| close::ended(Role::Responder, Phase::Tls, &error))?;
    let settings = |peer| shared.settings(peer);
    let proof =
        as_responder(connection.clone(), &shared.key, shared.own.process, guesses, settings);
    let proven = within(deadline, proof).await.and_then(|proven| proven);
    // A stranger is not to learn from the code what went wrong. Where the connection was closed
    // with a reason already, this changes nothing.
    let done =
        proven.inspect_err(|_| connection.close(CloseCode::Authentication.var_int(), b""))?;
    // From here on it is no stranger's connection any more, however long it lives.
    seat.release();
    within(deadline, await_adoption(shared, done)).await?
}

async fn within<T>(
    deadline: tokio::time::Instant,
    work: impl Future<Output = T>,
) -> Result<T, AuthError> {
    tokio::time::timeout_at(deadline, work)
        .await
        .map_err(|_| AuthError::Lost("it took too long".into()))
}

fn responder_failed(
    shared: &PeeringState,
    remote: SocketAddr,
    error: AuthError,
) -> Result<(), Fatal> {
    if let Some(left_out) = lock(&shared.log_lines).take(Instant::now()) {
        tracing::info!(%remote, %error, left_out, "an incoming connection was not accepted");
    }
    if let Some(text) = shared.admission.alarm() {
        shared.events.warn(None, text);
    }
    match error {
        AuthError::WrongPassword => {
            shared.auth_failed(remote);
            if shared.exit_on_auth_failure {
                return Err(Fatal::InitiatorRefused { peer: remote });
            }
        }
        AuthError::OtherVersion if shared.admission.may_warn(Instant::now()) => {
            let text = format!(
                "something at {remote} knocks on our port and does not speak rft/1; it is ignored"
            );
            shared.events.warn(None, text);
        }
        AuthError::PeerRefuses(clash) => {
            shared.tell_clash(clash, None, || clash.told_to_refused(remote));
        }
        AuthError::Wrap => return Err(Fatal::Wrap),
        AuthError::KeysRefused if !shared.had_session() => {
            return Err(Fatal::KeysRefused { peer: remote });
        }
        _ => {}
    }
    Ok(())
}
