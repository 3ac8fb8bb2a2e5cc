//! Entries of the history as lines for people, and their sums.

use crate::cli::output::clock::Clock;
use crate::cli::output::text::{self, Palette, arrow};
use rft::event::Direction;
use rft::history::{HistoryEntry, HistoryKind};

/// A line: `2026-03-01 23:14:05  ↑ sent      photos/a.jpg  2.10 MB, to bob, 0.30 s`.
pub(super) fn of(entry: &HistoryEntry, clock: &Clock, palette: Palette) -> String {
    let mark = match entry.kind {
        HistoryKind::Sent | HistoryKind::Received => palette.accent(arrow(entry.direction)),
        HistoryKind::Refused | HistoryKind::Failed | HistoryKind::HookFailed => palette.bad("!"),
        _ => palette.dim("-"),
    };
    let verb = format!("{:<8}", verb(entry.kind));
    let verb = match entry.kind {
        HistoryKind::Sent | HistoryKind::Received => palette.good(&verb),
        HistoryKind::Refused | HistoryKind::Failed | HistoryKind::HookFailed => palette.bad(&verb),
        _ => palette.dim(&verb),
    };
    let time = palette.dim(&clock.stamp(entry.time));
    let details = details(entry).join(", ");
    let error = entry.error.as_deref().map(|error| format!(": {}", text::printable(error)));
    let output = entry.output.as_deref().map(|output| format!(": {}", text::printable(output)));
    let (error, output) = (error.unwrap_or_default(), output.unwrap_or_default());
    let details = palette.dim(&format!("{details}{error}{output}"));
    format!("{time}  {mark} {verb}  {}  {details}", entry.path)
}

fn details(entry: &HistoryEntry) -> Vec<String> {
    let mut details = Vec::new();
    if entry.blake3.is_some() || entry.size > 0 {
        details.push(text::bytes(entry.size));
    }
    let peer = text::printable(entry.peer.as_str());
    match (entry.kind, entry.direction) {
        (HistoryKind::Removed, _) => details.push(format!("{peer} has it")),
        (HistoryKind::Archived, _) => details.push(format!("{peer} has it; moved to .rft/sent")),
        (HistoryKind::Cancelled, Direction::Receive) => details.push(format!("by {peer}")),
        (_, Direction::Send) => details.push(format!("to {peer}")),
        (_, Direction::Receive) => details.push(format!("from {peer}")),
    }
    let is_hook = matches!(entry.kind, HistoryKind::HookDone | HistoryKind::HookFailed);
    if (entry.blake3.is_some() || is_hook)
        && let Some(elapsed) = entry.elapsed
    {
        details.push(text::span(elapsed));
    }
    if let Some(name) = entry.saved_as.as_ref().filter(|name| **name != entry.path) {
        details.push(format!("saved as {name}"));
    }
    if entry.checked {
        details.push("checked by the receiver".to_owned());
    }
    details
}

fn verb(kind: HistoryKind) -> &'static str {
    match kind {
        HistoryKind::Sent => "sent",
        HistoryKind::Received => "received",
        HistoryKind::Refused => "refused",
        HistoryKind::Failed => "failed",
        HistoryKind::Removed => "removed",
        HistoryKind::Archived => "archived",
        HistoryKind::Cancelled => "cancelled",
        HistoryKind::HookDone => "hook ran",
        HistoryKind::HookFailed => "hook failed",
        _ => "",
    }
}

/// Sums over entries.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Sent, received: files and bytes.
    complete: [(u64, u64); 2],
    /// Folders and links, both ways.
    folders: u64,
    refused: u64,
    failed: u64,
    cancelled: u64,
    /// Removed or archived.
    removed: u64,
    /// Programs of `--on-received` that succeeded, and that failed.
    hooks: [u64; 2],
}

impl Summary {
    pub(super) fn add(&mut self, entry: &HistoryEntry) {
        match entry.kind {
            HistoryKind::Sent | HistoryKind::Received if entry.blake3.is_none() => {
                self.folders += 1;
            }
            HistoryKind::Sent | HistoryKind::Received => {
                let sum = &mut self.complete[usize::from(entry.kind == HistoryKind::Received)];
                *sum = (sum.0 + 1, sum.1.saturating_add(entry.size));
            }
            HistoryKind::Refused => self.refused += 1,
            HistoryKind::Failed => self.failed += 1,
            HistoryKind::Cancelled => self.cancelled += 1,
            HistoryKind::HookDone => self.hooks[0] += 1,
            HistoryKind::HookFailed => self.hooks[1] += 1,
            _ => self.removed += 1,
        }
    }

