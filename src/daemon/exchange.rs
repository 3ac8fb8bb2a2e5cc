//! The result of one exchange (`rft send`, `rft receive`): complete, or what did not cross, and why.

use super::peer::Peer;
use crate::config::Exchange;
use crate::error::RunError;
use crate::event::Direction;
use crate::status::{WaitReason, Waiting};

/// Names in the error.
const MAX_NAMED: usize = 5;
/// Entries that are counted.
const MAX_LISTED: usize = 1000;

/// Checks a drained exchange.
///
/// # Errors
/// [`RunError::Incomplete`], [`RunError::NothingSent`].
pub(super) fn check(peer: &Peer) -> Result<(), RunError> {
    let (direction, failed) = match &peer.exchange {
        Exchange::Lasting => return Ok(()),
        Exchange::Send { .. } => (Direction::Send, unsent(peer)),
        Exchange::Receive => {
            if peer.incomplete.offered_nothing() {
                return Err(RunError::NothingSent);
            }
            (Direction::Receive, peer.incomplete.failed())
        }
    };
    let more = failed.len().saturating_sub(MAX_NAMED) as u64;
    let some: Vec<_> = failed.into_iter().take(MAX_NAMED).collect();
    if some.is_empty() { Ok(()) } else { Err(RunError::Incomplete { direction, some, more }) }
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
