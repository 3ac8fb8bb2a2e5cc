//! One peer: both directions, its present session, and its counters.

use super::activity::PeerActivity;
use super::events::Events;
use super::storage::Storage;
use crate::config::{AfterSend, Compress, Config, OnConflict, PeerName};
use crate::crypto::handshake::Role;
use crate::error::RunError;
use crate::event::{Event, EventSink};
use crate::inbox::{Inbox, Limits};
use crate::outbox::{Delivery, Outbox, OutboxConfig};
use crate::proto::name::Name;
use crate::session::Session;
use crate::status::{Backlog, PastSession, PeerStatus, SessionEnd, SessionRole, SessionStatus};
use crate::store::{Folder, Remover, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// Records in a row that may fail to open before a drain gives up.
const MAX_UNOPENED: u32 = 5;

/// Everything that belongs to one peer of the process. It outlives the peer's sessions.
pub(super) struct Peer {
    pub(super) name: PeerName,
    /// Emits events about this peer; [`PeerActivity`] counts them.
    pub(super) events: EventSink,
    pub(super) outbox: Outbox,
    pub(super) delivery: Delivery,
    pub(super) inbox: Inbox,
    /// Notified at the end of each transfer from the peer.
    pub(super) inbox_changed: Notify,
    /// Maximum number of files that are read and sent at once.
    pub(super) in_flight: usize,
    /// Whether files are compressed.
    pub(super) compress: bool,
    /// Whether the process ends when both queues are empty.
    pub(super) drain: bool,
    /// The backlog that the peer told in the present session.
    pub(super) peer_backlog: watch::Sender<Option<Backlog>>,
    activity: Arc<PeerActivity>,
    sessions: Mutex<PeerSessions>,
    /// Files that failed and that no drain waits for.
    undelivered: Mutex<HashSet<Name>>,
    /// Entries that another entry at the peer obstructs, with the reason that the user was told.
    refusals: Mutex<HashMap<Name, String>>,
    /// Records in a row that failed to open.
    unopened: AtomicU32,
    /// Takes an error that ends the process.
    failures: mpsc::UnboundedSender<RunError>,
}

/// The present session and the end of the last one.
#[derive(Default)]
struct PeerSessions {
    /// The session that was adopted last, alive or not.
    adopted: Option<Arc<Session>>,
    /// The same as long as it lasts, with the time of its adoption.
    live: Option<(Instant, SessionStatus)>,
    last_end: Option<(Instant, SessionEnd)>,
}

impl Peer {
    /// Opens Outgoing and starts to watch it.
    pub(super) fn open(
        config: &Config,
        storage: &Storage,
        events: &Events,
        failures: mpsc::UnboundedSender<RunError>,
    ) -> Result<Self, RunError> {
        let (name, activity) = (config.peer_name(), Arc::new(PeerActivity::default()));
        let noted = activity.clone();
        let events = events.sink(Some(name.clone()), move |event| noted.note(event));
        let outgoing = Arc::new(Folder::open(&config.folders.outgoing, true)?);
        let outbox = OutboxConfig {
            outgoing: outgoing.clone(),
            remover: open_remover(config, &outgoing, storage)?,
            ledger: storage.ledger.clone(),
            after_send: config.after_send,
            waits: config.waits,
            temp_names: config.temp_names,
            send_open: config.send_open,
            grace: config.grace,
            watch: true,
            drain: config.drain,
        };
        let (incoming, ledger) = (storage.incoming.clone(), storage.ledger.clone());
        let committer = storage.committer.clone();
        Ok(Self {
            name,
            outbox: Outbox::start(outbox, events.clone())?,
            delivery: Delivery::new(outgoing, events.clone()),
            inbox: Inbox::new(incoming, ledger, committer, events.clone(), limits(config)),
            inbox_changed: Notify::new(),
            events,
            in_flight: config.in_flight.max(1),
            compress: config.compress == Compress::Auto,
            drain: config.drain,
            peer_backlog: watch::Sender::new(None),
            activity,
            sessions: Mutex::default(),
            undelivered: Mutex::default(),
            refusals: Mutex::default(),
            unopened: AtomicU32::new(0),
            failures,
        })
    }

    /// A snapshot with at most `max_named` waiting entries by name.
    pub(super) fn status(&self, max_named: usize) -> PeerStatus {
        let waiting = self.outbox.waiting(max_named);
        let sessions = self.sessions();
        let session = sessions.live.as_ref().map(|(since, session)| {
            let age = since.elapsed();
            SessionStatus { age, ..session.clone() }
        });
        let last_end = sessions.last_end.as_ref();
        PeerStatus {
            name: self.name.clone(),
            to_receive: session.as_ref().and(*self.peer_backlog.borrow()),
            session,
            last_end: last_end
                .map(|(at, reason)| PastSession { ago: at.elapsed(), reason: reason.clone() }),
            to_send: *self.outbox.backlog().borrow(),
            sent: self.activity.sent(),
            received: self.activity.received(),
            in_flight: self.activity.in_flight(),
            arriving: self.inbox.busy(),
            waiting: waiting.named,
            more_waiting: waiting.more,
        }
    }

    /// Takes over a session that was adopted. Entries that another process of the peer refused
    /// are offered again.
    pub(super) fn adopt(&self, session: Arc<Session>) {
        let peer = session.peer();
        let last = self.sessions().adopted.replace(session);
        if last.is_some_and(|last| last.peer() != peer) {
            self.outbox.peer_is_new();
        }
    }

    /// The session that was adopted last, alive or not.
    pub(super) fn adopted(&self) -> Option<Arc<Session>> {
        self.sessions().adopted.clone()
    }

    /// The work of a session begins.
    pub(super) fn connected(&self, session: &Session) -> SessionStatus {
        let status = SessionStatus {
            address: session.remote_address(),
            role: match session.role() {
                Role::Responder => SessionRole::Responder,
                Role::Initiator => SessionRole::Initiator,
            },
            id: session.id().iter().map(|byte| format!("{byte:02x}")).collect(),
            kx: session.key_exchange(),
            installation: session.installation(),
            age: Duration::ZERO,
        };
        self.sessions().live = Some((Instant::now(), status.clone()));
        self.peer_backlog.send_replace(None);
        status
    }

    /// The work of a session is over. The end of a session that a newer one replaced changes
    /// nothing.
    pub(super) fn disconnected(&self, id: &str, reason: &SessionEnd) {
        let mut sessions = self.sessions();
        if sessions.live.take_if(|(_, live)| live.id == id).is_some() {
            sessions.last_end = Some((Instant::now(), reason.clone()));
        }
    }

    /// The peer holds an entry.
    pub(super) fn delivered(&self, name: &Name) {
        self.left().remove(name);
        self.refusals().remove(name);
        self.unopened.store(0, Ordering::Relaxed);
    }

    /// A file failed, and is not offered again until it changes or becomes readable.
    pub(super) fn mark_undelivered(&self, name: &Name) {
        self.left().insert(name.clone());
    }

    /// Number of failed files that are still in Outgoing.
    pub(super) fn undelivered(&self) -> u64 {
        let gone = |name: &Name| self.delivery.folder().stat(name).is_err_and(|e| e.is_not_found());
        self.left().iter().filter(|name| !gone(name)).count() as u64
    }

    /// Whether the user has not been told of this refusal yet.
    pub(super) fn is_news(&self, name: &Name, reason: &str) -> bool {
        let before = self.refusals().insert(name.clone(), reason.to_owned());
        before.is_none_or(|before| before != reason)
    }

    /// A record from the peer did not open.
    pub(super) fn record_not_opened(&self) {
        if self.unopened.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_UNOPENED && self.drain {
            self.fail(RunError::Open);
        }
    }

    /// Ends the process.
    pub(super) fn fail(&self, error: RunError) {
        // The receiver leaves when the process ends for another reason.
        let _ = self.failures.send(error);
    }

    /// Whether nothing is left to send or to receive.
    pub(super) fn is_drained(&self) -> bool {
        self.outbox.backlog().borrow().is_empty()
            && self.peer_backlog.borrow().is_some_and(|backlog| backlog.is_empty())
            && self.inbox.busy() == 0
    }

    /// Tells that a drain is done.
    pub(super) fn emit_drained(&self, elapsed: Duration, left_alone: u64) {
        let sent = self.activity.sent();
        let (files, bytes) = (sent.files, sent.bytes);
        self.events.emit(Event::Drained { files, bytes, elapsed, left_alone });
    }

    fn sessions(&self) -> MutexGuard<'_, PeerSessions> {
        locked(&self.sessions)
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Name>> {
        locked(&self.undelivered)
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<Name, String>> {
        locked(&self.refusals)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the folder through which sent files are removed. With `--after-send keep` it may be
/// missing, since Outgoing may be read-only then.
fn open_remover(
    config: &Config,
    outgoing: &Arc<Folder>,
    storage: &Storage,
) -> Result<Option<Remover>, StoreError> {
    match Remover::open(outgoing.clone(), &storage.state) {
        Ok(remover) => Ok(Some(remover)),
        Err(error) if config.after_send == AfterSend::Keep => {
            tracing::info!(%error, "Outgoing cannot be changed, and --after-send keep needs no change");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The limits for files from the peer.
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
