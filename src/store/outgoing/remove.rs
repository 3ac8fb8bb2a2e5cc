//! Removes sent files from Outgoing, and never another file than the one that was sent.
//!
//! A check followed by an unlink by name is not safe, because another file may be renamed to this
//! name in between. Therefore the file is renamed first, into the program's own folder
//! `.rft/removing`, and checked there. Its new name records which file it should be and where it
//! came from (`removal_record.rs`), so that the next start completes or reverts the removal after a
//! crash.

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

/// The folder in `.rft` of the files that are being removed.
pub const REMOVING: &str = "removing";

/// A file or link that the peer has received.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its name in Outgoing.
    pub name: Name,
    /// Its metadata when its last bytes were read.
    pub meta: Meta,
    /// BLAKE3 hash of the content that the peer has. Without it, a file with another change time
    /// counts as changed.
    pub hash: Option<[u8; 32]>,
}

/// The outcome of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// The file is removed durably, or was removed before.
    Gone,
    /// The file has other content now, or another file has its name. It stays in Outgoing, or was
    /// put back.
    Changed,
    /// A program has the file open for writing. It stays in Outgoing, or was put back.
    InUse,
    /// The system cannot tell whether a program has the file open for writing. The file waits in
    /// `removing` until [`Remover::settle`] decides.
    OnHold(Hold),
}

/// Removes sent files from Outgoing.
#[derive(Debug)]
pub struct Remover {
    outgoing: Arc<Folder>,
    removing: WorkFolder,
    archive: Archive,
    count: AtomicU64,
}

impl Remover {
    /// Creates `.rft/removing` (in Outgoing's own `.rft` if that is another volume) and
    /// `.rft/sent`. Call [`Remover::recover`] before files are sent.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be created.
    pub fn open(outgoing: Arc<Folder>, state: &StateDir) -> Result<Self, StoreError> {
        outgoing.keep_out_of(state.meta());
        let removing = state.work_dir(&outgoing, REMOVING)?;
        let archive = Archive::open(&state.path().join("sent"))?;
        state.sync()?;
        let at = removing.of(&outgoing)?;
        let left = os::entries(&at.dir).naming("list", || at.path.display())?;
        // The count continues after the records of earlier runs, so no name is used twice.
        let count = left
            .iter()
            .filter_map(|leaf| RemovalRecord::count_of(leaf))
            .max()
            .map_or(0, |most| most + 1);
        Ok(Self { outgoing, removing, archive, count: AtomicU64::new(count) })
    }

    /// Removes files and links that the peer has received. Each is removed only if it still has the
    /// content that was sent, and no program has it open for writing. The latter is checked after
    /// the rename, when no program can open the file by its name. The times of the folders are
    /// restored, so that a folder, which is sent after its files, arrives with its original time.
    pub fn remove(&self, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        self.leave(Verb::Delete, batch)
    }

    /// As [`Remover::remove`], but moves the files to `.rft/sent/` under the same name (or `name
    /// (1).ext`).
    pub fn archive(&self, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        self.leave(Verb::Archive, batch)
    }

    /// Removes an empty folder. Any other entry stays, with [`Removed::Changed`].
    ///
    /// # Errors
    /// [`StoreError`] if the system refuses it.
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
                    // POSIX allows EEXIST for a folder that is not empty.
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
        // If the sync or the restoring of the time fails, the folder is removed nevertheless.
        let _ = os::sync_dir(&parent);
        let _ = os::set_dir(&parent, None, before.modified);
        Ok(Removed::Gone)
    }
}

#[cfg(test)]
mod tests;
