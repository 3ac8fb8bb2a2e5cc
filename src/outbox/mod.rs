//! From Outgoing to the peer. The folder is the queue: what stands in Outgoing is to be sent, and
//! nothing else remembers it. A watcher is a hint, a scan is the truth.
//!
//! ```text
//! watch --hints--> reconcile: scan -> settle -> queue ==> next() .. delivered() ==> finish
//!                      ^                                      \.... failed() ........../
//!                      +-------------------------------------------------------------+
//! ```
//!
//! | step | what it does |
//! | --- | --- |
//! | `watch` | turns the system's events into hints |
//! | `scan` | lists folders and looks at entries; skips what is not sent |
//! | `temp_names` | pure: names of unfinished files, which are left alone |
//! | `settle` | pure: when an entry is complete |
//! | `table`, `queue`, `handout` | pure: all entries, the order they go in, what becomes of them |
//! | `folders`, `left_alone` | pure: how long folders stay; unfinished files and the folders that hold them |
//! | `open` | pure: entries that a program has open for writing |
//! | `reconcile` | the thread that feeds the table |
//! | `finish` | the thread that removes, archives or marks what the peer holds |
//! | `identity` | the ids of transfers |
//! | `deliver`, `read`, `compression`, `rate_limit` | one file onto one stream; what is read for it; what is compressed; `--limit-rate` |

mod queue;
mod send;
mod watch;

mod cleanup;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod shared;
#[cfg(test)]
mod tests;

pub use queue::waiting::{Waiting, WaitingList};
pub use send::compress::Compression;
pub use send::deliver::{DeliverError, Delivered, Delivery};
pub use send::rate_limit::RateLimit;

use crate::cause;
use crate::config::{AfterSend, TempNames, Waits};
use crate::event::EventSink;
use crate::proto::message::{EntryKind, MAX_FORGET, TransferId};
use crate::proto::name::Name;
use crate::store::{Folder, Ledger, Meta, Remover};
use cleanup::Finisher;
use shared::{OutboxState, locked};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use watch::reconcile::Reconcile;
use watch::settle::Moment;

/// What an outbox works on.
#[derive(Debug)]
pub struct OutboxConfig {
    /// The folder whose entries are sent.
    pub outgoing: Arc<Folder>,
    /// Takes away what the peer holds; not needed where that is kept.
    pub remover: Option<Remover>,
    /// Gives ids their origin, and remembers what was delivered and kept.
    pub ledger: Arc<Ledger>,
    /// What happens to an entry once the peer holds it.
    pub after_send: AfterSend,
    /// How long entries are left alone.
    pub waits: Waits,
    /// Whether names of unfinished files are.
    pub temp_names: TempNames,
    /// After so much quiet, a snapshot is sent of a file that a program keeps open.
    pub send_open: Option<Duration>,
    /// How long a file is set aside before it is removed, where the system cannot tell whether a
    /// program writes it.
    pub grace: Duration,
    /// Use the system's events. Without them the folder is scanned every second or two.
    pub watch: bool,
    /// Before the backlog is said to be empty, look through the whole folder once more. Costs a
    /// scan each time the last entry is finished: for `--drain`. Folders that stand there at the
    /// start go at once.
    pub confirm: bool,
}

/// Why an outbox cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The system gives no thread.
    #[error("no thread could be started for Outgoing ({}); free memory or raise the limit of processes", cause::of(.0))]
    Thread(#[source] io::Error),
}

/// One entry that is ready to be sent. Whoever takes it gives it back, once, by
/// [`Outbox::delivered`] or [`Outbox::failed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name below Outgoing.
    pub name: Name,
    /// As it was when it was found ready: what is opened must be this.
    pub meta: Meta,
    /// What it is offered as.
    pub kind: EntryKind,
    /// The same until it changes, over restarts too.
    pub id: TransferId,
    /// How often it was handed out before, since it last changed.
    pub attempt: u32,
    /// It came or changed after this process's first look at Outgoing and was never handed out: the
    /// peer can hold none of it. Should that be wrong, what the peer holds is sent once more.
    pub first_offer: bool,
    /// A program has it open for writing, and it is sent all the same (`--send-open`).
    pub snapshot: bool,
    /// Something stood in its place at the peer: its content waits until the peer takes it.
    pub ask_first: bool,
    /// BLAKE3 of a file's content, once the peer holds it; [`Item::meta`] is of the same moment.
    pub content: Option<[u8; 32]>,
}

impl Item {
    /// The bytes of a file, 0 for anything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            EntryKind::Folder | EntryKind::Link { .. } => 0,
        }
    }
}

/// When an item that did not get through is handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once: the session was interrupted, and the file is not to blame.
    Now,
    /// After a while: one second, doubled with each failure up to a minute, but for a few that are
    /// tried every four seconds. When one gets through that failed before, others follow at once.
    After,
    /// As `After`, but nobody waits for it meanwhile: it cannot be read, and that may last.
    WhenReadable,
    /// Every 20 seconds, and nobody waits for it meanwhile: something stands in its place at the
    /// peer.
    WhenFree,
    /// Not before it changes or one of the two programs is started anew: it was refused for good.
    WhenChanged,
    /// When it has settled anew: it changed, or vanished.
    Changed,
    /// When no program has it open for writing any more.
    Open,
    /// As `After`; the peer is told first to forget the id, under which it holds another content.
    Forget,
}

