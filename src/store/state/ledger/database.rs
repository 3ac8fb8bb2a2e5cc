//! redb on one file. The file is verified whenever it is opened. After an error it is opened again:
//! once a read or write has failed (for example on a full disk), redb refuses all further
//! operations.

use super::record::{Changes, too_old};
use crate::cause;
use crate::failpoint;
use crate::failpoint::fail_point;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::os;
use cap_std::fs::Dir;
use redb::{Durability, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub(crate) const RECEIVED: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("received");
pub(crate) const DELIVERED: TableDefinition<'_, &[u8; 16], &[u8]> =
    TableDefinition::new("delivered files");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ORIGIN: &str = "origin";
/// The ledger is small and mostly written to. redb's default is 1 GiB.
const CACHE_BYTES: usize = 16 << 20;
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
        let ready = || {
            make_whole(dir, leaf, path, as_of)?;
            load(path, open_own(dir, leaf), as_of)
        };
        let (loaded, aside) = match ready() {
            Err(OpenFailure::Damaged(reason)) => {
                tracing::error!(path = %path.display(), %reason, "the ledger is damaged");
                let aside = move_aside(dir, leaf).naming("move aside", || path.display())?;
                (ready(), Some(path.with_file_name(aside)))
            }
            loaded => (loaded, None),
        };
        let (db, origin) = loaded.map_err(|failure| failure.into_error(path))?;
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
            match error {
                Some(redb::Error::Io(error)) => {
                    StoreError::new("write", self.path.display(), &error)
                }
                Some(error) => self.error(error.to_string()),
                None => self.error("it is damaged".to_owned()),
            }
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
        let (db, origin) = load(&self.path, open_own(&self.dir, self.leaf), 0)
            .map_err(|failure| failure.into_error(&self.path))?;
        if origin != self.origin {
            return Err(self.error("another file replaced it".to_owned()));
        }
        let replayed = guarded(|| {
            let transaction = db.begin_write()?;
            apply(&transaction, unsynced)?;
            Ok(transaction.commit()?)
        });
        match replayed {
            Ok(()) => {}
            Err(Some(redb::Error::Io(error))) => {
                return Err(StoreError::new("write", self.path.display(), &error));
            }
            Err(error) => {
                return Err(self.error(error.map_or_else(String::new, |error| error.to_string())));
            }
        }
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

    fn error(&self, reason: String) -> StoreError {
        let reason = cause::without_number(&reason);
        StoreError::Ledger { path: self.path.display().to_string(), reason }
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

enum OpenFailure {
    /// The file's content is not what redb wrote.
    Damaged(String),
    Other(StoreError),
}

impl OpenFailure {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Damaged(reason) => {
                StoreError::Ledger { path: path.display().to_string(), reason }
            }
            Self::Other(error) => error,
        }
    }
}

fn open_own(dir: &Dir, leaf: &str) -> io::Result<File> {
    os::open_edit(dir, OsStr::new(leaf)).map(|(file, _)| file)
}

/// Creates the file if it is missing. It is completed under another name first, because redb treats
/// a file whose creation was interrupted as damaged.
fn make_whole(dir: &Dir, leaf: &str, path: &Path, as_of: u64) -> Result<(), OpenFailure> {
    match os::stat(dir, OsStr::new(leaf)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Ok(()),
    }
    let new = format!("{leaf}.new");
    let new = OsStr::new(&new);
    let failed =
        |error: io::Error| OpenFailure::Other(StoreError::new("make", path.display(), &error));
    match os::unlink(dir, new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    drop(load(path, os::create_new(dir, new), as_of)?);
    fail_point("ledger.made");
    os::rename_new(dir, new, dir, OsStr::new(leaf)).map_err(failed)
}

fn load(
    path: &Path,
    file: io::Result<File>,
    as_of: u64,
) -> Result<(redb::Database, [u8; 16]), OpenFailure> {
    let file = file.naming("open", || path.display()).map_err(OpenFailure::Other)?;
    guarded(|| {
        // The whole file is verified, because redb may panic on a damaged page.
        let db = redb::Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(Backend(file))?;
        fail_point("ledger.verified");
        let transaction = db.begin_write()?;
        let origin = {
            let mut meta = transaction.open_table(META)?;
            let known =
                meta.get(ORIGIN)?.and_then(|value| <[u8; 16]>::try_from(value.value()).ok());
            let origin = known.unwrap_or_else(rand::random);
            meta.insert(ORIGIN, &origin[..])?;
            transaction.open_table(DELIVERED)?;
            transaction.open_table(RECEIVED)?.retain(|_, value| !too_old(value, as_of))?;
            origin
        };
        fail_point("ledger.committing");
        transaction.commit()?;
        fail_point("ledger.open");
        Ok((db, origin))
    })
    .map_err(|failure| match failure {
        None => OpenFailure::Damaged("it is damaged".to_owned()),
        Some(redb::Error::Io(error))
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::InvalidInput
            ) =>
        {
            OpenFailure::Other(StoreError::new("open", path.display(), &error))
        }
        Some(error) => OpenFailure::Damaged(cause::without_number(&error.to_string())),
    })
}

/// Verifies the bytes of a ledger that no process uses, and changes nothing.
///
/// # Errors
/// The damage, for people.
pub fn verify_ledger(bytes: &[u8]) -> Result<(), String> {
    let verified = guarded(|| {
        let copy = redb::backends::InMemoryBackend::new();
        copy.set_len(bytes.len() as u64)?;
        copy.write(0, bytes)?;
        redb::Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(copy)?;
        Ok(())
    });
    verified.map_err(|error| match error {
        Some(error) => cause::without_number(&error.to_string()),
        None => "it is damaged".to_owned(),
    })
}

/// Runs `work` on redb. The error is `None` if redb panicked.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Option<redb::Error>> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

/// Renames a damaged file, and returns its new name.
fn move_aside(dir: &Dir, leaf: &str) -> io::Result<String> {
    let mut number = 1;
    loop {
        let aside = format!("{leaf}.damaged-{number}");
        match os::rename_new(dir, OsStr::new(leaf), dir, OsStr::new(&aside)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            moved => return moved.map(|()| aside),
        }
    }
}

/// redb's access to the file. The state folder's lock protects it.
#[derive(Debug)]
struct Backend(File);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(os::stat_file(&self.0)?.size)
    }

    fn read(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        failpoint::io("ledger.read")?;
        while !out.is_empty() {
            let read = os::read_at(&self.0, out, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out = &mut out[read..];
            offset += read as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        failpoint::io("ledger.write")?;
        os::set_len(&self.0, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        failpoint::io("ledger.sync")?;
        os::sync_data(&self.0)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        failpoint::io("ledger.write")?;
        os::write_at(&self.0, data, offset)
    }
}
