//! How a file leaves Outgoing: so that never another one is removed than the one that was sent.
//!
//! A file is not unlinked by name after a check, since another may be renamed over it in between.
//! It is renamed first, into a folder of the program's own where nobody else touches it, and looked
//! at there. Its name there says which file it should be and where it came from, so that the next
//! start finishes what a crash left, or undoes it.

use super::error::{Naming, StoreError};
use super::folder::{Folder, Walk};
use super::meta::{FileKind, Meta};
use super::numbered::{self, numbered};
use super::os;
use super::removing::{Entry, Verb};
use super::state::{Beside, StateDir};
use super::sync;
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files handled between two syncs; also bounds the open folders.
const BATCH: usize = 128;

/// What became of a file that was to leave Outgoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, durably, or was gone already.
    Gone,
    /// Another file stands there now; it was not touched, or put back.
    Changed,
}

/// Takes files out of Outgoing.
#[derive(Debug)]
pub struct Remover {
    outgoing: Arc<Folder>,
    removing: Beside,
    sent: Folder,
    count: AtomicU64,
}

/// A folder that lost an entry, and the time it had before.
struct Touched {
    name: Option<Name>,
    dir: Arc<Dir>,
    modified: Timestamp,
}

impl Remover {
    /// Prepares `.rft/removing` (inside Outgoing's own `.rft` when that is another volume) and
    /// `.rft/sent`. Call [`Remover::recover`] before files are sent.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be made.
    pub fn open(outgoing: Arc<Folder>, state: &StateDir) -> Result<Self, StoreError> {
        let removing = state.beside(&outgoing, "removing")?;
        let sent = Folder::open(&state.path().join("sent"), true)?;
        Ok(Self { outgoing, removing, sent, count: AtomicU64::new(0) })
    }

    /// Finishes, or undoes, what a crash left half done, and says for which files.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be read; a single file that cannot be settled is left
    /// for the next time.
    pub fn recover(&self) -> Result<Vec<(Name, Removed)>, StoreError> {
        let leaves = os::entries(&self.removing.dir).naming("list", || self.removing.path.display())?;
        let mut settled = Vec::new();
        let mut walk = self.outgoing.walk();
        for leaf in leaves {
            let Some((entry, name)) = Entry::parse(&self.removing.dir, &leaf) else { continue };
            let Ok(found) = os::stat(&self.removing.dir, &leaf) else { continue };
            let done = if entry.is(&found) {
                self.finish(entry.verb, &leaf, &name).map(|()| Removed::Gone)
            } else {
                self.put_back(&mut walk, &leaf, &name).map(|()| Removed::Changed)
            };
            if let Ok(removed) = done {
                settled.push((name, removed));
            }
        }
        Ok(settled)
    }

    /// Removes files and links that the peer holds. Each goes only if it is still
    /// [`Meta::same_file`]. The times of the folders that held them are put back, so that a folder
    /// which is sent after its files arrives with the time it had.
    pub fn remove(&self, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
        self.leave(Verb::Delete, batch)
    }

