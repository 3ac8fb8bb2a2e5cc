//! From Outgoing to the peer. The folder is the queue: its entries are the only list of files to
//! send.
//!
//! # The way of a file
//!
//! ```text
//! scan thread                          sessions                      cleanup thread
//!
//! events -> hints --+
//!                   +-> table ------>  next()
//! scan -------------+     ^            deliver(): offer, read,
//!                         |            seal, receipt
//!                         |            delivered() -------------->   remove, archive or mark
//!                         |            failed()                          |
//!                         |               |                              |
//!                         +-- mailbox <---+------------------------------+
//! ```
//!
//! 1. A program puts a file into Outgoing. `watch` notices it: the system's events are hints, which
//!    may be late or missing, and a regular scan of the folder finds the rest. The scan thread
//!    (`watch/reconcile.rs`) handles both, and adds the file to the table (`queue/table.rs`).
//! 2. The file settles. `watch/settle.rs` decides when it is complete: at once after a rename into
//!    Outgoing, shortly after its writer closed it, or when it has been unchanged for `--settle`.
//!    Then it is ready, and the queue has it.
//! 3. A session takes the file by [`Outbox::next`], so it is in flight. `send/deliver.rs` offers
//!    it, reads, compresses and seals it, and waits for the receiver's receipt.
//! 4. The session reports the result. After [`Outbox::failed`] the file is queued again by the
//!    rules of [`Retry`]. After [`Outbox::delivered`] the cleanup thread (`cleanup.rs`) gets it,
//!    which removes the file, archives it, or marks it in the ledger.
//! 5. The scan thread drops the entry from the table, and the peer is told to forget the id of the
//!    transfer ([`Outbox::forgotten`]).
//!
//! A file that changes on its way starts again at step 2, with a new id. A folder takes the same
//! way after its contents. `queue/lifecycle.rs` has all states of an entry, and the complete table
//! of the transitions between them.
//!
//! # Files
//!
//! | file | content |
//! | --- | --- |
//! | `item`, `config` | plain values: [`Item`], [`Retry`], [`Backlog`], [`OutboxConfig`] |
//! | `state` | the state that the handle and the threads share |
//! | `mailbox` | messages to the scan thread |
//! | `watch/events`, `watch/hints` | the system's events; hints by path |
//! | `watch/scan` | listing folders, examining entries |
//! | `watch/ignored`, `watch/temp_names` | `.rftignore`; names of unfinished files |
//! | `watch/settle` | pure: when an entry is complete |
//! | `watch/reconcile` | the scan thread |
//! | `queue` | pure: the table of all entries, their life cycle, the order of sending |
//! | `send` | one entry over one stream |
//! | `cleanup` | the cleanup thread |
//! | `cancel` | the user cancels entries |

mod cancel;
mod cleanup;
mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod item;
mod mailbox;
mod queue;
mod send;
mod state;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use cancel::{Cancelled, NotCancelled, STOP_TIMEOUT};
pub(crate) use config::{OutboxConfig, OutboxError};
pub(crate) use item::{Item, Retry};
pub(crate) use queue::steering::NotPending;
pub(crate) use queue::waiting::{WaitingEntry, WaitingList};
pub(crate) use send::answer::Receipt;
pub(crate) use send::compress::Compression;
pub(crate) use send::deliver::Delivery;
pub(crate) use send::error::DeliverError;

use crate::config::AfterSend;
use crate::event::EventSink;
use crate::proto::message::{InstallationId, MAX_FORGET, TransferId};
use crate::proto::name::Name;
use crate::status::Backlog;
use crate::store::{Ledger, Remover, StoreError};
use cancel::Canceller;
use cleanup::Cleanup;
use queue::one_exchange::OneExchange;
use queue::table::Table;
use state::OutboxState;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use watch::reconcile::Reconcile;
use watch::settle::Moment;

/// The interval at which [`Outbox::scan_round`] looks whether the round has ended.
const SCAN_ROUND_CHECK: Duration = Duration::from_millis(20);

/// The sending side's handle of Outgoing. Cheap to clone. When the last clone is dropped, its two
/// threads end after their current work.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    state: Arc<OutboxState>,
    canceller: Arc<Canceller>,
    ledger: Arc<Ledger>,
    _threads: Arc<Threads>,
}

#[derive(Debug)]
struct Threads {
    state: Arc<OutboxState>,
    handles: Vec<JoinHandle<()>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.state.stop();
        for handle in self.handles.drain(..) {
            // A thread that panicked has printed its message already.
            let _ = handle.join();
        }
    }
}

