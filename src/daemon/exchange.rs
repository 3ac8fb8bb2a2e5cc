//! The result of one exchange (`rft send`, `rft receive`): complete, or what did not cross, and why.

use super::peer::Peer;
use crate::config::Exchange;
use crate::error::{NotCrossed, RunError};
use crate::status::{WaitReason, Waiting};

/// Names in the error.
const MAX_NAMED: usize = 5;
/// Entries that are counted.
const MAX_LISTED: usize = 1000;

/// Checks a drained exchange.
///
/// # Errors
/// [`RunError::NotSent`], [`RunError::NotReceived`], [`RunError::NothingSent`].
pub(super) fn check(peer: &Peer) -> Result<(), RunError> {
    match &peer.exchange {
        Exchange::Lasting => Ok(()),
        Exchange::Send { .. } => none_of(unsent(peer)).map_err(RunError::NotSent),
        Exchange::Receive if peer.incomplete.offered_nothing() => Err(RunError::NothingSent),
        Exchange::Receive => none_of(peer.incomplete.failed()).map_err(RunError::NotReceived),
    }
}

fn none_of(failed: Vec<(String, String)>) -> Result<(), NotCrossed> {
    let more = failed.len().saturating_sub(MAX_NAMED) as u64;
    let some: Vec<_> = failed.into_iter().take(MAX_NAMED).collect();
    if some.is_empty() { Ok(()) } else { Err(NotCrossed { some, more }) }
}

/// The entries that were not sent.
fn unsent(peer: &Peer) -> Vec<(String, String)> {
    let told = peer.outbox.not_sent().into_iter().map(|(name, reason)| {
        let reason = reason.unwrap_or_else(|| "it was deleted or renamed".to_owned());
        match name {
            Some(name) => (name.to_string(), reason),
            // The reason has the name.
            None => (String::new(), reason),
        }
    });
    let told: Vec<_> = told.collect();
    let waiting = peer.waiting(MAX_LISTED, None).entries;
    let waiting = waiting.into_iter().map(|waiting| (waiting.path.to_string(), why(waiting)));
    let is_new = |(name, _): &(String, String)| told.iter().all(|(other, _)| other != name);
    let waiting: Vec<_> = waiting.filter(is_new).collect();
    told.into_iter().chain(waiting).collect()
}

fn why(waiting: Waiting) -> String {
    let usual = match waiting.reason {
        WaitReason::Unreadable(_) => "it cannot be read",
        WaitReason::Occupied(_) => "something else has its name at the peer",
        _ => "the peer refused it, or it cannot be read",
    };
    waiting.setback.map_or_else(|| usual.to_owned(), |setback| setback.text)
}
