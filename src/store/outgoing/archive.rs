//! `.rft/sent`, the archive of files that the peer has received (`--after-send archive`).
//!
//! On the same volume a file is renamed into the archive. To another volume it is copied under a
//! hidden name; then the record in `removing` says that it is copied; then the copy gets its name;
//! then the record is removed. After a crash the record and the hidden copy show which steps were
//! done, and the file is archived once.

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

/// Size of the copy buffer in bytes.
const COPY_BUFFER: usize = 256 * 1024;
/// Free bytes that a copy leaves on the archive's volume, which also contains the ledger and the
/// log.
const MIN_FREE: u64 = 1 << 20;

/// The archive.
#[derive(Debug)]
pub(crate) struct Archive {
    sent: Folder,
}

/// Moves the files of one batch into the archive.
pub(crate) struct ArchiveBatch<'a> {
    sent: &'a Folder,
    walk: DirCursor<'a>,
    /// Folders that got new names, and the folders above them.
    changed: Vec<(Option<Name>, Arc<Dir>)>,
}

/// The free space in the archive for one batch.
pub(crate) struct Room {
    /// Bytes; `None` if files are renamed into the archive, which needs no space.
    free: Result<Option<u64>, StoreError>,
    archive: String,
}

impl Room {
    /// Reserves the space for a file of this size.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] if it does not fit beside the earlier files of the batch.
    pub(crate) fn take(&mut self, size: u64) -> Result<(), StoreError> {
        let Some(free) = self.free.as_mut().map_err(|error| error.clone())? else { return Ok(()) };
        *free = free
            .checked_sub(size)
            .ok_or_else(|| StoreError::NoSpace { path: self.archive.clone() })?;
        Ok(())
    }
}

impl Archive {
    /// Opens the archive, and creates its folder if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { sent: Folder::open(path, true)? })
    }

    /// The present free space for files that are taken from Outgoing into `removing`.
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

    pub(crate) fn batch(&self) -> ArchiveBatch<'_> {
        ArchiveBatch { sent: &self.sent, walk: self.sent.walk(), changed: Vec::new() }
    }

    /// Drops copies without a record, whose files were put back.
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

impl ArchiveBatch<'_> {
    /// Moves a file from `removing` into the archive. It is durable after [`ArchiveBatch::sync`].
    pub(crate) fn archive(
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
            // The copy has its name already. The run that gave it may have died before the sync.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.record_name(name)?,
            other => other.naming("archive", shown)?,
        }
        self.sync()?;
        os::unlink(removing, &copied.leaf()).naming("remove", shown)?;
        RemovalRecord::drop_name_of(removing, &copied.leaf());
        Ok(())
    }

    /// Syncs the names that were given so far.
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
            self.record_name(name)?;
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

    /// Records a new name in the archive, with the folders above it. These are synced in any case:
    /// an earlier run may have created them just before it died.
    fn record_name(&mut self, name: &Name) -> Result<(), StoreError> {
        let mut above = name.parent();
        loop {
            if self.changed.iter().any(|(known, _)| *known == above) {
                return Ok(());
            }
            match self.walk.dir(above.as_ref()) {
                Ok(dir) => self.changed.push((above.clone(), dir)),
                // The user has removed the folder.
                Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. }) => {}
                Err(error) => return Err(error),
            }
            let Some(name) = above else { return Ok(()) };
            above = name.parent();
        }
    }
}

/// The result of [`place`].
pub(crate) enum Placed {
    Renamed,
    /// Both names are the same file: a crash interrupted a rename by hard link (`os::rename_new`).
    /// The old name must be removed.
    HasBoth,
}

/// Renames a file into a tree, at `name` or the next free numbered name.
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

/// Copies a file or a link to another volume, and syncs it. A failed copy is removed at once: on a
/// full volume it takes the space that the ledger and the log need.
fn copy_one(from: &Dir, held: &OsStr, to: &Dir, leaf: &OsStr) -> io::Result<()> {
    let copied = copy_whole(from, held, to, leaf);
    if copied.is_err() {
        let _: io::Result<()> = os::unlink(to, leaf);
    }
    copied
}

fn copy_whole(from: &Dir, held: &OsStr, to: &Dir, leaf: &OsStr) -> io::Result<()> {
    // Removes the copy that a crash left.
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
