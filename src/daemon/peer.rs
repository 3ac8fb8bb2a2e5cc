//! One peer: both directions, its present session, and its counters.

use super::activity::PeerActivity;
use super::bottleneck::Bottlenecks;
use super::events::Events;
use super::history::PeerHistory;
use super::incomplete::Incomplete;
use super::lock::locked;
use super::setbacks::Setbacks;
use super::storage::Storage;
use crate::config::{AfterSend, Compress, Config, Exchange, OnConflict, PeerName};
use crate::crypto::handshake::Role;
use crate::error::RunError;
use crate::event::{Direction, Event, EventSink};
use crate::inbox::{self, Inbox};
use crate::meter::Meter;
use crate::outbox::{Delivery, Outbox, OutboxConfig, WaitingEntry};
use crate::proto::name::Name;
use crate::session::Session;
use crate::status::{
    Backlog, Bottleneck, DirectionStatus, PastSession, PathStatus, PeerStatus, SessionEnd,
    SessionRole, SessionStatus, WaitReason, Waiting, WaitingEntries,
};
use crate::store::{
    CancelledFiles, Folder, Ledger, Remover, StoreError, UrgentMarks, clear_put_area,
};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, mpsc, watch};

/// Records in a row that may fail to open before a drain gives up.
const MAX_UNOPENED: u32 = 5;
/// Files in flight that a snapshot names.
const MAX_IN_FLIGHT: usize = 100;

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
    pub(super) exchange: Exchange,
    /// What did not cross in one exchange.
    pub(super) incomplete: Arc<Incomplete>,
    /// The backlog that the peer told in the present session.
    pub(super) peer_backlog: watch::Sender<Option<Backlog>>,
    pub(super) activity: Arc<PeerActivity>,
    /// Why entries of Outgoing were not delivered.
    pub(super) setbacks: Setbacks,
    /// What limits the speed.
    pub(super) bottlenecks: Bottlenecks,
    ledger: Arc<Ledger>,
    /// The absolute path of Outgoing.
    outgoing: String,
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
        let name = config.peer_name();
        let saved = storage.ledger.totals(name.as_str())?;
        let activity = Arc::new(PeerActivity::new(saved, Instant::now()));
        let noted = activity.clone();
        let history = PeerHistory::new(&storage.history, name.clone());
        let incomplete = Arc::new(Incomplete::default());
        let failed = config.exchange.is_once().then(|| incomplete.clone());
        let events = events.sink(Some(name.clone()), move |event| {
            noted.note(event, Instant::now());
            failed.iter().for_each(|failed| failed.note(event));
            history.note(event);
        });
        let outgoing =
            Arc::new(Folder::open(&config.folders.outgoing, !config.folders.reads_outgoing)?);
        if !config.folders.reads_outgoing
            && let Err(error) = clear_put_area(&outgoing)
        {
            tracing::info!(%error, "copies of a killed `rft put` stay in Outgoing, and are not sent");
        }
        let outbox = OutboxConfig {
            outgoing: outgoing.clone(),
            remover: open_remover(config, &outgoing, storage)?,
            cancelled: Some(CancelledFiles::of(outgoing.clone(), &storage.state)),
            urgent: Arc::new(UrgentMarks::of(&storage.state)),
            ledger: storage.ledger.clone(),
            only: config.exchange.only().map(<[_]>::to_vec),
            once: config.exchange.is_once(),
            after_send: config.after_send,
            waits: config.waits,
            temp_names: config.temp_names,
            send_open: config.send_open,
            grace: config.grace,
            // The folder is the user's, and may be a large home.
            watch: !config.exchange.is_once(),
            drain: config.drain,
        };
        let outbox = Outbox::start(outbox, events.clone())?;
        let in_flight = outbox.in_flight();
        let (incoming, ledger) = (storage.incoming.clone(), storage.ledger.clone());
        let committer = storage.committer.clone();
        let meter = Arc::new(Meter::new());
        let hooks = storage.hooks.as_ref().map(|hooks| hooks.of_peer(name.clone()));
        Ok(Self {
            name,
            outbox,
            delivery: Delivery::new(outgoing, events.clone(), meter.clone(), in_flight),
            inbox: Inbox::new(
                incoming,
                ledger,
                committer,
                events.clone(),
                limits(config),
                meter.clone(),
                hooks,
            ),
            inbox_changed: Notify::new(),
            events,
            in_flight: config.in_flight.max(1),
            compress: config.compress == Compress::Auto,
            drain: config.drain,
            exchange: config.exchange.clone(),
            incomplete,
            peer_backlog: watch::Sender::new(None),
            activity,
            setbacks: Setbacks::default(),
            bottlenecks: Bottlenecks::new(meter, storage.commits.clone()),
            ledger: storage.ledger.clone(),
            outgoing: absolute(&config.folders.outgoing),
            sessions: Mutex::default(),
            undelivered: Mutex::default(),
            refusals: Mutex::default(),
            unopened: AtomicU32::new(0),
            failures,
        })
    }

    /// A snapshot with at most `max_named` waiting entries by name. With 0 the entries are not
    /// looked at, not even counted.
    pub(super) fn status(&self, max_named: usize) -> PeerStatus {
        let now = Instant::now();
        let mut status = PeerStatus::new(self.name.clone());
        status.outgoing = self.outgoing.clone();
        status.paused = self.outbox.is_paused();
        {
            let sessions = locked(&self.sessions);
            let live = sessions.live.as_ref().zip(sessions.adopted.as_ref());
            status.session = live.map(|((since, session), adopted)| SessionStatus {
                age: since.elapsed(),
                address: adopted.remote_address(),
                silent_for: self.activity.silent_for(now),
                path: PathStatus { loss: self.bottlenecks.loss(), ..adopted.path() },
                ..session.clone()
            });
            status.last_end = sessions
                .last_end
                .as_ref()
                .map(|(at, reason)| PastSession { ago: at.elapsed(), reason: reason.clone() });
        }
        let apart = || self.activity.no_session(now);
        status.no_session = status.session.is_none().then(apart);
        let theirs = status.session.as_ref().and(*self.peer_backlog.borrow());
        let own = Some(*self.outbox.backlog().borrow());
        let connected = status.session.is_some();
        status.send = self.direction(Direction::Send, own, connected, now);
        status.receive = self.direction(Direction::Receive, theirs, connected, now);
        (status.in_flight, status.more_in_flight) = self.activity.in_flight(MAX_IN_FLIGHT, now);
        status.arriving = self.inbox.busy();
        if max_named > 0 {
            let waiting = self.waiting(max_named, None);
            status.waiting = waiting.entries;
            status.more_waiting = waiting.more;
            status.waiting_by_reason = waiting.by_reason;
        }
        status
    }

    /// The entries of Outgoing that are not delivered, at most `max_named` of them by name. With
    /// `within` those of this name and beneath it only.
    pub(super) fn waiting(&self, max_named: usize, within: Option<&Name>) -> WaitingEntries {
        let waiting = self.outbox.waiting(max_named, within);
        WaitingEntries {
            entries: self.explained(waiting.named),
            more: waiting.more,
            by_reason: waiting.by_reason,
        }
    }

    /// One direction of a snapshot.
    fn direction(
        &self,
        direction: Direction,
        backlog: Option<Backlog>,
        connected: bool,
        now: Instant,
    ) -> DirectionStatus {
        let mut status = self.activity.direction(direction, backlog, now);
        status.limit = match self.activity.active(direction) {
            _ if !connected && status.files_left > 0 => Bottleneck::Waiting,
            0 if status.files_left == 0 => Bottleneck::NothingToSend,
            0 => Bottleneck::Waiting,
            _ => self.bottlenecks.bottleneck(direction),
        };
        status
    }

    /// Waiting entries with what is known of the reason.
    fn explained(&self, named: Vec<WaitingEntry>) -> Vec<Waiting> {
        let explain = |WaitingEntry { name, reason, urgent }: WaitingEntry| {
            let mut waiting = Waiting::new(name, reason);
            waiting.urgent = urgent;
            match reason {
                WaitReason::Backoff(_)
                | WaitReason::Occupied(_)
                | WaitReason::Unreadable(_)
                | WaitReason::Refused => waiting.setback = self.setbacks.of(&waiting.path),
                _ => {}
            }
            waiting
        };
        named.into_iter().map(explain).collect()
    }

    /// Records the counts for the next process. An error costs only these.
    pub(super) fn save_totals(&self) {
        if let Err(error) = self.ledger.save_totals(self.name.as_str(), self.activity.to_save()) {
            tracing::warn!(%error, "the counts are not recorded");
        }
    }

    /// Takes over a session that was adopted. Entries that another process of the peer refused
    /// are offered again.
    pub(super) fn adopt(&self, session: Arc<Session>) {
        if let Err(error) = self.outbox.receiver_is(session.installation()) {
            self.fail(error.into());
        }
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
            kx: session.key_exchange().to_owned(),
            installation: session.installation(),
            version: session.peer_version().to_owned(),
            host: session.peer_host().to_owned(),
            receives: session.grant() > 0,
            since: SystemTime::now(),
            age: Duration::ZERO,
            silent_for: None,
            path: session.path(),
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
        self.setbacks.delivered(name);
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
        // Files that wait at the peer are not for a side that receives none.
        let is_done = |theirs: Backlog| theirs.is_empty() || !self.exchange.receives();
        self.outbox.backlog().borrow().is_empty()
            && self.peer_backlog.borrow().is_some_and(is_done)
            && self.inbox.busy() == 0
            // The first line may be of the last receiver.
            && (!self.exchange.is_once() || self.outbox.all_sent())
    }

    /// Tells that a drain is done.
    pub(super) fn emit_drained(&self, elapsed: Duration, left_alone: u64) {
        let sent = self.activity.sent();
        let (files, bytes) = (sent.files + sent.folders, sent.bytes);
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

/// Opens the folder through which sent files are removed. With `--after-send keep` it may be
/// missing, since Outgoing may be read-only then.
fn open_remover(
    config: &Config,
    outgoing: &Arc<Folder>,
    storage: &Storage,
) -> Result<Option<Remover>, StoreError> {
    if config.folders.reads_outgoing && config.after_send == AfterSend::Keep {
        return Ok(None);
    }
    match Remover::open(outgoing.clone(), &storage.state) {
        Ok(remover) => Ok(Some(remover)),
        Err(error) if config.after_send == AfterSend::Keep => {
            tracing::info!(%error, "Outgoing cannot be changed, and --after-send keep needs no change");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A path as text, from the root of the file system.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The limits for files from the peer.
fn limits(config: &Config) -> inbox::Limits {
    inbox::Limits {
        max_file_size: config.max_file_size,
        max_incoming: config.max_incoming_bytes,
        min_free: config.min_free,
        partial: usize::try_from(config.memory / 2).unwrap_or(usize::MAX),
        keep_existing: config.on_conflict == OnConflict::Skip,
        renames: config.on_conflict == OnConflict::Rename,
    }
}
