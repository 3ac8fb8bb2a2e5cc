//! On a terminal, finished files beyond what can be read are counted and not listed.

use super::progress::arrow;
use super::text::{self, Palette};
use rft::event::Direction;
use std::time::{Duration, Instant};

/// Lines about finished files in a second. More cannot be read and only cost time.
const LINES_A_SECOND: u32 = 20;

/// How many more lines about finished files fit into this second, and what did not.
pub(super) struct Limit {
    second: Instant,
    left: u32,
    sent: (u64, u64),
    received: (u64, u64),
}

impl Limit {
    pub(super) fn new(now: Instant) -> Self {
        Self { second: now, left: LINES_A_SECOND, sent: (0, 0), received: (0, 0) }
    }

    /// Whether this one may be listed; else it is counted.
    pub(super) fn admit(&mut self, direction: Direction, bytes: u64, now: Instant) -> bool {
        if self.left == 0
            && (self.has_more() || now.duration_since(self.second) < Duration::from_secs(1))
        {
            self.count(direction, 1, bytes);
            return false;
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.left) = (now, LINES_A_SECOND);
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

    /// At the end of a second: what was only counted in it.
    pub(super) fn renew(&mut self, now: Instant, palette: Palette) -> Vec<String> {
        if now.duration_since(self.second) < Duration::from_secs(1) {
            return Vec::new();
        }
        (self.second, self.left) = (now, LINES_A_SECOND);
        self.summary(palette)
    }

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
