//! Turns the events of one peer into entries of the history.

use super::ProcessHistory;
use crate::config::PeerName;
use crate::daemon::lock::locked;
use crate::event::{Cause, Direction, Event, HookEnd};
use crate::history::{HistoryEntry, HistoryKind};
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Failures that are remembered, so that a repeated attempt adds no entry; beyond that all are
/// forgotten.
const MAX_FAILURES: usize = 1000;

/// Turns the events of one peer into entries.
#[derive(Debug)]
pub(in crate::daemon) struct PeerHistory {
    /// `None` if no history is kept.
    history: Option<Arc<ProcessHistory>>,
    peer: PeerName,
    /// The peer's state folder, in the last session.
    installation: Mutex<Option<InstallationId>>,
    /// The last failure of each entry that is not complete since.
    failures: Mutex<HashMap<(Direction, Name), String>>,
}

impl PeerHistory {
    pub(in crate::daemon) fn new(history: &Arc<ProcessHistory>, peer: PeerName) -> Self {
        let history = (!history.keep.is_zero()).then(|| history.clone());
        Self { history, peer, installation: Mutex::default(), failures: Mutex::default() }
    }

    /// Records an event, if it belongs in the history.
    pub(in crate::daemon) fn note(&self, event: &Event) {
        let Some(history) = &self.history else { return };
        if let Event::Connected { installation, .. } = event {
            *locked(&self.installation) = Some(*installation);
        }
        if let Some(entry) = self.entry(event) {
            history.add(&entry);
        }
    }

    fn entry(&self, event: &Event) -> Option<HistoryEntry> {
        match event {
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
                let kind = match direction {
                    Direction::Send => HistoryKind::Sent,
                    Direction::Receive => HistoryKind::Received,
                };
                self.has_ended(*direction, path);
                Some(HistoryEntry {
                    blake3: (*blake3 != [0; 32]).then_some(*blake3),
                    elapsed: Some(*elapsed),
                    offset: *offset,
                    saved_as: saved_as.clone(),
                    checked: *checked,
                    ..self.bare(kind, *direction, path, *size, *transfer)
                })
            }
            Event::FileFailed { direction, path, size, transfer, error, cause, .. } => {
                let kind = kind_of_failure(cause, *direction)?;
                self.is_new_failure(*direction, path, error).then(|| HistoryEntry {
                    error: Some(error.clone()),
                    ..self.bare(kind, *direction, path, *size, *transfer)
                })
            }
            Event::FileCancelled { path, size, transfer, .. } => {
                self.has_ended(Direction::Send, path);
                Some(self.bare(HistoryKind::Cancelled, Direction::Send, path, *size, *transfer))
            }
            Event::HookDone { path, size, transfer, end, elapsed, output, .. } => {
                let kind = kind_of_hook(end);
                Some(HistoryEntry {
                    elapsed: Some(*elapsed),
                    error: (kind == HistoryKind::HookFailed).then(|| end.to_string()),
                    output: (!output.is_empty()).then(|| output.clone()),
                    ..self.bare(kind, Direction::Receive, path, *size, *transfer)
                })
            }
            Event::FileRemoved { path, size, transfer, archived } => {
                let kind = if *archived { HistoryKind::Archived } else { HistoryKind::Removed };
                Some(self.bare(kind, Direction::Send, path, *size, *transfer))
            }
            _ => None,
        }
    }

    /// An entry of this moment, with what every kind has.
    fn bare(
        &self,
        kind: HistoryKind,
        direction: Direction,
        path: &Name,
        size: u64,
        transfer: TransferId,
    ) -> HistoryEntry {
        HistoryEntry {
            time: SystemTime::now(),
            kind,
            direction,
            peer: self.peer.clone(),
            path: path.clone(),
            size,
            blake3: None,
            transfer,
            installation: *locked(&self.installation),
            elapsed: None,
            offset: 0,
            saved_as: None,
            checked: false,
            error: None,
            output: None,
        }
    }

    /// A later failure of this entry is a new one.
    fn has_ended(&self, direction: Direction, path: &Name) {
        let mut failures = locked(&self.failures);
        // Without a failure there is no name to copy.
        if !failures.is_empty() {
            failures.remove(&(direction, path.clone()));
        }
    }

    /// Whether the entry did not fail for this reason before.
    fn is_new_failure(&self, direction: Direction, path: &Name, error: &str) -> bool {
        let mut failures = locked(&self.failures);
        if failures.len() >= MAX_FAILURES {
            failures.clear();
        }
        let last = failures.insert((direction, path.clone()), error.to_owned());
        last.as_deref() != Some(error)
    }
}

/// `None` if the failure is no entry: the user's, which has one of its own.
fn kind_of_failure(cause: &Cause, direction: Direction) -> Option<HistoryKind> {
    match (cause, direction) {
        (Cause::Withdrawn, _) | (Cause::Cancelled, Direction::Send) => None,
        (Cause::Cancelled, Direction::Receive) => Some(HistoryKind::Cancelled),
        (Cause::Refused(_), _) => Some(HistoryKind::Refused),
        (Cause::Fault(_), _) => Some(HistoryKind::Failed),
    }
}

fn kind_of_hook(end: &HookEnd) -> HistoryKind {
    if end.is_success() { HistoryKind::HookDone } else { HistoryKind::HookFailed }
}