    /// `2 files sent, 4.20 MB; 1 file received, 12 B; 1 refused`.
    pub(super) fn text(&self) -> String {
        let [sent, received] =
            self.complete.map(|(files, bytes)| (text::files(files), bytes, files));
        let mut parts = Vec::new();
        for ((files, bytes, count), verb) in [(sent, "sent"), (received, "received")] {
            if count > 0 {
                parts.push(format!("{files} {verb}, {}", text::bytes(bytes)));
            }
        }
        for (count, what) in [
            (self.folders, if self.folders == 1 { "folder or link" } else { "folders and links" }),
            (self.refused, "refused"),
            (self.failed, "failed"),
            (self.cancelled, "cancelled"),
            (self.removed, "removed from Outgoing"),
            (self.hooks[0], if self.hooks[0] == 1 { "hook ran" } else { "hooks ran" }),
            (self.hooks[1], if self.hooks[1] == 1 { "hook failed" } else { "hooks failed" }),
        ] {
            if count > 0 {
                parts.push(format!("{} {what}", text::count(count)));
            }
        }
        if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, direction: &str, more: &str) -> HistoryEntry {
        serde_json::from_str(&format!(
            r#"{{"time":"2026-03-01T23:14:05Z","kind":"{kind}","direction":"{direction}",
            "peer":"bob","path":"d/a.jpg","size":2100000,
            "transfer":"01010101010101010101010101010101"{more}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn entries_are_lines_and_sums() {
        let hash = format!(r#","blake3":"{}","seconds":0.3"#, "ab".repeat(32));
        let entries = [
            entry("sent", "send", &hash),
            entry("received", "receive", &format!(r#"{hash},"saved_as":"d/a (1).jpg""#)),
            entry("refused", "send", r#","error":"the disk is\u001b[2J full""#),
            entry("removed", "send", ""),
            entry("archived", "send", ""),
            entry("received", "receive", r#","seconds":0.1"#),
            entry("hook_done", "receive", r#","seconds":0.25,"output":"clean""#),
            entry("hook_failed", "receive", r#","error":"exit code 1","output":"Ei\u001bcar""#),
            entry("sent", "send", &format!(r#"{hash},"checked":true"#)),
        ];
        let plain = Palette { colours: false };
        let lines: Vec<_> = entries.iter().map(|e| of(e, &Clock::utc(), plain)).collect();
        assert_eq!(
            lines[..5],
            [
                "2026-03-01 23:14:05  ↑ sent      d/a.jpg  2.10 MB, to bob, 0.30 s",
                "2026-03-01 23:14:05  ↓ received  d/a.jpg  2.10 MB, from bob, 0.30 s, saved as d/a (1).jpg",
                "2026-03-01 23:14:05  ! refused   d/a.jpg  2.10 MB, to bob: the disk is\\x1b[2J full",
                "2026-03-01 23:14:05  - removed   d/a.jpg  2.10 MB, bob has it",
                "2026-03-01 23:14:05  - archived  d/a.jpg  2.10 MB, bob has it; moved to .rft/sent",
            ]
        );
        assert_eq!(
            lines[6..],
            [
                "2026-03-01 23:14:05  - hook ran  d/a.jpg  2.10 MB, from bob, 0.25 s: clean",
                "2026-03-01 23:14:05  ! hook failed  d/a.jpg  2.10 MB, from bob: exit code 1: Ei\\x1bcar",
                "2026-03-01 23:14:05  ↑ sent      d/a.jpg  2.10 MB, to bob, 0.30 s, checked by the receiver",
            ]
        );
        let mut summary = Summary::default();
        assert_eq!(summary.text(), "nothing");
        entries.iter().for_each(|entry| summary.add(entry));
        assert_eq!(
            summary.text(),
            "2 files sent, 4.20 MB; 1 file received, 2.10 MB; 1 folder or link; 1 refused; \
             2 removed from Outgoing; 1 hook ran; 1 hook failed"
        );
    }
}
