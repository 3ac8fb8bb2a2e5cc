//! The history: blocks of entries that say what happened. One redb file, `.rft/history.redb`. The
//! blocks are bytes here.
//!
//! It is apart from the ledger, since it is larger and no transfer depends on it: it is opened when
//! the first block is added or read, not at the start.

use super::StateDir;
use super::redb_file::{FailPoints, RedbFile, error_of, guarded, in_memory};
use crate::proto::message::InstallationId;
use crate::store::error::StoreError;
use crate::store::tree::os;
use cap_std::fs::Dir;
use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The name of the file in `.rft`.
pub const HISTORY: &str = "history.redb";
/// By the time of a block's last entry, in microseconds since 1970. Of two blocks of the same time
/// the later one has a larger number.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const INSTALLATION: &str = "installation";
const BYTES: &str = "bytes";
/// Maximum size of all blocks. The oldest are dropped first.
const MAX_BYTES: u64 = 64 << 20;
/// It is written to at its end, and seldom read.
const CACHE_BYTES: usize = 1 << 20;
const POINTS: FailPoints = FailPoints {
    made: "history.made",
    read: "history.read",
    write: "history.write",
    sync: "history.sync",
};

/// The history of a state folder that this process has locked.
#[derive(Debug)]
pub struct History {
    dir: Arc<Dir>,
    path: PathBuf,
    installation: InstallationId,
    max_bytes: u64,
    /// `None` before the first use, and after an error.
    open: Mutex<Option<redb::Database>>,
}

impl History {
    /// The history of this folder. The file is not opened yet.
    pub fn of(state: &StateDir, installation: InstallationId) -> Self {
        let (dir, path) = (Arc::clone(state.dir()), state.path().join(HISTORY));
        Self { dir, path, installation, max_bytes: MAX_BYTES, open: Mutex::new(None) }
    }

