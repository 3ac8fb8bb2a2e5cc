//! redb on one file. The file is verified whenever it is opened. After an error it is opened again:
//! once a read or write has failed (for example on a full disk), redb refuses all further
//! operations.

use super::record::{Changes, too_old};
use crate::failpoint::fail_point;
use crate::store::error::StoreError;
use crate::store::state::redb_file::{self, FailPoints, RedbFile, guarded, in_memory};
use cap_std::fs::Dir;
use redb::{Durability, ReadableTable, TableDefinition, WriteTransaction};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub(crate) const RECEIVED: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("received");
pub(crate) const DELIVERED: TableDefinition<'_, &[u8; 16], &[u8]> =
    TableDefinition::new("delivered files");
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ORIGIN: &str = "origin";
/// It is small and mostly written to.
const CACHE_BYTES: usize = 16 << 20;
const POINTS: FailPoints = FailPoints {
    made: "ledger.made",
    read: "ledger.read",
    write: "ledger.write",
    sync: "ledger.sync",
};
/// Maximum number of changes that wait for a durable commit.
const MAX_UNSYNCED: usize = 4096;

/// The open database, with everything that is needed to open it again.
pub(crate) struct Database {
    dir: Arc<Dir>,
    leaf: &'static str,
    /// For messages.
    path: PathBuf,
    origin: [u8; 16],
    open: RwLock<Option<redb::Database>>,
    /// The file must be opened again.
    failed: AtomicBool,
    /// The changes that no durable commit covers yet, and that the file may lack when it is opened
    /// again. A writer holds this lock.
    unsynced: Mutex<Changes>,
}

impl Database {
    /// Opens or creates the file, and drops the entries that have expired at `as_of` (seconds since
    /// 1970). A damaged file is moved aside; its new path is returned.
    pub(crate) fn open(
        dir: &Arc<Dir>,
        leaf: &'static str,
        path: &Path,
        as_of: u64,
    ) -> Result<(Self, Option<PathBuf>), StoreError> {
        let file = RedbFile { dir, leaf, path, points: &POINTS, cache: CACHE_BYTES };
        let (db, origin, aside) = file.open(&|db| prepare(db, as_of))?;
        let database = Self {
            dir: Arc::clone(dir),
            leaf,
            path: path.to_owned(),
            origin,
            open: RwLock::new(Some(db)),
            failed: AtomicBool::new(false),
            unsynced: Mutex::default(),
        };
        Ok((database, aside))
    }

    /// The random value that was made with the file.
    pub(crate) fn origin(&self) -> [u8; 16] {
        self.origin
    }

    /// Runs a read transaction.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        if self.failed.load(Ordering::Acquire) {
            self.reopen(&mut self.unsynced.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        self.run(work)
    }

    /// Runs a write transaction.
    pub(crate) fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        self.commit(&mut unsynced, durability, change)
    }

    /// Changes the table of received transfers. A change that need not be durable succeeds even if
    /// it cannot be written now: it is kept in memory and written once the file can be opened
    /// again. A removal that must be durable is kept in memory as well, and reports its error.
    pub(crate) fn change(
        &self,
        changes: Changes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let lazy = matches!(durability, Durability::None);
        let durability =
            if unsynced.len() > MAX_UNSYNCED { Durability::Immediate } else { durability };
        let done =
            self.commit(&mut unsynced, durability, |transaction| apply(transaction, &changes));
        if done.is_ok() && matches!(durability, Durability::Immediate) {
            return Ok(());
        }
        unsynced.extend(changes.into_iter().filter(|(_, value)| lazy || value.is_none()));
        if lazy { Ok(()) } else { done }
    }

    fn commit(
        &self,
        unsynced: &mut Changes,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            self.reopen(unsynced)?;
        }
        self.run(|db| {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(durability)?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        })?;
        if matches!(durability, Durability::Immediate) {
            // A durable commit covers all earlier ones.
            unsynced.clear();
        }
        Ok(())
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let done =
            open.as_ref().map_or(Err(Some(redb::Error::PreviousIo)), |db| guarded(|| work(db)));
        done.map_err(|error| {
            self.failed.store(true, Ordering::Release);
            redb_file::error_of(&self.path, error)
        })
    }

    fn reopen(&self, unsynced: &mut Changes) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        // Its writes on closing may fail: the file is verified when it is opened again.
        let _ = guarded(|| {
            drop(open.take());
            Ok(())
        });
        let (dir, leaf, path) = (&self.dir, self.leaf, &self.path);
        let file = RedbFile { dir, leaf, path, points: &POINTS, cache: CACHE_BYTES };
        let (db, origin) = file.reopen(&|db| prepare(db, 0))?;
        if origin != self.origin {
            let (path, reason) = (self.path.display().to_string(), "another file replaced it");
            return Err(StoreError::Ledger { path, reason: reason.to_owned() });
        }
        let replayed = guarded(|| {
            let transaction = db.begin_write()?;
            apply(&transaction, unsynced)?;
            Ok(transaction.commit()?)
        });
        replayed.map_err(|error| redb_file::error_of(&self.path, error))?;
        tracing::info!("the ledger was opened anew after an error");
        unsynced.clear();
        *open = Some(db);
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Puts the database into the state after a failed read or write.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

fn apply(transaction: &WriteTransaction, changes: &Changes) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(RECEIVED)?;
    for (id, value) in changes {
        match value {
            Some(value) => drop(table.insert(id, &value[..])?),
            None => drop(table.remove(id)?),
        }
    }
    Ok(())
}

/// Creates the tables, drops the entries that have expired at `as_of`, and returns the origin.
fn prepare(db: &redb::Database, as_of: u64) -> Result<[u8; 16], redb::Error> {
    fail_point("ledger.verified");
    let transaction = db.begin_write()?;
    let origin = {
        let mut meta = transaction.open_table(META)?;
        let known = meta.get(ORIGIN)?.and_then(|value| <[u8; 16]>::try_from(value.value()).ok());
        let origin = known.unwrap_or_else(rand::random);
        meta.insert(ORIGIN, &origin[..])?;
        transaction.open_table(DELIVERED)?;
        transaction.open_table(RECEIVED)?.retain(|_, value| !too_old(value, as_of))?;
        origin
    };
    fail_point("ledger.committing");
    transaction.commit()?;
    fail_point("ledger.open");
    Ok(origin)
}

/// Verifies the bytes of a ledger that no process uses, and changes nothing.
///
/// # Errors
/// The damage, for people.
pub fn verify_ledger(bytes: &[u8]) -> Result<(), String> {
    in_memory(bytes).map(drop)
}
