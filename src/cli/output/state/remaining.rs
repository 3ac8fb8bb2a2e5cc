//! Why a drain, or one exchange, is not done.

use super::why;
use crate::cli::output::text;
use rft::status::{PeerStatus, Status, Waiting};
use std::fmt::Write as _;

/// Waiting entries that a sentence names.
const MAX_NAMED: usize = 5;

/// The reason why a drain is not done, as one sentence.
pub(crate) fn remaining(status: &Status) -> String {
    let mut parts: Vec<_> = status.peers.iter().map(remaining_of).collect();
    let hooks = status.hooks.map_or(0, |hooks| hooks.running + hooks.waiting);
    if hooks > 0 {
        parts.push(format!("the program of --on-received is to run for {}", text::files(hooks)));
    }
    parts.join("; ")
}

/// The same for one exchange, whose files are in no Outgoing.
pub(crate) fn remaining_of_one(status: &Status) -> String {
    status.peers.iter().map(remaining_in_one).collect::<Vec<_>>().join("; ")
}

/// The reason why one exchange is not done.
pub(crate) fn remaining_in_one(peer: &PeerStatus) -> String {
    sentence(peer, "nothing is left to send", ["is not sent", "are not sent"])
}

/// The reason why a drain with one peer is not done, as one sentence.
pub(crate) fn remaining_of(peer: &PeerStatus) -> String {
    let stay = ["stays in Outgoing", "stay in Outgoing"];
    sentence(peer, "nothing is left in Outgoing", stay)
}

fn sentence(peer: &PeerStatus, nothing: &str, [stays, stay]: [&str; 2]) -> String {
    let connected = peer.session.is_some();
    let (own, theirs) = (peer.send.backlog.unwrap_or_default(), peer.receive.backlog);
    let mut text = match (connected, own.files, theirs.map(|left| left.files)) {
        (false, ..) => "no peer is connected".to_owned(),
        (true, _, None) => "the peer has not said what it has left".to_owned(),
        (true, 0, Some(0)) => "the last files are being received".to_owned(),
        (true, _, Some(0)) => "the peer has nothing left to send".to_owned(),
        (true, _, Some(theirs)) => format!("the peer has {} left to send", text::files(theirs)),
    };
    if peer.waiting.is_empty() {
        return format!("{text}; {nothing}");
    }
    // More than the backlog, which leaves out refused files for example.
    let count = peer.waiting.len() as u64 + peer.more_waiting;
    let stay = if count == 1 { stays } else { stay };
    let named = |waiting: &Waiting| format!("{} ({})", waiting.path, why(waiting));
    let named: Vec<String> = peer.waiting.iter().take(MAX_NAMED).map(named).collect();
    let _ = write!(text, "; {} {stay}: {}", text::files(count), named.join(", "));
    let more = count - named.len() as u64;
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}
