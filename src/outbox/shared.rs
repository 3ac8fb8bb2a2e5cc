//! What the handle, the two threads and the watcher share.

use super::queue::handout::Finish;
use super::queue::table::Table;
use super::watch::hints::Hints;
use super::{Backlog, Item, Retry, Totals};
use crate::config::Waits;
use crate::proto::message::TransferId;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::watch;

/// A job for the thread that finishes.
#[derive(Debug)]
pub(super) enum Job {
    /// The peer holds this.
    Finish(Item),
    /// A kept file was touched: does it still have this content?
    Verify(Item),
    /// Leave when what came before is done.
    Stop,
}

/// All that waits for the thread that reconciles.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub hints: Hints,
    pub failed: Vec<(Item, Retry)>,
    pub finished: Vec<(Item, Finish)>,
    pub new_peer: bool,
    pub woken: bool,
    pub stop: bool,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.hints.is_empty()
            && self.failed.is_empty()
            && self.finished.is_empty()
            && !self.new_peer
            && !self.woken
            && !self.stop
    }
}

#[derive(Debug)]
pub(super) struct OutboxState {
    /// Where its moments are counted from, but for the microseconds until its threads start.
    pub begun: Instant,
    pub table: Mutex<Table>,
    /// Something was put into the queue.
    pub ready: Notify,
    mailbox: Mutex<Mail>,
    mailed: Condvar,
    jobs: Sender<Job>,
    pub backlog: watch::Sender<Backlog>,
    pub forgotten: Mutex<VecDeque<TransferId>>,
    pub forgot: Notify,
    pub removal_failed: AtomicBool,
    pub sent: Mutex<Totals>,
}

impl OutboxState {
    pub fn new(origin: [u8; 16], waits: Waits, keep: bool, jobs: Sender<Job>) -> Self {
        Self {
            begun: Instant::now(),
            table: Mutex::new(Table::new(origin, waits, keep)),
            ready: Notify::new(),
            mailbox: Mutex::default(),
            mailed: Condvar::new(),
            jobs,
            // The first scan itself, until it is complete.
            backlog: watch::Sender::new(Backlog { files: 1, bytes: 0 }),
            forgotten: Mutex::default(),
            forgot: Notify::new(),
            removal_failed: AtomicBool::new(false),
            sent: Mutex::default(),
        }
    }

    /// Leaves something for the thread that reconciles, and wakes it.
    pub fn mail(&self, leave: impl FnOnce(&mut Mail)) {
        let empty = {
            let mut mail = locked(&self.mailbox);
            leave(&mut mail);
            mail.is_empty()
        };
        if !empty {
            self.mailed.notify_one();
        }
    }

    /// Makes the thread that reconciles look at the table.
    pub fn wake(&self) {
        self.mail(|mail| mail.woken = true);
    }

    /// Takes all mail, after waiting for some for at most this long.
    pub fn take_mail(&self, wait: Duration) -> Mail {
        let mail = locked(&self.mailbox);
        let (mut mail, _) = self
            .mailed
            .wait_timeout_while(mail, wait, |mail| mail.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let stop = mail.stop;
        let taken = std::mem::take(&mut *mail);
        mail.stop = stop;
        taken
    }

    /// Hands an item to the thread that finishes.
    pub fn finish(&self, item: Item) {
        // After the end of that thread nobody cares: a restart finds the item where it is.
        let _ = self.jobs.send(Job::Finish(item));
    }

    /// Has the thread that finishes look whether a kept file still has the content that the peer
    /// holds.
    pub fn verify(&self, item: Item) {
        let _ = self.jobs.send(Job::Verify(item));
    }

    /// Both threads leave soon.
    pub fn stop(&self) {
        self.mail(|mail| mail.stop = true);
        let _ = self.jobs.send(Job::Stop);
    }
}

/// Locks, whatever happened to the thread that had the lock before: everything behind these locks
/// is whole between any two statements that could panic.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
