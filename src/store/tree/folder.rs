//! The root of a tree, held by handle. Every operation resolves a [`Name`] beneath it component by
//! component, and follows no symbolic link in any component (`cursor.rs`).

use super::meta::{FileKind, Meta};
use super::os;
use super::paths::{HIDDEN, make_path, sync_names_above};
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// The root of a tree: Outgoing, or Incoming.
///
/// No [`Name`] leads into a folder of the program's own: not into `.rft` at the top of the tree, or
/// at the top of a volume that is mounted in the tree, under any spelling that the file system
/// accepts; and not into the state folder, if that is in the tree (`keep_out_of`).
///
/// Each operation checks that the path still leads to the held folder. Otherwise files written into
/// a removed folder would be lost with it, and files in its replacement would never be seen. A
/// folder that the user created again, or whose disk is mounted again, is accepted. After the start
/// this program never creates the root itself: a file could land beneath a mount point.
pub struct Folder {
    path: PathBuf,
    /// The canonical path at the start. If a link replaces the folder later, it is not followed.
    real: PathBuf,
    held: RwLock<Arc<Root>>,
    /// The metadata that identify the state folder.
    state: OnceLock<Meta>,
}

/// A root held by handle.
struct Root {
    dir: Arc<Dir>,
    meta: Meta,
    /// The number of roots held before this one.
    number: u64,
}

impl Root {
    fn open(path: &Path, number: u64) -> io::Result<Arc<Self>> {
        let dir = os::open_root(path)?;
        let meta = os::stat_dir(&dir)?;
        Ok(Arc::new(Self { dir: Arc::new(dir), meta, number }))
    }
}

