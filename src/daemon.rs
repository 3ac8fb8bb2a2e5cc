//! One peer, whole: folders, endpoint, sessions and both directions, until it is told to stop.

mod link;
mod status;

pub use status::{Connected, Left, State, Status};

use crate::config::{AfterSend, Compress, Config, Folders, OnConflict};
use crate::crypto::handshake::PeerId;
use crate::crypto::password::PasswordKey;
use crate::event::{Event, EventSink};
use crate::failpoint::hit;
use crate::inbox::{Committer, Inbox, Limits};
use crate::net::clash::Identity;
use crate::net::endpoint::{self, Endpoint, EndpointError};
use crate::net::session::{ControlReceiver, Session};
use crate::net::{self, Fatal, rendezvous};
use crate::outbox::{Backlog, Delivery, Outbox, OutboxConfig, OutboxError, Pace};
use crate::proto::message::InstallationId;
use crate::proto::name::Name;
use crate::store::{Folder, Incoming, Ledger, Remover, StateDir, StoreError};
use rand::rngs::SysRng;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Told to stop.
    Stopped,
    /// `--drain`: both queues are empty.
    Drained {
        /// Unfinished files that stay in Outgoing (`--temp-names`).
        left_alone: u64,
    },
}

/// Why a peer cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Incoming, Outgoing or the state folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no thread.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// No socket.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No session can come about.
    #[error(transparent)]
    Net(#[from] Fatal),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Rng,
    /// A chunk could not be sealed.
    #[error("{path}: a chunk could not be sealed; please report it")]
    Seal {
        /// Of this file.
        path: Name,
    },
    /// Records from the peer keep failing to open.
    #[error(
        "chunks from the peer keep arriving changed; something on the way tampers with them, or a host's memory is bad"
    )]
    Open,
    /// With `--drain`: sent files could not be removed.
    #[error(
        "sent files could not be removed from Outgoing (see the warnings); check the folder's permissions"
    )]
    Removal,
    /// With `--drain`: files that could not be sent remain.
    #[error("{0} files could not be sent and remain in Outgoing; the messages above say why")]
    LeftBehind(u64),
    /// Told to stop before `--drain` was done.
    #[error("stopped before everything was exchanged: {0}")]
    Interrupted(Left),
    /// `--wait` ran out.
    #[error("--drain was not done within --wait {wait:?}: {left}")]
    OutOfTime {
        /// The limit.
        wait: Duration,
        /// What is not exchanged.
        left: Left,
    },
}

impl RunError {
    /// The exit code of the contract (operation.md, "Exit codes").
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(_) => 16,
            Self::Endpoint(EndpointError::Bind { .. }) => 5,
            Self::Net(fatal) => match fatal {
                Fatal::PeerAddress { .. } | Fatal::Itself { .. } => 3,
                Fatal::WrongPassword { .. } => 6,
                Fatal::NotRft { .. } => 7,
                Fatal::Unwrap { .. } => 8,
                Fatal::GuestRefused { .. } => 9,
                Fatal::Wrap => 10,
                Fatal::KeysRefused { .. } => 11,
                Fatal::Internal(_) => 1,
            },
            Self::Seal { .. } => 12,
            Self::Open => 13,
            Self::Removal => 15,
            Self::OutOfTime { .. } => 17,
            // As a shell has it for a process that SIGTERM ended.
            Self::Interrupted(_) => 143,
            Self::Endpoint(_) | Self::Outbox(_) | Self::Rng | Self::LeftBehind(_) => 1,
        }
    }
}

/// Records in a row that may fail to open before `--drain` gives up.
const MAX_UNOPENED: u32 = 5;
/// Names in one message.
const MAX_NAMES_TOLD: usize = 5;
/// How long the last packets may take to leave.
const LINGER: Duration = Duration::from_millis(500);
/// How often it is looked whether the folders are still there.
const FOLDERS_PACE: Duration = Duration::from_secs(2);
/// A draining peer looks again at least this often.
const DRAIN_PACE: Duration = Duration::from_millis(500);
/// Between two messages on what `--drain` still waits for.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60);

