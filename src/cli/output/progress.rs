//! The progress area: the files in flight, each direction, and the state in the last line. All of it
//! comes from one snapshot of the process.

use super::bottleneck;
use super::clock::{Clock, age};
use super::state::{left, speed};
use super::text::{self, Palette, arrow, rtt};
use console::measure_text_width;
use rft::event::Direction;
use rft::status::{Bottleneck, FileInFlight, PeerStatus, SessionStatus, Status, Totals};
use std::time::{Duration, SystemTime};

/// Files with a bar of their own; the others are counted.
const MAX_BARS: usize = 8;
/// Age at which a transfer gets a bar; the bar of a shorter one would only flicker.
const BAR_DELAY: Duration = Duration::from_millis(250);
/// A file below this size, in bytes, mostly waits for its receipt, which a bar does not show: it
/// gets one later.
const SMALL: u64 = 1_000_000;
const SMALL_BAR_DELAY: Duration = Duration::from_secs(3);
/// A time beyond this one is no forecast.
const MAX_FORECAST: Duration = Duration::from_secs(86_400);

/// Whether the lines change several times a second.
pub(crate) fn is_moving(status: &Status) -> bool {
    status.peers.iter().any(|peer| !peer.in_flight.is_empty())
}

/// The lines of the area, at most `width` columns wide.
pub(crate) fn lines(status: &Status, clock: &Clock, width: usize, palette: Palette) -> Vec<String> {
    let mut lines = Vec::new();
    for peer in &status.peers {
        let old_enough = |file: &&FileInFlight| {
            file.age >= if file.size < SMALL { SMALL_BAR_DELAY } else { BAR_DELAY }
        };
        let bars: Vec<_> = peer.in_flight.iter().filter(old_enough).take(MAX_BARS).collect();
        let names = bars.iter().map(|file| measure_text_width(&file.path.to_string()));
        let column = names.max().unwrap_or(0);
        lines.extend(bars.iter().map(|file| bar(file, column, width, palette)));
        let more = (peer.in_flight.len() - bars.len()) as u64 + peer.more_in_flight;
        if more > 0 {
            lines.push(palette.dim(&format!("  + {} more", text::count(more))));
        }
        for direction in [Direction::Send, Direction::Receive] {
            lines.extend(direction_line(peer, direction, width).map(|line| palette.bold(&line)));
        }
        let last = peer_line(peer, status, clock, width);
        let heard = peer.session.as_ref().is_some_and(|session| session.silent_for.is_none());
        let styled = if heard { last } else { palette.warn(&last) };
        lines.push(styled);
    }
    let fits = |line: String| console::truncate_str(&line, width, "…").into_owned();
    lines.into_iter().map(fits).collect()
}

/// `↑ 28 left, 17.0 MB; 2.10 MB/s, 8 s; limited by the path (about 12.3 MB/s, 0.5 % lost)`, while
/// files are in flight.
fn direction_line(peer: &PeerStatus, direction: Direction, width: usize) -> Option<String> {
    let status = peer.direction(direction);
    if matches!(status.limit, Bottleneck::NothingToSend | Bottleneck::Waiting) {
        return None;
    }
    let session = peer.session.as_ref();
    let line = |limit| {
        let parts = [left(status), speed(status), Some(limit)];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        format!("{} {}", arrow(direction), parts.join("; "))
    };
    let long = line(bottleneck::sentence(status.limit, direction, session));
    let fits = measure_text_width(&long) <= width;
    Some(if fits { long } else { line(bottleneck::sentence(status.limit, direction, None)) })
}

/// `bob connected 3 d, 41 ms, idle; 303 files received, last 23:14`.
fn peer_line(peer: &PeerStatus, status: &Status, clock: &Clock, width: usize) -> String {
    let name = name_of(peer);
    let state = match (&peer.session, &peer.last_end) {
        (Some(SessionStatus { silent_for: Some(silent), .. }), _) => {
            format!("no answer from {name} for {}, dialling", text::countdown(*silent))
        }
        (Some(session), _) => {
            let connected = format!("{name} connected {}", age(session.age));
            format!("{connected}, {}{}", rtt(session.path.rtt), rest(peer))
        }
        (None, last) => {
            let since = last.as_ref().map_or(status.uptime, |last| last.ago);
            format!("waiting for {name}, {}", text::countdown(since))
        }
    };
    let (sent, received) = (peer.send.in_all, peer.receive.in_all);
    let last = peer.send.last.max(peer.receive.last);
    let long = [Some(state.clone()), counts(sent, received), last_time(last, status, clock)];
    let long = joined(&long);
    if measure_text_width(&long) <= width {
        return long;
    }
    let short = format!("↑ {} ↓ {}", text::count(sent.files), text::count(received.files));
    joined(&[Some(state), Some(short), last_time(last, status, clock)])
}

