//! Cancels entries of Outgoing: their deliveries stop, and they leave the queue, at once or not at
//! all.

use super::Outbox;
use super::queue::steering::{NotPending, Pending};
use super::send::in_flight::InFlight;
use super::state::OutboxState;
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::{CancelledFiles, Delivered, Ledger, StoreError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Maximum time for the deliveries of a name to stop.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks whether the deliveries have stopped.
const STOP_INTERVAL: Duration = Duration::from_millis(5);

/// What was cancelled.
#[derive(Debug)]
pub(crate) struct Cancelled {
    /// Entries that the peer does not hold.
    pub entries: u64,
    /// Bytes of the files among them.
    pub bytes: u64,
    /// The transfer of the name's own entry.
    pub id: TransferId,
    /// Its new path; `None` if it stays in Outgoing.
    pub moved_to: Option<PathBuf>,
}

/// Why nothing was cancelled.
#[derive(Debug)]
pub(crate) enum NotCancelled {
    /// There is nothing of the name that the peer does not hold.
    NotPending(NotPending),
    /// Its deliveries have not stopped in time.
    Busy,
    /// It cannot be moved or marked.
    Store(StoreError),
}

impl From<NotPending> for NotCancelled {
    fn from(why: NotPending) -> Self {
        Self::NotPending(why)
    }
}

/// What an outbox needs to cancel entries.
#[derive(Debug)]
pub(crate) struct Canceller {
    /// `None` if entries stay in Outgoing (`--after-send keep`).
    pub(super) files: Option<CancelledFiles>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) in_flight: Arc<InFlight>,
    /// Held while a name is cancelled: one at a time.
    pub(super) turn: Mutex<()>,
}

impl Outbox {
    /// Cancels an entry and everything beneath it. It is moved out of Outgoing; with
    /// `--after-send keep` it stays, and is not sent until it changes. Blocks for some seconds at
    /// most.
    ///
    /// # Errors
    /// [`NotCancelled`]: all goes on as before.
    pub(crate) fn cancel(&self, name: &Name) -> Result<Cancelled, NotCancelled> {
        let canceller = &self.canceller;
        let deadline = Instant::now() + STOP_TIMEOUT;
        let _turn = canceller.turn(deadline)?;
        self.state.table().pending(name)?;
        self.state.table().hold_back(name);
        canceller.in_flight.cancel(Some(name.clone()));
        let cancelled = canceller.stop(&self.state, name, deadline).and_then(|pending| {
            let moved_to = canceller.take(&self.state, name)?;
            let Pending { entries, bytes, id, .. } = pending;
            Ok(Cancelled { entries, bytes, id, moved_to })
        });
        canceller.in_flight.cancel(None);
        self.state.table().release_held();
        // The scan thread publishes what changed.
        self.state.mailbox.send(|mail| mail.woken = true);
        cancelled
    }

    /// The deliveries of this outbox, which it can stop.
    pub(crate) fn in_flight(&self) -> Arc<InFlight> {
        Arc::clone(&self.canceller.in_flight)
    }
}

impl Canceller {
    /// Waits until no other name is being cancelled.
    fn turn(&self, deadline: Instant) -> Result<MutexGuard<'_, ()>, NotCancelled> {
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(STOP_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => return Err(NotCancelled::Busy),
            }
        }
    }

    /// Waits until no session has an entry of the name. Returns what the peer does not hold then.
    fn stop(
        &self,
        state: &OutboxState,
        name: &Name,
        deadline: Instant,
    ) -> Result<Pending, NotCancelled> {
        loop {
            let pending = state.table().pending(name)?;
            if pending.in_flight == 0 {
                return Ok(pending);
            }
            if Instant::now() >= deadline {
                return Err(NotCancelled::Busy);
            }
            std::thread::sleep(STOP_INTERVAL);
        }
    }

    fn take(&self, state: &OutboxState, name: &Name) -> Result<Option<PathBuf>, NotCancelled> {
        let Some(files) = &self.files else {
            let marks = state.table().pending_marks(name);
            let delivered: Vec<_> = marks
                .iter()
                .map(|(_, mark, changed)| (*mark, Delivered { changed: *changed, hash: None }))
                .collect();
            self.ledger.mark_delivered(&delivered).map_err(NotCancelled::Store)?;
            state.table().set_aside(&marks);
            return Ok(None);
        };
        let path = files.take(name).map_err(NotCancelled::Store)?;
        // The events of the system say the same, later.
        state.table().gone(name);
        Ok(Some(path))
    }
}
