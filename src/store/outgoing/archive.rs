//! `.rft/sent`, where files go that the peer holds and the user keeps (`--after-send archive`).
//!
//! Into an archive on the same volume they are renamed. To another volume they are copied, under a
//! hidden name; then the entry in `removing` says that it is copied; then the copy gets its name;
//! then the entry goes. So the next start knows from the entry and the hidden copy how far it was,
//! and the file is kept once.

use super::removal_record::{COPY_PREFIX, RemovalRecord, Verb};
use crate::failpoint::fail_point;
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::folder::Folder;
use crate::store::tree::meta::FileKind;
use crate::store::tree::numbered;
use crate::store::tree::numbered::numbered;
use crate::store::tree::{os, sync};
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes that are copied at once.
const COPY_BUFFER: usize = 256 * 1024;
/// Free bytes that a copy leaves on the archive's volume, which is the volume of the ledger and the
/// log too.
const MIN_FREE: u64 = 1 << 20;

/// The archive.
#[derive(Debug)]
pub(crate) struct Archive {
    sent: Folder,
}

/// Several files on their way into the archive.
pub(crate) struct Filing<'a> {
    sent: &'a Folder,
    walk: DirCursor<'a>,
    /// Folders that got names, and those above them.
    changed: Vec<(Option<Name>, Arc<Dir>)>,
}

/// The room in the archive for one batch.
pub(crate) struct Room {
    /// Bytes; `None` where the archive takes files by a rename, which needs no room.
    free: Result<Option<u64>, StoreError>,
    archive: String,
}

impl Room {
    /// A file of this size is to be archived.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] when it does not fit beside those before it.
    pub(crate) fn take(&mut self, size: u64) -> Result<(), StoreError> {
        let Some(free) = self.free.as_mut().map_err(|error| error.clone())? else { return Ok(()) };
        *free = free
            .checked_sub(size)
            .ok_or_else(|| StoreError::NoSpace { path: self.archive.clone() })?;
        Ok(())
    }
}

impl Archive {
    /// Makes the folder when it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { sent: Folder::open(path, true)? })
    }

    /// The room that there is now for what is taken out of Outgoing into `removing`.
    pub(crate) fn room(&self, removing: &Dir) -> Room {
        let shown = || self.sent.path().display();
        let free = || {
            let (from, to) = (os::stat_dir(removing), os::stat_dir(&*self.sent.root()?));
            let (from, to) = (from.naming("look at", shown)?, to.naming("look at", shown)?);
            if from.identity.device == to.identity.device {
                return Ok(None);
            }
            Ok(Some(self.sent.free_space()?.saturating_sub(MIN_FREE)))
        };
        Room { free: free(), archive: shown().to_string() }
    }

    pub(crate) fn filing(&self) -> Filing<'_> {
        Filing { sent: &self.sent, walk: self.sent.walk(), changed: Vec::new() }
    }

    /// Drops copies that no entry tells of: of files that were put back.
    pub(crate) fn drop_lone_copies(&self, entries: &[OsString]) -> Result<(), StoreError> {
        let shown = || self.sent.path().display();
        let sent = self.sent.root()?;
        for leaf in os::entries(&sent).naming("list", shown)? {
            let is_copy = leaf.to_str().is_some_and(|leaf| leaf.starts_with(COPY_PREFIX));
            if is_copy && !entries.iter().any(|entry| RemovalRecord::copy_of(entry) == leaf) {
                let _: io::Result<()> = os::unlink(&sent, &leaf);
            }
        }
        Ok(())
    }
}