/// The state, a semicolon, and the further parts.
fn joined([state, counts, last]: &[Option<String>; 3]) -> String {
    let further: Vec<&str> = [counts, last].into_iter().flatten().map(String::as_str).collect();
    let state = state.as_deref().unwrap_or_default();
    if further.is_empty() { state.to_owned() } else { format!("{state}; {}", further.join(", ")) }
}

/// The peer's name here; a peer that came by itself is named by its host or its address.
fn name_of(peer: &PeerStatus) -> String {
    match (&peer.session, peer.name.as_str()) {
        (None, "peer") => "a peer".to_owned(),
        (Some(session), "peer") if session.host.is_empty() => session.address.to_string(),
        (Some(session), "peer") => text::printable(&session.host),
        (_, name) => text::printable(name),
    }
}

/// `, idle`, or the number of entries that wait while nothing is in flight.
fn rest(peer: &PeerStatus) -> String {
    let paused = if peer.paused { ", paused" } else { "" };
    if !peer.in_flight.is_empty() {
        return paused.to_owned();
    }
    match peer.send.files_left + peer.receive.files_left {
        0 if peer.paused => paused.to_owned(),
        0 => ", idle".to_owned(),
        left => format!("{paused}, {} waiting", text::count(left)),
    }
}

/// `5 files sent, 303 received`; nothing before the first.
fn counts(sent: Totals, received: Totals) -> Option<String> {
    let part = |totals: Totals, done: &str| match totals {
        Totals { files: 0, folders: 0, .. } => None,
        Totals { files: 0, folders: 1, .. } => Some(format!("1 folder {done}")),
        Totals { files: 0, folders, .. } => {
            Some(format!("{} folders {done}", text::count(folders)))
        }
        Totals { files, .. } => Some(format!("{} {done}", text::files(files))),
    };
    let both = sent.files > 0 && received.files > 0;
    match (part(sent, "sent"), part(received, "received")) {
        (Some(sent), Some(_)) if both => {
            Some(format!("{sent}, {} received", text::count(received.files)))
        }
        (Some(sent), Some(received)) => Some(format!("{sent}, {received}")),
        (one, other) => one.or(other),
    }
}

fn last_time(last: Option<SystemTime>, status: &Status, clock: &Clock) -> Option<String> {
    last.map(|last| format!("last {}", clock.short(last, status.time)))
}

