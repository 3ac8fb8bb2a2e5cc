//! One staged entry gets its name in Incoming: by a rename that never replaces, unless it is told to.

use super::error::{Naming, StoreError};
use super::folder::Walk;
use super::incoming::Incoming;
use super::meta::{FileKind, Meta};
use super::numbered::{self, numbered};
use super::os;
use super::stage::leaf_of;
use super::sync;
use crate::config::OnConflict;
use crate::failpoint::hit;
use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::Name;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Folders whose entries changed are remembered up to here: handles are scarce. With more of them the
/// volume is synced as one at the end; where that cannot be, those so far are synced at once.
const MOST_CHANGED: usize = 64;
/// How often a name that is free, then taken, then free again is tried.
const RACES: u32 = 16;

/// One batch's way into Incoming.
pub(crate) struct Placer<'a> {
    incoming: &'a Incoming,
    walk: Walk<'a>,
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
}

/// What a staged entry is, as far as its place is concerned.
pub(crate) struct Entry<'a> {
    pub(crate) id: TransferId,
    pub(crate) name: &'a Name,
    pub(crate) thing: Thing<'a>,
    pub(crate) mode: Option<u32>,
    pub(crate) modified: Timestamp,
}

/// How to tell that the same thing stands there already.
pub(crate) enum Thing<'a> {
    File { size: u64, hash: &'a [u8; 32] },
    Link { target: &'a [u8] },
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
        }
    }

    /// Where it leads.
    pub(crate) fn incoming(&self) -> &'a Incoming {
        self.incoming
    }

    /// The name that an entry will probably get, for the ledger: the one that [`Placer::place`] would find
    /// now. Should the process die, the recovery places it there.
    pub(crate) fn likely_name(&mut self, entry: &Entry<'_>) -> Name {
        if self.on_conflict != OnConflict::Rename {
            return entry.name.clone();
        }
        for number in 0..=numbered::MOST {
            let Some(candidate) = numbered(entry.name, number) else { break };
            let Ok((parent, leaf)) = self.walk.parent(&candidate) else { return candidate };
            match os::stat(&parent, &leaf) {
                Ok(there) if !is_same(entry, number, &parent, &leaf, &there) => {}
                _ => return candidate,
            }
        }
        entry.name.clone()
    }

    /// Gives a staged entry its name, and says which. The staged one is gone after [`Placer::sync`], or
    /// it is an error.
    pub(crate) fn place(&mut self, entry: &Entry<'_>) -> Result<Name, StoreError> {
        let staged = leaf_of(entry.id);
        let stage = self.incoming.stage_dir()?.dir;
        let (mut number, mut races) = (0, 0);
        while number <= numbered::MOST && races < RACES {
            let Some(candidate) = numbered(entry.name, number) else { break };
            let (parent, leaf) = self.parent(&candidate)?;
            match rename_in(&stage, &staged, &parent, &leaf) {
                Ok(()) => {
                    self.moved(&stage, candidate.parent(), &parent)?;
                    return Ok(candidate);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::new("write", self.shown(&candidate), &error)),
            }
            let there = match os::stat(&parent, &leaf) {
                Ok(there) => there,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    races += 1;
                    continue;
                }
                Err(error) => return Err(StoreError::new("look at", self.shown(&candidate), &error)),
            };
            if self.stands_there(entry, number, &stage, &parent, &leaf, &there)? {
                hit("publish.same");
                self.moved(&stage, candidate.parent(), &parent)?;
                self.doubles.push(entry.id);
                return Ok(candidate);
            }
            match self.on_conflict {
                OnConflict::Rename => number += 1,
                _ if there.kind == FileKind::Folder => {
                    return Err(StoreError::InTheWay { path: self.shown(&candidate) });
                }
                OnConflict::Skip => return Err(StoreError::Conflict { path: self.shown(&candidate) }),
                OnConflict::Overwrite => {
                    hit("publish.replacing");
                    os::rename_over(&stage, &staged, &parent, &leaf)
                        .naming("replace", || self.shown(&candidate))?;
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

    /// Makes a folder, with its mode and time.
    pub(crate) fn folder(
        &mut self,
        name: &Name,
        mode: Option<u32>,
        modified: Timestamp,
    ) -> Result<(), StoreError> {
        let (parent, _) = self.parent(name)?;
        let dir = self.walk.make_dir(name, &mut |_, _| {})?;
        self.named_in(name.parent(), &parent)?;
        os::set_dir(&dir, mode, modified).naming("set the time of", || self.shown(name))?;
        self.changed(Some(name.clone()), &dir);
        Ok(())
    }

    /// Brings all names that were given onto stable storage, and that the stage has them no more: one
    /// that came back after a loss of power would be placed again when the user has long taken the
    /// file away.
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
    fn moved(&mut self, stage: &Arc<Dir>, folder: Option<Name>, dir: &Arc<Dir>) -> Result<(), StoreError> {
        self.stage = Some(Arc::clone(stage));
        self.named_in(folder, dir)
    }

    /// A name was given in this folder. It lasts when the folder and all above it do, and nobody can
    /// tell whether those do that were there before: another program, or an attempt that failed, may
    /// have made them a moment ago.
    fn named_in(&mut self, folder: Option<Name>, dir: &Arc<Dir>) -> Result<(), StoreError> {
        self.changed(folder.clone(), dir);
        let Some(name) = folder else { return Ok(()) };
        if self.last.as_ref() == Some(&name) {
            return Ok(());
        }
        let mut above = name.parent();
        while self.changed.len() < MOST_CHANGED {
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
        let found = self.walk.make_parent(name, &mut |name, dir| made.push((name, Arc::clone(dir))));
        for (name, dir) in made {
            self.changed(name, &dir);
        }
        found
    }

    fn changed(&mut self, name: Option<Name>, dir: &Arc<Dir>) {
        if self.changed.iter().rev().any(|(known, held)| *known == name && Arc::ptr_eq(held, dir)) {
            return;
        }
        if self.changed.len() == MOST_CHANGED {
            if sync::at_once(MOST_CHANGED) {
                // The sync of so many takes the whole volume, and this folder with it.
                return;
            }
            let synced = sync::folders(self.changed.iter().map(|(_, dir)| dir));
            self.failed = self.failed.take().or(synced.err());
            self.changed.clear();
        }
        self.changed.push((name, Arc::clone(dir)));
    }

    /// Whether what stands there is this very entry: the staged file itself (a crash between the two
    /// halves of a rename by hard link), or the same content. Then only its mode and time are set.
    fn stands_there(
        &self,
        entry: &Entry<'_>,
        number: u32,
        stage: &Dir,
        parent: &Dir,
        leaf: &OsStr,
        there: &Meta,
    ) -> Result<bool, StoreError> {
        if os::stat(stage, &leaf_of(entry.id)).is_ok_and(|staged| staged.same_inode(there)) {
            return Ok(true);
        }
        match &entry.thing {
            Thing::Link { .. } => Ok(is_same(entry, number, parent, leaf, there)
                && os::set_link(parent, leaf, entry.modified).is_ok()),
            Thing::File { .. } => {
                let Some(file) = same_file(entry, number, parent, leaf, there) else { return Ok(false) };
                // Somebody else wrote it, perhaps a moment ago: the receipt says "on stable storage".
                let kept =
                    os::set_file(&file, entry.mode, entry.modified).and_then(|()| os::sync_file(&file));
                kept.naming("write", || self.shown(entry.name))?;
                Ok(true)
            }
        }
    }

    fn shown(&self, name: &Name) -> String {
        self.incoming.folder().shown(name)
    }
}

/// Whether the same content stands there.
fn is_same(entry: &Entry<'_>, number: u32, parent: &Dir, leaf: &OsStr, there: &Meta) -> bool {
    match &entry.thing {
        Thing::File { .. } => same_file(entry, number, parent, leaf, there).is_some(),
        Thing::Link { target } => {
            there.kind == FileKind::Link && os::read_link(parent, leaf).is_ok_and(|found| found == *target)
        }
    }
}

/// The file that stands there, if it has the same content. Of numbered names only those are read that
/// look the same, or each new version of a file would read all the old ones.
fn same_file(entry: &Entry<'_>, number: u32, parent: &Dir, leaf: &OsStr, there: &Meta) -> Option<File> {
    let Thing::File { size, hash } = &entry.thing else { return None };
    let alike = there.kind == FileKind::File
        && there.size == *size
        && (number == 0 || there.modified == entry.modified);
    // A file that cannot be read is another one.
    let (file, _) = alike.then(|| os::open_read(parent, leaf).ok()).flatten()?;
    hash_of(&file, *size).is_ok_and(|found| found == **hash).then_some(file)
}

/// As [`os::rename_new`]. A folder whose mode does not let its own user write (it came with it, from
/// an earlier transfer) is opened for the one moment.
fn rename_in(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    match os::rename_new(from, old, to, new) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let before = os::stat_dir(to)?;
            let Some(mode) = before.mode.filter(|mode| mode & 0o300 != 0o300) else { return Err(error) };
            // Only its owner can do this, so another user's folder stays as it is.
            os::set_dir(to, Some(mode | 0o300), before.modified).map_err(|_| error)?;
            let renamed = os::rename_new(from, old, to, new);
            os::set_dir(to, Some(mode), before.modified)?;
            renamed
        }
        other => other,
    }
}

fn hash_of(file: &File, size: u64) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut file = file.take(size + 1);
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 if length == size => return Ok(*hasher.finalize().as_bytes()),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}