impl Filing<'_> {
    /// Takes over what stands in `removing`. It lasts after [`Filing::sync`].
    pub(crate) fn keep(
        &mut self,
        removing: &Dir,
        entry: RemovalRecord,
        name: &Name,
    ) -> Result<(), StoreError> {
        fail_point("archive.placing");
        match self.place(removing, &entry.leaf(), name)? {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            other => {
                fail_point("archive.placed");
                return other.naming("archive", || self.sent.shown(name));
            }
        }
        let shown = self.sent.shown(name);
        let shown = || shown.clone();
        let (sent, copy) = (self.sent.root()?, RemovalRecord::copy_of(&entry.leaf()));
        let copied = if entry.verb == Verb::Copied {
            entry
        } else {
            copy_one(removing, &entry.leaf(), &sent, &copy).naming("archive", shown)?;
            os::sync_dir(&sent).naming("sync", shown)?;
            entry.into_copied(removing, name).naming("archive", shown)?
        };
        match self.place(&sent, &copy, name)? {
            // It has its name, given by a run that may have died before the sync.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.named(name)?,
            other => other.naming("archive", shown)?,
        }
        self.sync()?;
        os::unlink(removing, &copied.leaf()).naming("remove", shown)?;
        RemovalRecord::drop_name_of(removing, &copied.leaf());
        Ok(())
    }

    /// What was taken over so far, to stable storage.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        let synced = sync::folders(self.changed.iter().map(|(_, dir)| dir));
        self.changed.clear();
        synced.naming("sync", || self.sent.path().display())
    }

    fn place(
        &mut self,
        from: &Dir,
        held: &OsStr,
        name: &Name,
    ) -> Result<io::Result<()>, StoreError> {
        let placed = place(&mut self.walk, from, held, name)?;
        if placed.is_ok() {
            self.named(name)?;
        }
        match placed {
            Ok(Placed::Renamed) => Ok(Ok(())),
            Ok(Placed::HasBoth) => {
                self.sync()?;
                Ok(os::unlink(from, held))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// A name was given there. Nobody can tell whether the folders above it last: an earlier run
    /// may have made them a moment before it died.
    fn named(&mut self, name: &Name) -> Result<(), StoreError> {
        let mut above = name.parent();
        loop {
            if self.changed.iter().any(|(known, _)| *known == above) {
                return Ok(());
            }
            match self.walk.dir(above.as_ref()) {
                Ok(dir) => self.changed.push((above.clone(), dir)),
                // The user took it away.
                Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. }) => {}
                Err(error) => return Err(error),
            }
            let Some(name) = above else { return Ok(()) };
            above = name.parent();
        }
    }
}

/// How [`place`] did it.
pub(crate) enum Placed {
    Renamed,
    /// Half of a rename was made before (`os::rename_new` has no better way everywhere): the old
    /// name is to go.
    HasBoth,
}

/// Renames into a tree at `name`, or at the next numbered name that is free.
pub(crate) fn place(
    walk: &mut DirCursor<'_>,
    from: &Dir,
    held: &OsStr,
    name: &Name,
) -> Result<io::Result<Placed>, StoreError> {
    for number in 0..=numbered::MAX_NUMBER {
        let Some(candidate) = numbered(name, number) else { break };
        let (parent, leaf) = walk.make_parent(&candidate, &mut |_, _| {})?;
        match os::rename_new(from, held, &parent, &leaf) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return Ok(other.map(|()| Placed::Renamed)),
        }
        let same =
            os::stat(from, held).and_then(|own| Ok(own.same_inode(&os::stat(&parent, &leaf)?)));
        if same.is_ok_and(|same| same) {
            return Ok(Ok(Placed::HasBoth));
        }
    }
    Ok(Err(io::ErrorKind::AlreadyExists.into()))
}

/// Copies a file or a link to another volume, whole and synced. A copy that fails is removed at
/// once: on a full volume it takes the room that the ledger and the log need.
fn copy_one(from: &Dir, held: &OsStr, to: &Dir, leaf: &OsStr) -> io::Result<()> {
    let copied = copy_whole(from, held, to, leaf);
    if copied.is_err() {
        let _: io::Result<()> = os::unlink(to, leaf);
    }
    copied
}

fn copy_whole(from: &Dir, held: &OsStr, to: &Dir, leaf: &OsStr) -> io::Result<()> {
    // What a crash left of an earlier try.
    match os::unlink(to, leaf) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let meta = os::stat(from, held)?;
    if meta.kind == FileKind::Link {
        os::make_link(to, leaf, &os::read_link(from, held)?)?;
        return os::set_link(to, leaf, meta.modified);
    }
    let (source, meta) = os::open_read(from, held)?;
    let copy = os::create_new(to, leaf)?;
    let (mut buffer, mut done) = (vec![0; COPY_BUFFER], 0);
    while done < meta.size {
        let read = os::read_at(&source, &mut buffer, done)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        os::write_at(&copy, &buffer[..read], done)?;
        done += read as u64;
    }
    if done != meta.size {
        return Err(io::ErrorKind::InvalidData.into());
    }
    os::set_file(&copy, meta.mode, meta.modified)?;
    os::sync_file(&copy)
}
