//! Commands of the user about entries of Outgoing.

use super::Handle;
use super::peer::Peer;
use crate::event::{Direction, Event};
use crate::history::{HistoryKind, HistoryQuery};
use crate::outbox::{Cancelled, NotCancelled, NotPending, STOP_TIMEOUT};
use crate::proto::name::Name;
use crate::store::StoreError;
use std::path::PathBuf;

/// What [`Handle::cancel`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CancelledEntries {
    /// Entries that are not sent, folders and links included.
    pub entries: u64,
    /// Bytes of the files among them.
    pub bytes: u64,
    /// Where they are now; `None` if they stay in Outgoing (`--after-send keep`).
    pub moved_to: Option<PathBuf>,
}

/// Why a command about an entry was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SteerError {
    /// Outgoing has no such entry.
    #[error("Outgoing has no {0}")]
    Missing(Name),
    /// It is not in Outgoing any more, because the peer holds it.
    #[error("{0} was sent: the peer has it")]
    Sent(Name),
    /// It is in Outgoing, and not in the queue.
    #[error("{0} is in Outgoing, but it is not to be sent: it is left alone, or ignored")]
    NotQueued(Name),
    /// The peer holds it, and it is being removed.
    #[error("the peer has {0} already, and it is being removed from Outgoing")]
    BeingRemoved(Name),
    /// The peer holds it, and it stays.
    #[error("the peer has {0} already; it stays in Outgoing")]
    Delivered(Name),
    /// It is still being sent.
    #[error("{0} could not be stopped within {time} s; try again", time = STOP_TIMEOUT.as_secs())]
    Busy(Name),
    /// It cannot be moved away, or its mark cannot be written.
    #[error("{0} stays as it is: {1}")]
    Store(Name, StoreError),
}

impl Handle {
    /// Takes an entry of Outgoing and everything beneath it out of the queue: what is in flight is
    /// stopped, and the peer drops its part. The entry is moved to `.rft/cancelled`; with
    /// `--after-send keep` it stays, and is not sent until it changes. Blocks for some seconds at
    /// most. `None` once the process has ended.
    pub fn cancel(&self, name: &Name) -> Option<Result<CancelledEntries, SteerError>> {
        let daemon = self.daemon.upgrade()?;
        let mut result = Err(SteerError::Missing(name.clone()));
        for peer in daemon.peers.values() {
            result = peer.cancel(name);
            if result.is_ok() {
                break;
            }
        }
        if matches!(result, Err(SteerError::Missing(_))) && self.has_sent(name) {
            result = Err(SteerError::Sent(name.clone()));
        }
        Some(result)
    }

    /// From now on the name and everything beneath it is sent before all that is not urgent, or is
    /// so no more. An entry of the name need not exist yet. The next process of the folder
    /// remembers it, until the peer has the entry. Returns how many entries it changes; `None` once
    /// the process has ended.
    pub fn set_urgent(&self, name: &Name, urgent: bool) -> Option<Result<u64, SteerError>> {
        let daemon = self.daemon.upgrade()?;
        let set = |peer: &std::sync::Arc<Peer>| peer.outbox.set_urgent(name, urgent);
        let entries: Result<u64, StoreError> = daemon.peers.values().map(set).sum();
        Some(entries.map_err(|error| SteerError::Store(name.clone(), error)))
    }

    /// Whether the last that happened to the name is that the peer holds it.
    fn has_sent(&self, name: &Name) -> bool {
        let query = HistoryQuery {
            name: Some(name.clone()),
            newest_first: true,
            ..HistoryQuery::default()
        };
        let Ok(Some(page)) = self.history(&query) else { return false };
        let mut sent = page.entries.iter().filter(|entry| entry.direction == Direction::Send);
        sent.next().is_some_and(|entry| {
            matches!(entry.kind, HistoryKind::Sent | HistoryKind::Removed | HistoryKind::Archived)
        })
    }
}

impl Peer {
    fn cancel(&self, name: &Name) -> Result<CancelledEntries, SteerError> {
        let cancelled = self.outbox.cancel(name).map_err(|why| self.why_not(name, why))?;
        let Cancelled { entries, bytes, id, moved_to } = cancelled;
        tracing::info!(%name, entries, bytes, ?moved_to, "the user cancelled it");
        self.setbacks.delivered(name);
        self.events.emit(Event::FileCancelled {
            path: name.clone(),
            size: bytes,
            entries,
            transfer: id,
            moved_to: moved_to.as_ref().map(|path| path.display().to_string()),
        });
        Ok(CancelledEntries { entries, bytes, moved_to })
    }

    fn why_not(&self, name: &Name, why: NotCancelled) -> SteerError {
        let name = name.clone();
        match why {
            NotCancelled::NotPending(NotPending::Unknown) => {
                match self.delivery.folder().stat(&name) {
                    Ok(_) => SteerError::NotQueued(name),
                    Err(_) => SteerError::Missing(name),
                }
            }
            NotCancelled::NotPending(NotPending::BeingRemoved) => SteerError::BeingRemoved(name),
            NotCancelled::NotPending(NotPending::Delivered) => SteerError::Delivered(name),
            NotCancelled::Busy => SteerError::Busy(name),
            NotCancelled::Store(error) => SteerError::Store(name, error),
        }
    }
}
