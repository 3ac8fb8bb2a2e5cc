//! Messages for the scan thread, and its way to wait for them.

use super::item::{CleanupOutcome, Item, Retry};
use super::watch::hints::Hints;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Everything that waits for the scan thread.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// The watcher's file events.
    pub hints: Hints,
    /// Items that sessions gave back undelivered.
    pub failed: Vec<(Item, Retry)>,
    /// Items whose cleanup has ended.
    pub cleaned_up: Vec<(Item, CleanupOutcome)>,
    /// The peer's process is another one.
    pub new_peer: bool,
    /// The table changed in another way.
    pub woken: bool,
    /// The thread is to end.
    pub stop: bool,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.hints.is_empty()
            && self.failed.is_empty()
            && self.cleaned_up.is_empty()
            && !self.new_peer
            && !self.woken
            && !self.stop
    }
}

/// Collects messages until the scan thread takes all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Condvar,
}

impl Mailbox {
    /// Adds something, and wakes the scan thread.
    pub(super) fn send(&self, add: impl FnOnce(&mut Mail)) {
        let empty = {
            let mut mail = locked(&self.mail);
            add(&mut mail);
            mail.is_empty()
        };
        if !empty {
            self.arrived.notify_one();
        }
    }

    /// Takes everything, after waiting at most `wait` for the first message.
    pub(super) fn take(&self, wait: Duration) -> Mail {
        let mail = locked(&self.mail);
        let (mut mail, _) = self
            .arrived
            .wait_timeout_while(mail, wait, |mail| mail.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let stop = mail.stop;
        let taken = std::mem::take(&mut *mail);
        mail.stop = stop;
        taken
    }
}

/// Locks even if a thread panicked while it held the lock: the values behind the outbox's locks are
/// consistent between any two statements that could panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
