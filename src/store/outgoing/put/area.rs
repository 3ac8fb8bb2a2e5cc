//! `.rft-put` at the top of Outgoing, where copies are made. Names that start with `.rft` there are
//! never sent, and a rename from there into Outgoing crosses no volume.
//!
//! It is there only while a process copies. Each holds a shared lock meanwhile, so whoever gets the
//! lock alone knows that all else in the folder was left by processes that were killed.

use crate::store::error::{Naming, StoreError};
use crate::store::state::{own_file, subfolder};
use crate::store::tree::folder::Folder;
use crate::store::tree::meta::FileKind;
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Its name.
const AREA: &str = ".rft-put";
/// The file that is locked.
const LOCK: &str = "lock";
/// How often the folder may vanish while it is opened, because another process leaves it.
const MAX_ATTEMPTS: usize = 100;

/// The folder, while this process copies. Dropping it removes the copies that have no name yet.
#[derive(Debug)]
pub struct PutArea<'a> {
    pub(super) outgoing: &'a Folder,
    /// The folder of this process.
    pub(super) work: Dir,
    root: Arc<Dir>,
    /// The area and its lock, until this is dropped.
    entered: Option<(Dir, File)>,
    leaf: OsString,
    count: u64,
    /// Files that were copied so far.
    pub(super) files: usize,
}

impl<'a> PutArea<'a> {
    /// Opens the folder, creates it if it is missing, and removes what killed processes left.
    ///
    /// # Errors
    /// [`StoreError`] if this user cannot write to Outgoing.
    pub fn open(outgoing: &'a Folder) -> Result<Self, StoreError> {
        let shown = || outgoing.path().join(AREA).display().to_string();
        let root = outgoing.root()?;
        let (area, lock) = enter(&root).naming("write to", shown)?;
        let (leaf, work) = make_own(&area).naming("create", shown)?;
        let entered = Some((area, lock));
        Ok(Self { outgoing, work, root, entered, leaf, count: 0, files: 0 })
    }

    /// A name in the work folder that was not used before.
    pub(super) fn new_leaf(&mut self) -> OsString {
        self.count += 1;
        OsString::from(self.count.to_string())
    }
}

impl Drop for PutArea<'_> {
    fn drop(&mut self) {
        let Some((area, shared)) = self.entered.take() else { return };
        // Windows removes no open folder.
        let Ok(root) = self.root.try_clone() else { return };
        self.work = root;
        // What cannot be removed now is removed by the next process.
        let _ = remove_tree(&area, &self.leaf);
        drop(shared);
        if let Ok(lock) = own_file(&area, OsStr::new(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = remove_area(&self.root, area, lock);
        }
    }
}

/// Removes what killed processes left, if no process copies.
///
/// # Errors
/// The system's error.
pub fn clear_put_area(outgoing: &Folder) -> Result<(), StoreError> {
    let root = outgoing.root()?;
    let shown = || outgoing.path().join(AREA).display().to_string();
    let area = match os::open_dir(&root, OsStr::new(AREA)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        area => area.naming("open", shown)?,
    };
    let lock = own_file(&area, OsStr::new(LOCK)).naming("open", shown)?;
    match lock.try_lock() {
        Ok(()) => remove_area(&root, area, lock).naming("remove", shown),
        Err(_) => Ok(()),
    }
}

/// Opens the folder and takes a shared lock.
fn enter(root: &Dir) -> io::Result<(Dir, File)> {
    for _ in 0..MAX_ATTEMPTS {
        let area = subfolder(root, AREA)?;
        // Opened again, a lock is another one: Wine cannot unlock.
        let opened = own_file(&area, OsStr::new(LOCK)).and_then(|alone| {
            if alone.try_lock().is_ok() {
                clear(&area)?;
            }
            drop(alone);
            own_file(&area, OsStr::new(LOCK))
        });
        let lock = match opened {
            // Another process has removed the folder meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lock => lock?,
        };
        match lock.lock_shared() {
            // Without locks nothing is ever cleared: nobody gets the lock alone.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            locked => locked?,
        }
        let current =
            os::open_dir(root, OsStr::new(AREA)).and_then(|area| os::stat(&area, OsStr::new(LOCK)));
        match (current, os::stat_file(&lock)) {
            (Ok(current), Ok(own)) if current.same_inode(&own) => return Ok((area, lock)),
            _ => {}
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Creates a folder for this process. Process ids of two hosts or containers may be equal.
fn make_own(area: &Dir) -> io::Result<(OsString, Dir)> {
    for n in 0..MAX_ATTEMPTS {
        let leaf = OsString::from(format!("{}-{n}", std::process::id()));
        match os::make_dir(area, &leaf, true) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made?;
                let work = os::open_dir(area, &leaf)?;
                return Ok((leaf, work));
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes the folder, which the caller has locked alone. Windows removes nothing that is open, so
/// the lock is given up before; a lock file that another process has opened meanwhile stays.
fn remove_area(root: &Dir, area: Dir, lock: File) -> io::Result<()> {
    clear(&area)?;
    let lock = (!cfg!(windows)).then_some(lock);
    os::unlink(&area, OsStr::new(LOCK))?;
    drop((area, lock));
    os::remove_dir(root, OsStr::new(AREA))
}

/// Removes everything but the lock.
fn clear(area: &Dir) -> io::Result<()> {
    for leaf in os::entries(area)?.iter().filter(|leaf| *leaf != LOCK) {
        remove_tree(area, leaf)?;
    }
    Ok(())
}

fn remove_tree(dir: &Dir, leaf: &OsStr) -> io::Result<()> {
    let meta = os::stat(dir, leaf)?;
    if meta.kind != FileKind::Folder {
        return os::unlink(dir, leaf);
    }
    let folder = os::open_dir(dir, leaf)?;
    // A copy of a read-only folder is one.
    os::set_dir(&folder, Some(0o700), meta.modified)?;
    for inner in os::entries(&folder)? {
        remove_tree(&folder, &inner)?;
    }
    drop(folder);
    os::remove_dir(dir, leaf)
}
