//! One staged entry gets its name in Incoming: by a rename that never replaces, unless it is told
//! to.

use super::Incoming;
use super::compare::{Comparisons, Fingerprint, StagedEntry};
use super::stage::leaf_of;
use crate::config::OnConflict;
use crate::failpoint::fail_point;
use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::meta::{FileKind, Meta};
use crate::store::tree::numbered;
use crate::store::tree::numbered::numbered;
use crate::store::tree::os;
use crate::store::tree::sync;
use cap_std::fs::Dir;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

/// Folders whose entries changed are remembered up to here: handles are scarce. With more of them
/// the volume is synced as one at the end; where that cannot be, those so far are synced at once.
const MAX_CHANGED: usize = 64;
/// The permissions of a folder that is made on the way to a file.
const PRIVATE: u32 = 0o700;
/// How often a name that is free, then taken, then free again is tried.
const MAX_RACES: u32 = 16;

/// One batch's way into Incoming.
pub(crate) struct Placer<'a> {
    incoming: &'a Incoming,
    walk: DirCursor<'a>,
    on_conflict: OnConflict,
    changed: Vec<(Option<Name>, Arc<Dir>)>,
    // The folder whose way to the top is in `changed`.
    last: Option<Name>,
    // The stage that lost entries.
    stage: Option<Arc<Dir>>,
    // Staged entries that stand in Incoming already: dropped when that is on stable storage.
    doubles: Vec<TransferId>,
    // A folder that could not be synced when there were too many of them.
    failed: Option<io::Error>,
    // The files in Incoming that were compared with staged ones.
    comparisons: Comparisons,
}

impl<'a> Placer<'a> {
    pub(crate) fn new(incoming: &'a Incoming, on_conflict: OnConflict) -> Self {
        Self {
            incoming,
            walk: incoming.folder().walk(),
            on_conflict,
            changed: Vec::new(),
            last: None,
            stage: None,
            doubles: Vec::new(),
            failed: None,
            comparisons: Comparisons::default(),
        }
    }

