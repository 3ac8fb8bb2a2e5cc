//! The files in transfer, and the lines that show them in the progress area.

use super::text::{self, Palette};
use console::measure_text_width;
use rft::Name;
use rft::TransferId;
use rft::event::{Direction, Event};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Files with a bar of their own; the others are counted.
const MAX_BARS: usize = 8;
/// Age at which a transfer gets a bar; the bar of a shorter one would only flicker.
const BAR_DELAY: Duration = Duration::from_millis(250);
/// A file below this size, in bytes, mostly waits for its receipt, which a bar does not show: it
/// gets one later.
const SMALL: u64 = 1_000_000;
const SMALL_BAR_DELAY: Duration = Duration::from_secs(3);
/// Time constant of the smoothed rates, in seconds.
const RATE_WINDOW: f64 = 2.0;

/// The transfers of both directions, and the peer that `rft` waits for.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// In the order of their start.
    bars: BTreeMap<u64, Bar>,
    by_transfer: HashMap<(Direction, TransferId), u64>,
    next: u64,
    send: Totals,
    receive: Totals,
    waiting: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Bar {
    direction: Direction,
    path: Name,
    bytes: u64,
    size: u64,
    since: Instant,
    rate: Rate,
}

/// One direction since the start.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    left_files: u64,
    left_bytes: u64,
    rate: Rate,
}

/// Bytes per second, exponentially smoothed.
#[derive(Debug, Default)]
struct Rate {
    moved: u64,
    per_second: Option<f64>,
}

impl Rate {
    fn tick(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let now = self.moved as f64 / seconds;
        let weight = 1.0 - (-seconds / RATE_WINDOW).exp();
        let smoothed = self.per_second.map_or(now, |before| before + weight * (now - before));
        self.per_second = Some(smoothed);
        self.moved = 0;
    }

    fn get(&self) -> f64 {
        self.per_second.unwrap_or(0.0)
    }

    /// The time for `bytes` at this rate; `None` if unknown or a day or more.
    fn time_for(&self, bytes: u64) -> Option<Duration> {
        let seconds = bytes as f64 / self.get();
        (seconds.is_finite() && seconds < 86_400.0).then(|| Duration::from_secs_f64(seconds.ceil()))
    }
}

