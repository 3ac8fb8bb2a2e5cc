//! Events as lines of the log. The terminal shows these events in its own way, so `-v` leaves their
//! lines out.

use crate::cli::output::hindrance;
use crate::cli::output::state;
use crate::cli::output::text;
use data_encoding::HEXLOWER;
use rft::Name;
use rft::event::{Cause, Direction, Event, Occasion, PeerEvent};
use std::time::Duration;

/// The target of these lines. It is not that of a module: `RFT_LOG=rft=warn,rft::event=off` can name
/// it.
pub(super) const TARGET: &str = "rft::event";

/// A line of this module.
macro_rules! line {
    ($level:ident, $($rest:tt)*) => { tracing::$level!(target: TARGET, $($rest)*) };
}

/// Writes an event of the engine.
pub(crate) fn event(told: &PeerEvent) {
    match &told.event {
        Event::Listening { local } => line!(info, %local, "listening"),
        Event::Waiting { occasion: Occasion::Continues, .. } => {}
        Event::Waiting { peer, finding, elapsed, .. } => {
            let peer = peer.as_deref().map_or_else(|| "a peer".to_owned(), text::printable);
            let seconds = elapsed.as_secs();
            let cause = finding.map(|found| hindrance::sentence(&found, &peer));
            line!(info, %peer, seconds, cause, "waiting for a session");
        }
        Event::Silent { peer, elapsed, .. } => {
            line!(warn, %peer, seconds = seconds(*elapsed), "no answer");
        }
        Event::Heard { peer, elapsed, .. } => {
            line!(info, %peer, seconds = seconds(*elapsed), "answers again");
        }
        Event::Connected { peer, role, session, kx, installation, version, host } => {
            let role = text::role_name(*role);
            line!(info, %peer, role, session, kx, %installation, version, host, "connected");
        }
        Event::Disconnected { peer, reason } => line!(info, %peer, %reason, "disconnected"),
        Event::AuthFailed { peer, count } => line!(warn, %peer, count, "wrong password"),
        Event::Warning { path, message } => warning(path.as_ref(), message),
        Event::DrainWaiting { status } => {
            line!(info, "--drain waits: {}", state::remaining_of(status));
        }
        Event::Drained { files, bytes, elapsed, left_alone } => {
            line!(info, files, bytes, seconds = seconds(*elapsed), left_alone, "drained");
        }
        _ => file(told),
    }
}

/// Writes an event about a file.
fn file(told: &PeerEvent) {
    let host = told.peer.as_ref().map(|peer| text::printable(peer.as_str()));
    match &told.event {
        Event::FileDone {
            direction,
            path,
            size,
            transfer,
            blake3,
            elapsed,
            offset,
            saved_as,
            checked,
        } => {
            let checked = checked.then_some(true);
            let seconds = seconds(*elapsed);
            let blake3 = (*blake3 != [0; 32]).then(|| HEXLOWER.encode(blake3));
            let saved_as = saved_as.as_ref().filter(|name| *name != path).map(Name::to_string);
            let offset = (*offset > 0).then_some(*offset);
            match direction {
                Direction::Send => {
                    line!(info, %path, size, seconds, blake3, %transfer, offset, saved_as, checked, to = host, "sent");
                }
                Direction::Receive => {
                    line!(info, %path, size, seconds, blake3, %transfer, offset, saved_as, checked, from = host, "received");
                }
            }
        }
        Event::FileFailed { direction, path, size, transfer, error, cause, retry } => {
            let what = match direction {
                Direction::Send => "not sent",
                Direction::Receive => "not received",
            };
            let error = text::printable(error);
            match cause {
                Cause::Withdrawn | Cause::Cancelled => {
                    line!(info, %path, size, %transfer, error, "{what}")
                }
                _ => line!(warn, %path, size, %transfer, error, retry, peer = host, "{what}"),
            }
        }
        Event::FileCancelled { path, size, entries, transfer, moved_to } => {
            let moved_to = moved_to.as_deref().map(text::printable);
            line!(info, %path, size, entries, %transfer, moved_to, "cancelled");
        }
        Event::HookDone { path, transfer, end, attempts, elapsed, output, .. } => {
            let (seconds, output) = (seconds(*elapsed), text::printable(output));
            match end.is_success() {
                true => {
                    line!(info, %path, %transfer, attempts, seconds, output, "hook succeeded")
                }
                false => {
                    line!(warn, %path, %transfer, %end, attempts, seconds, output, "hook failed")
                }
            }
        }
        Event::FileWaiting { path, reason, .. } => {
            line!(info, %path, reason = state::open_file(*reason), "waiting");
        }
        _ => {}
    }
}

/// Seconds with three decimals.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// Writes a warning, about a file if `path` is given.
pub(crate) fn warning(path: Option<&Name>, message: &str) {
    match path {
        Some(path) => line!(warn, %path, "{message}"),
        None => line!(warn, "{message}"),
    }
}

/// Writes lines that the terminal shows too.
pub(crate) fn shown(text: &str) {
    text.lines().for_each(|text| line!(info, "{text}"));
}

/// Writes the end of the process; the terminal has the same sentence.
pub(crate) fn end(code: u8, reason: &str) {
    if code == crate::cli::exit::DONE {
        line!(info, reason, "ended");
    } else {
        line!(error, code, error = reason, "ended");
    }
}
