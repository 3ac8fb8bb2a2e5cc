//! The last step of a file in `removing`: it is unlinked, archived or put back.

use super::Remover;
use crate::failpoint::fail_point;
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::outgoing::archive::{ArchiveBatch, Placed, place};
use crate::store::outgoing::removal_record::{RemovalRecord, Verb};
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::OsStr;

impl Remover {
    /// Syncs the presence or absence of a name in Outgoing, with the folders above it.
    pub(super) fn sync_path(
        &self,
        walk: &mut DirCursor<'_>,
        name: &Name,
    ) -> Result<(), StoreError> {
        let mut above = name.parent();
        loop {
            match walk.dir(above.as_ref()) {
                Ok(dir) => os::sync_dir(&dir).naming("sync", || self.outgoing.shown(name))?,
                // The user has removed the folder. The sync of the folder above covers that.
                Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. }) => {}
                Err(error) => return Err(error),
            }
            let Some(folder) = above else { return Ok(()) };
            above = folder.parent();
        }
    }

    /// Unlinks or archives a file that passed the checks.
    pub(super) fn finish(
        &self,
        archiving: &mut ArchiveBatch<'_>,
        removing: &Dir,
        entry: RemovalRecord,
        name: &Name,
    ) -> Result<(), StoreError> {
        let held = entry.leaf();
        match entry.verb {
            Verb::Delete => {
                fail_point("remove.unlinking");
                os::unlink(removing, &held).naming("remove", || self.outgoing.shown(name))?;
                fail_point("remove.unlinked");
            }
            Verb::Archive | Verb::Copied => archiving.archive(removing, entry, name)?,
        }
        RemovalRecord::drop_name_of(removing, &held);
        Ok(())
    }

    pub(super) fn put_back(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        held: &OsStr,
        name: &Name,
    ) -> Result<(), StoreError> {
        let shown = || self.outgoing.shown(name);
        match place(walk, removing, held, name)?.naming("put back", shown)? {
            Placed::HasBoth => self.drop_duplicate(walk, removing, held, name),
            Placed::Renamed => {
                RemovalRecord::drop_name_of(removing, held);
                self.sync_path(walk, name)?;
                os::sync_dir(removing).naming("sync", shown)
            }
        }
    }

    /// Removes a name from `removing` whose file has a second name. Otherwise the name could
    /// survive a power loss, and the next start would put the file back after the user removed it
    /// or it was sent. The other name is synced first, so that one name of the file is always
    /// durable.
    pub(super) fn drop_duplicate(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        held: &OsStr,
        name: &Name,
    ) -> Result<(), StoreError> {
        self.sync_path(walk, name)?;
        let dropped = os::unlink(removing, held);
        RemovalRecord::drop_name_of(removing, held);
        let synced = dropped.and_then(|()| os::sync_dir(removing));
        synced.naming("put back", || self.outgoing.shown(name))
    }
}
