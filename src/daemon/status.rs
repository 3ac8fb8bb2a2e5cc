//! What a running peer says of itself when it is asked, and what `--drain` still waits for.

use super::Shared;
use crate::event::SessionRole;
use crate::outbox::{Backlog, DeliveredTotals, WaitReason};
use crate::proto::name::Name;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Names in a [`State`].
const MAX_NAMED: usize = 20;
/// Names in a [`Left`], which is one sentence.
const MAX_LEFT: usize = 5;

/// Asks a peer that runs ([`super::run_with_status`]) for its state. Cheap to clone.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Weak<Shared>>>);

impl Status {
    /// The state now; `None` before the peer's folders are open, and after its end.
    pub fn state(&self) -> Option<State> {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()?;
        Some(State::of(&shared))
    }

    pub(super) fn attach(&self, shared: &Arc<Shared>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(shared);
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Status")
    }
}

/// A session that lasts.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The peer's address when it connected.
    pub peer: SocketAddr,
    /// Our role in it.
    pub role: SessionRole,
    /// Its name in logs of both sides.
    pub session: String,
    /// When it was adopted.
    pub since: Instant,
}

/// The present session, and how the last one ended.
#[derive(Debug, Default)]
pub(super) struct Link {
    now: Option<Connected>,
    lost: Option<(Instant, String)>,
}

impl Link {
    pub(super) fn connected(&mut self, peer: SocketAddr, role: SessionRole, session: String) {
        self.now = Some(Connected { peer, role, session, since: Instant::now() });
    }

    /// The end of a session that a newer one replaced changes nothing.
    pub(super) fn disconnected(&mut self, session: &str, reason: &str) {
        if self.now.take_if(|now| now.session == session).is_some() {
            self.lost = Some((Instant::now(), reason.to_owned()));
        }
    }
}

impl Shared {
    pub(super) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One moment of a running peer.
#[derive(Debug, Clone)]
pub struct State {
    /// Since the start.
    pub uptime: Duration,
    /// The session, if there is one.
    pub connected: Option<Connected>,
    /// How long ago the last session ended, and why; `None` when there was none.
    pub lost: Option<(Duration, String)>,
    /// What the peer does not hold yet.
    pub to_send: Backlog,
    /// What the peer said that it has left for this side.
    pub to_receive: Option<Backlog>,
    /// What was sent since the start.
    pub sent: DeliveredTotals,
    /// Files that arrive now.
    pub arriving: usize,
    /// What is not sent yet, and why: first what something is the matter with.
    pub waiting: Vec<(Name, WaitReason)>,
    /// How many more there are.
    pub more: u64,
}

impl State {
    fn of(shared: &Shared) -> Self {
        let link = shared.link();
        let to_send = *shared.outbox.backlog().borrow();
        let waiting = shared.outbox.waiting(MAX_NAMED);
        Self {
            uptime: shared.begun.elapsed(),
            connected: link.now.clone(),
            lost: link.lost.as_ref().map(|(at, reason)| (at.elapsed(), reason.clone())),
            to_send,
            to_receive: link.now.as_ref().and(*shared.peer_backlog.borrow()),
            sent: shared.outbox.totals(),
            arriving: shared.inbox.busy(),
            waiting: waiting.named,
            more: waiting.more,
        }
    }
}

/// What a draining peer has not exchanged yet, as one sentence.
#[derive(Debug, Clone)]
pub struct Left {
    connected: bool,
    own: Backlog,
    theirs: Option<u64>,
    named: Vec<(Name, WaitReason)>,
    more: u64,
}

impl Left {
    pub(super) fn of(shared: &Shared) -> Self {
        let connected = shared.link().now.is_some();
        let waiting = shared.outbox.waiting(MAX_LEFT);
        Self {
            connected,
            own: *shared.outbox.backlog().borrow(),
            theirs: shared.peer_backlog.borrow().filter(|_| connected).map(|left| left.files),
            named: waiting.named,
            more: waiting.more,
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = |n: u64| format!("{n} file{}", if n == 1 { "" } else { "s" });
        match (self.connected, self.own.files, self.theirs) {
            (false, ..) => f.write_str("no peer is connected")?,
            (true, _, None) => f.write_str("the peer has not said what it has left")?,
            (true, 0, Some(0)) => f.write_str("the last files are being received")?,
            (true, _, Some(0)) => f.write_str("the peer has nothing left to send")?,
            (true, _, Some(theirs)) => write!(f, "the peer has {} left to send", files(theirs))?,
        }
        if self.named.is_empty() {
            return f.write_str("; nothing is left in Outgoing");
        }
        // More than the backlog, which leaves out what nothing waits for: refused files for one.
        let count = self.named.len() as u64 + self.more;
        write!(f, "; {} stay{} in Outgoing: ", files(count), if count == 1 { "s" } else { "" })?;
        for (i, (name, why)) in self.named.iter().enumerate() {
            write!(f, "{}{name} ({why})", if i == 0 { "" } else { ", " })?;
        }
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        Ok(())
    }
}