impl Outbox {
    /// Finishes the removals that a crash interrupted ([`Remover::recover`]), and starts to watch
    /// and scan.
    ///
    /// # Errors
    /// [`OutboxError::Thread`].
    pub(crate) fn start(mut config: OutboxConfig, events: EventSink) -> Result<Self, OutboxError> {
        // Before the first scan, so that no entry is seen half removed.
        if let Some(Err(error)) = config.remover.as_ref().map(Remover::recover) {
            events.warn(
                None,
                format!("{error}; files that were being removed when rft stopped stay aside"),
            );
        }
        let keep = config.after_send == AfterSend::Keep;
        let canceller = Canceller {
            files: config.cancelled.take().filter(|_| !keep),
            ledger: Arc::clone(&config.ledger),
            in_flight: Arc::default(),
            turn: Mutex::default(),
        };
        let mut table = Table::new(config.ledger.origin(), config.waits, keep);
        (table.send_open, table.drain) = (config.send_open, config.drain);
        if config.once {
            table.exchange = OneExchange::of(config.only.as_deref().unwrap_or_default());
        }
        let (jobs, inbox) = mpsc::channel();
        let urgent = Arc::clone(&config.urgent);
        table.recall_urgent(urgent.list());
        let state = Arc::new(OutboxState::new(table, jobs, urgent));
        let mut threads = Threads { state: Arc::clone(&state), handles: Vec::new() };
        let cleanup = Cleanup::new(&config, Arc::clone(&state), events.clone());
        let reconcile = Reconcile::new(&config, Arc::clone(&state), events);
        let (remover, ledger) = (config.remover, config.ledger);
        threads.spawn("rft-cleanup", move || cleanup.run(remover.as_ref(), &inbox))?;
        threads.spawn("rft-scan", move || reconcile.run())?;
        Ok(Self { state, ledger, canceller: Arc::new(canceller), _threads: Arc::new(threads) })
    }

    /// Waits for the next ready item, which is in flight from then on. Urgent items come first;
    /// then small items and old items take turns. Cancel-safe: no item is lost when this is dropped.
    pub(crate) async fn next(&self) -> Item {
        self.next_by(Table::pop).await
    }

    /// As [`Outbox::next`], for urgent items only.
    pub(crate) async fn next_urgent(&self) -> Item {
        self.next_by(Table::pop_urgent).await
    }

    async fn next_by(&self, pop: fn(&mut Table) -> Option<Item>) -> Item {
        loop {
            let ready = self.state.ready.notified();
            tokio::pin!(ready);
            ready.as_mut().enable();
            if let Some(item) = self.take_by(pop) {
                return item;
            }
            ready.await;
        }
    }

    /// The next item if one is ready now, and the outbox is not paused.
    fn take_by(&self, pop: fn(&mut Table) -> Option<Item>) -> Option<Item> {
        if self.is_paused() {
            return None;
        }
        pop(&mut self.state.table())
    }

    #[cfg(test)]
    fn try_next(&self) -> Option<Item> {
        self.take_by(Table::pop)
    }

    /// From now on the name and everything beneath it is sent before all that is not urgent, or is
    /// so no more; an entry of the name need not exist yet. The next process remembers it. Returns
    /// how many entries it changes.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written down: nothing is changed.
    pub(crate) fn set_urgent(&self, name: &Name, urgent: bool) -> Result<u64, StoreError> {
        if urgent {
            self.state.urgent.add(name)?;
        } else {
            self.state.urgent.remove(name)?;
        }
        let entries = self.state.table().set_urgent(name, urgent);
        self.state.mailbox.send(|mail| mail.woken = true);
        Ok(entries)
    }

    /// Hands out no item from now on, or hands them out again.
    pub(crate) fn pause(&self, paused: bool) {
        self.state.paused.store(paused, Ordering::Relaxed);
        if !paused {
            self.state.ready.notify_waiters();
        }
    }

    /// Whether no item is handed out.
    pub(crate) fn is_paused(&self) -> bool {
        self.state.paused.load(Ordering::Relaxed)
    }

    /// Ends the waits for another attempt; with `within` those of this name and beneath it only.
    /// Returns how many entries are offered again.
    pub(crate) fn retry(&self, within: Option<&Name>) -> u64 {
        let entries = self.state.table().retry(within);
        // The scan thread publishes what changed.
        self.state.mailbox.send(|mail| mail.woken = true);
        entries
    }

