//! Limits the lines about finished files on a terminal; files beyond the limit are summed up.

use super::text::{self, Palette, arrow};
use rft::event::Direction;
use std::time::{Duration, Instant};

/// Lines about finished files per second. A person reads no more, and printing them takes time.
const MAX_LINES_PER_SECOND: u32 = 20;

/// The lines left in this second, and the files and bytes that are only counted.
pub(super) struct Limit {
    second: Instant,
    left: u32,
    sent: (u64, u64),
    received: (u64, u64),
}

impl Limit {
    pub(super) fn new(now: Instant) -> Self {
        Self { second: now, left: MAX_LINES_PER_SECOND, sent: (0, 0), received: (0, 0) }
    }

    /// Whether this file may have a line. If not, it is counted.
    pub(super) fn admit(&mut self, direction: Direction, bytes: u64, now: Instant) -> bool {
        if self.left == 0
            && (self.has_more() || now.duration_since(self.second) < Duration::from_secs(1))
        {
            self.count(direction, 1, bytes);
            return false;
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.left) = (now, MAX_LINES_PER_SECOND);
        }
        self.left -= 1;
        true
    }

    pub(super) fn count(&mut self, direction: Direction, files: u64, bytes: u64) {
        let more = if direction == Direction::Send { &mut self.sent } else { &mut self.received };
        more.0 += files;
        more.1 += bytes;
    }

    pub(super) fn has_more(&self) -> bool {
        self.sent.0 + self.received.0 > 0
    }

    /// At the end of a second: the sums of it.
    pub(super) fn renew(&mut self, now: Instant, palette: Palette) -> Vec<String> {
        if now.duration_since(self.second) < Duration::from_secs(1) {
            return Vec::new();
        }
        (self.second, self.left) = (now, MAX_LINES_PER_SECOND);
        self.summary(palette)
    }

    /// The sums so far, a line for each direction.
    pub(super) fn summary(&mut self, palette: Palette) -> Vec<String> {
        let ways = [
            (Direction::Send, "sent", &mut self.sent),
            (Direction::Receive, "received", &mut self.received),
        ];
        let mut lines = Vec::new();
        for (direction, done, more) in ways {
            let (files, bytes) = std::mem::take(more);
            if files > 0 {
                let noun = if files == 1 { "file" } else { "files" };
                let text = format!(
                    "… and {} more {noun} {done}, {}",
                    text::count(files),
                    text::bytes(bytes)
                );
                lines.push(format!("{} {}", palette.accent(arrow(direction)), palette.dim(&text)));
            }
        }
        lines
    }
}
