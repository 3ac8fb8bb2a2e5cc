//! The state of a running process as text for people: `rft status`, the answer to SIGUSR1, and the
//! remaining files of a drain.

mod remaining;

pub(crate) use remaining::{remaining, remaining_in_one, remaining_of, remaining_of_one};

use super::bottleneck;
use super::clock::{Clock, age};
use super::hindrance;
use super::text::{self, arrow, percent, rtt};
use rft::event::Direction;
use rft::status::{
    Bottleneck, DirectionStatus, FileInFlight, HookStatus, OpenFileWait, PeerStatus, Setback,
    SetbackKind, Status, Totals, WaitReason, Waiting,
};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Columns of the words at the start of the lines.
const INDENT: usize = 11;
/// Columns that a shortened name keeps.
const MIN_NAME: usize = 12;
/// Files in flight that are shown.
const MAX_FILES: usize = 8;

/// The limit of the rate: `at most 2.00 MB/s sent until 18:00`; `None` without one.
pub(crate) fn limit(status: &Status, clock: &Clock) -> Option<String> {
    let until = status.limit_until.map(|until| clock.short(until, status.time));
    match (status.limit_rate.map(|rate| text::rate(rate as f64)), until) {
        (Some(rate), None) => Some(format!("at most {rate} sent")),
        (Some(rate), Some(until)) => Some(format!("at most {rate} sent until {until}")),
        (None, Some(until)) => Some(format!("sent without a limit until {until}")),
        (None, None) => None,
    }
}

/// Several lines of at most `width` columns, without the end of the last; `None` before the
/// process has started.
pub(crate) fn text(status: Option<&Status>, clock: &Clock, width: usize) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Some(status) = status else { return format!("state of rft {version}: starting") };
    let mut lines = Lines { width, lines: Vec::new() };
    let mut first = vec![
        format!("state of rft {}", text::printable(&status.version)),
        format!("running for {}", text::span(status.uptime)),
        format!("UDP {}", status.local),
    ];
    first.extend(limit(status, clock));
    lines.push("", &first);
    if let Some(hooks) = &status.hooks {
        lines.push("hooks", &hook_parts(hooks));
    }
    for peer in &status.peers {
        push_peer(&mut lines, peer, status.time, clock);
    }
    lines.lines.join("\n")
}

/// `1 runs, 12 wait`.
fn hook_parts(hooks: &HookStatus) -> Vec<String> {
    let run = if hooks.running == 1 { "runs" } else { "run" };
    let wait = if hooks.waiting == 1 { "waits" } else { "wait" };
    let mut parts = vec![
        format!("{} {run}", text::count(hooks.running)),
        format!("{} {wait}", text::count(hooks.waiting)),
    ];
    if hooks.quarantine {
        parts.push("files appear once they are accepted (--quarantine)".to_owned());
    }
    if hooks.helper_ended {
        parts.push("the process that runs them has ended: start rft again".to_owned());
    }
    parts
}

/// Lines that are folded between their parts.
struct Lines {
    width: usize,
    lines: Vec<String>,
}

impl Lines {
    /// Adds `word` and the parts, with commas between them. Parts that do not fit go into further
    /// lines; a part that does not fit into one is folded between its words.
    fn push(&mut self, word: &str, parts: &[String]) {
        let indent = if word.is_empty() { 0 } else { INDENT };
        let mut line = format!("{word:<indent$}");
        let room = self.width.saturating_sub(INDENT + 1);
        for (part, comma) in pieces(parts, room) {
            let used = console::measure_text_width(&line);
            let is_first = used <= indent;
            let needs = console::measure_text_width(part) + comma.len() + usize::from(!is_first);
            if !is_first && used + needs > self.width {
                self.lines.push(std::mem::replace(&mut line, " ".repeat(INDENT)));
            } else if !is_first {
                line.push(' ');
            }
            let _ = write!(line, "{part}{comma}");
        }
        self.lines.push(line);
    }

    /// Adds a line about a file. The rest goes below a name that leaves no room for it.
    fn push_file(&mut self, word: &str, name: &str, rest: &str) {
        let room = self.width.saturating_sub(INDENT);
        let (name_width, rest_width) =
            (console::measure_text_width(name), console::measure_text_width(rest));
        if name_width + rest_width <= room {
            self.lines.push(format!("{word:<INDENT$}{name}{rest}"));
        } else if rest_width + MIN_NAME <= room {
            let name = text::fit(name, room - rest_width);
            self.lines.push(format!("{word:<INDENT$}{}{rest}", name.trim_end()));
        } else {
            let (colon, rest) = match rest.strip_prefix(": ") {
                Some(rest) => (":", rest),
                None => ("", rest.trim_start()),
            };
            let name = text::fit(name, name_width.min(room.saturating_sub(colon.len())));
            self.lines.push(format!("{word:<INDENT$}{name}{colon}"));
            self.push_words(rest, room.saturating_sub(2));
        }
    }

