//! One redb file of the program's own: opened and verified, made whole, moved aside when damaged.

use crate::cause;
use crate::failpoint::{self, fail_point};
use crate::store::error::{Naming, StoreError};
use crate::store::tree::os;
use cap_std::fs::Dir;
use redb::StorageBackend;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Bytes of the cache for a copy in memory.
const COPY_CACHE: usize = 1 << 20;

/// A redb file of the state folder, by its name there.
#[derive(Debug, Clone, Copy)]
pub(super) struct RedbFile<'a> {
    pub(super) dir: &'a Dir,
    pub(super) leaf: &'static str,
    /// For messages.
    pub(super) path: &'a Path,
    pub(super) points: &'static FailPoints,
    /// Bytes of the cache. redb's default is 1 GiB.
    pub(super) cache: usize,
}

/// The fail points of a file: of its creation, and of the calls on it.
#[derive(Debug)]
pub(super) struct FailPoints {
    pub(super) made: &'static str,
    pub(super) read: &'static str,
    pub(super) write: &'static str,
    pub(super) sync: &'static str,
}

/// Brings a database that was just opened into its initial state, for example by creating the
/// tables.
pub(super) type Prepare<'a, T> = &'a dyn Fn(&redb::Database) -> Result<T, redb::Error>;

impl RedbFile<'_> {
    /// Opens or creates the file. A damaged one is moved aside; its new path is returned.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or written.
    pub(super) fn open<T>(
        self,
        prepare: Prepare<'_, T>,
    ) -> Result<(redb::Database, T, Option<PathBuf>), StoreError> {
        let ready = || {
            self.make_whole(prepare)?;
            self.load(self.open_own(), prepare)
        };
        let (loaded, aside) = match ready() {
            Err(OpenFailure::Damaged(reason)) => {
                tracing::debug!(path = %self.path.display(), %reason, "the file is damaged");
                let aside =
                    move_aside(self.dir, self.leaf).naming("move aside", || self.path.display())?;
                (ready(), Some(self.path.with_file_name(aside)))
            }
            loaded => (loaded, None),
        };
        let (db, made) = loaded.map_err(|failure| failure.into_error(self.path))?;
        Ok((db, made, aside))
    }

    /// Opens the file again, after an error.
    ///
    /// # Errors
    /// [`StoreError`], also if it is damaged.
    pub(super) fn reopen<T>(
        self,
        prepare: Prepare<'_, T>,
    ) -> Result<(redb::Database, T), StoreError> {
        self.load(self.open_own(), prepare).map_err(|failure| failure.into_error(self.path))
    }

    fn open_own(self) -> io::Result<File> {
        os::open_edit(self.dir, OsStr::new(self.leaf)).map(|(file, _)| file)
    }

    /// Creates the file if it is missing. It is completed under another name first, because redb
    /// treats a file whose creation was interrupted as damaged.
    fn make_whole<T>(self, prepare: Prepare<'_, T>) -> Result<(), OpenFailure> {
        match os::stat(self.dir, OsStr::new(self.leaf)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return Ok(()),
        }
        let new = format!("{}.new", self.leaf);
        let new = OsStr::new(&new);
        let failed = |error: io::Error| {
            OpenFailure::Other(StoreError::new("make", self.path.display(), &error))
        };
        match os::unlink(self.dir, new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        drop(self.load(os::create_new(self.dir, new), prepare)?);
        fail_point(self.points.made);
        os::rename_new(self.dir, new, self.dir, OsStr::new(self.leaf)).map_err(failed)
    }

    fn load<T>(
        self,
        file: io::Result<File>,
        prepare: Prepare<'_, T>,
    ) -> Result<(redb::Database, T), OpenFailure> {
        let file = file.naming("open", || self.path.display()).map_err(OpenFailure::Other)?;
        let loaded = guarded(|| {
            // The whole file is verified, because redb may panic on a damaged page.
            let db = redb::Database::builder()
                .set_cache_size(self.cache)
                .set_check_integrity_on_open(true)
                .create_with_backend(Backend { file, points: self.points })?;
            let made = prepare(&db)?;
            Ok((db, made))
        });
        loaded.map_err(|failure| match failure {
            None => OpenFailure::Damaged("it is damaged".to_owned()),
            Some(redb::Error::Io(error)) if !is_damage(&error) => {
                OpenFailure::Other(StoreError::new("open", self.path.display(), &error))
            }
            Some(error) => OpenFailure::Damaged(cause::without_number(&error.to_string())),
        })
    }
}

/// Whether the error is about the content of the file.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
    )
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

/// The database in the bytes of a file that no process uses. Nothing is written to the file.
///
/// # Errors
/// The damage, for people.
pub(super) fn in_memory(bytes: &[u8]) -> Result<redb::Database, String> {
    let opened = guarded(|| {
        let copy = redb::backends::InMemoryBackend::new();
        copy.set_len(bytes.len() as u64)?;
        copy.write(0, bytes)?;
        Ok(redb::Database::builder()
            .set_cache_size(COPY_CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(copy)?)
    });
    opened.map_err(|error| match error {
        Some(error) => cause::without_number(&error.to_string()),
        None => "it is damaged".to_owned(),
    })
}

/// Runs `work` on redb. The error is `None` if redb panicked.
pub(super) fn guarded<T>(
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, Option<redb::Error>> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

/// The error of an operation on an open file, for people.
pub(super) fn error_of(path: &Path, error: Option<redb::Error>) -> StoreError {
    let reason = match error {
        Some(redb::Error::Io(error)) => return StoreError::new("write", path.display(), &error),
        Some(error) => error.to_string(),
        None => "it is damaged".to_owned(),
    };
    let reason = cause::without_number(&reason);
    StoreError::Ledger { path: path.display().to_string(), reason }
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
struct Backend {
    file: File,
    points: &'static FailPoints,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(os::stat_file(&self.file)?.size)
    }

    fn read(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        failpoint::io(self.points.read)?;
        while !out.is_empty() {
            let read = os::read_at(&self.file, out, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out = &mut out[read..];
            offset += read as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        failpoint::io(self.points.write)?;
        os::set_len(&self.file, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        failpoint::io(self.points.sync)?;
        os::sync_data(&self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        failpoint::io(self.points.write)?;
        os::write_at(&self.file, data, offset)
    }
}