impl Progress {
    /// Updates the transfers from an event.
    pub(crate) fn update(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Waiting { peer, .. } => {
                let peer = peer.as_deref().map_or_else(|| "a peer".to_owned(), text::printable);
                self.waiting = Some((peer, now));
            }
            Event::Connected { .. } => self.waiting = None,
            Event::Disconnected { .. } => {
                self.bars.clear();
                self.by_transfer.clear();
            }
            Event::FileStarted { direction, path, size, transfer, offset } => {
                self.begin((*direction, *transfer), path, *offset, *size, now);
            }
            Event::FileProgress { direction, path, transfer, bytes, size } => {
                let key = (*direction, *transfer);
                if !self.by_transfer.contains_key(&key) {
                    self.begin(key, path, *bytes, *size, now);
                }
                self.advance(key, *bytes);
            }
            Event::FileDone { direction, transfer, size, offset, .. } => {
                let key = (*direction, *transfer);
                if self.by_transfer.contains_key(&key) {
                    self.advance(key, *size);
                } else {
                    self.totals(*direction).rate.moved += size.saturating_sub(*offset);
                }
                self.end(key);
                self.add_to_totals(*direction, 1, *size);
            }
            Event::FileFailed { direction, transfer, .. } => self.end((*direction, *transfer)),
            Event::Backlog { direction, files, bytes } => {
                let totals = self.totals(*direction);
                (totals.left_files, totals.left_bytes) = (*files, *bytes);
            }
            _ => {}
        }
    }

    /// Counts finished files.
    pub(crate) fn add_to_totals(&mut self, direction: Direction, files: u64, bytes: u64) {
        let totals = self.totals(direction);
        totals.files += files;
        totals.bytes += bytes;
        // An estimate until the next `Backlog` event.
        totals.left_files = totals.left_files.saturating_sub(files);
        totals.left_bytes = totals.left_bytes.saturating_sub(bytes);
    }

    /// The totals of one direction since the start.
    pub(crate) fn totals(&mut self, direction: Direction) -> &mut Totals {
        match direction {
            Direction::Send => &mut self.send,
            Direction::Receive => &mut self.receive,
        }
    }

    fn begin(
        &mut self,
        key: (Direction, TransferId),
        path: &Name,
        bytes: u64,
        size: u64,
        now: Instant,
    ) {
        self.end(key);
        let bar = Bar {
            direction: key.0,
            path: path.clone(),
            bytes,
            size,
            since: now,
            rate: Rate::default(),
        };
        self.by_transfer.insert(key, self.next);
        self.bars.insert(self.next, bar);
        self.next += 1;
    }

    fn advance(&mut self, key: (Direction, TransferId), bytes: u64) {
        let bar = self.by_transfer.get(&key).and_then(|number| self.bars.get_mut(number));
        if let Some(bar) = bar {
            let moved = bytes.saturating_sub(bar.bytes);
            bar.bytes = bytes.min(bar.size);
            bar.rate.moved += moved;
            self.totals(key.0).rate.moved += moved;
        }
    }

    fn end(&mut self, key: (Direction, TransferId)) {
        if let Some(number) = self.by_transfer.remove(&key) {
            self.bars.remove(&number);
        }
    }

    /// Updates the rates; `elapsed` is the time since the last call.
    pub(crate) fn tick(&mut self, elapsed: Duration) {
        self.send.rate.tick(elapsed);
        self.receive.rate.tick(elapsed);
        self.bars.values_mut().for_each(|bar| bar.rate.tick(elapsed));
    }

    /// Whether the lines change without an event.
    pub(crate) fn is_moving(&self) -> bool {
        !self.bars.is_empty() || self.waiting.is_some()
    }

    /// The lines of the area, at most `width` columns wide.
    pub(crate) fn lines(&self, width: usize, now: Instant, palette: Palette) -> Vec<String> {
        let mut lines = Vec::new();
        let old_enough = |bar: &&Bar| {
            let age = now.duration_since(bar.since);
            age >= if bar.size < SMALL { SMALL_BAR_DELAY } else { BAR_DELAY }
        };
        lines.extend(
            self.bars
                .values()
                .filter(old_enough)
                .take(MAX_BARS)
                .map(|bar| bar.line(width, palette)),
        );
        let more = self.bars.len() - lines.len();
        if more > 0 {
            lines.push(palette.dim(&format!("  + {} more", text::count(more as u64))));
        }
        for direction in [Direction::Send, Direction::Receive] {
            lines.extend(self.total_line(direction, palette));
        }
        if let Some((peer, since)) = &self.waiting {
            let time = text::countdown(now.duration_since(*since));
            lines.push(palette.warn(&format!("waiting for {peer}, {time}")));
        }
        lines
            .into_iter()
            .map(|line| console::truncate_str(&line, width, "…").into_owned())
            .collect()
    }

    /// `↑ 12 files, 3.10 MB sent; 28 files, 17.0 MB left; 2.10 MB/s, 8 s`
    fn total_line(&self, direction: Direction, palette: Palette) -> Option<String> {
        let totals = match direction {
            Direction::Send => &self.send,
            Direction::Receive => &self.receive,
        };
        let active: Vec<&Bar> =
            self.bars.values().filter(|bar| bar.direction == direction).collect();
        if totals.left_files == 0 && active.is_empty() {
            return None;
        }
        let left_bytes = totals.left_bytes.max(active.iter().map(|bar| bar.size).sum());
        let done = if direction == Direction::Send { "sent" } else { "received" };
        let mut line = format!(
            "{} {}, {} {done}; {}, {} left",
            arrow(direction),
            text::files(totals.files),
            text::bytes(totals.bytes),
            text::files(totals.left_files.max(active.len() as u64)),
            text::bytes(left_bytes),
        );
        let there: u64 = active.iter().map(|bar| bar.bytes).sum();
        let remaining = left_bytes.saturating_sub(there);
        // Without an active transfer the remaining files settle or are being removed from Outgoing:
        // the rate says nothing about that.
        if totals.rate.get() >= 1.0 && !active.is_empty() {
            line.push_str(&format!("; {}", text::rate(totals.rate.get())));
            if let Some(time) = totals.rate.time_for(remaining) {
                line.push_str(&format!(", {}", text::countdown(time)));
            }
        }
        Some(palette.bold(&line))
    }
}

