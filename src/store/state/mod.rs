//! The state folder, `.rft`, and the locks that keep a second rft out.

pub(crate) mod age;
pub(crate) mod history;
pub(crate) mod ledger;
mod redb_file;

use super::error::{Naming, StoreError};
use super::tree::folder::Folder;
use super::tree::meta::Meta;
use super::tree::os;
use super::tree::paths::{HIDDEN, make_path, sync_names_above};
use crate::config::Folders;
use crate::failpoint::fail_point;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Held while a process uses the state folder.
pub const LOCK: &str = "lock";
/// Prefix of the short-lived files that test which operations a folder allows.
pub const PROBE_PREFIX: &[u8] = b".rft-probe";
/// An empty file that tests whether a rename works.
const PROBE: &str = ".rft-probe";

/// The state folder, held by handle and locked until this value is dropped.
#[derive(Debug)]
pub struct StateDir {
    own: Own,
    // The system releases them when the process ends, even after a crash.
    _locks: Vec<File>,
}

impl StateDir {
    /// Creates the missing folders; `.rft` is accessible to this user only.
    ///
    /// # Errors
    /// [`StoreError`] if one cannot be created.
    pub fn make(folders: &Folders) -> Result<(), StoreError> {
        let outgoing = (!folders.reads_outgoing).then_some((&folders.outgoing, false));
        let own = [(&folders.incoming, false), (&folders.state, true)];
        for (path, private) in outgoing.into_iter().chain(own) {
            make_path(path, private).naming("create", || path.display())?;
        }
        Ok(())
    }

    /// Creates and locks `.rft` (for this user only). Outgoing and Incoming are locked as well if
    /// they have another parent, because two processes must not share any of the three folders. The
    /// names of all three are synced.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another rft uses a folder, [`StoreError::Nested`] if Outgoing
    /// and Incoming are inside each other, others if a folder cannot be created or used.
    pub fn open(folders: &Folders) -> Result<Self, StoreError> {
        let path = folders.state.clone();
        Self::make(folders)?;
        if !folders.reads_outgoing {
            refuse_nested(&folders.outgoing, &folders.incoming)?;
        }
        let outgoing = (!folders.reads_outgoing).then_some(&folders.outgoing);
        for path in outgoing.into_iter().chain([&folders.incoming, &folders.state]) {
            sync_names_above(path).naming("sync", || path.display())?;
        }
        let dir = os::open_root(&path).naming("open", || path.display())?;
        let mut locks = vec![lock(&path, &path)?];
        for root in outgoing.into_iter().chain([&folders.incoming]) {
            let hidden = root.join(HIDDEN);
            // The lock of a state folder beside the root, or in it, is the root's too.
            if root.parent() == path.parent() || path.parent() == Some(root) {
                continue;
            }
            let made = make_path(&hidden, true).naming("create", || hidden.display());
            match made.and_then(|()| lock(&hidden, root)) {
                Ok(file) => locks.push(file),
                // Files of a read-only folder can still be sent (`--after-send keep`).
                Err(StoreError::Denied { .. } | StoreError::ReadOnly { .. })
                    if root == &folders.outgoing => {}
                Err(error) => return Err(error),
            }
        }
        let meta = os::stat_dir(&dir).naming("look at", || path.display())?;
        Ok(Self { own: Own { path, dir: Arc::new(dir), meta }, _locks: locks })
    }

    /// The handle of the folder.
    pub(crate) fn dir(&self) -> &Arc<Dir> {
        &self.own.dir
    }

    /// The metadata that identify the folder.
    pub(crate) fn meta(&self) -> &Meta {
        &self.own.meta
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.own.path
    }

    /// Syncs the names in the folder, such as those of a new ledger and of the archive.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        os::sync_dir(&self.own.dir).naming("sync", || self.own.path.display())
    }

    /// Checks that the folder is still at its path. Without it there is no lock and no durable
    /// ledger.
    ///
    /// # Errors
    /// [`StoreError::StateGone`].
    pub fn is_there(&self) -> Result<(), StoreError> {
        match os::stat_root(&self.own.path) {
            Ok(now) if now.same_inode(&self.own.meta) => Ok(()),
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(())
            }
            _ => Err(StoreError::StateGone { path: self.own.path.display().to_string() }),
        }
    }

    /// The folder `leaf` of the program's own, on a volume from which files can be renamed into and
    /// out of `root`.
    pub(crate) fn work_dir(
        &self,
        root: &Folder,
        leaf: &'static str,
    ) -> Result<WorkFolder, StoreError> {
        let current = Mutex::new(Some(self.own.work_dir(root, leaf)?));
        Ok(WorkFolder { own: self.own.clone(), leaf, current })
    }

    /// As [`StateDir::work_dir`], but the folder is created when it is first used.
    pub(crate) fn work_dir_later(&self, leaf: &'static str) -> WorkFolder {
        WorkFolder { own: self.own.clone(), leaf, current: Mutex::new(None) }
    }
}

/// The state folder by handle.
#[derive(Debug, Clone)]
struct Own {
    path: PathBuf,
    dir: Arc<Dir>,
    meta: Meta,
}

