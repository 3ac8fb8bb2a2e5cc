//! How a file leaves Outgoing: so that never another one is removed than the one that was sent.
//!
//! A file is not unlinked by name after a check, since another may be renamed over it in between.
//! It is renamed first, into a folder of the program's own where nobody else touches it, and looked
//! at there. Its name there says which file it should be and where it came from, so that the next
//! start finishes what a crash left, or undoes it.

mod batch;
mod finish;
mod hold;
mod recover;
mod settle;
mod take;

use super::archive::Archive;
use super::removal_record::{RemovalRecord, Verb};
use crate::failpoint::fail_point;
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::state::{StateDir, WorkFolder};
use crate::store::tree::folder::Folder;
use crate::store::tree::meta::Meta;
use crate::store::tree::os;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use hold::Hold;

/// A file or link that the peer holds.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Where it stood in Outgoing.
    pub name: Name,
    /// As it was when the last of it was read.
    pub meta: Meta,
    /// BLAKE3 of a file's content as the peer holds it. Without it, a file whose change time is
    /// another now counts as changed.
    pub hash: Option<[u8; 32]>,
}

/// What became of a file that was to leave Outgoing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, durably, or was gone already.
    Gone,
    /// It has another content now, or another file stands there; it was not touched, or put back.
    Changed,
    /// A program has it open for writing; it was put back.
    InUse,
    /// The system cannot tell whether a program has it open for writing. It is set aside, and
    /// [`Remover::settle`] decides after a while.
    OnHold(Hold),
}

/// Takes files out of Outgoing.
#[derive(Debug)]
pub struct Remover {
    outgoing: Arc<Folder>,
    removing: WorkFolder,
    archive: Archive,
    count: AtomicU64,
}

impl Remover {
    /// Prepares `.rft/removing` (inside Outgoing's own `.rft` when that is another volume) and
    /// `.rft/sent`. Call [`Remover::recover`] before files are sent.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be made.
    pub fn open(outgoing: Arc<Folder>, state: &StateDir) -> Result<Self, StoreError> {
        outgoing.keep_out_of(state.meta());
        let removing = state.work_dir(&outgoing, "removing")?;
        let archive = Archive::open(&state.path().join("sent"))?;
        state.sync()?;
        let at = removing.of(&outgoing)?;
        let left = os::entries(&at.dir).naming("list", || at.path.display())?;
        // No name is given twice, whatever an earlier run left there.
        let count = left
            .iter()
            .filter_map(|leaf| RemovalRecord::count_of(leaf))
            .max()
            .map_or(0, |most| most + 1);
        Ok(Self { outgoing, removing, archive, count: AtomicU64::new(count) })
    }

    /// Removes files and links that the peer holds. Each goes only if it still has the content that
    /// was sent, and if the system says that no program has it open for writing, asked when no
    /// program can open it by name any more. The times of the folders that held them are put back,
    /// so that a folder which is sent after its files arrives with the time it had.
    pub fn remove(&self, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        self.leave(Verb::Delete, batch)
    }

    /// The same, into `.rft/sent/` under the same name (or `name (1).ext`) instead of away.
    pub fn archive(&self, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        self.leave(Verb::Archive, batch)
    }

    /// Removes an empty folder; one that is not empty, or no folder, has [`Removed::Changed`].
    ///
    /// # Errors
    /// [`StoreError`] when the system does not let it.
    pub fn remove_folder(&self, name: &Name) -> Result<Removed, StoreError> {
        let mut walk = self.outgoing.walk();
        let (parent, leaf) = match walk.parent(name) {
            Err(StoreError::NotFound { .. }) => return Ok(Removed::Gone),
            other => other?,
        };
        let before = os::stat_dir(&parent).naming("look at", || self.outgoing.shown(name))?;
        match os::remove_dir(&parent, &leaf) {
            Ok(()) => fail_point("remove.folder"),
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound => Ok(Removed::Gone),
                    // POSIX lets a folder that is not empty be EEXIST too.
                    io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotADirectory => Ok(Removed::Changed),
                    // EBUSY of rmdir(2): a mount point.
                    io::ErrorKind::ResourceBusy if cfg!(unix) => {
                        Err(StoreError::OtherVolume { path: self.outgoing.shown(name) })
                    }
                    _ => Err(StoreError::of_entry(
                        "remove",
                        self.outgoing.shown(name),
                        &error,
                        (&parent, &leaf),
                    )),
                };
            }
        }
        // A folder that cannot be synced or keeps a new time is still removed.
        let _ = os::sync_dir(&parent);
        let _ = os::set_dir(&parent, None, before.modified);
        Ok(Removed::Gone)
    }
}

#[cfg(test)]
mod tests;
