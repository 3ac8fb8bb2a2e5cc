//! One peer, whole: folders, endpoint, sessions and both directions, until it is told to stop.

mod drain;
mod session;
mod status;

pub use crate::transport::endpoint::Port;
pub use status::{Connected, Left, State, Status};

use crate::config::{AfterSend, Compress, Config, Folders, OnConflict};
use crate::crypto::handshake::PeerId;
use crate::crypto::password::PasswordKey;
use crate::event::{Event, EventSink};
use crate::failpoint::fail_point;
use crate::inbox::{Committer, Inbox, Limits};
use crate::outbox::{Backlog, Delivery, Outbox, OutboxConfig, OutboxError, RateLimit};
use crate::peering;
use crate::peering::{Fatal, connector};
use crate::proto::message::InstallationId;
use crate::proto::name::Name;
use crate::session::installation::Identity;
use crate::session::{ControlReceiver, Session};
use crate::store::{Folder, Incoming, Ledger, Remover, StateDir, StoreError};
use crate::transport::endpoint::{Endpoint, EndpointError};
use rand::rngs::SysRng;
use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
                Fatal::InitiatorRefused { .. } => 9,
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
/// How long the last packets may take to leave.
const LINGER: Duration = Duration::from_millis(500);
/// How often it is looked whether the folders are still there.
const FOLDERS_INTERVAL: Duration = Duration::from_secs(2);

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
    refusals: Mutex<drain::Refusals>,
    unopened: AtomicU32,
    failure: Mutex<Option<RunError>>,
    failed: Notify,
}

impl Shared {
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
}

/// Makes those of the folders that are missing. [`run`] does so too; a process that confines itself
/// to them needs them before it starts its threads.
///
/// # Errors
/// [`RunError::Store`] when one cannot be made.
pub fn make_folders(folders: &Folders) -> Result<(), RunError> {
    Ok(StateDir::make(folders)?)
}

/// Whether the configured address can be bound and the peer's name leads somewhere: what is to be
/// known before folders are made. The port is for [`run_with_status`], so that no other program
/// takes it meanwhile.
///
/// # Errors
/// [`RunError::Endpoint`] or [`RunError::Net`].
pub fn check(config: &Config) -> Result<Port, RunError> {
    let port = Port::bind(config)?;
    if let Some(peer) = &config.peer {
        peering::check_peer(peer, port.local()?)?;
    }
    Ok(port)
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
    run_with_status(config, None, key, events, shutdown, &Status::default()).await
}

/// As [`run`], on the port of [`check`] where there is one; `status` tells its state meanwhile.
///
/// # Errors
/// As [`run`].
pub async fn run_with_status(
    config: Config,
    port: Option<Port>,
    key: PasswordKey,
    events: EventSink,
    shutdown: impl Future<Output = ()> + Send,
    status: &Status,
) -> Result<Finished, RunError> {
    let shared = Arc::new(open(&config, &events)?);
    status.attach(&shared);
    let endpoint = match port {
        Some(port) => Endpoint::on(port, &config)?,
        None => Endpoint::open(&config)?,
    };
    events.emit(Event::Listening { local: endpoint.local });
    fail_point("start.listening");
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
    let finding = connector::run(&endpoint, &config, key, own, events.clone(), adopted);
    let result = tokio::select! {
        result = finding => result.map(|()| Finished::Stopped).map_err(RunError::from),
        result = serve(&shared, sessions, (config.wait, config.drain_reminder), shutdown) => result,
    };
    let _ = tokio::time::timeout(LINGER, endpoint.quic.wait_idle()).await;
    drain::conclude(&shared, result)
}

