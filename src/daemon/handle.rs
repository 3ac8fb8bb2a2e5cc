//! The handle of a running process.

use super::events::{EventReceiver, Events};
use super::pulse::Pulse;
use super::snapshots::Snapshots;
use super::{Daemon, MAX_NAMED};
use crate::error::{Finished, RunError};
use crate::history::{HistoryPage, HistoryQuery};
use crate::proto::name::Name;
use crate::rate_schedule::{RateInForce, RateSchedule};
use crate::status::{Status, WaitingEntries};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::watch;

/// The result of a run, for any number of callers.
pub(super) type RunOutcome = Result<Finished, Arc<RunError>>;

/// Controls a running process ([`Daemon::start`]). Cheap to clone; the process stops when the last
/// handle is dropped.
#[derive(Clone)]
pub struct Handle {
    pub(super) daemon: Weak<Daemon>,
    /// The last state of a process that has ended.
    pub(super) last: Arc<Mutex<Status>>,
    pub(super) recent: Snapshots,
    pub(super) events: Events,
    /// `None` without a process.
    pub(super) pulse: Option<Pulse>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) outcome: watch::Receiver<Option<RunOutcome>>,
}

impl Handle {
    /// The state now, or that at the end of the process.
    pub fn status(&self) -> Status {
        match self.daemon.upgrade() {
            Some(daemon) => daemon.status(MAX_NAMED),
            None => self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// As [`Handle::status`], without the waiting entries, which take a look at all of Outgoing:
    /// for a view that is drawn several times a second.
    pub fn summary(&self) -> Status {
        match self.daemon.upgrade() {
            Some(daemon) => daemon.status(0),
            None => self.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The entries of this name and beneath it in the Outgoing of each peer that are not delivered
    /// yet; `None` once the process has ended.
    pub fn waiting(&self, name: &Name) -> Option<WaitingEntries> {
        let daemon = self.daemon.upgrade()?;
        let mut all = WaitingEntries::default();
        for peer in daemon.peers.values() {
            let WaitingEntries { entries, more, by_reason } = peer.waiting(MAX_NAMED, Some(name));
            all.entries.extend(entries);
            all.more += more;
            for (kind, count) in by_reason {
                *all.by_reason.entry(kind).or_default() += count;
            }
        }
        Some(all)
    }

    /// A page of what happened to the files of all peers; `None` once the process has ended. Reads
    /// a file, and waits while it is written.
    ///
    /// # Errors
    /// [`RunError::Store`] if the file cannot be read.
    pub fn history(&self, query: &HistoryQuery) -> Result<Option<HistoryPage>, RunError> {
        let Some(daemon) = self.daemon.upgrade() else { return Ok(None) };
        Ok(Some(daemon.storage.history.page(query)?))
    }

    /// The state now, or that of a moment ago if many ask. `None` after an internal error. Needs the
    /// context of a tokio runtime.
    pub(crate) async fn recent_status(&self) -> Option<Arc<Status>> {
        let handle = self.clone();
        self.recent.recent(move || handle.status()).await
    }

    /// Sends no further file from now on, or sends them again. Files in flight are finished, and
    /// files are received. Returns false once the process has ended.
    pub fn pause(&self, paused: bool) -> bool {
        let Some(daemon) = self.daemon.upgrade() else { return false };
        daemon.peers.values().for_each(|peer| peer.outbox.pause(paused));
        tracing::info!(paused, "the user changed whether files are sent");
        true
    }

    /// Limits sending by this schedule from now on. Returns the limit that is in force, `None` once
    /// the process has ended.
    pub fn limit_rate(&self, schedule: RateSchedule) -> Option<RateInForce> {
        Some(self.daemon.upgrade()?.limit.replace(schedule))
    }

    /// Offers entries again that wait for another attempt, or were refused until they change; with
    /// a name that one and those beneath it only. Returns their number, `None` once the process has
    /// ended.
    pub fn retry(&self, name: Option<&Name>) -> Option<u64> {
        let daemon = self.daemon.upgrade()?;
        Some(daemon.peers.values().map(|peer| peer.outbox.retry(name)).sum())
    }

    /// A command has changed the state: [`Handle::recent_status`] shows it at once.
    pub(crate) async fn changed(&self) {
        self.recent.forget().await;
    }

    /// For a watchdog: completes with true when everything that files depend on has done something
    /// since the call: the task of the sessions, the thread that drives QUIC, the thread that scans
    /// Outgoing, and all locks of a snapshot. It does not complete while one of them is stuck.
    /// Completes with false once the process has ended. Needs the context of a tokio runtime.
    pub async fn moves_on(&self) -> bool {
        let (Some(daemon), Some(pulse)) = (self.daemon.upgrade(), &self.pulse) else {
            return false;
        };
        if !pulse.beat(&daemon).await {
            return false;
        }
        drop(daemon);
        let handle = self.clone();
        tokio::task::spawn_blocking(move || handle.summary()).await.is_ok()
    }

    /// Receives all events from now on.
    pub fn subscribe(&self) -> EventReceiver {
        self.events.subscribe()
    }

    /// Stops the process in order: it tells the peer, and keeps partial files resumable.
    /// [`Handle::wait`] returns when that is done.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end of the process: a call of [`Handle::stop`], the end of a drain, or an
    /// error. Cancel-safe.
    ///
    /// # Errors
    /// [`RunError`], why the process ended.
    pub async fn wait(&self) -> Result<Finished, Arc<RunError>> {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // The task that runs the process is gone without an outcome.
            Ok(None) | Err(_) => Err(Arc::new(RunError::Internal)),
        }
    }
}

#[cfg(test)]
impl Handle {
    /// That of a process that has ended, with this last state.
    pub(crate) fn of_ended(last: Status) -> Self {
        Self {
            daemon: Weak::new(),
            last: Arc::new(Mutex::new(last)),
            recent: Snapshots::default(),
            events: Events::new(|_| {}),
            pulse: None,
            stop: watch::Sender::new(false),
            outcome: watch::Sender::new(None).subscribe(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}
