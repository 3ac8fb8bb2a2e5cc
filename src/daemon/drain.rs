//! `--drain`: its end, its reminders, and the result of the run.

use super::peer::Peer;
use super::{Daemon, exchange};
use crate::error::{Finished, RunError};
use crate::event::Event;
use crate::proto::name::Name;
use std::future;
use std::sync::Arc;
use std::time::Duration;

/// Names in one message.
const MAX_NAMED: usize = 5;
/// Maximum time between two checks whether a peer is drained.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Completes when all draining peers are drained, or `wait` is over; never without `--drain`.
/// Meanwhile it emits [`Event::DrainWaiting`] every `reminder`.
pub(super) async fn ended(
    daemon: &Daemon,
    wait: Option<Duration>,
    reminder: Duration,
) -> Result<Finished, RunError> {
    if draining(daemon).next().is_none() {
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
            for peer in draining(daemon).filter(|peer| !peer.is_drained()) {
                let status = Box::new(peer.status(MAX_NAMED));
                peer.events.emit(Event::DrainWaiting { status });
            }
        }
    };
    tokio::select! {
        () = all_drained(daemon) => Ok(Finished::Drained { left_alone: 0 }),
        wait = out_of_time => {
            Err(RunError::OutOfTime { wait, status: Box::new(daemon.status(MAX_NAMED)) })
        }
        never = remind => never,
    }
}

fn draining(daemon: &Daemon) -> impl Iterator<Item = &Arc<Peer>> {
    daemon.peers.values().filter(|peer| peer.drain)
}

fn is_drained(daemon: &Daemon) -> bool {
    draining(daemon).all(|peer| peer.is_drained())
        && daemon.storage.hooks.as_ref().is_none_or(|hooks| hooks.is_idle())
}

/// Completes when all draining peers are drained at the same time, and no program of
/// `--on-received` is due.
async fn all_drained(daemon: &Daemon) {
    while !is_drained(daemon) {
        for peer in draining(daemon) {
            drained(peer).await;
        }
        if let Some(hooks) = &daemon.storage.hooks {
            hooks.idle().await;
        }
    }
}

/// Completes when nothing is left between this side and one peer.
async fn drained(peer: &Peer) {
    let (mut own, mut theirs) = (peer.outbox.backlog(), peer.peer_backlog.subscribe());
    while !peer.is_drained() {
        tokio::select! {
            _ = own.changed() => {}
            _ = theirs.changed() => {}
            () = peer.inbox_changed.notified() => {}
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    }
}

/// The result of a run that was told to stop. A drain that is not done then is an error.
pub(super) fn stopped(daemon: &Daemon) -> Result<Finished, RunError> {
    match draining(daemon).next().is_some() {
        true if is_drained(daemon) => Ok(Finished::Drained { left_alone: 0 }),
        true => Err(RunError::Interrupted(Box::new(daemon.status(MAX_NAMED)))),
        false => Ok(Finished::Stopped),
    }
}

/// The result of a run whose sessions are over. A drain that leaves files behind is an error.
pub(super) fn conclude(
    daemon: &Daemon,
    result: Result<Finished, RunError>,
) -> Result<Finished, RunError> {
    if result? == Finished::Stopped {
        return Ok(Finished::Stopped);
    }
    draining(daemon).try_for_each(|peer| exchange::check(peer))?;
    if draining(daemon).any(|peer| peer.outbox.removal_failed()) {
        return Err(RunError::Removal);
    }
    let left: u64 = draining(daemon).map(|peer| peer.undelivered()).sum();
    if left > 0 {
        return Err(RunError::Undelivered(left));
    }
    let mut left_alone = 0;
    for peer in draining(daemon) {
        let unfinished = peer.outbox.left_alone();
        if let Some(message) = unfinished_stay(&unfinished) {
            peer.events.warn(None, message);
        }
        peer.emit_drained(daemon.begun.elapsed(), unfinished.len() as u64);
        left_alone += unfinished.len() as u64;
    }
    Ok(Finished::Drained { left_alone })
}

/// A warning about the unfinished files that a drain leaves in Outgoing.
fn unfinished_stay(names: &[Name]) -> Option<String> {
    let shown: Vec<_> = names.iter().take(MAX_NAMED).map(Name::to_string).collect();
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