impl Folder {
    /// Opens the folder at `path`. Links in it are followed, here only, because the user named the
    /// path.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened, or with `create` cannot be created.
    pub fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        if create {
            make_path(path, false).naming("create", || path.display())?;
        }
        let held = Root::open(path, 0).naming("open", || path.display())?;
        let real = path.canonicalize().naming("open", || path.display())?;
        Ok(Self { path: path.to_owned(), real, held: RwLock::new(held), state: OnceLock::new() })
    }

    /// From now on no name leads into this folder, wherever it is.
    pub(crate) fn keep_out_of(&self, state: &Meta) {
        // A second call can only be for the same folder.
        let _ = self.state.set(*state);
    }

    /// Whether an entry of the folder `dir` is one of the program's own folders. `at_top` means
    /// that `dir` is the root.
    pub(super) fn is_own(&self, dir: &Dir, at_top: bool, leaf: &OsStr, meta: &Meta) -> bool {
        if meta.kind != FileKind::Folder {
            return false;
        }
        if self.state.get().is_some_and(|state| state.same_inode(meta)) {
            return true;
        }
        let leaf = leaf.as_encoded_bytes();
        // Different names may be equal for the file system: because of their case, of characters
        // that it ignores, or of the short names of Windows.
        let doubtful = !leaf.is_ascii()
            || leaf.contains(&b'~')
            || leaf.eq_ignore_ascii_case(HIDDEN.as_bytes());
        doubtful
            && (at_top || os::is_mount_root(dir))
            && os::stat(dir, OsStr::new(HIDDEN)).is_ok_and(|own| own.same_inode(meta))
    }

    /// The path that the user named, for messages only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often another folder has replaced the held one.
    pub fn times_replaced(&self) -> u64 {
        self.held.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// The content of a file of the program's own at the top (no [`Name`] leads there), of at most
    /// `max` bytes.
    ///
    /// # Errors
    /// As [`Folder::open_file`], and [`StoreError::TooLarge`] if it is longer.
    pub fn read_own(&self, leaf: &str, max: u64) -> Result<Vec<u8>, StoreError> {
        let shown = || self.path.join(leaf).display().to_string();
        let root = self.root()?;
        let (file, _) = os::open_read(&root, OsStr::new(leaf)).naming("read", shown)?;
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes).naming("read", shown)?;
        if bytes.len() as u64 > max {
            return Err(StoreError::new("read", shown(), &io::ErrorKind::FileTooLarge.into()));
        }
        Ok(bytes)
    }

    /// Whether other hosts may change the folder without an event on this system.
    pub fn is_remote(&self) -> bool {
        self.root().is_ok_and(|root| os::is_remote(&root, &self.path))
    }

    /// Whether the folder is empty, apart from the program's own `.rft`.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be read.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let leaves = os::entries(&*self.root()?).naming("list", || self.path.display())?;
        Ok(leaves.iter().all(|leaf| leaf.as_encoded_bytes().starts_with(b".rft")))
    }

    /// Checks that the process can use the folder at its path, now or later.
    ///
    /// # Errors
    /// [`StoreError::Replaced`].
    pub fn can_go_on(&self) -> Result<(), StoreError> {
        match self.root() {
            Err(error @ StoreError::Replaced { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// The handle of the folder, opened again if its path leads to another folder.
    ///
    /// # Errors
    /// [`StoreError::Gone`] if there is no folder at the path, or none that may replace the held
    /// one.
    pub(crate) fn root(&self) -> Result<Arc<Dir>, StoreError> {
        let held = Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner));
        match os::stat_root(&self.path) {
            Ok(now) if now.same_inode(&held.meta) => return Ok(Arc::clone(&held.dir)),
            Ok(_) => {}
            Err(error) if is_absent(&error) => return Err(self.gone()),
            // The path cannot be examined. An operation on the handle shows whether it still works.
            Err(_) => return Ok(Arc::clone(&held.dir)),
        }
        self.reopen(&held)
    }

    /// Opens the folder that is at the path now. On another volume only a folder that rft used
    /// before is accepted: an empty one may be the mount point of a missing disk.
    fn reopen(&self, before: &Arc<Root>) -> Result<Arc<Dir>, StoreError> {
        let real = self.path.canonicalize().naming("open", || self.path.display())?;
        let now =
            Root::open(&self.path, before.number + 1).naming("open", || self.path.display())?;
        let used = || {
            os::stat(&now.dir, OsStr::new(HIDDEN)).is_ok_and(|meta| meta.kind == FileKind::Folder)
        };
        let same_volume = now.meta.identity.device == before.meta.identity.device;
        if real != self.real || !(same_volume || used()) {
            return Err(self.gone());
        }
        let probe = OsString::from(format!(".rft-probe-{}-root", std::process::id()));
        match os::create_new(&now.dir, &probe).and_then(|_| os::unlink(&now.dir, &probe)) {
            // A lack of permissions is reported by each operation, and may be corrected later.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && os::is_confined_out(&now.dir) =>
            {
                return Err(StoreError::Replaced { path: self.path.display().to_string() });
            }
            _ => {}
        }
        sync_names_above(&self.path).naming("sync", || self.path.display())?;
        tracing::info!(path = %self.path.display(), "the folder was replaced; the new one is used");
        let dir = Arc::clone(&now.dir);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(dir)
    }

    fn gone(&self) -> StoreError {
        StoreError::Gone { path: self.path.display().to_string() }
    }

    /// The name with the folder's path before it, for messages.
    pub fn shown(&self, name: &Name) -> String {
        format!("{}{}{name}", self.path.display(), std::path::MAIN_SEPARATOR)
    }

    /// Whether the root contains a hidden folder of the program's own.
    pub fn has_own(&self) -> bool {
        let Ok(root) = self.root() else { return false };
        let Ok(hidden) = os::open_dir(&root, OsStr::new(HIDDEN)) else { return false };
        OWN_ENTRIES.iter().any(|leaf| os::stat(&hidden, OsStr::new(leaf)).is_ok())
    }

    /// Bytes that this user may still write on the folder's volume.
    ///
    /// # Errors
    /// [`StoreError`] if the system does not report it.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        os::free_space(&*self.root()?, &self.path).naming("measure", || self.path.display())
    }
}

/// The entries that the program creates in a hidden folder.
const OWN_ENTRIES: [&str; 3] = ["lock", "removing", "stage"];

/// Whether an error means that the path does not exist, or passes through a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({})", self.path.display())
    }
}

#[cfg(test)]
mod tests;