impl Bar {
    /// `↑ photos/summ….jpg ━━━━━━──────  45.2 MB/100 MB  12.3 MB/s     5 s`
    fn line(&self, width: usize, palette: Palette) -> String {
        let left = match self.rate.time_for(self.size - self.bytes.min(self.size)) {
            Some(time) => text::countdown(time),
            None => "-".to_owned(),
        };
        let sizes = format!("{}/{}", text::bytes(self.bytes), text::bytes(self.size));
        let numbers = format!("{sizes:>15} {:>9} {left:>7}", text::rate(self.rate.get()));
        let bar_width = if width < 70 { 0 } else { (width / 4).clamp(8, 30) };
        let around = measure_text_width(&numbers) + bar_width + if bar_width > 0 { 4 } else { 3 };
        let name = text::fit(&self.path.to_string(), width.saturating_sub(around));
        let fraction = if self.size == 0 { 1.0 } else { self.bytes as f64 / self.size as f64 };
        let full = ((fraction * bar_width as f64) as usize).min(bar_width);
        let drawn = palette.accent(&"━".repeat(full)) + &palette.dim(&"─".repeat(bar_width - full));
        let gap = if bar_width > 0 { " " } else { "" };
        format!("{} {name} {drawn}{gap}{numbers}", palette.accent(arrow(self.direction)))
    }
}

/// Up for files that are sent, down for received ones.
pub(crate) fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Send => "↑",
        Direction::Receive => "↓",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample;

    const PLAIN: Palette = Palette { colours: false };

    #[test]
    fn a_bar_shows_bytes_rate_and_time_left() {
        let start = Instant::now();
        let mut progress = Progress::default();
        progress.update(
            &sample::started(Direction::Send, "photos/summer/beach.jpg", 100_000_000),
            start,
        );
        progress.update(
            &sample::progress(Direction::Send, "photos/summer/beach.jpg", 50_000_000, 100_000_000),
            start,
        );
        assert_eq!(progress.lines(80, start, PLAIN)[0], "  + 1 more", "too young for a bar");
        progress.tick(Duration::from_secs(1));
        let lines = progress.lines(80, start + Duration::from_secs(1), PLAIN);
        assert_eq!(
            lines,
            [
                "↑ photos/summer/beach.jpg ━━━━━━━━━━──────────  50.0 MB/100 MB 50.0 MB/s     1 s",
                "↑ 0 files, 0 B sent; 1 file, 100 MB left; 50.0 MB/s, 1 s",
            ]
        );
    }

    #[test]
    fn lines_fit_any_width() {
        let start = Instant::now();
        let mut progress = Progress::default();
        progress.update(&sample::waiting(), start);
        for i in 0..20 {
            progress.update(
                &sample::started(
                    Direction::Receive,
                    &format!("日本語/{i}-{}", "x".repeat(100)),
                    1 << 40,
                ),
                start,
            );
        }
        progress.tick(Duration::from_secs(1));
        for width in [1, 10, 40, 69, 70, 80, 200] {
            let lines =
                progress.lines(width, start + Duration::from_secs(1), Palette { colours: true });
            assert_eq!(lines.len(), MAX_BARS + 3);
            for line in lines {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_finished_or_failed_transfer_has_no_line() {
        let now = Instant::now();
        let mut progress = Progress::default();
        progress.update(&sample::started(Direction::Send, "a", 1), now);
        progress.update(&sample::started(Direction::Receive, "a", 1), now);
        progress.update(&sample::done(Direction::Send, "a", 1), now);
        progress.update(&sample::failed(Direction::Receive, "a"), now);
        assert!(!progress.is_moving() && progress.lines(80, now, PLAIN).is_empty());
        assert_eq!((progress.send.files, progress.send.bytes, progress.receive.files), (1, 1, 0));
    }
}