/// What the sessions of one process share.
struct Shared {
    events: EventSink,
    outbox: Outbox,
    /// Held to the end: it is the lock.
    state: StateDir,
    installation: InstallationId,
    incoming: Arc<Incoming>,
    inbox: Inbox,
    delivery: Delivery,
    in_flight: usize,
    compress: bool,
    drain: bool,
    begun: Instant,
    /// The present session, and how the last one ended.
    link: Mutex<status::Link>,
    /// What the peer of the present session has left for us, once it said so.
    peer_backlog: watch::Sender<Option<Backlog>>,
    inbox_changed: Notify,
    files_sent: AtomicU64,
    bytes_sent: AtomicU64,
    /// Files that could not be sent, and nobody waits for.
    left_behind: Mutex<HashSet<Name>>,
    refusals: Mutex<Refusals>,
    unopened: AtomicU32,
    failure: Mutex<Option<RunError>>,
    failed: Notify,
}

/// Entries in whose place something stands at the peer, and what the user was told of each.
#[derive(Debug, Default)]
struct Refusals(HashMap<Name, String>);

impl Refusals {
    /// Whether the user has not been told of this.
    fn is_news(&mut self, name: &Name, cause: &str) -> bool {
        self.0.insert(name.clone(), cause.to_owned()).is_none_or(|before| before != cause)
    }
}

impl Shared {
    fn sent(&self, name: &Name, bytes: u64) {
        self.left().remove(name);
        self.refusals().0.remove(name);
        self.files_sent.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        self.unopened.store(0, Ordering::Relaxed);
    }