impl Own {
    /// The folder is inside `.rft`, or in a hidden folder inside `root` if that is another volume.
    /// Only a trial rename shows this: bind mounts and subvolumes can have equal device numbers and
    /// still refuse a rename.
    fn work_dir(&self, root: &Folder, leaf: &str) -> Result<WorkDir, StoreError> {
        let held = root.root()?;
        let path = self.path.join(leaf);
        let dir = subfolder(&self.dir, leaf).naming("create", || path.display())?;
        match probe(&dir, &held) {
            Ok(()) => return WorkDir::new(dir, path, held),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            // Any other error is not conclusive: the second attempt, inside `root`, shows the true
            // reason.
            Err(_) => {}
        }
        let path = root.path().join(HIDDEN).join(leaf);
        let made = subfolder(&held, HIDDEN).and_then(|hidden| subfolder(&hidden, leaf));
        let dir = made.naming("create", || path.display())?;
        probe(&dir, &held).naming("write to", || root.path().display())?;
        WorkDir::new(dir, path, held)
    }
}

/// A folder of the program's own on the volume of a root. It is opened or created again if either
/// of them was replaced.
#[derive(Debug)]
pub(crate) struct WorkFolder {
    own: Own,
    leaf: &'static str,
    /// `None` before its first use.
    current: Mutex<Option<WorkDir>>,
}

impl WorkFolder {
    /// The present folder.
    pub(crate) fn of(&self, root: &Folder) -> Result<WorkDir, StoreError> {
        let held = root.root()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_usable = |dir: &&WorkDir| {
            let replaced = match os::stat_root(&dir.path) {
                Ok(now) => !now.same_inode(&dir.meta),
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            !replaced && Arc::ptr_eq(&dir.root, &held)
        };
        if let Some(dir) = current.as_ref().filter(is_usable) {
            return Ok(dir.clone());
        }
        let dir = self.own.work_dir(root, self.leaf)?;
        *current = Some(dir.clone());
        Ok(dir)
    }
}

/// A folder of the program's own, held by handle, and the root on whose volume it is.
#[derive(Debug, Clone)]
pub(crate) struct WorkDir {
    pub(crate) dir: Arc<Dir>,
    /// For messages.
    pub(crate) path: PathBuf,
    meta: Meta,
    root: Arc<Dir>,
}

impl WorkDir {
    fn new(dir: Dir, path: PathBuf, root: Arc<Dir>) -> Result<Self, StoreError> {
        let meta = os::stat_dir(&dir).naming("look at", || path.display())?;
        Ok(Self { dir: Arc::new(dir), path, meta, root })
    }

    /// Whether this is the same folder, for the same root.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dir, &other.dir) && Arc::ptr_eq(&self.root, &other.root)
    }
}

/// A folder of the program's own, created if it is missing. A link in its place is not followed.
/// Its name is synced in any case: an earlier run may have created it and been killed before the
/// sync.
pub(crate) fn subfolder(dir: &Dir, leaf: &str) -> io::Result<Dir> {
    let leaf = OsStr::new(leaf);
    match os::make_dir(dir, leaf, true) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => os::sync_dir(dir)?,
    }
    os::open_dir(dir, leaf)
}

/// Tests a rename, and leaves no file. The name is always the same, so that the next start removes
/// a file that a crash left. No other process uses it, because both folders are locked.
fn probe(from: &Dir, to: &Dir) -> io::Result<()> {
    let leaf = OsStr::new(PROBE);
    for dir in [from, to] {
        match os::unlink(dir, leaf) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    drop(os::create_new(from, leaf)?);
    fail_point("start.probe_made");
    let renamed = os::rename_new(from, leaf, to, leaf);
    fail_point("start.probed");
    os::unlink(if renamed.is_ok() { to } else { from }, leaf)?;
    renamed
}

/// Opens a file of the program's own for reading and writing, and creates it if it is missing.
pub(crate) fn own_file(dir: &Dir, leaf: &OsStr) -> io::Result<File> {
    match os::open_edit(dir, leaf) {
        Ok((file, _)) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => os::create_new(dir, leaf),
        Err(error) => Err(error),
    }
}

/// The bytes of a file in a state folder that no process uses; `None` if it is missing. The folder
/// is locked meanwhile, and nothing is changed or created.
///
/// # Errors
/// [`StoreError::InUse`] if a process uses the folder, others if the file cannot be read.
pub fn read_at_rest(state: &Path, leaf: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let path = state.join(LOCK);
    let lock = match File::open(&path) {
        Err(error) if missing(&error) => return Ok(None),
        lock => lock.naming("open", || path.display())?,
    };
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::InUse { path: state.display().to_string() });
        }
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
            return Err(StoreError::new("lock", path.display(), &error));
        }
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let path = state.join(leaf);
    match std::fs::read(&path) {
        Err(error) if missing(&error) => Ok(None),
        bytes => bytes.naming("read", || path.display()).map(Some),
    }
}

fn lock(state: &Path, shown: &Path) -> Result<File, StoreError> {
    let path = state.join(LOCK);
    let file = os::open_root(state).and_then(|dir| own_file(&dir, OsStr::new(LOCK)));
    let file = file.naming("open", || path.display())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::InUse { path: shown.display().to_string() })
        }
        // On a file system without locks the program runs without one.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(StoreError::new("lock", path.display(), &error)),
    }
}

/// Refuses folders inside each other: received files would be sent, or files to send overwritten.
fn refuse_nested(outgoing: &Path, incoming: &Path) -> Result<(), StoreError> {
    let real = |path: &Path| path.canonicalize().naming("open", || path.display());
    let (out, inc) = (real(outgoing)?, real(incoming)?);
    let inner = if inc.starts_with(&out) {
        incoming
    } else if out.starts_with(&inc) {
        outgoing
    } else {
        return Ok(());
    };
    Err(StoreError::Nested { path: inner.display().to_string() })
}

#[cfg(test)]
mod tests;
