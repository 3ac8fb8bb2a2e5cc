//! The start after a crash: a file in `removing` leaves for good, or is put back.

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
            let Some((entry, name)) = RemovalRecord::parse(&removing.dir, leaf) else { continue };
            let Ok(found) = os::stat(&removing.dir, leaf) else { continue };
            fail_point("start.removing");
            let is_copied = entry.verb == Verb::Archive && leaves.contains(&entry.copied_leaf());
            let done = if is_copied
                || walk.stat(&name).is_ok_and(|outgoing| outgoing.same_inode(&found))
            {
                // What is left of half a rename: it has another name.
                self.drop_duplicate(&mut walk, &removing.dir, leaf, &name)
                    .map(|()| Removed::Changed)
            } else if entry.is(&found)
                && hold::writers_of(&removing.dir, leaf, found.kind) == Writers::None
            {
                self.sync_taken(&mut walk, &removing.dir, &entry, &name)
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
        RemovalRecord::drop_lone_names(&removing.dir, &leaves);
        let left = os::entries(&removing.dir).naming("list", || removing.path.display())?;
        self.archive.drop_lone_copies(&left)?;
        Ok(settled)
    }

    /// What is archived must not come back to Outgoing, or it is sent and archived once more. The
    /// run that took it may have died before the sync.
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
