//! `.rft/cancelled`: entries of Outgoing that the user does not want to send any more (`rft
//! cancel`). One rename moves a file, or a folder with all in it, so a kill leaves it in one of the
//! two places.

use crate::failpoint::fail_point;
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::state::{StateDir, WorkFolder};
use crate::store::tree::folder::Folder;
use crate::store::tree::numbered::{MAX_NUMBER, numbered};
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The folder in `.rft`, or in Outgoing's own `.rft` if that is another volume.
const CANCELLED: &str = "cancelled";

/// Moves entries out of Outgoing.
#[derive(Debug)]
pub struct CancelledFiles {
    outgoing: Arc<Folder>,
    area: WorkFolder,
}

impl CancelledFiles {
    /// The folder is created when it is first needed.
    pub fn of(outgoing: Arc<Folder>, state: &StateDir) -> Self {
        Self { outgoing, area: state.work_dir_later(CANCELLED) }
    }

    /// Moves an entry, with all in it, to the same name (or `name (1).ext`), durably. Returns its
    /// new path.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be moved. It stays in Outgoing then, unless only the sync failed.
    pub fn take(&self, name: &Name) -> Result<PathBuf, StoreError> {
        let shown = || self.outgoing.shown(name);
        let area = self.area.of(&self.outgoing)?;
        let kept = Folder::open(&area.path, false)?;
        let mut walk = self.outgoing.walk();
        let (parent, leaf) = walk.parent(name)?;
        let before = os::stat_dir(&parent).naming("look at", shown)?.modified;
        fail_point("test.cancel_moving");
        let new = self.place(&kept, &parent, &leaf, name)?;
        fail_point("test.cancel_moved");
        // The new name first: at no moment is it nowhere.
        let mut kept = kept.walk();
        for above in std::iter::successors(Some(new.clone()), Name::parent) {
            let dir = kept.dir(above.parent().as_ref())?;
            os::sync_dir(&dir).naming("sync", shown)?;
        }
        os::sync_dir(&parent).naming("sync", shown)?;
        // A folder is sent after its files, and arrives with its time. An error costs only that.
        let _: io::Result<()> = os::set_dir(&parent, None, before);
        let path = new.to_path().map_err(|_| StoreError::Name { path: shown() })?;
        Ok(std::path::absolute(area.path.join(&path)).unwrap_or(area.path.join(path)))
    }

    fn place(
        &self,
        kept: &Folder,
        parent: &Dir,
        leaf: &OsStr,
        name: &Name,
    ) -> Result<Name, StoreError> {
        let shown = || self.outgoing.shown(name);
        let mut walk = kept.walk();
        for number in 0..=MAX_NUMBER {
            let Some(candidate) = numbered(name, number) else { break };
            let made = walk.make_parent(&candidate, &mut |_, _| {});
            let (dir, new) = match made {
                // A file that was cancelled before has the name of a folder above.
                Err(StoreError::InTheWay { .. }) => {
                    return self.place_at_top(kept, parent, leaf, name);
                }
                made => made?,
            };
            match os::rename_new(parent, leaf, &dir, &new) {
                Ok(()) => return Ok(candidate),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(StoreError::of_entry("move", shown(), &error, (parent, leaf)));
                }
            }
        }
        Err(StoreError::new("move", shown(), &io::ErrorKind::AlreadyExists.into()))
    }

    /// Without the folders above the name.
    fn place_at_top(
        &self,
        kept: &Folder,
        parent: &Dir,
        leaf: &OsStr,
        name: &Name,
    ) -> Result<Name, StoreError> {
        let shown = || self.outgoing.shown(name);
        let top = Name::parse(name.leaf()).map_err(|_| StoreError::Name { path: shown() })?;
        if top == *name {
            return Err(StoreError::new("move", shown(), &io::ErrorKind::AlreadyExists.into()));
        }
        self.place(kept, parent, leaf, &top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;
    use std::fs;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn entries_are_moved_whole_and_replace_nothing() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        let state = StateDir::open(&folders).unwrap();
        let outgoing = Arc::new(Folder::open(&folders.outgoing, true).unwrap());
        outgoing.keep_out_of(state.meta());
        let files = CancelledFiles::of(outgoing, &state);
        let cancelled = folders.state.join(CANCELLED);
        assert!(!cancelled.exists());
        for (round, kept) in ["d/a.txt", "d/a (1).txt"].into_iter().enumerate() {
            fs::create_dir_all(folders.outgoing.join("d")).unwrap();
            fs::write(folders.outgoing.join("d/a.txt"), round.to_string()).unwrap();
            let path = files.take(&name("d/a.txt")).unwrap();
            assert!(path.is_absolute() && path.ends_with(kept), "{}", path.display());
            assert_eq!(fs::read_to_string(&path).unwrap(), round.to_string());
            assert!(!folders.outgoing.join("d/a.txt").exists());
        }
        fs::create_dir_all(folders.outgoing.join("d/e")).unwrap();
        fs::write(folders.outgoing.join("d/e/b"), "b").unwrap();
        assert!(files.take(&name("d")).unwrap().ends_with("d (1)"));
        assert_eq!(fs::read_to_string(cancelled.join("d (1)/e/b")).unwrap(), "b");
        // A file has the name of a folder above.
        fs::create_dir_all(folders.outgoing.join("d/a.txt")).unwrap();
        fs::write(folders.outgoing.join("d/a.txt/c"), "c").unwrap();
        assert!(files.take(&name("d/a.txt/c")).unwrap().ends_with("cancelled/c"));
        assert!(files.take(&name("none")).unwrap_err().is_not_found());
    }
}