    /// The peer holds the item on stable storage. It is removed, archived or marked, in a batch
    /// with others. If a program has it open for writing, it stays until it is closed.
    pub(crate) fn delivered(&self, item: Item) {
        let clean_up = self.state.table().delivered(item);
        match clean_up {
            Some(item) => self.state.clean_up(item),
            None => self.state.mailbox.send(|mail| mail.woken = true),
        }
    }

    /// The item was not delivered. If nothing has its name any more, it is dropped.
    pub(crate) fn failed(&self, item: Item, retry: Retry) {
        self.state.mailbox.send(|mail| mail.failed.push((item, retry)));
    }

    /// The peer's process is another one, perhaps with other limits: refused entries are offered
    /// again.
    pub(crate) fn peer_is_new(&self) {
        self.state.mailbox.send(|mail| mail.new_peer = true);
    }

    /// With [`OutboxConfig::once`]: a session with this receiver begins. If it is another one than
    /// before, in an earlier process too, everything is sent again.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be used.
    pub(crate) fn receiver_is(&self, receiver: InstallationId) -> Result<(), StoreError> {
        {
            // The cleanup thread writes its marks under the same lock.
            let mut table = self.state.table();
            if !table.exchange.is_one || !table.receiver_is(receiver) {
                return Ok(());
            }
            if self.ledger.delivers_to(receiver)? {
                let now = Moment::default().after(self.state.begun.elapsed());
                table.deliver_again(now);
            }
        }
        // The scan thread publishes the new backlog.
        self.state.mailbox.send(|mail| mail.woken = true);
        Ok(())
    }

    /// With [`OutboxConfig::once`]: whether the receiver holds every known entry that can be sent.
    /// Unlike the backlog that [`Outbox::backlog`] reports, this is never old.
    pub(crate) fn all_sent(&self) -> bool {
        self.state.table().backlog().is_empty()
    }

    /// With [`OutboxConfig::once`]: the entries that are not sent because of what they are, or
    /// because they are gone (without a reason).
    pub(crate) fn not_sent(&self) -> Vec<(Option<Name>, Option<String>)> {
        self.state.table().not_sent()
    }

    /// Waits for ids that the peer may forget, because they are never offered again: at least one,
    /// at most [`MAX_FORGET`]. Cancel-safe. With `keep` the ledger has recorded the delivery
    /// durably before.
    pub(crate) async fn forgotten(&self) -> Vec<TransferId> {
        loop {
            let forgotten = self.state.forgotten.notified();
            tokio::pin!(forgotten);
            forgotten.as_mut().enable();
            let ids = self.forgotten_so_far();
            if !ids.is_empty() {
                return ids;
            }
            forgotten.await;
        }
    }

    /// As [`Outbox::forgotten`], without waiting: may be empty.
    pub(crate) fn forgotten_so_far(&self) -> Vec<TransferId> {
        let mut table = self.state.table();
        let n = table.forgotten.len().min(MAX_FORGET);
        table.forgotten.drain(..n).collect()
    }

    /// Wakes the scan thread, and completes when it has ended a round.
    pub(crate) async fn scan_round(&self) {
        let before = self.state.scan_rounds.load(Ordering::Relaxed);
        self.state.mailbox.send(|mail| mail.woken = true);
        while self.state.scan_rounds.load(Ordering::Relaxed) == before {
            tokio::time::sleep(SCAN_ROUND_CHECK).await;
        }
    }

    /// The backlog, as it changes.
    pub(crate) fn backlog(&self) -> Receiver<Backlog> {
        self.state.backlog.subscribe()
    }

    /// The entries that are not delivered, and why: at most `max` of them by name. With `within`
    /// those of this name and beneath it only.
    pub(crate) fn waiting(&self, max: usize, within: Option<&Name>) -> WaitingList {
        let now = Moment::default().after(self.state.begun.elapsed());
        self.state.table().waiting_list(now, max, within)
    }

    /// The entries that are left alone because their names or neighbours say that they are
    /// unfinished.
    pub(crate) fn left_alone(&self) -> Vec<Name> {
        self.state.table().unfinished.names()
    }

    /// Whether a delivered entry could not be removed in three attempts (exit code 15).
    pub(crate) fn removal_failed(&self) -> bool {
        self.state.removal_failed.load(Ordering::Relaxed)
    }
}

impl Threads {
    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), OutboxError> {
        let thread = std::thread::Builder::new().name(name.into());
        self.handles.push(thread.spawn(work).map_err(OutboxError::Thread)?);
        Ok(())
    }
}
