//! `--drain`: when it is done, what it waits for, and what it leaves behind.

use super::{Finished, Left, RunError, Shared};
use crate::event::Event;
use crate::proto::name::Name;
use std::collections::{HashMap, HashSet};
use std::future;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// Names in one message.
const MAX_NAMES_TOLD: usize = 5;
/// A draining peer looks again at least this often.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Entries in whose place something stands at the peer, and what the user was told of each.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<Name, String>);

impl Refusals {
    /// Whether the user has not been told of this.
    pub(super) fn is_news(&mut self, name: &Name, cause: &str) -> bool {
        self.0.insert(name.clone(), cause.to_owned()).is_none_or(|before| before != cause)
    }
}

impl Shared {
    pub(super) fn sent(&self, name: &Name, bytes: u64) {
        self.left().remove(name);
        self.refusals().0.remove(name);
        self.files_sent.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        self.unopened.store(0, Ordering::Relaxed);
    }

    /// A file that is not offered again until it changes, or can be read.
    pub(super) fn left_behind(&self, name: &Name) {
        self.left().insert(name.clone());
    }

    pub(super) fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what `--drain` still waits for.
    fn remind(&self) {
        let text = format!("--drain waits: {}", Left::of(self));
        tracing::info!("{text}");
        self.events.warn(None, text);
    }

    /// Nothing is left for either side.
    fn is_drained(&self) -> bool {
        self.outbox.backlog().borrow().files == 0
            && self.peer_backlog.borrow().is_some_and(|left| left.is_empty())
            && self.inbox.busy() == 0
    }
}

/// Completes when the drain is done, or was not done within `wait`; never without `--drain`.
/// Meanwhile it says every `reminder` what it waits for.
pub(super) async fn ended(
    shared: &Shared,
    wait: Option<Duration>,
    reminder: Duration,
) -> Result<Finished, RunError> {
    if !shared.drain {
        return future::pending().await;
    }
    let out_of_time = async {
        let Some(wait) = wait else { return future::pending().await };
        tokio::time::sleep(wait).await;
        wait
    };
    let remind = async {
        loop {
            tokio::time::sleep(reminder).await;
            shared.remind();
        }
    };
    tokio::select! {
        () = drained(shared) => Ok(Finished::Drained { left_alone: 0 }),
        wait = out_of_time => Err(RunError::OutOfTime { wait, left: Left::of(shared) }),
        never = remind => never,
    }
}

/// Completes when `--drain` is done.
async fn drained(shared: &Shared) {
    let mut own = shared.outbox.backlog();
    let mut peer = shared.peer_backlog.subscribe();
    while !shared.is_drained() {
        tokio::select! {
            _ = own.changed() => {}
            _ = peer.changed() => {}
            () = shared.inbox_changed.notified() => {}
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    }
}

/// Told to stop. A draining peer then has not done what it was started for, unless it just did.
pub(super) fn stopped(shared: &Shared) -> Result<Finished, RunError> {
    match shared.drain {
        true if shared.is_drained() => Ok(Finished::Drained { left_alone: 0 }),
        true => Err(RunError::Interrupted(Left::of(shared))),
        false => Ok(Finished::Stopped),
    }
}

/// How the run ended, once its sessions are over: a drain that leaves files behind did not succeed.
pub(super) fn conclude(
    shared: &Shared,
    result: Result<Finished, RunError>,
) -> Result<Finished, RunError> {
    let finished = result?;
    if let Some(error) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    if finished != Finished::Stopped {
        // Those that somebody took away meanwhile are nobody's worry.
        let gone =
            |name: &Name| shared.delivery.folder().stat(name).is_err_and(|e| e.is_not_found());
        let left = shared.left().iter().filter(|name| !gone(name)).count() as u64;
        if shared.outbox.removal_failed() {
            return Err(RunError::Removal);
        }
        if left > 0 {
            return Err(RunError::LeftBehind(left));
        }
        let unfinished = shared.outbox.left_alone();
        let left_alone = unfinished.len() as u64;
        if let Some(message) = unfinished_stay(&unfinished) {
            shared.events.warn(None, message);
        }
        shared.events.emit(Event::Drained {
            files: shared.files_sent.load(Ordering::Relaxed),
            bytes: shared.bytes_sent.load(Ordering::Relaxed),
            elapsed: shared.begun.elapsed(),
            left_alone,
        });
        return Ok(Finished::Drained { left_alone });
    }
    Ok(finished)
}

/// What a drain leaves in Outgoing because it is unfinished, for people.
fn unfinished_stay(names: &[Name]) -> Option<String> {
    let shown: Vec<_> = names.iter().take(MAX_NAMES_TOLD).map(Name::to_string).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    (!names.is_empty()).then(|| {
        format!(
            "these stay in Outgoing, as their names are those of unfinished files ({} in all): {}{more}; rename \
             them when they are complete, or use --temp-names none",
            names.len(),
            shown.join(", ")
        )
    })
}