    /// The same, into `.rft/sent/` under the same name (or `name (1).ext`) instead of away.
    pub fn archive(&self, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
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
            Ok(()) => {}
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound => Ok(Removed::Gone),
                    // POSIX lets a folder that is not empty be EEXIST too.
                    io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotADirectory => Ok(Removed::Changed),
                    _ => Err(StoreError::new("remove", self.outgoing.shown(name), &error)),
                };
            }
        }
        // A folder that cannot be synced or keeps a new time is still removed.
        let _ = os::sync_dir(&parent);
        let _ = os::set_dir(&parent, None, before.modified);
        Ok(Removed::Gone)
    }

    fn leave(&self, verb: Verb, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
        batch.chunks(BATCH).flat_map(|part| self.leave_some(verb, part)).collect()
    }

    fn leave_some(&self, verb: Verb, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
        let mut walk = self.outgoing.walk();
        let mut touched = Vec::new();
        let taken: Vec<_> = batch
            .iter()
            .map(|(name, meta)| self.take(&mut walk, &mut touched, verb, name, meta))
            .collect();
        // Before the peer is told to forget these transfers, they must not come back after a loss of
        // power: what is durably in `removing` will not.
        let synced = sync::folders(touched.iter().map(|touched| &touched.dir));
        let results = batch
            .iter()
            .zip(taken)
            .map(|((name, _), taken)| {
                let entry = match taken? {
                    Taken::Held(entry) => entry,
                    Taken::Not(answer) => return Ok(answer),
                };
                let leaf = entry.leaf();
                match &synced {
                    Ok(()) => self.finish(verb, &leaf, name).map(|()| Removed::Gone),
                    Err(error) => {
                        self.put_back(&mut walk, &leaf, name)?;
                        Err(StoreError::new("sync", self.outgoing.shown(name), error))
                    }
                }
            })
            .collect();
        for folder in &touched {
            // Best effort: it is a folder's time, not a file.
            let _ = os::set_dir(&folder.dir, None, folder.modified);
        }
        results
    }

    /// Renames one file out of Outgoing and looks which one it was.
    fn take(
        &self,
        walk: &mut Walk<'_>,
        touched: &mut Vec<Touched>,
        verb: Verb,
        name: &Name,
        meta: &Meta,
    ) -> Result<Taken, StoreError> {
        let shown = || self.outgoing.shown(name);
        let (parent, leaf) = match walk.parent(name) {
            Err(StoreError::NotFound { .. }) => return Ok(Taken::Not(Removed::Gone)),
            other => other?,
        };
        match os::stat(&parent, &leaf) {
            Ok(found) if found.same_file(meta) && found.kind != FileKind::Folder => {}
            Ok(_) => return Ok(Taken::Not(Removed::Changed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Taken::Not(Removed::Gone));
            }
            Err(error) => return Err(StoreError::new("look at", shown(), &error)),
        }
        let folder = name.parent();
        if !touched.iter().any(|touched: &Touched| touched.name == folder) {
            let modified = os::stat_dir(&parent).naming("look at", shown)?.modified;
            touched.push(Touched { name: folder, dir: Arc::clone(&parent), modified });
        }
        let entry = Entry::new(verb, self.count.fetch_add(1, Ordering::Relaxed), name, meta);
        entry.write_name(&self.removing.dir, name).naming("remove", shown)?;
        let held = entry.leaf();
        match os::rename_new(&parent, &leaf, &self.removing.dir, &held) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                entry.drop_name(&self.removing.dir);
                return Ok(Taken::Not(Removed::Gone));
            }
            Err(error) => {
                entry.drop_name(&self.removing.dir);
                return Err(StoreError::new("remove", shown(), &error));
            }
        }
        let found = os::stat(&self.removing.dir, &held).naming("look at", shown)?;
        if found.same_file(meta) {
            return Ok(Taken::Held(entry));
        }
        self.put_back(walk, &held, name)?;
        Ok(Taken::Not(Removed::Changed))
    }

    /// The last step for a file that is the right one.
    fn finish(&self, verb: Verb, held: &OsStr, name: &Name) -> Result<(), StoreError> {
        let shown = || self.outgoing.shown(name);
        match verb {
            Verb::Delete => os::unlink(&self.removing.dir, held).naming("remove", shown)?,
            Verb::Archive => self.archive_one(held, name)?,
        }
        Entry::drop_name_of(&self.removing.dir, held);
        Ok(())
    }

    fn put_back(&self, walk: &mut Walk<'_>, held: &OsStr, name: &Name) -> Result<(), StoreError> {
        place(walk, &self.removing.dir, held, name)
            .and_then(|placed| placed.naming("put back", || self.outgoing.shown(name)))?;
        Entry::drop_name_of(&self.removing.dir, held);
        Ok(())
    }

    fn archive_one(&self, held: &OsStr, name: &Name) -> Result<(), StoreError> {
        let mut walk = self.sent.walk();
        match place(&mut walk, &self.removing.dir, held, name)? {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            other => return other.naming("archive", || self.sent.shown(name)),
        }
        let shown = || self.sent.shown(name);
        let copy = copied(&self.removing.dir, held, self.sent.root()).naming("archive", shown)?;
        place(&mut walk, self.sent.root(), &copy, name)?.naming("archive", shown)?;
        if let Some(parent) = name.parent() {
            os::sync_dir(walk.dir(Some(&parent))?.as_ref()).naming("sync", shown)?;
        }
        os::sync_dir(self.sent.root()).naming("sync", shown)?;
        os::unlink(&self.removing.dir, held).naming("remove", || self.outgoing.shown(name))
    }
}

enum Taken {
    Held(Entry),
    Not(Removed),
}

/// Renames into a tree at `name`, or at the next numbered name that is free.
fn place(
    walk: &mut Walk<'_>,
    from: &Dir,
    held: &OsStr,
    name: &Name,
) -> Result<io::Result<()>, StoreError> {
    for number in 0..=numbered::MOST {
        let Some(candidate) = numbered(name, number) else { break };
        let (parent, leaf) = walk.make_parent(&candidate, &mut |_, _| {})?;
        match os::rename_new(from, held, &parent, &leaf) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return Ok(other),
        }
    }
    Ok(Err(io::ErrorKind::AlreadyExists.into()))
}

/// Copies a file or a link to another volume, whole and synced, under a hidden name.
fn copied(from: &Dir, held: &OsStr, to: &Dir) -> io::Result<std::ffi::OsString> {
    let leaf = std::ffi::OsString::from(".rft-copy");
    match os::unlink(to, &leaf) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let meta = os::stat(from, held)?;
    if meta.kind == FileKind::Link {
        os::make_link(to, &leaf, &os::read_link(from, held)?)?;
        os::set_link(to, &leaf, meta.modified)?;
        return Ok(leaf);
    }
    let (source, meta) = os::open_read(from, held)?;
    let mut copy = os::create_new(to, &leaf)?;
    let length = io::copy(&mut source.take(meta.size), &mut copy)?;
    if length != meta.size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    os::set_file(&copy, meta.mode, meta.modified)?;
    os::sync_file(&copy)?;
    Ok(leaf)
}
