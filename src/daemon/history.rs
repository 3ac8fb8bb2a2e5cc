//! Records the fate of the files of all peers, and answers questions about it.
//!
//! The events wait in memory for a second and are written together: a write for each file would
//! cost as much as a small file itself. A crash loses at most the entries of this second; the files
//! are safe all the same.

mod entries;

pub(super) use entries::PeerHistory;

use super::lock::locked;
use crate::config::Folders;
use crate::error::RunError;
use crate::history::record;
use crate::history::{HistoryEntry, HistoryPage, HistoryPosition, HistoryQuery};
use crate::proto::message::InstallationId;
use crate::store::{self, History, HistoryCopy, HistoryRange, StateDir, StoreError};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Time from an entry to its record.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// Time to the next attempt after a failed one, for example on a full disk.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes of entries that may wait in memory, about 150 each; later ones are lost. Twice those of
/// a second with the smallest files.
const MAX_WAITING: usize = 8 << 20;
/// Bytes of a block on the disk, at most.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes of a page in JSON, roughly.
const MAX_PAGE: usize = 1 << 20;
/// The share of an entry without its name.
const ENTRY_BYTES: usize = 350;

/// The history of a process.
#[derive(Debug)]
pub(super) struct ProcessHistory {
    store: History,
    keep: Duration,
    /// By which the age of entries is measured: see `store::state::age`.
    begun: (u64, Instant),
    waiting: Mutex<PendingEntries>,
    /// Told when the first entry waits.
    some_wait: Notify,
}

/// Encoded entries.
#[derive(Debug, Default)]
struct PendingEntries {
    /// Full blocks and the one that is filled now, each with the time of its last entry in
    /// microseconds since 1970.
    blocks: Vec<(u64, Vec<u8>)>,
    bytes: usize,
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

    fn add(&self, entry: &HistoryEntry) {
        let mut waiting = locked(&self.waiting);
        if waiting.bytes >= MAX_WAITING {
            waiting.lost += 1;
            return;
        }
        let is_first = waiting.bytes == 0;
        let is_full = waiting.blocks.last().is_none_or(|(_, block)| block.len() >= BLOCK_BYTES);
        if is_full {
            waiting.blocks.push((0, Vec::new()));
        }
        let mut added = 0;
        if let Some((time, block)) = waiting.blocks.last_mut() {
            let before = block.len();
            record::put(block, entry);
            *time = record::micros(entry.time).max(*time);
            added = block.len() - before;
        }
        waiting.bytes += added;
        if is_first {
            self.some_wait.notify_one();
        }
    }

    /// Writes the waiting entries. After an error they wait on.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        let (blocks, bytes) = {
            let mut waiting = locked(&self.waiting);
            (std::mem::take(&mut waiting.blocks), std::mem::take(&mut waiting.bytes))
        };
        if blocks.is_empty() {
            return Ok(());
        }
        let written = self.store.add(&blocks, self.oldest());
        let mut waiting = locked(&self.waiting);
        if written.is_err() {
            let later = std::mem::replace(&mut waiting.blocks, blocks);
            waiting.blocks.extend(later);
            waiting.bytes += bytes;
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
        // A query that cannot be answered in full is answered from the disk alone.
        if let Err(error) = self.write() {
            tracing::debug!(%error, "the history is not written");
        }
        let mut page = PageBuilder::new(query, Some(self.store.installation()));
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
        let Some(copy) = &self.0 else { return Ok(PageBuilder::new(query, None).page) };
        let mut page = PageBuilder::new(query, copy.installation());
        copy.visit(range_of(query), |number, bytes| page.visit(number, bytes))?;
        Ok(page.page)
    }
}

/// A page while it is filled.
struct PageBuilder<'a> {
    query: &'a HistoryQuery,
    page: HistoryPage,
    bytes: usize,
}

impl<'a> PageBuilder<'a> {
    fn new(query: &'a HistoryQuery, installation: Option<InstallationId>) -> Self {
        let page = HistoryPage { installation, entries: Vec::new(), next: None };
        Self { query, page, bytes: 0 }
    }

    /// Takes the entries of a block that are looked for, up to the end of the page.
    fn visit(&mut self, number: u64, block: &[u8]) -> ControlFlow<()> {
        let entries = (0..).zip(record::read(block));
        if self.query.newest_first {
            let entries: Vec<(u32, HistoryEntry)> = entries.collect();
            entries.into_iter().rev().try_for_each(|(n, entry)| self.take(number, n, entry))
        } else {
            let mut entries = entries;
            entries.try_for_each(|(n, entry)| self.take(number, n, entry))
        }
    }

    fn take(&mut self, block: u64, index: u32, entry: HistoryEntry) -> ControlFlow<()> {
        let is_behind = self.query.after.is_none_or(|HistoryPosition(after, last)| {
            block != after || if self.query.newest_first { index < last } else { index > last }
        });
        if is_behind && self.query.wants(&entry) {
            self.bytes += ENTRY_BYTES + entry.path.as_bytes().len();
            self.page.entries.push(entry);
            if self.bytes >= MAX_PAGE {
                self.page.next = Some(HistoryPosition(block, index));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// The numbers of the blocks that may have entries that a query looks for. A block is numbered by
/// its last entry, so a later one may begin before the query's end.
fn range_of(query: &HistoryQuery) -> HistoryRange {
    let newest_first = query.newest_first;
    let mut range =
        HistoryRange { from: query.since.map_or(0, record::micros), to: u64::MAX, newest_first };
    match query.after {
        Some(HistoryPosition(block, _)) if newest_first => range.to = block.saturating_add(1),
        Some(HistoryPosition(block, _)) => range.from = range.from.max(block),
        None => {}
    }
    range
}

#[cfg(test)]
mod tests;
