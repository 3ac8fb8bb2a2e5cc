//! How a file leaves Outgoing: so that never another one is removed than the one that was sent.
//!
//! A file is not unlinked by name after a check, since another may be renamed over it in between.
//! It is renamed first, into a folder of the program's own where nobody else touches it, and looked
//! at there. Its name there says which file it should be and where it came from, so that the next
//! start finishes what a crash left, or undoes it.

mod hold;

use super::archive::{Archive, Filing, Placed, place};
use super::removal_record::{Entry, Verb};
use crate::failpoint::fail_point;
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::store::Writers;
use crate::store::error::{Naming, StoreError};
use crate::store::state::{Aside, StateDir};
use crate::store::tree::folder::{DirCursor, Folder};
use crate::store::tree::meta::{FileKind, Meta};
use crate::store::tree::os;
use crate::store::tree::sync;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use hold::Hold;

/// Files handled between two syncs; also bounds the open folders.
const BATCH: usize = 128;

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
    removing: Aside,
    archive: Archive,
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
        outgoing.keep_out_of(state.meta());
        let removing = state.beside(&outgoing, "removing")?;
        let archive = Archive::open(&state.path().join("sent"))?;
        state.sync()?;
        let at = removing.of(&outgoing)?;
        let left = os::entries(&at.dir).naming("list", || at.path.display())?;
        // No name is given twice, whatever an earlier run left there.
        let count =
            left.iter().filter_map(|leaf| Entry::count_of(leaf)).max().map_or(0, |most| most + 1);
        Ok(Self { outgoing, removing, archive, count: AtomicU64::new(count) })
    }

    /// Finishes, or undoes, what a crash left half done, and says for which files.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be read; a single file that cannot be settled is left
    /// for the next time.
    pub fn recover(&self) -> Result<Vec<(Name, Removed)>, StoreError> {
        let removing = self.removing.of(&self.outgoing)?;
        let mut leaves = os::entries(&removing.dir).naming("list", || removing.path.display())?;
        // An entry that is copied goes only after the sync of what its name was before.
        leaves.sort_unstable();
        let mut settled = Vec::new();
        let (mut walk, mut filing) = (self.outgoing.walk(), self.archive.filing());
        for leaf in &leaves {
            let Some((entry, name)) = Entry::parse(&removing.dir, leaf) else { continue };
            let Ok(found) = os::stat(&removing.dir, leaf) else { continue };
            fail_point("start.removing");
            let is_copied = entry.verb == Verb::Archive && leaves.contains(&entry.copied_leaf());
            let done = if is_copied
                || walk.stat(&name).is_ok_and(|outgoing| outgoing.same_inode(&found))
            {
                // What is left of half a rename: it has another name.
                self.drop_double(&mut walk, &removing.dir, leaf, &name).map(|()| Removed::Changed)
            } else if entry.is(&found)
                && hold::writers_of(&removing.dir, leaf, found.kind) == Writers::None
            {
                self.taken_for_good(&mut walk, &removing.dir, &entry, &name)
                    .and_then(|()| self.finish(&mut filing, &removing.dir, entry, &name))
                    .map(|()| Removed::Gone)
            } else {
                self.put_back(&mut walk, &removing.dir, leaf, &name).map(|()| Removed::Changed)
            };
            fail_point("start.removed");
            if let Ok(removed) = done {
                settled.push((name, removed));
            }
        }
        filing.sync()?;
        Entry::drop_lone_names(&removing.dir, &leaves);
        let left = os::entries(&removing.dir).naming("list", || removing.path.display())?;
        self.archive.drop_lone_copies(&left)?;
        Ok(settled)
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

    fn leave(&self, verb: Verb, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        batch.chunks(BATCH).flat_map(|part| self.leave_some(verb, part)).collect()
    }

    fn leave_some(&self, verb: Verb, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        let removing = match self.removing.of(&self.outgoing) {
            Ok(removing) => removing.dir,
            Err(error) => return batch.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut walk = self.outgoing.walk();
        let mut touched = Vec::new();
        let mut taken = Vec::with_capacity(batch.len());
        let mut room = (verb == Verb::Archive).then(|| self.archive.room(&removing));
        for sent in batch {
            // A file that the archive has no room for stays where it is.
            let fits = room.as_mut().map_or(Ok(()), |room| room.take(sent.meta.size));
            taken.push(
                fits.and_then(|()| self.take(&mut walk, &mut touched, &removing, verb, sent)),
            );
        }
        // Before the peer is told to forget these transfers, they must not come back after a loss
        // of power: what is durably in `removing` will not. What is archived must be there first.
        let kept = (verb == Verb::Archive).then_some(&removing);
        let dirs: Vec<_> =
            kept.into_iter().chain(touched.iter().map(|touched| &touched.dir)).collect();
        let synced = sync::folders(dirs.into_iter());
        fail_point("remove.synced");
        let mut filing = self.archive.filing();
        let mut results: Vec<_> = batch
            .iter()
            .zip(taken)
            .map(|(Sent { name, .. }, taken)| {
                let entry = match taken? {
                    Taken::Held(entry) => entry,
                    Taken::OnHold(hold) => match &synced {
                        Ok(()) => return Ok(Removed::OnHold(hold)),
                        Err(_) => hold.into_entry(),
                    },
                    Taken::Not(Removed::Gone) => {
                        return match &synced {
                            Ok(()) => Ok(Removed::Gone),
                            Err(error) => {
                                Err(StoreError::new("sync", self.outgoing.shown(name), error))
                            }
                        };
                    }
                    Taken::Not(answer) => return Ok(answer),
                };
                match &synced {
                    Ok(()) => {
                        let held = entry.leaf();
                        self.finish(&mut filing, &removing, entry, name)
                            .map(|()| Removed::Gone)
                            .inspect_err(|_| {
                                // As long as it is there as it was taken; else the next start
                                // finishes it.
                                let _ = self.put_back(&mut walk, &removing, &held, name);
                            })
                    }
                    Err(error) => {
                        self.put_back(&mut walk, &removing, &entry.leaf(), name)?;
                        Err(StoreError::new("sync", self.outgoing.shown(name), error))
                    }
                }
            })
            .collect();
        if let Err(error) = filing.sync() {
            results
                .iter_mut()
                .filter(|result| result.is_ok())
                .for_each(|result| *result = Err(error.clone()));
        }
        for folder in &touched {
            // Best effort: it is a folder's time, not a file.
            let _ = os::set_dir(&folder.dir, None, folder.modified);
        }
        results
    }

    /// Renames one file out of Outgoing and looks which one it was.
    fn take(
        &self,
        walk: &mut DirCursor<'_>,
        touched: &mut Vec<Touched>,
        removing: &Dir,
        verb: Verb,
        sent: &Sent,
    ) -> Result<Taken, StoreError> {
        let Sent { name, meta, .. } = sent;
        let shown = || self.outgoing.shown(name);
        let (parent, leaf) = match walk.parent(name) {
            Err(StoreError::NotFound { .. }) => return Ok(Taken::Not(Removed::Gone)),
            other => other?,
        };
        let there = match os::stat(&parent, &leaf) {
            Ok(found) if found.kind != FileKind::Folder && found.same_file(meta) => {
                if !hold::has_content_of(sent, &found, &parent, &leaf).naming("read", shown)? {
                    return Ok(Taken::Not(Removed::Changed));
                }
                true
            }
            Ok(_) => return Ok(Taken::Not(Removed::Changed)),
            // Somebody removed it, which must last too before the peer forgets it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(StoreError::new("look at", shown(), &error)),
        };
        let folder = name.parent();
        if !touched.iter().any(|touched: &Touched| touched.name == folder) {
            let modified = os::stat_dir(&parent).naming("look at", shown)?.modified;
            touched.push(Touched { name: folder, dir: Arc::clone(&parent), modified });
        }
        if !there {
            return Ok(Taken::Not(Removed::Gone));
        }
        let entry = Entry::new(verb, self.count.fetch_add(1, Ordering::Relaxed), name, meta);
        entry.write_name(removing, name).naming("remove", shown)?;
        let held = entry.leaf();
        fail_point("remove.taking");
        match os::rename_own(&parent, &leaf, removing, &held) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                entry.drop_name(removing);
                return Ok(Taken::Not(Removed::Gone));
            }
            Err(error) => {
                entry.drop_name(removing);
                return match error.kind() {
                    // Windows: a program that has it open does not share its name.
                    io::ErrorKind::ResourceBusy => Ok(Taken::Not(Removed::InUse)),
                    io::ErrorKind::CrossesDevices => Err(self.on_other_volume(walk, name)),
                    _ => Err(StoreError::of_entry("remove", shown(), &error, (&parent, &leaf))),
                };
            }
        }
        fail_point("remove.taken");
        self.look_at_taken(walk, removing, entry, sent)
    }

    /// What is archived must not come back to Outgoing, or it is sent and archived once more. The
    /// run that took it may have died before the sync.
    fn taken_for_good(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        entry: &Entry,
        name: &Name,
    ) -> Result<(), StoreError> {
        if entry.verb == Verb::Delete {
            return Ok(());
        }
        os::sync_dir(removing).naming("sync", || self.outgoing.shown(name))?;
        self.sync_way(walk, name)
    }

    /// The name of an entry of Outgoing, or that it is gone, to stable storage, with the folders
    /// that it is in.
    fn sync_way(&self, walk: &mut DirCursor<'_>, name: &Name) -> Result<(), StoreError> {
        let mut above = name.parent();
        loop {
            match walk.dir(above.as_ref()) {
                Ok(dir) => os::sync_dir(&dir).naming("sync", || self.outgoing.shown(name))?,
                // Its user took it away: the one above tells.
                Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. }) => {}
                Err(error) => return Err(error),
            }
            let Some(folder) = above else { return Ok(()) };
            above = folder.parent();
        }
    }

    /// The last step for a file that is the right one.
    fn finish(
        &self,
        filing: &mut Filing<'_>,
        removing: &Dir,
        entry: Entry,
        name: &Name,
    ) -> Result<(), StoreError> {
        let held = entry.leaf();
        match entry.verb {
            Verb::Delete => {
                fail_point("remove.unlinking");
                os::unlink(removing, &held).naming("remove", || self.outgoing.shown(name))?;
                fail_point("remove.unlinked");
            }
            Verb::Archive | Verb::Copied => filing.keep(removing, entry, name)?,
        }
        Entry::drop_name_of(removing, &held);
        Ok(())
    }

    fn put_back(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        held: &OsStr,
        name: &Name,
    ) -> Result<(), StoreError> {
        let shown = || self.outgoing.shown(name);
        match place(walk, removing, held, name)?.naming("put back", shown)? {
            Placed::HasBoth => self.drop_double(walk, removing, held, name),
            Placed::Renamed => {
                Entry::drop_name_of(removing, held);
                self.sync_way(walk, name)?;
                os::sync_dir(removing).naming("sync", shown)
            }
        }
    }

    /// Takes a name out of `removing` whose file has another one. A name that is left there after a
    /// loss of power is put back at the next start, when the file may have been sent or taken away;
    /// and of a file, one name lasts.
    fn drop_double(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        held: &OsStr,
        name: &Name,
    ) -> Result<(), StoreError> {
        self.sync_way(walk, name)?;
        let dropped = os::unlink(removing, held);
        Entry::drop_name_of(removing, held);
        let synced = dropped.and_then(|()| os::sync_dir(removing));
        synced.naming("put back", || self.outgoing.shown(name))
    }
}

pub(crate) enum Taken {
    /// It stands in `removing`, and may go.
    Held(Entry),
    /// It stands in `removing`, and stays there for a while.
    OnHold(Hold),
    /// It does not stand in `removing`.
    Not(Removed),
}

#[cfg(test)]
mod tests;