    /// Adds blocks durably, each with the time of its last entry in microseconds since 1970, and
    /// drops those from before `oldest`. After an error none of them is added.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be written.
    pub fn add(&self, blocks: &[(u64, Vec<u8>)], oldest: u64) -> Result<(), StoreError> {
        self.run(|db| {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            {
                let mut table = transaction.open_table(BLOCKS)?;
                let mut meta = transaction.open_table(META)?;
                let size = meta.get(BYTES)?.and_then(|size| size.value().try_into().ok());
                let mut size = size.map_or(0, u64::from_be_bytes);
                for (time, block) in blocks {
                    let mut number = *time;
                    while table.get(number)?.is_some() {
                        number += 1;
                    }
                    table.insert(number, &block[..])?;
                    size += block.len() as u64;
                }
                loop {
                    let first = table.first()?;
                    let Some((number, len)) =
                        first.map(|(number, block)| (number.value(), block.value().len()))
                    else {
                        break;
                    };
                    if number >= oldest && size <= self.max_bytes {
                        break;
                    }
                    table.remove(number)?;
                    size = size.saturating_sub(len as u64);
                }
                meta.insert(BYTES, &size.to_be_bytes()[..])?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// Calls `visit` with the number and the bytes of each block in `range`, until it breaks.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn visit(
        &self,
        range: HistoryRange,
        visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if !self.exists() {
            return Ok(());
        }
        self.run(|db| visit_in(db, range, visit))
    }

    /// Whether anything was ever added. Reading creates no file.
    fn exists(&self) -> bool {
        !os::stat(&self.dir, OsStr::new(HISTORY)).is_err_and(|e| e.kind() == ErrorKind::NotFound)
    }

    /// The state folder's id, which is in the file too.
    pub fn installation(&self) -> InstallationId {
        self.installation
    }

    /// Closes the file, once no other thread uses it.
    pub fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A file that is not closed in order is repaired when it is opened.
        let _ = guarded(move || {
            drop(open);
            Ok(())
        });
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let db = match open.take() {
            Some(db) => db,
            None => self.open()?,
        };
        // After an error redb refuses everything: the next use opens the file again.
        let done = guarded(|| work(&db)).map_err(|error| error_of(&self.path, error));
        if done.is_ok() {
            *open = Some(db);
        } else {
            // Its writes on closing may fail: the file is verified when it is opened again.
            let _ = guarded(move || {
                drop(db);
                Ok(())
            });
        }
        done
    }

    fn open(&self) -> Result<redb::Database, StoreError> {
        let file = RedbFile {
            dir: &self.dir,
            leaf: HISTORY,
            path: &self.path,
            points: &POINTS,
            cache: CACHE_BYTES,
        };
        let (db, (), aside) = file.open(&|db| {
            let transaction = db.begin_write()?;
            transaction.open_table(META)?.insert(INSTALLATION, &self.installation.0[..])?;
            transaction.open_table(BLOCKS)?;
            Ok(transaction.commit()?)
        })?;
        if let Some(aside) = aside {
            tracing::warn!(kept_as = %aside.display(), "the history was damaged, and a new one is begun");
        }
        Ok(db)
    }
}

/// The history in the bytes of a file that no process uses.
#[derive(Debug)]
pub struct HistoryCopy(redb::Database);

impl HistoryCopy {
    /// Verifies the bytes.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], the damage; `path` names the file.
    pub fn new(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        let damaged = |reason| StoreError::Ledger { path: path.display().to_string(), reason };
        in_memory(bytes).map(Self).map_err(damaged)
    }

    /// As [`History::visit`].
    ///
    /// # Errors
    /// [`StoreError::Ledger`] if the file has other content.
    pub fn visit(
        &self,
        range: HistoryRange,
        visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        guarded(|| visit_in(&self.0, range, visit))
            .map_err(|error| error_of(Path::new(HISTORY), error))
    }

    /// The id of the state folder.
    pub fn installation(&self) -> Option<InstallationId> {
        let read = || {
            let table = self.0.begin_read()?.open_table(META)?;
            Ok(table.get(INSTALLATION)?.and_then(|id| id.value().try_into().ok()))
        };
        guarded(read).ok().flatten().map(InstallationId)
    }
}

/// The numbers of blocks, and an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRange {
    /// The first number.
    pub from: u64,
    /// The number after the last.
    pub to: u64,
    /// From the largest number to the smallest.
    pub newest_first: bool,
}

fn visit_in(
    db: &redb::Database,
    range: HistoryRange,
    mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<(), redb::Error> {
    if range.from >= range.to {
        return Ok(());
    }
    let table = match db.begin_read()?.open_table(BLOCKS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table?,
    };
    let mut entries = table.range(range.from..range.to)?;
    while let Some(entry) = if range.newest_first { entries.next_back() } else { entries.next() } {
        let (number, bytes) = entry?;
        if visit(number.value(), bytes.value()).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;
    use std::fs;

    const ALL: HistoryRange = HistoryRange { from: 0, to: u64::MAX, newest_first: false };

    fn state(dir: &Path) -> StateDir {
        StateDir::open(&Folders::in_dir(dir)).unwrap()
    }

    fn history(state: &StateDir) -> History {
        History::of(state, InstallationId([7; 16]))
    }

    fn all(history: &History, range: HistoryRange) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        let collect = |number, bytes: &[u8]| {
            found.push((number, String::from_utf8(bytes.to_vec()).unwrap()));
            ControlFlow::Continue(())
        };
        history.visit(range, collect).unwrap();
        found
    }

    fn entry(time: u64, text: &str) -> (u64, Vec<u8>) {
        (time, text.as_bytes().to_vec())
    }

    #[test]
    fn blocks_are_found_by_their_time_in_both_orders_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        let history = history(&state);
        assert_eq!(all(&history, ALL), []);
        // Two at the same time, and a clock that goes back.
        history.add(&[entry(20, "b"), entry(20, "c"), entry(30, "d")], 0).unwrap();
        history.add(&[entry(10, "a"), entry(21, "c2")], 0).unwrap();
        drop(history);
        let history = self::history(&state);
        let found =
            |range| all(&history, range).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(found(ALL), ["a", "b", "c", "c2", "d"]);
        assert_eq!(found(HistoryRange { newest_first: true, ..ALL }), ["d", "c2", "c", "b", "a"]);
        assert_eq!(found(HistoryRange { from: 20, to: 22, newest_first: false }), ["b", "c"]);
        assert_eq!(found(HistoryRange { from: 5, to: 5, newest_first: false }), [""; 0]);
        let copy = fs::read(state.path().join(HISTORY)).unwrap();
        drop(history);
        let copy = HistoryCopy::new(&copy, Path::new("x")).unwrap();
        assert_eq!(copy.installation(), Some(InstallationId([7; 16])));
        let mut count = 0;
        copy.visit(ALL, |_, _| {
            count += 1;
            if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(count, 3);
    }

    #[test]
    fn old_blocks_and_those_above_the_limit_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        let history = History { max_bytes: 5, ..history(&state) };
        let batch: Vec<_> = (0..4).map(|n| entry(n, &n.to_string())).collect();
        history.add(&batch, 0).unwrap();
        history.add(&[entry(10, "x")], 2).unwrap();
        let texts =
            |history| all(history, ALL).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(&history), ["2", "3", "x"]);
        let batch: Vec<_> = (20..23).map(|n| entry(n, &(n % 10).to_string())).collect();
        history.add(&batch, 0).unwrap();
        assert_eq!(texts(&history), ["3", "x", "0", "1", "2"]);
        history.add(&[entry(30, "larger")], 0).unwrap();
        assert_eq!(texts(&history), [""; 0]);
    }

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        history(&state).add(&[entry(1, "a")], 0).unwrap();
        let path = state.path().join(HISTORY);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes.iter_mut().skip(16).take(middle).for_each(|byte| *byte ^= 0x55);
        fs::write(&path, &bytes).unwrap();
        assert!(HistoryCopy::new(&bytes, &path).is_err());
        let history = history(&state);
        history.add(&[entry(2, "b")], 0).unwrap();
        assert_eq!(all(&history, ALL), [(2, "b".to_owned())]);
        assert!(state.path().join("history.redb.damaged-1").exists());
    }
}
