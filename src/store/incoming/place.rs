//! Gives a staged entry its name in Incoming, by a rename that replaces an entry only with
//! `--on-conflict overwrite`.

mod folders;

use super::Incoming;
use super::changed_folders::ChangedFolders;
use super::compare::{Comparisons, Fingerprint, StagedEntry};
use super::numbered_folders::NumberedFolders;
use super::stage::leaf_of;
use crate::config::OnConflict;
use crate::failpoint::fail_point;
use crate::proto::message::{EntryKind, TransferId};
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::state::WorkDir;
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::meta::{FileKind, Meta};
use crate::store::tree::numbered;
use crate::store::tree::numbered::numbered;
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

/// The permissions of a folder that is created as the parent of a file.
const PRIVATE: u32 = 0o700;
/// Maximum number of attempts at a name that other programs take and free again.
const MAX_RACES: u32 = 16;

/// The result of an attempt at one name.
enum PlaceAttempt {
    /// The entry has the name.
    Placed,
    /// Another entry has it, and stays.
    Taken,
    /// Another entry had it, and is gone.
    Freed,
}

/// Places the entries of one batch.
pub(crate) struct Placer<'a> {
    incoming: &'a Incoming,
    walk: DirCursor<'a>,
    on_conflict: OnConflict,
    changed: ChangedFolders,
    // The folder that is in `changed` with all folders above it.
    last: Option<Name>,
    // The stage, from its first use on.
    stage: Option<WorkDir>,
    // Entries left the stage.
    moved: bool,
    // Staged entries with an equal entry in Incoming. They are dropped once that entry is synced.
    duplicates: Vec<TransferId>,
    // The files in Incoming that were compared with staged files.
    comparisons: Comparisons,
    numbered_folders: NumberedFolders,
}

impl<'a> Placer<'a> {
    /// `numbered_folders` has the ledger's records about the folders of the batch.
    pub(crate) fn new(
        incoming: &'a Incoming,
        on_conflict: OnConflict,
        numbered_folders: NumberedFolders,
    ) -> Self {
        Self {
            incoming,
            walk: incoming.folder().walk(),
            on_conflict,
            changed: ChangedFolders::default(),
            last: None,
            stage: None,
            moved: false,
            duplicates: Vec::new(),
            comparisons: Comparisons::default(),
            numbered_folders,
        }
    }

    /// The stage. Its path is checked at the first call; [`Placer::sync`] checks it again.
    pub(crate) fn stage(&mut self) -> Result<WorkDir, StoreError> {
        if let Some(stage) = &self.stage {
            return Ok(stage.clone());
        }
        let stage = self.incoming.stage_dir()?;
        Ok(self.stage.insert(stage).clone())
    }

