//! The state that the handle and the two threads of an outbox share.

use super::item::Item;
use super::mailbox::{Mailbox, locked};
use super::queue::table::Table;
use crate::status::Backlog;
use crate::store::UrgentMarks;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// A job for the cleanup thread.
#[derive(Debug)]
pub(crate) enum CleanupJob {
    /// The peer holds this item: remove, archive or mark it.
    CleanUp(Item),
    /// A kept file was touched: compare its content with the delivered one.
    Verify(Item),
    /// End when the jobs before this one are done.
    Stop,
}

/// Two locks: the table's and the mailbox's. No thread holds both.
#[derive(Debug)]
pub(crate) struct OutboxState {
    /// When [`Moment`](super::watch::settle::Moment)s begin, apart from the microseconds until the
    /// threads start.
    pub begun: Instant,
    table: Mutex<Table>,
    /// For the scan thread.
    pub mailbox: Arc<Mailbox>,
    cleanup: Sender<CleanupJob>,
    /// Notified when the queue may have an item.
    pub ready: Notify,
    /// Notified when the table has ids that the peer may forget.
    pub forgotten: Notify,
    pub backlog: watch::Sender<Backlog>,
    /// A delivered entry could not be removed.
    pub removal_failed: AtomicBool,
    /// No item is handed out.
    pub paused: AtomicBool,
    /// Rounds that the scan thread has completed.
    pub scan_rounds: AtomicU64,
    /// Remembers the urgent names.
    pub urgent: Arc<UrgentMarks>,
}

impl OutboxState {
    pub(super) fn new(table: Table, cleanup: Sender<CleanupJob>, urgent: Arc<UrgentMarks>) -> Self {
        Self {
            begun: Instant::now(),
            table: Mutex::new(table),
            mailbox: Arc::default(),
            cleanup,
            ready: Notify::new(),
            forgotten: Notify::new(),
            // The first scan counts as one file until it is complete.
            backlog: watch::Sender::new(Backlog { files: 1, bytes: 0 }),
            removal_failed: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            scan_rounds: AtomicU64::new(0),
            urgent,
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }

    /// Hands a delivered item to the cleanup thread.
    pub(super) fn clean_up(&self, item: Item) {
        // If that thread has ended, the next start finds the item where it is.
        let _ = self.cleanup.send(CleanupJob::CleanUp(item));
    }

    /// Asks the cleanup thread whether a kept file still has the content that the peer holds.
    pub(super) fn verify(&self, item: Item) {
        let _ = self.cleanup.send(CleanupJob::Verify(item));
    }

    /// Makes both threads end soon.
    pub(super) fn stop(&self) {
        self.mailbox.send(|mail| mail.stop = true);
        let _ = self.cleanup.send(CleanupJob::Stop);
    }
}