    /// Adds lines of whole words, indented.
    fn push_words(&mut self, text: &str, room: usize) {
        let mut line = String::new();
        for word in text.split(' ') {
            let width = console::measure_text_width(&line) + console::measure_text_width(word);
            if !line.is_empty() && width + 1 > room {
                self.lines.push(format!("{:1$}{line}", "", INDENT + 2));
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        self.lines.push(format!("{:1$}{line}", "", INDENT + 2));
    }
}

/// The parts, and the commas after them. Those that are longer than `room` are split into words.
fn pieces(parts: &[String], room: usize) -> impl Iterator<Item = (&str, &'static str)> {
    let last = parts.len().saturating_sub(1);
    parts.iter().enumerate().flat_map(move |(i, part)| {
        let comma = if i < last { "," } else { "" };
        let is_long = console::measure_text_width(part) > room;
        let (head, tail) = match part.rsplit_once(' ') {
            Some((head, tail)) if is_long => (Some(head), tail),
            _ => (None, part.as_str()),
        };
        let words = head.into_iter().flat_map(|head| head.split(' ')).map(|word| (word, ""));
        words.chain([(tail, comma)])
    })
}

fn push_peer(lines: &mut Lines, peer: &PeerStatus, now: SystemTime, clock: &Clock) {
    let name = text::printable(peer.name.as_str());
    lines.push("peer", &connection(peer, &name, now, clock));
    if let Some(session) = &peer.session {
        let path = &session.path;
        let mut parts = vec![rtt(path.rtt), format!("{} lost", percent(path.loss))];
        parts.extend((path.rate > 0).then(|| format!("about {}", text::rate(path.rate as f64))));
        parts.push(format!("packets of {}", text::count(path.mtu.into())));
        lines.push("path", &parts);
        let id = text::printable(&session.id);
        let role = text::role_name(session.role).to_owned();
        lines.push("session", &[text::printable(&session.kx), role, id]);
    }
    for direction in [Direction::Send, Direction::Receive] {
        push_direction(lines, peer, direction, now, clock);
    }
    let named = peer.waiting.iter().filter(|waiting| waiting.reason != WaitReason::InFlight);
    for waiting in named {
        lines.push_file("waits:", &waiting.path.to_string(), &format!(": {}", why(waiting)));
    }
    if peer.more_waiting > 0 {
        lines.push("", &[format!("{:INDENT$}and {} more", "", text::count(peer.more_waiting))]);
    }
}

/// `connected to 192.0.2.7:4000 for 3 d`, and the peer's description of itself.
pub(crate) fn connection(
    peer: &PeerStatus,
    name: &str,
    now: SystemTime,
    clock: &Clock,
) -> Vec<String> {
    match (&peer.session, &peer.last_end) {
        (Some(session), _) => {
            let connected = format!("connected to {} for {}", session.address, age(session.age));
            let mut parts = match session.silent_for {
                Some(silent) => vec![
                    format!("{name}: no answer for {}", text::countdown(silent)),
                    "dialling".to_owned(),
                    connected,
                ],
                None => vec![format!("{name}: {connected}")],
            };
            parts.push(format!("since {}", clock.short(session.since, now)));
            parts.extend(about(&session.version, &session.host));
            parts.extend((!session.receives).then(|| SENDS_ONLY.to_owned()));
            parts
        }
        (None, last) => {
            let finding = peer.no_session.as_ref().and_then(|apart| apart.finding);
            let why = finding.map(|found| format!(": {}", hindrance::sentence(&found, name)));
            let why = why.unwrap_or_default();
            let Some(last) = last else { return vec![format!("{name}: not connected yet{why}")] };
            let reason = text::printable(&last.reason.to_string());
            let ended = format!("the last session ended {} ago: {reason}", age(last.ago));
            vec![format!("{name}: not connected{why}"), ended]
        }
    }
}

/// Why the files in Outgoing wait.
const SENDS_ONLY: &str = "it only sends (rft send), so Outgoing waits";

/// The peer's description of itself: `rft 0.1.0 on the host bob`.
fn about(version: &str, host: &str) -> Option<String> {
    let (version, host) = (text::printable(version), text::printable(host));
    match (version.is_empty(), host.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("rft {version}")),
        (true, false) => Some(format!("on the host {host}")),
        (false, false) => Some(format!("rft {version} on the host {host}")),
    }
}

fn push_direction(
    lines: &mut Lines,
    peer: &PeerStatus,
    direction: Direction,
    now: SystemTime,
    clock: &Clock,
) {
    let status = peer.direction(direction);
    let (word, done) = match direction {
        Direction::Send => ("sending", "sent"),
        Direction::Receive => ("receiving", "received"),
    };
    let mut parts = Vec::new();
    if peer.paused && direction == Direction::Send {
        parts.push("paused (`rft resume`)".to_owned());
    }
    if peer.session.is_some() && direction == Direction::Receive && status.backlog.is_none() {
        parts.push("the peer has not told what it has left".to_owned());
    } else {
        parts.extend(left(status));
        parts.extend(speed(status).filter(|_| status.limit != Bottleneck::NothingToSend));
        parts.push(bottleneck::sentence(status.limit, direction, peer.session.as_ref()));
    }
    lines.push(word, &parts);
    let files: Vec<_> = peer.in_flight.iter().filter(|file| file.direction == direction).collect();
    for file in files.iter().take(MAX_FILES) {
        lines.push_file("", &format!("{} {}", arrow(direction), file.path), &numbers(file));
    }
    if files.len() > MAX_FILES {
        let more = (files.len() - MAX_FILES) as u64 + peer.more_in_flight;
        lines.push("", &[format!("{:INDENT$}and {} more", "", text::count(more))]);
    }
    let mut totals = vec![totals(status.in_all)];
    totals.extend(status.last.map(|last| format!("last {}", clock.short(last, now))));
    lines.push(done, &totals);
}

/// `28 left, 17.0 MB`; nothing if nothing is left.
pub(crate) fn left(status: &DirectionStatus) -> Option<String> {
    (status.files_left > 0).then(|| {
        format!("{} left, {}", text::count(status.files_left), text::bytes(status.bytes_left))
    })
}

/// `2.10 MB/s, 8 s`; nothing if nothing crosses.
pub(crate) fn speed(status: &DirectionStatus) -> Option<String> {
    let time = status.time_left.filter(|time| *time < Duration::from_secs(86_400));
    let time = time.map(|time| format!(", {}", text::countdown(rounded_up(time))));
    (status.rate > 0).then(|| text::rate(status.rate as f64) + &time.unwrap_or_default())
}

fn rounded_up(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs_f64().ceil() as u64)
}