    /// A file that is not offered again until it changes, or can be read.
    fn left_behind(&self, name: &Name) {
        self.left().insert(name.clone());
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record from the peer did not open.
    fn did_not_open(&self) {
        if self.unopened.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_UNOPENED && self.drain {
            self.fail(RunError::Open);
        }
    }

    /// Ends the run.
    fn fail(&self, error: RunError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.failed.notify_one();
    }

    /// Says what `--drain` still waits for.
    fn remind(&self) {
        let text = format!("--drain waits: {}", Left::of(self));
        tracing::info!("{text}");
        self.events.warn(None, text);
    }

    /// Nothing is left for either side.
    fn is_drained(&self) -> bool {
        self.outbox.backlog().borrow().files == 0
            && self.peer_backlog.borrow().is_some_and(|left| left.is_empty())
            && self.inbox.busy() == 0
    }
}

/// Makes those of the folders that are missing. [`run`] does so too; a process that confines itself to them
/// needs them before it starts its threads.
///
/// # Errors
/// [`RunError::Store`] when one cannot be made.
pub fn make_folders(folders: &Folders) -> Result<(), RunError> {
    Ok(StateDir::make(folders)?)
}

/// Whether the configured address can be bound and the peer's name leads somewhere: what is to be known
/// before folders are made. The address stays taken while the socket lives; drop it before [`run`].
///
/// # Errors
/// [`RunError::Endpoint`] or [`RunError::Net`].
pub fn check(config: &Config) -> Result<UdpSocket, RunError> {
    let socket = endpoint::hold_port(config)?;
    if let Some(peer) = &config.peer {
        net::check_peer(peer, socket.local_addr().map_err(EndpointError::Drive)?)?;
    }
    Ok(socket)
}

/// Runs one peer until `shutdown` completes, `--drain` is done, or it cannot go on. Needs a
/// multi-threaded tokio runtime.
///
/// # Errors
/// [`RunError`], whose [`RunError::exit_code`] is the contract's.
pub async fn run(
    config: Config,
    key: PasswordKey,
    events: EventSink,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Finished, RunError> {
    run_with_status(config, key, events, shutdown, &Status::default()).await
}

/// As [`run`]; `status` tells its state meanwhile.
///
/// # Errors
/// As [`run`].
pub async fn run_with_status(
    config: Config,
    key: PasswordKey,
    events: EventSink,
    shutdown: impl Future<Output = ()> + Send,
    status: &Status,
) -> Result<Finished, RunError> {
    let shared = Arc::new(open(&config, &events)?);
    status.attach(&shared);
    let endpoint = Endpoint::open(&config)?;
    events.emit(Event::Listening { local: endpoint.local });
    hit("start.listening");
    for note in &endpoint.notes {
        events.warn(None, note.clone());
    }
    if endpoint.ephemeral {
        let text = format!(
            "port {} is taken on this host; dialling from port {} instead, so the peer cannot dial us",
            config.port,
            endpoint.local.port()
        );
        events.warn(None, text);
    }
    let process = PeerId::random(&mut SysRng).map_err(|_| RunError::Rng)?;
    let own = Identity { process, installation: shared.installation };
    let (adopted, sessions) = mpsc::channel(1);
    let finding = rendezvous::run(&endpoint, &config, key, own, events.clone(), adopted);
    let result = tokio::select! {
        result = finding => result.map(|()| Finished::Stopped).map_err(RunError::from),
        result = serve(&shared, sessions, config.wait, shutdown) => result,
    };
    let _ = tokio::time::timeout(LINGER, endpoint.quic.wait_idle()).await;
    conclude(&shared, result)
}

/// Opens the folders, and all that works on them.
fn open(config: &Config, events: &EventSink) -> Result<Shared, RunError> {
    let state = StateDir::open(&config.folders)?;
    hit("start.locked");
    let outgoing = Arc::new(Folder::open(&config.folders.outgoing, true)?);
    let ledger = Arc::new(Ledger::open(&state)?);
    if let Some(aside) = ledger.moved_aside() {
        let text = format!(
            "the ledger was damaged and a new one is begun (the old one is kept as {}); files whose receipts \
             were lost may arrive twice",
            aside.display()
        );
        events.warn(None, text);
    }
    let incoming =
        Arc::new(Incoming::open(&config.folders.incoming, &state)?.limited(config.max_incoming_bytes));
    incoming.recover(&ledger, config.on_conflict)?;
    hit("start.recovered");
    let remover = match Remover::open(outgoing.clone(), &state) {
        Ok(remover) => Some(remover),
        // Nothing is renamed then: Outgoing may be read-only.
        Err(error) if config.after_send == AfterSend::Keep => {
            tracing::info!(%error, "nothing can be removed from Outgoing, and nothing has to be");
            None
        }
        Err(error) => return Err(error.into()),
    };
    let committer = Committer::start(incoming.clone(), ledger.clone(), config.on_conflict)?;
    let limits = Limits {
        max_file_size: config.max_file_size,
        max_incoming: config.max_incoming_bytes,
        min_free: config.min_free,
        partial: usize::try_from(config.memory / 2).unwrap_or(usize::MAX),
        keep_existing: config.on_conflict == OnConflict::Skip,
    };
    let outbox = Outbox::start(
        OutboxConfig {
            outgoing: outgoing.clone(),
            remover,
            ledger: ledger.clone(),
            after_send: config.after_send,
            waits: config.waits,
            temp_names: config.temp_names,
            send_open: config.send_open,
            grace: config.grace,
            watch: true,
            confirm: config.drain,
        },
        events.clone(),
    )?;
    Ok(Shared {
        events: events.clone(),
        state,
        installation: ledger.installation(),
        outbox,
        incoming: incoming.clone(),
        inbox: Inbox::new(incoming, ledger, committer, events.clone(), limits),
        delivery: Delivery::new(outgoing, Pace::new(config.limit_rate), events.clone()),
        in_flight: config.in_flight.max(1),
        compress: config.compress == Compress::Auto,
        drain: config.drain,
        begun: Instant::now(),
        link: Mutex::default(),
        peer_backlog: watch::Sender::new(None),
        inbox_changed: Notify::new(),
        files_sent: AtomicU64::new(0),
        bytes_sent: AtomicU64::new(0),
        left_behind: Mutex::default(),
        refusals: Mutex::default(),
        unopened: AtomicU32::new(0),
        failure: Mutex::new(None),
        failed: Notify::new(),
    })
}

/// Serves each session as it comes; a newer one ends the one before.
async fn serve(
    shared: &Arc<Shared>,
    mut sessions: mpsc::Receiver<(Session, ControlReceiver)>,
    wait: Option<Duration>,
    shutdown: impl Future<Output = ()>,
) -> Result<Finished, RunError> {
    let mut links = JoinSet::new();
    let mut current: Option<Arc<Session>> = None;
    let begun = tokio::time::Instant::now();
    let mut reminder = begun + REMINDER_INTERVAL;
    tokio::pin!(shutdown);
    let result = loop {
        tokio::select! {
            Some((session, control)) = sessions.recv() => {
                let session = Arc::new(session);
                if current.as_ref().is_some_and(|last| last.peer() != session.peer()) {
                    shared.outbox.peer_is_new();
                }
                current = Some(session.clone());
                links.spawn(link::run(shared.clone(), session, control));
            }
            Some(_) = links.join_next() => {}
            () = shared.failed.notified() => break Ok(Finished::Stopped),
            error = folder_lost(shared) => break Err(error.into()),
            () = drained(shared), if shared.drain => break Ok(Finished::Drained { left_alone: 0 }),
            wait = over(begun, wait), if shared.drain => {
                break Err(RunError::OutOfTime { wait, left: Left::of(shared) });
            }
            () = tokio::time::sleep_until(reminder), if shared.drain => {
                reminder += REMINDER_INTERVAL;
                shared.remind();
            }
            () = &mut shutdown => break stopped(shared),
        }
    };
    if let Some(session) = current {
        link::tell_last_forgotten(shared, &session).await;
        let left = *shared.outbox.backlog().borrow();
        session.farewell(left.files, left.bytes).await;
    }
    while links.join_next().await.is_some() {}
    result
}

/// Completes when `wait` is over, and gives it; never without one.
async fn over(begun: tokio::time::Instant, wait: Option<Duration>) -> Duration {
    let Some(wait) = wait else { return std::future::pending().await };
    tokio::time::sleep_until(begun + wait).await;
    wait
}

/// Told to stop. A draining peer then has not done what it was started for, unless it just did.
fn stopped(shared: &Shared) -> Result<Finished, RunError> {
    match shared.drain {
        true if shared.is_drained() => Ok(Finished::Drained { left_alone: 0 }),
        true => Err(RunError::Interrupted(Left::of(shared))),
        false => Ok(Finished::Stopped),
    }
}

/// Completes when the program's own folder is gone, with the lock and the ledger, or when one of the others is
/// another one, which a confined process may not use.
async fn folder_lost(shared: &Shared) -> StoreError {
    loop {
        tokio::time::sleep(FOLDERS_PACE).await;
        let (incoming, outgoing) = (shared.incoming.folder(), shared.delivery.folder());
        let usable = shared.state.is_there().and_then(|()| incoming.can_go_on());
        if let Err(error) = usable.and_then(|()| outgoing.can_go_on()) {
            return error;
        }
    }
}

/// Completes when `--drain` is done.
async fn drained(shared: &Shared) {
    let mut own = shared.outbox.backlog();
    let mut peer = shared.peer_backlog.subscribe();
    while !shared.is_drained() {
        tokio::select! {
            _ = own.changed() => {}
            _ = peer.changed() => {}
            () = shared.inbox_changed.notified() => {}
            () = tokio::time::sleep(DRAIN_PACE) => {}
        }
    }
}

fn conclude(shared: &Shared, result: Result<Finished, RunError>) -> Result<Finished, RunError> {
    let finished = result?;
    if let Some(error) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    if finished != Finished::Stopped {
        // Those that somebody took away meanwhile are nobody's worry.
        let gone = |name: &Name| shared.delivery.folder().stat(name).is_err_and(|e| e.is_not_found());
        let left = shared.left().iter().filter(|name| !gone(name)).count() as u64;
        if shared.outbox.removal_failed() {
            return Err(RunError::Removal);
        }
        if left > 0 {
            return Err(RunError::LeftBehind(left));
        }
        let unfinished = shared.outbox.left_alone();
        let left_alone = unfinished.len() as u64;
        if let Some(message) = unfinished_stay(&unfinished) {
            shared.events.warn(None, message);
        }
        shared.events.emit(Event::Drained {
            files: shared.files_sent.load(Ordering::Relaxed),
            bytes: shared.bytes_sent.load(Ordering::Relaxed),
            elapsed: shared.begun.elapsed(),
            left_alone,
        });
        return Ok(Finished::Drained { left_alone });
    }
    Ok(finished)
}

/// What a drain leaves in Outgoing because it is unfinished, for people.
fn unfinished_stay(names: &[Name]) -> Option<String> {
    let shown: Vec<_> = names.iter().take(MAX_NAMES_TOLD).map(Name::to_string).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    (!names.is_empty()).then(|| {
        format!(
            "these stay in Outgoing, as their names are those of unfinished files ({} in all): {}{more}; rename \
             them when they are complete, or use --temp-names none",
            names.len(),
            shown.join(", ")
        )
    })
}
