//! A folder held by handle: every operation resolves a [`Name`] beneath it, component by component,
//! and follows no symbolic link in any of them.

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
/// No [`Name`] leads into a folder of the program's own, wherever that stands: not one called
/// `.rft` at the top or at the top of a volume that is mounted in the tree, under whatever name the
/// file system takes for it, and not the state folder itself (`keep_out_of`), should it lie in the
/// tree.
///
/// The folder is held by handle, but it is also looked whether its path still leads to it. Else
/// what is written into a folder that was removed would vanish with it, and what is dropped into
/// the one that took its place would never be seen. One that the user made anew, or whose disk is
/// back, is taken; nothing is ever made here after the start, so that no file lands beneath a mount
/// point.
pub struct Folder {
    path: PathBuf,
    /// Where the path led at the start, without links: should a link be put in its place, it is not
    /// followed.
    real: PathBuf,
    held: RwLock<Arc<Root>>,
    /// The state folder.
    state: OnceLock<Meta>,
}

/// A root as it is held.
struct Root {
    dir: Arc<Dir>,
    meta: Meta,
    /// How many were held before it.
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
    /// Holds the folder at `path`. Here, and nowhere else, links are followed: the user named it.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened, or with `create` cannot be made.
    pub fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        if create {
            make_path(path, false).naming("create", || path.display())?;
        }
        let held = Root::open(path, 0).naming("open", || path.display())?;
        let real = path.canonicalize().naming("open", || path.display())?;
        Ok(Self { path: path.to_owned(), real, held: RwLock::new(held), state: OnceLock::new() })
    }

    /// No name leads into this folder, wherever it is.
    pub(crate) fn keep_out_of(&self, state: &Meta) {
        // A second call can only be for the same one.
        let _ = self.state.set(*state);
    }

    /// Whether an entry of the folder `dir` is one of the program's own folders. `at_top` is said
    /// of the root's own entries.
    pub(super) fn is_own(&self, dir: &Dir, at_top: bool, leaf: &OsStr, meta: &Meta) -> bool {
        if meta.kind != FileKind::Folder {
            return false;
        }
        if self.state.get().is_some_and(|state| state.same_inode(meta)) {
            return true;
        }
        let leaf = leaf.as_encoded_bytes();
        // Names that differ may be the same to the file system: by their case, by characters that
        // it leaves out, by the short names of Windows.
        let doubtful = !leaf.is_ascii()
            || leaf.contains(&b'~')
            || leaf.eq_ignore_ascii_case(HIDDEN.as_bytes());
        doubtful
            && (at_top || os::is_mount_root(dir))
            && os::stat(dir, OsStr::new(HIDDEN)).is_ok_and(|own| own.same_inode(meta))
    }

    /// Where it was opened; for messages only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often another folder took the place of the one that was held.
    pub fn times_replaced(&self) -> u64 {
        self.held.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// What stands in a file of the program's own at the top (no [`Name`] leads there), of at most
    /// `max` bytes.
    ///
    /// # Errors
    /// As [`Folder::open_file`], and [`StoreError::Io`] when it is longer.
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

    /// Whether other hosts may change the folder, of which this system's events tell nothing.
    pub fn is_remote(&self) -> bool {
        self.root().is_ok_and(|root| os::is_remote(&root, &self.path))
    }

    /// Whether nothing at all stands at the top, the program's own `.rft` aside.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be read.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let leaves = os::entries(&*self.root()?).naming("list", || self.path.display())?;
        Ok(leaves.iter().all(|leaf| leaf.as_encoded_bytes().starts_with(b".rft")))
    }

    /// Whether the process can go on with what its path leads to, now or later.
    ///
    /// # Errors
    /// [`StoreError::Replaced`].
    pub fn can_go_on(&self) -> Result<(), StoreError> {
        match self.root() {
            Err(error @ StoreError::Replaced { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// The folder itself, opened anew when its path leads to another one.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when nothing stands there, or nothing that may take its place.
    pub(crate) fn root(&self) -> Result<Arc<Dir>, StoreError> {
        let held = Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner));
        match os::stat_root(&self.path) {
            Ok(now) if now.same_inode(&held.meta) => return Ok(Arc::clone(&held.dir)),
            Ok(_) => {}
            Err(error) if is_absent(&error) => return Err(self.gone()),
            // It cannot be told: the handle shows what is the matter, if anything is.
            Err(_) => return Ok(Arc::clone(&held.dir)),
        }
        self.reopen(&held)
    }

    /// Takes the folder that stands at the path now. On another volume only one that was used
    /// before: an empty one is where a disk is to be mounted.
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
            // What its modes forbid, each call will say, and may be allowed later.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && os::is_confined_out(&now.dir) =>
            {
                return Err(StoreError::Replaced { path: self.path.display().to_string() });
            }
            _ => {}
        }
        sync_names_above(&self.path).naming("sync", || self.path.display())?;
        tracing::info!(path = %self.path.display(), "another folder stands there now, and is taken");
        let dir = Arc::clone(&now.dir);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(dir)
    }

    fn gone(&self) -> StoreError {
        StoreError::Gone { path: self.path.display().to_string() }
    }

    /// A name with the folder before it, for messages.
    pub fn shown(&self, name: &Name) -> String {
        format!("{}{}{name}", self.path.display(), std::path::MAIN_SEPARATOR)
    }

    /// Whether a hidden folder of the program's own is at the top.
    pub fn has_own(&self) -> bool {
        let Ok(root) = self.root() else { return false };
        let Ok(hidden) = os::open_dir(&root, OsStr::new(HIDDEN)) else { return false };
        OWN_ENTRIES.iter().any(|leaf| os::stat(&hidden, OsStr::new(leaf)).is_ok())
    }

    /// Bytes that this user may still write on the folder's volume.
    ///
    /// # Errors
    /// [`StoreError`] when the system does not say.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        os::free_space(&*self.root()?, &self.path).naming("measure", || self.path.display())
    }
}

/// What the program makes in a hidden folder.
const OWN_ENTRIES: [&str; 3] = ["lock", "removing", "stage"];

/// Whether an error says that nothing stands there (or a file where a folder is to be).
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