    /// The folder into which entries are placed.
    pub(crate) fn incoming(&self) -> &'a Incoming {
        self.incoming
    }

    /// The name in Incoming of an offered entry, before a number for its own last component: with
    /// `--on-conflict rename`, a folder above it, or the folder itself, may have another name than
    /// offered.
    pub(crate) fn real_name(&mut self, name: &Name, kind: &EntryKind) -> Name {
        match (self.on_conflict, kind) {
            (OnConflict::Overwrite | OnConflict::Skip, _) => name.clone(),
            (OnConflict::Rename, EntryKind::Folder) => {
                self.numbered_folders.of_folder(&mut self.walk, name)
            }
            (OnConflict::Rename, _) => self.numbered_folders.of_entry(&mut self.walk, name),
        }
    }

    /// The folders with another name than offered.
    pub(crate) fn numbered_folders(&self) -> &NumberedFolders {
        &self.numbered_folders
    }

    /// The name that [`Placer::place`] would choose now, for the ledger. If the process dies, the
    /// recovery uses this name.
    pub(crate) fn likely_name(&mut self, entry: &StagedEntry<'_>) -> Name {
        if self.on_conflict != OnConflict::Rename {
            return entry.name.clone();
        }
        for number in 0..=numbered::MAX_NUMBER {
            let Some(candidate) = numbered(entry.name, number) else { break };
            let Ok((parent, leaf)) = self.walk.parent(&candidate) else { return candidate };
            match os::stat(&parent, &leaf) {
                Ok(there)
                    if !self.comparisons.is_same(
                        self.incoming,
                        entry,
                        number,
                        (&parent, &leaf),
                        &there,
                    ) => {}
                _ => return candidate,
            }
        }
        entry.name.clone()
    }

    /// Gives a staged entry its name, and returns the name. After a successful [`Placer::sync`] the
    /// staged entry is gone.
    pub(crate) fn place(&mut self, entry: &StagedEntry<'_>) -> Result<Name, StoreError> {
        let stage = self.stage()?.dir;
        let (mut number, mut races) = (0, 0);
        while number <= numbered::MAX_NUMBER && races < MAX_RACES {
            let Some(name) = numbered(entry.name, number) else { break };
            match self.place_at(entry, number, &name, &stage)? {
                PlaceAttempt::Placed => return Ok(name),
                PlaceAttempt::Taken => number += 1,
                PlaceAttempt::Freed => races += 1,
            }
        }
        Err(StoreError::InTheWay { path: self.shown(entry.name) })
    }

    /// Tries one name, which has this number.
    fn place_at(
        &mut self,
        entry: &StagedEntry<'_>,
        number: u32,
        name: &Name,
        stage: &Arc<Dir>,
    ) -> Result<PlaceAttempt, StoreError> {
        let (parent, leaf) = self.parent(name)?;
        match rename_into_folder(stage, &leaf_of(entry.id), &parent, &leaf) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = match os::stat(&parent, &leaf) {
                    Ok(there) => there,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(PlaceAttempt::Freed);
                    }
                    Err(error) => return Err(StoreError::new("look at", self.shown(name), &error)),
                };
                if self.is_same(entry, number, stage, (&parent, &leaf), &there) {
                    self.sync_existing(entry, &parent, &leaf)?;
                    fail_point("publish.same");
                    self.record_moved(name.parent(), &parent)?;
                    self.duplicates.push(entry.id);
                    return Ok(PlaceAttempt::Placed);
                }
                if self.on_conflict == OnConflict::Rename {
                    return Ok(PlaceAttempt::Taken);
                }
                self.replace(entry, name, stage, (&parent, &leaf), &there)?;
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return Err(self.incoming.mounted_above(name));
            }
            Err(error) => {
                let shown = self.shown(name);
                return Err(StoreError::of_entry("write", shown, &error, (&parent, &leaf)));
            }
        }
        self.record_moved(name.parent(), &parent)?;
        Ok(PlaceAttempt::Placed)
    }

    /// Whether the existing entry is the staged one itself, or an equal one that may stay.
    fn is_same(
        &mut self,
        entry: &StagedEntry<'_>,
        number: u32,
        stage: &Dir,
        place: (&Dir, &OsStr),
        there: &Meta,
    ) -> bool {
        is_staged(stage, &leaf_of(entry.id), there)
            || self.on_conflict != OnConflict::Overwrite
                && self.comparisons.is_same(self.incoming, entry, number, place, there)
    }

    /// Replaces the existing entry if the options allow it.
    fn replace(
        &self,
        entry: &StagedEntry<'_>,
        name: &Name,
        stage: &Dir,
        (parent, leaf): (&Dir, &OsStr),
        there: &Meta,
    ) -> Result<(), StoreError> {
        if there.kind == FileKind::Folder {
            return Err(StoreError::InTheWay { path: self.shown(name) });
        }
        if self.on_conflict != OnConflict::Overwrite {
            return Err(StoreError::Conflict { path: self.shown(name) });
        }
        fail_point("publish.replacing");
        os::rename_over(stage, &leaf_of(entry.id), parent, leaf).map_err(|error| {
            StoreError::of_entry("replace", self.shown(name), &error, (parent, leaf))
        })
    }

    /// Syncs a name that an earlier run gave to an entry: the run may have died before the sync.
    pub(crate) fn sync_placed(&mut self, name: &Name) -> Result<(), StoreError> {
        self.stage()?;
        self.moved = true;
        match self.walk.parent(name) {
            Ok((parent, _)) => self.record_name_in(name.parent(), &parent),
            // A program has removed the entry with its folder.
            Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Syncs all new names in Incoming, and their removal from the stage. A staged entry that
    /// reappeared after a power loss would be placed again, even if the user has removed the file
    /// since. Fails if Incoming or the stage is no longer the folder of the start of the batch.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        let stage = self.stage.as_ref().filter(|_| self.moved).map(|stage| Arc::clone(&stage.dir));
        self.moved = false;
        // The equal entry in Incoming must be durable before the staged one is dropped.
        let with_stage = stage.as_ref().filter(|_| self.duplicates.is_empty());
        let mut synced = self.changed.sync(with_stage);
        self.last = None;
        if let (Some(stage), Ok(()), false) = (stage, &synced, self.duplicates.is_empty()) {
            for id in self.duplicates.drain(..) {
                self.incoming.discard(id)?;
            }
            synced = os::sync_dir(&stage);
        }
        self.duplicates.clear();
        synced.naming("sync", || self.incoming.folder().path().display())?;
        self.stage.as_ref().map_or(Ok(()), |stage| self.incoming.is_still(stage))
    }

    /// Records that an entry left the stage for this folder, or will be dropped because of an equal
    /// one.
    fn record_moved(&mut self, folder: Option<Name>, dir: &Arc<Dir>) -> Result<(), StoreError> {
        self.moved = true;
        self.record_name_in(folder, dir)
    }

    /// Records a new name in this folder. The name is durable only if the folder and all folders
    /// above it are. Existing folders are synced, too: another program or a failed attempt may have
    /// created them just before.
    fn record_name_in(&mut self, folder: Option<Name>, dir: &Arc<Dir>) -> Result<(), StoreError> {
        self.changed.add(folder.clone(), dir);
        let Some(name) = folder else { return Ok(()) };
        if self.last.as_ref() == Some(&name) {
            return Ok(());
        }
        let mut above = name.parent();
        while !self.changed.is_full() {
            let dir = self.walk.dir(above.as_ref())?;
            self.changed.add(above.clone(), &dir);
            let Some(name) = above else { break };
            above = name.parent();
        }
        self.last = Some(name);
        Ok(())
    }

    fn parent(&mut self, name: &Name) -> Result<(Arc<Dir>, OsString), StoreError> {
        let mut made = Vec::new();
        let found =
            self.walk.make_parent(name, &mut |name, dir| made.push((name, Arc::clone(dir))));
        for (name, dir) in made {
            self.changed.add(name, &dir);
        }
        found
    }

    /// Syncs the existing entry that is equal to a staged one: another program may have written it
    /// just before. Its mode and time are left to its owner.
    fn sync_existing(
        &self,
        entry: &StagedEntry<'_>,
        parent: &Dir,
        leaf: &OsStr,
    ) -> Result<(), StoreError> {
        if let Fingerprint::Link { .. } = entry.fingerprint {
            return Ok(());
        }
        match os::open_read(parent, leaf).and_then(|(file, _)| os::sync_file(&file)) {
            // Windows flushes a file only through a writable handle, and this file is not opened
            // for writing.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced.naming("sync", || self.shown(entry.name)),
        }
    }

    fn shown(&self, name: &Name) -> String {
        self.incoming.folder().shown(name)
    }
}

/// Whether the existing entry is the staged file itself: a crash occurred between the two steps of
/// a rename by hard link.
fn is_staged(stage: &Dir, staged: &OsStr, there: &Meta) -> bool {
    os::stat(stage, staged).is_ok_and(|staged| staged.same_inode(there))
}

/// As [`os::rename_new`]. If the folder's mode, which may come from an earlier transfer, forbids
/// its own user to write, the mode is changed for the rename only.
fn rename_into_folder(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    match os::rename_new(from, old, to, new) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let before = os::stat_dir(to)?;
            let Some(mode) = before.mode.filter(|mode| mode & 0o300 != 0o300) else {
                return Err(error);
            };
            // Only the owner can do this, so a folder of another user stays unchanged.
            os::set_dir(to, Some(mode | 0o300), before.modified).map_err(|_| error)?;
            let renamed = os::rename_new(from, old, to, new);
            os::set_dir(to, Some(mode), before.modified)?;
            renamed
        }
        other => other,
    }
}
