//! The start after a crash: a file in `removing` is removed or archived, or put back.

use super::hold;
use super::{Removed, Remover};
use crate::failpoint::fail_point;
use crate::proto::name::Name;
use crate::store::Writers;
use crate::store::error::{Naming, StoreError};
use crate::store::outgoing::removal_record::{RemovalRecord, Verb};
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::os;
use cap_std::fs::Dir;

impl Remover {
    /// Completes or reverts the removals that a crash interrupted. Returns the outcome for each
    /// file.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be read. A single file that fails is left for the next
    /// start.
    pub fn recover(&self) -> Result<Vec<(Name, Removed)>, StoreError> {
        let removing = self.removing.of(&self.outgoing)?;
        let mut leaves = os::entries(&removing.dir).naming("list", || removing.path.display())?;
        // The record of a copied file (`c`) is handled after the one from before the copy (`a`).
        leaves.sort_unstable();
        let mut settled = Vec::new();
        let (mut walk, mut batch) = (self.outgoing.walk(), self.archive.batch());
        for leaf in &leaves {
            let Some((entry, name)) = RemovalRecord::parse(&removing.dir, leaf) else { continue };
            let Ok(found) = os::stat(&removing.dir, leaf) else { continue };
            fail_point("start.removing");
            let is_copied = entry.verb == Verb::Archive && leaves.contains(&entry.copied_leaf());
            let done = if is_copied
                || walk.stat(&name).is_ok_and(|outgoing| outgoing.same_inode(&found))
            {
                // A crash interrupted a rename, so the file has a second name.
                self.drop_duplicate(&mut walk, &removing.dir, leaf, &name)
                    .map(|()| Removed::Changed)
            } else if entry.is(&found)
                && hold::writers_of(&removing.dir, leaf, found.kind) == Writers::None
            {
                self.sync_taken(&mut walk, &removing.dir, &entry, &name)
                    .and_then(|()| self.finish(&mut batch, &removing.dir, entry, &name))
                    .map(|()| Removed::Gone)
            } else {
                self.put_back(&mut walk, &removing.dir, leaf, &name).map(|()| Removed::Changed)
            };
            fail_point("start.removed");
            if let Ok(removed) = done {
                settled.push((name, removed));
            }
        }
        batch.sync()?;
        RemovalRecord::drop_lone_names(&removing.dir, &leaves);
        let left = os::entries(&removing.dir).naming("list", || removing.path.display())?;
        self.archive.drop_lone_copies(&left)?;
        Ok(settled)
    }

    /// Syncs the rename into `removing`, which the interrupted run may not have done. A file that
    /// reappeared in Outgoing after its archiving would be sent and archived again.
    fn sync_taken(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        entry: &RemovalRecord,
        name: &Name,
    ) -> Result<(), StoreError> {
        if entry.verb == Verb::Delete {
            return Ok(());
        }
        os::sync_dir(removing).naming("sync", || self.outgoing.shown(name))?;
        self.sync_path(walk, name)
    }
}
