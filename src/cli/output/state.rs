//! The state of a running peer as text (SIGUSR1).

use super::text;
use rft::daemon::State;
use std::fmt::Write as _;

/// Several lines; the last has no newline. `state` is `None` before the folders are open.
pub(crate) fn text(state: Option<&State>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Some(state) = state else { return format!("state of rft {version}: starting or ending") };
    let mut text = format!("state of rft {version}, running for {}", text::span(state.uptime));
    let _ = match (&state.connected, &state.lost) {
        (Some(now), _) => write!(
            text,
            "\n  peer: connected to {} for {} ({}, session {})",
            now.peer,
            text::span(now.since.elapsed()),
            text::role_name(now.role),
            text::printable(&now.session)
        ),
        (None, Some((ago, reason))) => write!(
            text,
            "\n  peer: none; the last session ended {} ago: {}",
            text::span(*ago),
            text::printable(reason)
        ),
        (None, None) => write!(text, "\n  peer: none yet"),
    };
    let amount = |files: u64, bytes: u64| format!("{}, {}", text::files(files), text::bytes(bytes));
    let (to_send, sent) = (&state.to_send, &state.sent);
    let _ = write!(text, "\n  to send: {}", amount(to_send.files, to_send.bytes));
    let _ = write!(text, " (sent so far: {})", amount(sent.files, sent.bytes));
    let to_receive = state
        .to_receive
        .map_or_else(|| "not known".to_owned(), |left| amount(left.files, left.bytes));
    let _ = write!(
        text,
        "\n  to receive: {to_receive}; arriving now: {}",
        text::files(state.arriving as u64)
    );
    for (name, reason) in &state.waiting {
        let _ = write!(text, "\n  waits: {name}: {reason}");
    }
    if state.more > 0 {
        let _ = write!(text, "\n  and {} more", text::count(state.more));
    }
    text
}