/// The names take at most `column` columns, so that numbers stay beside them on a wide screen:
/// `↑ photos/summ….jpg ━━━━━━──────  45.2 MB/100 MB  12.3 MB/s     5 s`
fn bar(file: &FileInFlight, column: usize, width: usize, palette: Palette) -> String {
    let missing = file.size.saturating_sub(file.bytes);
    let left = Duration::try_from_secs_f64((missing as f64 / file.rate as f64).ceil());
    let left = left.ok().filter(|left| *left < MAX_FORECAST);
    let left = left.map_or_else(|| "-".to_owned(), text::countdown);
    let sizes = format!("{}/{}", text::bytes(file.bytes), text::bytes(file.size));
    let numbers = format!("{sizes:>15} {:>9} {left:>7}", text::rate(file.rate as f64));
    let bar_width = if width < 70 { 0 } else { (width / 4).clamp(8, 30) };
    let around = measure_text_width(&numbers) + bar_width + if bar_width > 0 { 4 } else { 3 };
    let name = text::fit(&file.path.to_string(), width.saturating_sub(around).min(column));
    let fraction = if file.size == 0 { 1.0 } else { file.bytes as f64 / file.size as f64 };
    let full = ((fraction * bar_width as f64) as usize).min(bar_width);
    let drawn = palette.accent(&"━".repeat(full)) + &palette.dim(&"─".repeat(bar_width - full));
    let gap = if bar_width > 0 { " " } else { "" };
    format!("{} {name} {drawn}{gap}{numbers}", palette.accent(arrow(file.direction)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample;
    use rft::status::Backlog;

    const PLAIN: Palette = Palette { colours: false };

    fn shown(status: &Status, width: usize) -> Vec<String> {
        lines(status, &Clock::utc(), width, PLAIN)
    }

    /// A peer with a session and nothing to do.
    fn idle() -> Status {
        let mut status = sample::busy();
        let peer = &mut status.peers[0];
        peer.in_flight.clear();
        std::mem::swap(&mut peer.send, &mut peer.receive);
        (peer.receive.files_left, peer.receive.rate) = (0, 0);
        peer.receive.limit = Bottleneck::NothingToSend;
        status
    }

    #[test]
    fn the_last_line_tells_the_state_also_when_nothing_happens() {
        let mut status = idle();
        let line = |status: &Status, width| shown(status, width).pop().unwrap();
        let long = "bob connected 3 d, 41 ms, idle; 303 files received, last 23:14";
        assert_eq!(shown(&status, 80), [long]);
        assert_eq!(line(&status, 60), "bob connected 3 d, 41 ms, idle; ↑ 0 ↓ 303, last 23:14");
        let peer = &mut status.peers[0];
        peer.send.in_all = Totals { files: 1, folders: 0, bytes: 1 };
        (peer.send.files_left, peer.send.limit) = (3, Bottleneck::Waiting);
        let both = "bob connected 3 d, 41 ms, 3 waiting; 1 file sent, 303 received, last 23:14";
        assert_eq!(line(&status, 80), both);
        status.peers[0].session.as_mut().unwrap().silent_for = Some(Duration::from_secs(5));
        let silent = "no answer from bob for 5 s, dialling; 1 file sent, 303 received, last 23:14";
        assert_eq!(line(&status, 80), silent);
        (status.peers[0].paused, status.peers[0].session.as_mut().unwrap().silent_for) =
            (true, None);
        let paused =
            "bob connected 3 d, 41 ms, paused, 3 waiting; 1 file sent, 303 received, last 23:14";
        assert_eq!(line(&status, 90), paused);
        status.peers[0].session = None;
        let alone = "waiting for bob, 3:00:00; 1 file sent, 303 received, last 23:14";
        assert_eq!(line(&status, 80), alone);
        let peer = &mut status.peers[0];
        (peer.send.in_all, peer.receive.in_all) = Default::default();
        (peer.send.last, peer.receive.last) = (None, None);
        assert_eq!(line(&status, 80), "waiting for bob, 3:00:00");
    }

    #[test]
    fn a_busy_area_has_bars_the_direction_and_the_state() {
        let lines = shown(&sample::busy(), 80);
        assert_eq!(
            lines,
            [
                "↑ photos/summer/beach.jpg ━━━━━━━━━───────────  45.2 MB/100 MB 2.10 MB/s    27 s",
                "↑ 28 left, 17.0 MB; 2.10 MB/s, 9 s; limited by the path",
                "bob connected 3 d, 41 ms; 303 files sent, last 23:14",
            ]
        );
        let wide = shown(&sample::busy(), 200);
        assert!(wide[1].ends_with("limited by the path (about 12.3 MB/s, 0.5 % lost)"), "{wide:?}");
        let mut young = sample::busy();
        young.peers[0].in_flight[0].age = Duration::from_millis(10);
        assert_eq!(shown(&young, 80)[0], "  + 1 more", "too young for a bar");
        assert!(is_moving(&young) && !is_moving(&idle()));
    }

    #[test]
    fn lines_fit_any_width() {
        let mut status = sample::busy();
        let peer = &mut status.peers[0];
        let mut file = peer.in_flight[0].clone();
        for i in 0..20 {
            file.path = sample::name(&format!("日本語/{i}-{}", "x".repeat(100)));
            (file.direction, file.size) = (Direction::Receive, 1 << 40);
            peer.in_flight.push(file.clone());
        }
        peer.receive.limit = Bottleneck::PeerRateLimit;
        peer.receive.backlog = Some(Backlog { files: 20, bytes: 20 << 40 });
        for width in [1, 10, 40, 69, 70, 80, 200] {
            let lines = lines(&status, &Clock::utc(), width, Palette { colours: true });
            assert_eq!(lines.len(), MAX_BARS + 4);
            for line in lines {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }
}