/// `303 files (1.20 GB), 12 folders`.
pub(crate) fn totals(totals: Totals) -> String {
    let files = format!("{} ({})", text::files(totals.files), text::bytes(totals.bytes));
    match totals.folders {
        0 => files,
        1 => format!("{files}, 1 folder"),
        more => format!("{files}, {} folders", text::count(more)),
    }
}

/// `  45.2 MB/100 MB, 12.3 MB/s`.
pub(crate) fn numbers(file: &FileInFlight) -> String {
    let mut text = format!("  {}/{}", text::bytes(file.bytes), text::bytes(file.size));
    if file.rate > 0 {
        let _ = write!(text, ", {}", text::rate(file.rate as f64));
    }
    text
}

/// Why an entry of Outgoing is not delivered yet.
pub(crate) fn why(waiting: &Waiting) -> String {
    let reason = reason(waiting);
    if waiting.urgent { format!("urgent; {reason}") } else { reason }
}

fn reason(waiting: &Waiting) -> String {
    let after = |text: &str, time: Duration| format!("{text} in {} s", whole_seconds(time));
    let program = |text: &str| match &waiting.program {
        Some(program) => format!("{text}open in {}", text::printable(program)),
        None => format!("{text}a program has it open"),
    };
    let setback = waiting.setback.as_ref().map(setback);
    let or = |text: &str| setback.clone().unwrap_or_else(|| text.to_owned());
    match waiting.reason {
        WaitReason::Settling(left) => {
            format!("it was written a moment ago; it settles for {}", text::span(left))
        }
        WaitReason::Folder => "a folder, sent after its contents".into(),
        WaitReason::Ready => "ready to be sent".into(),
        WaitReason::InFlight => "in flight".into(),
        WaitReason::CleaningUp => "received; it is being removed".into(),
        WaitReason::Open => program("waiting: "),
        WaitReason::DeliveredOpen => program("received; waiting: "),
        WaitReason::Lingering(left) => after("received; the folder is removed", left),
        WaitReason::Unfinished => "it holds an unfinished file, which is left alone".into(),
        WaitReason::LeftAlone => "left alone: the name of an unfinished file".into(),
        WaitReason::Backoff(left) => {
            after(&format!("{}; tried again", or("its delivery failed")), left)
        }
        WaitReason::Occupied(left) => {
            after(&format!("{}; asked again", or("the peer has something else at its path")), left)
        }
        WaitReason::Unreadable(left) => {
            after(&format!("it cannot be read{}; tried again", detail(waiting)), left)
        }
        WaitReason::Refused => {
            format!("refused: {}; sent again when it changes", or("the peer does not take it"))
        }
        // A newer library's reason.
        _ => "it waits".into(),
    }
}

fn setback(setback: &Setback) -> String {
    text::printable(&setback.text)
}

/// `: ` and the text of an unreadable file's setback.
fn detail(waiting: &Waiting) -> String {
    let unreadable = |setback: &&Setback| setback.kind == SetbackKind::Unreadable;
    let found = waiting.setback.as_ref().filter(unreadable);
    found.map(|found| format!(": {}", setback(found))).unwrap_or_default()
}

/// Rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The event that an open file waits for.
pub(crate) fn open_file(reason: OpenFileWait) -> &'static str {
    match reason {
        OpenFileWait::Pause => {
            "a program has it open for writing; a snapshot is sent when it is quiet"
        }
        _ => "a program has it open for writing; it is sent when it is closed",
    }
}

#[cfg(test)]
mod tests;
