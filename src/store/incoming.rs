//! Where files arrive: the folder, the stage beside it, and the space that is promised.

use super::error::{Naming, StoreError};
use super::folder::Folder;
use super::os;
use super::stage::{Staged, leaf_of};
use super::state::{Beside, StateDir};
use crate::proto::message::TransferId;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A staged file that nobody resumed for so long is dropped.
const STALE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Incoming, with its stage on the same volume.
#[derive(Debug)]
pub struct Incoming {
    folder: Folder,
    stage: Beside,
    promised: Arc<AtomicU64>,
}

impl Incoming {
    /// Opens the folder and its stage, and drops staged files that are too old to be resumed. Call
    /// [`Incoming::recover`] before anything is received.
    ///
    /// # Errors
    /// [`StoreError`] when either cannot be made or used.
    pub fn open(path: &Path, state: &StateDir) -> Result<Self, StoreError> {
        let folder = Folder::open(path, true)?;
        let stage = state.beside(&folder, "stage")?;
        let incoming = Self { folder, stage, promised: Arc::default() };
        incoming.sweep()?;
        Ok(incoming)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn stage_dir(&self) -> &Beside {
        &self.stage
    }

    /// Sets space aside for a file, if that much is free besides what others were promised and
    /// `min_free`.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`].
    pub fn reserve(&self, bytes: u64, min_free: u64) -> Result<Reservation, StoreError> {
        let free = self.folder.free_space()?;
        let before = self.promised.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation { promised: self.promised.clone(), bytes };
        // What was promised is partly written already, so this errs on the careful side.
        let wanted = before.saturating_add(bytes).saturating_add(if bytes == 0 { 0 } else { min_free });
        if wanted > free {
            return Err(StoreError::NoSpace { path: self.folder.path().display().to_string() });
        }
        Ok(reservation)
    }

    /// The staged file of a transfer, made or found again, and how many bytes from its start an
    /// earlier attempt left: a hint, to be proven by hash.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be made.
    pub fn stage(&self, id: TransferId) -> Result<(Staged, u64), StoreError> {
        Staged::open(&self.stage, id)
    }

    /// Drops what is staged of a transfer, if anything is.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be removed.
    pub fn discard(&self, id: TransferId) -> Result<(), StoreError> {
        for leaf in [leaf_of(id), Staged::hint_leaf(id)] {
            match os::unlink(&self.stage.dir, &leaf) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::new("remove", self.stage.path.display(), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn sweep(&self) -> Result<(), StoreError> {
        let leaves = os::entries(&self.stage.dir).naming("list", || self.stage.path.display())?;
        let oldest = SystemTime::now().checked_sub(STALE).map(super::meta::timestamp_of);
        for leaf in leaves {
            let Ok(meta) = os::stat(&self.stage.dir, &leaf) else { continue };
            if oldest.is_some_and(|oldest| meta.modified < oldest) {
                let _: Result<(), _> = os::unlink(&self.stage.dir, &leaf);
            }
        }
        Ok(())
    }

    /// Finishes what a crash left half published.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger or a staged file cannot be used.
    pub fn recover(&self, ledger: &super::Ledger) -> Result<(), StoreError> {
        super::publish::recover(self, ledger)
    }

    /// Whether anything is staged under this name.
    pub(crate) fn is_staged(&self, leaf: &OsString) -> bool {
        os::stat(&self.stage.dir, leaf).is_ok()
    }
}

/// Space that is set aside; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    promised: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;

    fn incoming(base: &Path) -> (StateDir, Incoming) {
        let folders = Folders::in_dir(base);
        let state = StateDir::open(&folders).unwrap();
        let incoming = Incoming::open(&folders.incoming, &state).unwrap();
        (state, incoming)
    }

    #[test]
    fn space_is_promised_once() {
        let base = tempfile::tempdir().unwrap();
        let (_state, incoming) = incoming(base.path());
        let free = incoming.folder().free_space().unwrap();
        let half = free / 2;
        let first = incoming.reserve(half, 0).unwrap();
        assert!(matches!(incoming.reserve(half + (64 << 20), 0), Err(StoreError::NoSpace { .. })));
        drop(first);
        incoming.reserve(half, 0).unwrap();
        assert!(matches!(incoming.reserve(1, u64::MAX), Err(StoreError::NoSpace { .. })));
        incoming.reserve(0, u64::MAX).unwrap();
    }

    #[test]
    fn what_is_staged_is_found_again_and_dropped_when_old() {
        let base = tempfile::tempdir().unwrap();
        let (state, incoming) = incoming(base.path());
        let id = TransferId([3; 16]);
        let (mut staged, there) = incoming.stage(id).unwrap();
        assert_eq!(there, 0);
        staged.write_at(0, b"hello").unwrap();
        staged.checkpoint(5).unwrap();
        drop(staged);
        let (staged, there) = incoming.stage(id).unwrap();
        assert_eq!(there, 5);
        let mut back = [0; 5];
        staged.read_at(&mut back, 0).unwrap();
        assert_eq!(&back, b"hello");
        drop(staged);
        incoming.discard(id).unwrap();
        incoming.discard(id).unwrap();
        let (_, there) = incoming.stage(id).unwrap();
        assert_eq!(there, 0);

        let old = base.path().join(".rft/stage/old");
        std::fs::write(&old, "x").unwrap();
        let long_ago = SystemTime::now() - 2 * STALE;
        std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        drop(incoming);
        Incoming::open(&Folders::in_dir(base.path()).incoming, &state).unwrap();
        assert!(!old.exists());
    }
}