    /// Where it leads.
    pub(crate) fn incoming(&self) -> &'a Incoming {
        self.incoming
    }

    /// The name that an entry will probably get, for the ledger: the one that [`Placer::place`]
    /// would find now. Should the process die, the recovery places it there.
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

    /// Gives a staged entry its name, and says which. The staged one is gone after
    /// [`Placer::sync`], or it is an error.
    pub(crate) fn place(&mut self, entry: &StagedEntry<'_>) -> Result<Name, StoreError> {
        let staged = leaf_of(entry.id);
        let stage = self.incoming.stage_dir()?.dir;
        let (mut number, mut races) = (0, 0);
        while number <= numbered::MAX_NUMBER && races < MAX_RACES {
            let Some(candidate) = numbered(entry.name, number) else { break };
            let (parent, leaf) = self.parent(&candidate)?;
            match rename_in(&stage, &staged, &parent, &leaf) {
                Ok(()) => {
                    self.moved(&stage, candidate.parent(), &parent)?;
                    return Ok(candidate);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    return Err(self.incoming.mounted_above(&candidate));
                }
                Err(error) => {
                    let shown = self.shown(&candidate);
                    return Err(StoreError::of_entry("write", shown, &error, (&parent, &leaf)));
                }
            }
            let there = match os::stat(&parent, &leaf) {
                Ok(there) => there,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    races += 1;
                    continue;
                }
                Err(error) => {
                    return Err(StoreError::new("look at", self.shown(&candidate), &error));
                }
            };
            let compares = self.on_conflict != OnConflict::Overwrite;
            if is_staged(&stage, &staged, &there)
                || compares
                    && self.comparisons.is_same(
                        self.incoming,
                        entry,
                        number,
                        (&parent, &leaf),
                        &there,
                    )
            {
                self.lasts(entry, &parent, &leaf)?;
                fail_point("publish.same");
                self.moved(&stage, candidate.parent(), &parent)?;
                self.doubles.push(entry.id);
                return Ok(candidate);
            }
            match self.on_conflict {
                OnConflict::Rename => number += 1,
                _ if there.kind == FileKind::Folder => {
                    return Err(StoreError::InTheWay { path: self.shown(&candidate) });
                }
                OnConflict::Skip => {
                    return Err(StoreError::Conflict { path: self.shown(&candidate) });
                }
                OnConflict::Overwrite => {
                    fail_point("publish.replacing");
                    os::rename_over(&stage, &staged, &parent, &leaf).map_err(|error| {
                        StoreError::of_entry(
                            "replace",
                            self.shown(&candidate),
                            &error,
                            (&parent, &leaf),
                        )
                    })?;
                    self.moved(&stage, candidate.parent(), &parent)?;
                    return Ok(candidate);
                }
            }
        }
        Err(StoreError::InTheWay { path: self.shown(entry.name) })
    }

    /// An earlier run gave an entry this name, and may have died before it was synced: now it is.
    pub(crate) fn was_placed(&mut self, name: &Name) -> Result<(), StoreError> {
        self.stage = Some(self.incoming.stage_dir()?.dir);
        match self.walk.parent(name) {
            Ok((parent, _)) => self.named_in(name.parent(), &parent),
            // Somebody took it away, with its folder.
            Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The folders from `folder` up that are not there, into `missing`.
    pub(crate) fn missing(&mut self, folder: Option<Name>, missing: &mut BTreeSet<Name>) {
        let (mut above, mut unknown) = (folder, Vec::new());
        while let Some(name) = above.filter(|name| !missing.contains(name)) {
            above = name.parent();
            unknown.push(name);
        }
        // From the top: what is beneath a missing one is missing too.
        while let Some(name) = unknown.last() {
            match self.walk.dir(Some(name)) {
                Err(StoreError::NotFound { .. }) => return missing.extend(unknown),
                // Something else is there: the attempt to make it shows what is the matter.
                Err(_) => return,
                Ok(_) => drop(unknown.pop()),
            }
        }
    }

    /// Whether a folder is not there any more.
    pub(crate) fn is_gone(&mut self, name: &Name) -> bool {
        matches!(
            self.walk.dir(Some(name)),
            Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. })
        )
    }

    /// Whether a folder is still as private as it was made.
    fn is_private(&mut self, name: &Name) -> bool {
        let dir = self.walk.dir(Some(name));
        let found = dir.and_then(|dir| os::stat_dir(&dir).naming("look at", || self.shown(name)));
        found.is_ok_and(|meta| meta.mode.is_none_or(|mode| mode == PRIVATE))
    }

    /// Makes a folder, with its mode and time. One that is there keeps its mode, unless it was made
    /// on the way to its files (`filling`) and nobody has changed it since.
    pub(crate) fn folder(
        &mut self,
        name: &Name,
        mode: Option<u32>,
        modified: Timestamp,
        filling: bool,
    ) -> Result<(), StoreError> {
        let (parent, _) = self.parent(name)?;
        let dir = self.walk.make_dir(name, &mut |_, _| {})?;
        self.named_in(name.parent(), &parent)?;
        let mode = match filling && self.is_private(name) {
            true => mode.or(self.incoming.usual_mode()),
            false => None,
        };
        match os::set_dir(&dir, mode, modified) {
            // Another user's folder keeps its time as well.
            Err(error) if mode.is_none() && error.kind() == io::ErrorKind::PermissionDenied => {}
            set => set.naming("set the time of", || self.shown(name))?,
        }
        self.changed(Some(name.clone()), &dir);
        Ok(())
    }

    /// Brings all names that were given onto stable storage, and that the stage has them no more:
    /// one that came back after a loss of power would be placed again when the user has long taken
    /// the file away.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        let stage = self.stage.take();
        // What stands in Incoming already must be durable before the staged one goes.
        let with_stage = stage.as_ref().filter(|_| self.doubles.is_empty());
        let dirs: Vec<_> = self.changed.iter().map(|(_, dir)| dir).chain(with_stage).collect();
        let mut synced = self.failed.take().map_or_else(|| sync::folders(dirs.into_iter()), Err);
        self.changed.clear();
        self.last = None;
        if let (Some(stage), Ok(()), false) = (stage, &synced, self.doubles.is_empty()) {
            for id in self.doubles.drain(..) {
                self.incoming.discard(id)?;
            }
            synced = os::sync_dir(&stage);
        }
        self.doubles.clear();
        synced.naming("sync", || self.incoming.folder().path().display())
    }

    /// An entry left the stage for this folder, or is about to since it stands there already.
    fn moved(
        &mut self,
        stage: &Arc<Dir>,
        folder: Option<Name>,
        dir: &Arc<Dir>,
    ) -> Result<(), StoreError> {
        self.stage = Some(Arc::clone(stage));
        self.named_in(folder, dir)
    }

    /// A name was given in this folder. It lasts when the folder and all above it do, and nobody
    /// can tell whether those do that were there before: another program, or an attempt that
    /// failed, may have made them a moment ago.
    fn named_in(&mut self, folder: Option<Name>, dir: &Arc<Dir>) -> Result<(), StoreError> {
        self.changed(folder.clone(), dir);
        let Some(name) = folder else { return Ok(()) };
        if self.last.as_ref() == Some(&name) {
            return Ok(());
        }
        let mut above = name.parent();
        while self.changed.len() < MAX_CHANGED {
            let dir = self.walk.dir(above.as_ref())?;
            self.changed(above.clone(), &dir);
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
            self.changed(name, &dir);
        }
        found
    }

    fn changed(&mut self, name: Option<Name>, dir: &Arc<Dir>) {
        if self.changed.iter().rev().any(|(known, held)| *known == name && Arc::ptr_eq(held, dir)) {
            return;
        }
        if self.changed.len() == MAX_CHANGED {
            if sync::at_once(MAX_CHANGED) {
                // The sync of so many takes the whole volume, and this folder with it.
                return;
            }
            let synced = sync::folders(self.changed.iter().map(|(_, dir)| dir));
            self.failed = self.failed.take().or(synced.err());
            self.changed.clear();
        }
        self.changed.push((name, Arc::clone(dir)));
    }

    /// What stands there in the place of a staged entry, to stable storage: somebody else wrote it,
    /// perhaps a moment ago. Its mode and its time are its owner's.
    fn lasts(&self, entry: &StagedEntry<'_>, parent: &Dir, leaf: &OsStr) -> Result<(), StoreError> {
        if let Fingerprint::Link { .. } = entry.fingerprint {
            return Ok(());
        }
        match os::open_read(parent, leaf).and_then(|(file, _)| os::sync_file(&file)) {
            // Windows flushes a file only through a handle that may write, and this one is not ours
            // to write.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced.naming("sync", || self.shown(entry.name)),
        }
    }

    fn shown(&self, name: &Name) -> String {
        self.incoming.folder().shown(name)
    }
}

/// Whether what stands there is the staged file itself: a crash came between the two halves of a
/// rename by hard link.
fn is_staged(stage: &Dir, staged: &OsStr, there: &Meta) -> bool {
    os::stat(stage, staged).is_ok_and(|staged| staged.same_inode(there))
}

/// As [`os::rename_new`]. A folder whose mode does not let its own user write (it came with it,
/// from an earlier transfer) is opened for the one moment.
fn rename_in(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    match os::rename_new(from, old, to, new) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let before = os::stat_dir(to)?;
            let Some(mode) = before.mode.filter(|mode| mode & 0o300 != 0o300) else {
                return Err(error);
            };
            // Only its owner can do this, so another user's folder stays as it is.
            os::set_dir(to, Some(mode | 0o300), before.modified).map_err(|_| error)?;
            let renamed = os::rename_new(from, old, to, new);
            os::set_dir(to, Some(mode), before.modified)?;
            renamed
        }
        other => other,
    }
}
