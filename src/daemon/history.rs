//! Records what happens to the files of all peers, and answers questions about it.
//!
//! The events wait in memory for a second and are written together: a write for each file would
//! cost as much as a small file itself. A crash loses at most the entries of this second; the files
//! are safe all the same.

use super::lock::locked;
use crate::config::{Folders, PeerName};
use crate::error::RunError;
use crate::event::{Cause, Direction, Event};
use crate::history::{HistoryEntry, HistoryKind, HistoryPage, HistoryQuery};
use crate::proto::message::InstallationId;
use crate::proto::name::Name;
use crate::store::{self, History, HistoryCopy, HistoryRange, StateDir, StoreError};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Time from an entry to its record.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Time to the next attempt after a failed one, for example on a full disk.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Entries that may wait in memory; later ones are lost. They are about 300 bytes each.
const MAX_WAITING: usize = 100_000;
/// Failures that are remembered, so that a repeated attempt adds no entry; beyond that all are
/// forgotten.
const MAX_FAILURES: usize = 10_000;
/// Bytes of entries in one page.
const MAX_PAGE: usize = 1 << 20;

/// The history of a process.
#[derive(Debug)]
pub(super) struct ProcessHistory {
    store: History,
    keep: Duration,
    /// By which the age of entries is measured: see `store::state::age`.
    begun: (u64, Instant),
    waiting: Mutex<Waiting>,
    /// Told when the first entry waits.
    some_wait: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<HistoryEntry>,
    lost: u64,
}

impl ProcessHistory {
    /// The history of a state folder. `as_of` is the time by which ages are measured, in seconds
    /// since 1970. An entry is kept for `keep`; with zero nothing is recorded.
    pub(super) fn new(
        state: &StateDir,
        installation: InstallationId,
        as_of: u64,
        keep: Duration,
    ) -> Self {
        Self {
            store: History::of(state, installation),
            keep,
            begun: (as_of, Instant::now()),
            waiting: Mutex::default(),
            some_wait: Notify::new(),
        }
    }

    fn add(&self, entry: HistoryEntry) {
        let mut waiting = locked(&self.waiting);
        if waiting.entries.len() >= MAX_WAITING {
            waiting.lost += 1;
            return;
        }
        waiting.entries.push(entry);
        if waiting.entries.len() == 1 {
            self.some_wait.notify_one();
        }
    }

    /// Writes the waiting entries. After an error they wait on.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        let entries = std::mem::take(&mut locked(&self.waiting).entries);
        if entries.is_empty() {
            return Ok(());
        }
        let encoded = entries.iter().filter_map(|entry| {
            let json = serde_json::to_vec(entry);
            Some((micros(entry.time), json.ok()?))
        });
        let encoded: Vec<_> = encoded.collect();
        let written = self.store.add(&encoded, self.oldest());
        let mut waiting = locked(&self.waiting);
        if written.is_err() {
            let later = std::mem::replace(&mut waiting.entries, entries);
            waiting.entries.extend(later);
        } else if std::mem::take(&mut waiting.lost) > 0 {
            tracing::warn!("the history lacks entries, since it could not be written for long");
        }
        written
    }

    /// Writes the waiting entries and closes the file, at the end of the process.
    pub(super) fn close(&self) {
        if let Err(error) = self.write() {
            tracing::warn!(%error, "the last entries of the history are not recorded");
        }
        self.store.close();
    }

    /// The time from which entries are kept, in microseconds since 1970.
    fn oldest(&self) -> u64 {
        let (as_of, begun) = self.begun;
        let oldest = Duration::from_secs(as_of).saturating_add(begun.elapsed());
        u64::try_from(oldest.saturating_sub(self.keep).as_micros()).unwrap_or(u64::MAX)
    }

    /// A page of the entries, those included that wait.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub(super) fn page(&self, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        // A query that cannot be answered in full is answered with what is on the disk.
        if let Err(error) = self.write() {
            tracing::debug!(%error, "the history is not written");
        }
        let mut page = Page::new(query, Some(self.store.installation()));
        self.store.visit(range_of(query), |number, bytes| page.visit(number, bytes))?;
        Ok(page.page)
    }
}

/// Writes entries as they come, until the task is aborted.
pub(super) fn keep(history: &Arc<ProcessHistory>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let history = history.clone();
    tasks.spawn(async move {
        let mut failed = false;
        loop {
            if !failed {
                history.some_wait.notified().await;
            }
            tokio::time::sleep(if failed { RETRY_INTERVAL } else { WRITE_INTERVAL }).await;
            let written = history.clone();
            match tokio::task::spawn_blocking(move || written.write()).await {
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(%error, "the history cannot be written; it is tried again");
                    }
                }
                _ => failed = false,
            }
        }
    });
    tasks
}

