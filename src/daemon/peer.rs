//! One peer: both directions, its present session, and its counters.

mod open;

use super::activity::PeerActivity;
use super::bottleneck::Bottlenecks;
use super::incomplete::Incomplete;
use super::lock::locked;
use super::setbacks::Setbacks;
use crate::config::{Exchange, PeerName};
use crate::crypto::handshake::Role;
use crate::error::RunError;
use crate::event::{Direction, Event, EventSink};
use crate::inbox::Inbox;
use crate::outbox::{Delivery, Outbox, WaitingEntry};
use crate::proto::name::Name;
use crate::session::Session;
use crate::status::{
    Backlog, Bottleneck, DirectionStatus, PastSession, PathStatus, PeerStatus, SessionEnd,
    SessionRole, SessionStatus, WaitReason, Waiting, WaitingEntries,
};
use crate::store::Ledger;
use std::collections::{HashMap, HashSet};
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

    /// Lets go of the last session. The port is free only when nothing holds its connection.
    pub(super) fn let_go(&self) {
        self.sessions().adopted = None;
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