/// What the peer does not hold yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Entries: settling, ready, in flight, waiting to be tried again, or being removed after they
    /// were received. Neither what was refused for good or cannot be read, nor what stays or is
    /// unfinished. Never 0 before the first scan is complete.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Backlog {
    /// Nothing is left to send, and nothing may turn up that is there already.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }
}

/// What was delivered since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Entries, folders and links included.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// The sending side's view of Outgoing. Cheap to clone; its two threads stop, after what they are
/// at, when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<OutboxState>,
    _threads: Arc<Threads>,
}

#[derive(Debug)]
struct Threads {
    shared: Arc<OutboxState>,
    handles: Vec<JoinHandle<()>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop();
        for handle in self.handles.drain(..) {
            // A thread that panicked has told so already.
            let _ = handle.join();
        }
    }
}

impl Outbox {
    /// Clears what a crash left of removals ([`Remover::recover`]), and starts to watch and scan.
    ///
    /// # Errors
    /// [`OutboxError::Thread`].
    pub fn start(config: OutboxConfig, events: EventSink) -> Result<Self, OutboxError> {
        // What a crash left half removed is finished or put back before anything is seen.
        if let Some(Err(error)) = config.remover.as_ref().map(Remover::recover) {
            events.warn(
                None,
                format!("{error}; files that were being removed when rft stopped stay aside"),
            );
        }
        let keep = config.after_send == AfterSend::Keep;
        let (jobs, inbox) = mpsc::channel();
        let shared = Arc::new(OutboxState::new(config.ledger.origin(), config.waits, keep, jobs));
        {
            let mut table = locked(&shared.table);
            (table.send_open, table.drain) = (config.send_open, config.confirm);
        }
        let mut threads = Threads { shared: Arc::clone(&shared), handles: Vec::new() };
        let finisher = Finisher::new(&config, Arc::clone(&shared), events.clone());
        let reconcile = Reconcile::new(&config, Arc::clone(&shared), events);
        let remover = config.remover;
        for (name, work) in [
            (
                "rft-finish",
                Box::new(move || finisher.run(remover.as_ref(), &inbox))
                    as Box<dyn FnOnce() + Send>,
            ),
            ("rft-scan", Box::new(move || reconcile.run())),
        ] {
            let thread = std::thread::Builder::new().name(name.into());
            threads.handles.push(thread.spawn(work).map_err(OutboxError::Thread)?);
        }
        Ok(Self { shared, _threads: Arc::new(threads) })
    }

    /// The next ready item; it is in flight from then on. Small ones and old ones take turns.
    /// Cancel-safe: nothing is lost when this is dropped.
    pub async fn next(&self) -> Item {
        loop {
            let ready = self.shared.ready.notified();
            tokio::pin!(ready);
            ready.as_mut().enable();
            if let Some(item) = self.try_next() {
                return item;
            }
            ready.await;
        }
    }

    /// The next item if one is ready now.
    pub fn try_next(&self) -> Option<Item> {
        locked(&self.shared.table).pop()
    }

    /// The peer holds the item on stable storage: it is removed, archived, or remembered and kept,
    /// in a batch with others. One that a program has open for writing stays until it is closed.
    pub fn delivered(&self, item: Item) {
        {
            let mut sent = locked(&self.shared.sent);
            sent.files += 1;
            sent.bytes += item.size();
        }
        let finish = locked(&self.shared.table).delivered(item);
        match finish {
            Some(item) => self.shared.finish(item),
            None => self.shared.wake(),
        }
    }

    /// The item did not get through. One that is no more there is reported and dropped.
    pub fn failed(&self, item: Item, retry: Retry) {
        self.shared.mail(|mail| mail.failed.push((item, retry)));
    }

    /// The peer's process is another one, perhaps with other limits: what was refused is offered
    /// again.
    pub fn peer_is_new(&self) {
        self.shared.mail(|mail| mail.new_peer = true);
    }

    /// Ids that the peer may forget, because they are never offered again: at least one, at most
    /// [`MAX_FORGET`]. Cancel-safe. With `keep` the ledger durably knows of the delivery before.
    pub async fn forgotten(&self) -> Vec<TransferId> {
        loop {
            let forgot = self.shared.forgot.notified();
            tokio::pin!(forgot);
            forgot.as_mut().enable();
            let ids = self.forgotten_so_far();
            if !ids.is_empty() {
                return ids;
            }
            forgot.await;
        }
    }

    /// As [`Outbox::forgotten`], without waiting: perhaps none.
    pub fn forgotten_so_far(&self) -> Vec<TransferId> {
        let mut ids = locked(&self.shared.forgotten);
        let n = ids.len().min(MAX_FORGET);
        ids.drain(..n).collect()
    }

    /// What the peer does not hold yet, as it changes.
    pub fn backlog(&self) -> Receiver<Backlog> {
        self.shared.backlog.subscribe()
    }

    /// What is not delivered, and why: at most `max` of it by name.
    pub fn waiting(&self, max: usize) -> WaitingList {
        let now = Moment(0).after(self.shared.begun.elapsed());
        locked(&self.shared.table).waiting_list(now, max)
    }

    /// What was delivered since the start.
    pub fn totals(&self) -> Totals {
        *locked(&self.shared.sent)
    }

    /// What is left alone because its name, or what stands beside it, says that it is unfinished.
    pub fn left_alone(&self) -> Vec<Name> {
        locked(&self.shared.table).left.names()
    }

    /// Something that the peer holds could not be removed in three tries (exit code 15).
    pub fn removal_failed(&self) -> bool {
        self.shared.removal_failed.load(Ordering::Relaxed)
    }
}