/// Opens the folders, and all that works on them.
fn open(config: &Config, events: &EventSink) -> Result<Shared, RunError> {
    let state = StateDir::open(&config.folders)?;
    fail_point("start.locked");
    let outgoing = Arc::new(Folder::open(&config.folders.outgoing, true)?);
    let ledger = open_ledger(&state, events)?;
    let incoming = Arc::new(
        Incoming::open(&config.folders.incoming, &state)?.limited(config.max_incoming_bytes),
    );
    incoming.recover(&ledger, config.on_conflict)?;
    fail_point("start.recovered");
    let remover = open_remover(config, &outgoing, &state)?;
    let committer = Committer::start(incoming.clone(), ledger.clone(), config.on_conflict)?;
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
        inbox: Inbox::new(incoming, ledger, committer, events.clone(), limits(config)),
        delivery: Delivery::new(outgoing, RateLimit::new(config.limit_rate), events.clone()),
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

/// Opens the ledger, and says where a damaged one is kept.
fn open_ledger(state: &StateDir, events: &EventSink) -> Result<Arc<Ledger>, StoreError> {
    let ledger = Ledger::open(state)?;
    if let Some(aside) = ledger.moved_aside() {
        let text = format!(
            "the ledger was damaged and a new one is begun (the old one is kept as {}); files whose receipts \
             were lost may arrive twice",
            aside.display()
        );
        events.warn(None, text);
    }
    Ok(Arc::new(ledger))
}

/// What removes sent files. With `--after-send keep` it may be missing: Outgoing may be read-only
/// then.
fn open_remover(
    config: &Config,
    outgoing: &Arc<Folder>,
    state: &StateDir,
) -> Result<Option<Remover>, StoreError> {
    match Remover::open(outgoing.clone(), state) {
        Ok(remover) => Ok(Some(remover)),
        Err(error) if config.after_send == AfterSend::Keep => {
            tracing::info!(%error, "nothing can be removed from Outgoing, and nothing has to be");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What this side takes.
fn limits(config: &Config) -> Limits {
    Limits {
        max_file_size: config.max_file_size,
        max_incoming: config.max_incoming_bytes,
        min_free: config.min_free,
        partial: usize::try_from(config.memory / 2).unwrap_or(usize::MAX),
        keep_existing: config.on_conflict == OnConflict::Skip,
        renames: config.on_conflict == OnConflict::Rename,
    }
}

/// Serves each session as it comes; a newer one ends the one before.
async fn serve(
    shared: &Arc<Shared>,
    mut sessions: mpsc::Receiver<(Session, ControlReceiver)>,
    (wait, reminder): (Option<Duration>, Duration),
    shutdown: impl Future<Output = ()>,
) -> Result<Finished, RunError> {
    let mut links = JoinSet::new();
    let mut current: Option<Arc<Session>> = None;
    let drained = drain::ended(shared, wait, reminder);
    tokio::pin!(drained, shutdown);
    let result = loop {
        tokio::select! {
            Some((session, control)) = sessions.recv() => {
                let session = Arc::new(session);
                if current.as_ref().is_some_and(|last| last.peer() != session.peer()) {
                    shared.outbox.peer_is_new();
                }
                current = Some(session.clone());
                links.spawn(session::run(shared.clone(), session, control));
            }
            Some(_) = links.join_next() => {}
            () = shared.failed.notified() => break Ok(Finished::Stopped),
            error = folder_lost(shared) => break Err(error.into()),
            result = &mut drained => break result,
            () = &mut shutdown => break drain::stopped(shared),
        }
    };
    if let Some(session) = current {
        session::tell_last_forgotten(shared, &session).await;
        let left = *shared.outbox.backlog().borrow();
        session.farewell(left.files, left.bytes).await;
    }
    while links.join_next().await.is_some() {}
    result
}

/// Completes when the program's own folder is gone, with the lock and the ledger, or when one of
/// the others is another one, which a confined process may not use.
async fn folder_lost(shared: &Shared) -> StoreError {
    loop {
        tokio::time::sleep(FOLDERS_INTERVAL).await;
        let (incoming, outgoing) = (shared.incoming.folder(), shared.delivery.folder());
        let usable = shared.state.is_there().and_then(|()| incoming.can_go_on());
        if let Err(error) = usable.and_then(|()| outgoing.can_go_on()) {
            return error;
        }
    }
}