/// Turns the events of one peer into entries.
#[derive(Debug)]
pub(super) struct PeerHistory {
    /// `None` if no history is kept.
    history: Option<Arc<ProcessHistory>>,
    peer: PeerName,
    /// The peer's state folder, in the last session.
    installation: Mutex<Option<InstallationId>>,
    /// The last failure of each entry that is not complete since.
    failures: Mutex<HashMap<(Direction, Name), String>>,
}

impl PeerHistory {
    pub(super) fn new(history: &Arc<ProcessHistory>, peer: PeerName) -> Self {
        let history = (!history.keep.is_zero()).then(|| history.clone());
        Self { history, peer, installation: Mutex::default(), failures: Mutex::default() }
    }

    /// Records an event, if it belongs in the history.
    pub(super) fn note(&self, event: &Event) {
        let Some(history) = &self.history else { return };
        if let Event::Connected { installation, .. } = event {
            *locked(&self.installation) = Some(*installation);
        }
        if let Some(entry) = self.entry(event) {
            history.add(entry);
        }
    }

    fn entry(&self, event: &Event) -> Option<HistoryEntry> {
        let common = |kind, direction, path: &Name, size, transfer| HistoryEntry {
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
            error: None,
        };
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
            } => {
                let kind = match direction {
                    Direction::Send => HistoryKind::Sent,
                    Direction::Receive => HistoryKind::Received,
                };
                let mut failures = locked(&self.failures);
                if !failures.is_empty() {
                    failures.remove(&(*direction, path.clone()));
                }
                Some(HistoryEntry {
                    blake3: (*blake3 != [0; 32]).then_some(*blake3),
                    elapsed: Some(*elapsed),
                    offset: *offset,
                    saved_as: saved_as.clone(),
                    ..common(kind, *direction, path, *size, *transfer)
                })
            }
            Event::FileFailed { direction, path, size, transfer, error, cause, .. } => {
                let kind = match cause {
                    Cause::Withdrawn => return None,
                    Cause::Refused(_) => HistoryKind::Refused,
                    Cause::Fault(_) => HistoryKind::Failed,
                };
                let mut failures = locked(&self.failures);
                if failures.len() >= MAX_FAILURES {
                    failures.clear();
                }
                let last = failures.insert((*direction, path.clone()), error.clone());
                (last.as_ref() != Some(error)).then(|| HistoryEntry {
                    error: Some(error.clone()),
                    ..common(kind, *direction, path, *size, *transfer)
                })
            }
            Event::FileRemoved { path, size, transfer, archived } => {
                let kind = if *archived { HistoryKind::Archived } else { HistoryKind::Removed };
                Some(common(kind, Direction::Send, path, *size, *transfer))
            }
            _ => None,
        }
    }
}

/// The history of a state folder that no process uses.
#[derive(Debug)]
pub struct HistoryAtRest(Option<HistoryCopy>);

impl HistoryAtRest {
    /// Reads the file. The folder is locked meanwhile, and nothing is changed.
    pub(super) fn read(folders: &Folders) -> Result<Self, StoreError> {
        let path = folders.state.join(store::HISTORY);
        let bytes = store::read_at_rest(&folders.state, store::HISTORY)?;
        bytes.map(|bytes| HistoryCopy::new(&bytes, &path)).transpose().map(Self)
    }

    /// A page of the entries.
    ///
    /// # Errors
    /// [`RunError::Store`] if the file is damaged.
    pub fn page(&self, query: &HistoryQuery) -> Result<HistoryPage, RunError> {
        let Some(copy) = &self.0 else { return Ok(Page::new(query, None).page) };
        let mut page = Page::new(query, copy.installation());
        copy.visit(range_of(query), |number, bytes| page.visit(number, bytes))?;
        Ok(page.page)
    }
}

/// A page while it is filled.
struct Page<'a> {
    query: &'a HistoryQuery,
    page: HistoryPage,
    bytes: usize,
}

impl<'a> Page<'a> {
    fn new(query: &'a HistoryQuery, installation: Option<InstallationId>) -> Self {
        let page = HistoryPage { installation, entries: Vec::new(), next: None };
        Self { query, page, bytes: 0 }
    }

    fn visit(&mut self, number: u64, bytes: &[u8]) -> ControlFlow<()> {
        // An entry of a later version may have a kind that this one does not know.
        let Ok(entry) = serde_json::from_slice::<HistoryEntry>(bytes) else {
            return ControlFlow::Continue(());
        };
        if self.query.names(&entry) {
            self.bytes += bytes.len();
            self.page.entries.push(entry);
            if self.bytes >= MAX_PAGE {
                self.page.next = Some(number);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// The numbers of the entries that a query looks for.
fn range_of(query: &HistoryQuery) -> HistoryRange {
    let mut range = HistoryRange {
        from: query.since.map_or(0, micros),
        to: query.until.map_or(u64::MAX, micros),
        newest_first: query.newest_first,
    };
    match query.after {
        Some(after) if query.newest_first => range.to = range.to.min(after),
        Some(after) => range.from = range.from.max(after.saturating_add(1)),
        None => {}
    }
    range
}

/// Microseconds since 1970.
fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
