//! Events as lines for people.

use super::hindrance;
use super::state;
use super::text::{self, Palette, arrow};
use rft::event::{Cause, Direction, Event, Occasion};
use rft::hindrance::Hindrance;

/// The lines of an event. Empty for failures and warnings of a file, which
/// [`super::failures::Failures`] groups, and for events that change only the progress area.
pub(crate) fn of_event(event: &Event, palette: Palette) -> Vec<String> {
    let line = match event {
        Event::Listening { local } => format!("listening on {local} (UDP)"),
        Event::Waiting { .. } => return waiting(event, palette),
        Event::Silent { peer, host, elapsed } => {
            let dialling = if host.is_some() { "; dialling" } else { "" };
            let peer = host.as_deref().map_or_else(|| peer.to_string(), text::printable);
            let seconds = elapsed.as_secs_f64().round();
            format!("{} from {peer} for {seconds} s{dialling}", palette.warn("no answer"))
        }
        Event::Heard { peer, host, elapsed } => {
            let peer = host.as_deref().map_or_else(|| peer.to_string(), text::printable);
            format!("{peer} {} after {}", palette.good("answers again"), text::span(*elapsed))
        }
        Event::Connected { peer, role, session, .. } => {
            let role = text::role_name(*role);
            let session = palette.dim(&format!("({role}, session {})", text::printable(session)));
            format!("{} to {peer} {session}", palette.good("connected"))
        }
        Event::AuthFailed { peer, count } => {
            let times = if *count > 1 { format!(" ({count} tries)") } else { String::new() };
            let fact = palette.warn(&format!("{peer} does not know the password{times}"));
            format!("{fact}; if that is your peer, check the password on both hosts")
        }
        Event::Disconnected { peer, reason } => {
            let verb = palette.warn("disconnected");
            format!("{verb} from {peer}: {}", text::printable(&reason.to_string()))
        }
        Event::FileDone { .. } => return done_line(event, palette).into_iter().collect(),
        Event::Warning { path: None, message } => {
            format!("{} {}", palette.warn("warning:"), text::printable(message))
        }
        Event::DrainWaiting { status } => {
            format!("{} --drain waits: {}", palette.warn("warning:"), state::remaining_of(status))
        }
        Event::FileWaiting { path, reason, .. } => {
            format!("{}: {path}: {}", palette.warn("waiting"), state::open_file(*reason))
        }
        Event::FileFailed {
            path, cause: Cause::Cancelled, direction: Direction::Receive, ..
        } => {
            format!("{} by the sender: {path}", palette.warn("cancelled"))
        }
        Event::FileCancelled { path, moved_to, .. } => {
            let place = match moved_to {
                Some(moved_to) => format!("it is {} now", text::printable(moved_to)),
                None => "it stays in Outgoing, and is sent when it changes".to_owned(),
            };
            format!("{}: {path}; {place}", palette.warn("cancelled"))
        }
        Event::Drained { files, bytes, elapsed, .. } => {
            let (bytes, time) = (text::bytes(*bytes), text::span(*elapsed));
            let verb = palette.good("drained");
            format!("{verb}: {} sent, {bytes}, in {time}", text::files(*files))
        }
        _ => return Vec::new(),
    };
    vec![line]
}

/// The peer that `rft` waits for and why; at first also the command to type on the other host.
fn waiting(event: &Event, palette: Palette) -> Vec<String> {
    let Event::Waiting { peer, local, finding, elapsed, occasion } = event else {
        return Vec::new();
    };
    // The refusal itself has its own line.
    let refused = [Hindrance::WrongPassword, Hindrance::Occupied];
    let has_line = finding.is_some_and(|finding| refused.contains(&finding.hindrance));
    if *occasion == Occasion::Changes && has_line {
        return Vec::new();
    }
    let peer = peer.as_deref().map_or_else(|| "a peer".to_owned(), text::printable);
    let why = finding.map(|finding| format!(": {}", hindrance::sentence(&finding, &peer)));
    let time = match occasion {
        Occasion::Continues => format!(" for {}", text::span(*elapsed)),
        _ => String::new(),
    };
    let mut lines = vec![format!("waiting for {peer}{time}{}", why.unwrap_or_default())];
    if *occasion == Occasion::Begins
        && let Some((first, others)) = local.split_first()
    {
        let command = palette.bold(&format!("rft {} {}", first.ip(), first.port()));
        let others: Vec<String> = others.iter().map(|addr| addr.ip().to_string()).collect();
        let or = match others.is_empty() {
            true => String::new(),
            false => format!("   (or {})", others.join(", ")),
        };
        lines.push(format!("  on the other host: {command}{or}"));
    }
    lines
}

/// The line of a finished file: `↑ sent     photos/a.jpg  2.10 MB, 0.30 s, 7.00 MB/s`. `None` for
/// other events.
pub(crate) fn done_line(event: &Event, palette: Palette) -> Option<String> {
    let Event::FileDone { direction, path, size, blake3, elapsed, offset, saved_as, .. } = event
    else {
        return None;
    };
    let verb = if *direction == Direction::Send { "sent    " } else { "received" };
    let mut details = Vec::new();
    if *blake3 != [0; 32] {
        details.push(text::bytes(*size));
        details.push(text::span(*elapsed));
        if *size >= 1_000_000 {
            let moved = size.saturating_sub(*offset) as f64;
            details.push(text::rate(moved / elapsed.as_secs_f64().max(0.001)));
        }
    }
    if *offset > 0 {
        details.push(format!("{} were already there", text::bytes(*offset)));
    }
    if let Some(name) = saved_as.as_ref().filter(|name| *name != path) {
        details.push(format!("saved as {name}"));
    }
    let details = palette.dim(&details.join(", "));
    let gap = if details.is_empty() { "" } else { "  " };
    Some(format!(
        "{} {} {path}{gap}{details}",
        palette.accent(arrow(*direction)),
        palette.good(verb)
    ))
}
