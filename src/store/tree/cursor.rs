//! Names beneath a folder, resolved component by component.

use super::folder::Folder;
use super::meta::Meta;
use super::os;
use super::paths::HIDDEN;
use crate::proto::name::{Name, NameError};
use crate::store::error::{Naming, StoreError};
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::sync::Arc;

impl Folder {
    /// A cursor for several operations in a row, mostly in the same folders.
    pub(crate) fn walk(&self) -> DirCursor<'_> {
        DirCursor { folder: self, root: None, held: Vec::new() }
    }
}

/// Maximum number of folders that a [`DirCursor`] keeps open. Handles are scarce, and a batch
/// concerns few folders at a time.
const MAX_HELD: usize = 16;

/// Resolves names beneath a folder, and keeps the root and the most recent folders open. A cursor
/// lasts for one batch only: if a folder is moved out of the tree meanwhile, files written through
/// its handle go with it.
pub(crate) struct DirCursor<'a> {
    folder: &'a Folder,
    root: Option<Arc<Dir>>,
    held: Vec<(Name, Arc<Dir>)>,
}

impl DirCursor<'_> {
    /// The folder that contains `name`, and the last component in the system's form.
    pub(crate) fn parent(&mut self, name: &Name) -> Result<(Arc<Dir>, OsString), StoreError> {
        let leaf = native(name).map_err(|_| StoreError::Name { path: self.folder.shown(name) })?;
        let dir = self.dir(name.parent().as_ref())?;
        self.refuse_hidden(name, &dir)?;
        Ok((dir, leaf))
    }

    /// Refuses the name of the hidden folder at the top of a volume that is mounted in the tree,
    /// whether that folder exists or not.
    fn refuse_hidden(&self, name: &Name, dir: &Dir) -> Result<(), StoreError> {
        if name.leaf().eq_ignore_ascii_case(HIDDEN.as_bytes()) && os::is_mount_root(dir) {
            return Err(StoreError::Name { path: self.folder.shown(name) });
        }
        Ok(())
    }

    /// Opens a folder, unless it is one of the program's own.
    fn open_dir(&self, name: &Name, parent: &Dir, leaf: &OsStr) -> io::Result<Dir> {
        let dir = os::open_dir(parent, leaf)?;
        if self.folder.is_own(parent, name.depth() == 1, leaf, &os::stat_dir(&dir)?) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        Ok(dir)
    }

    /// As [`DirCursor::parent`], but creates the missing folders. `changed` is called for each
    /// folder that got a new entry.
    pub(crate) fn make_parent(
        &mut self,
        name: &Name,
        changed: &mut dyn FnMut(Option<Name>, &Arc<Dir>),
    ) -> Result<(Arc<Dir>, OsString), StoreError> {
        let leaf = native(name).map_err(|_| StoreError::Name { path: self.folder.shown(name) })?;
        let dir = match name.parent() {
            None => self.root()?,
            Some(parent) => self.make_dir(&parent, changed)?,
        };
        self.refuse_hidden(name, &dir)?;
        Ok((dir, leaf))
    }

    pub(crate) fn stat(&mut self, name: &Name) -> Result<Meta, StoreError> {
        let (parent, leaf) = self.parent(name)?;
        os::stat(&parent, &leaf).naming("look at", || self.folder.shown(name))
    }

    /// As [`Folder::open_file`].
    pub(crate) fn open_file(&mut self, name: &Name) -> Result<(File, Meta), StoreError> {
        let (parent, leaf) = self.parent(name)?;
        os::open_read(&parent, &leaf).naming("read", || self.shown(name))
    }

    /// As [`Folder::shown`].
    pub(crate) fn shown(&self, name: &Name) -> String {
        self.folder.shown(name)
    }

    /// The folder of that name (`None`: the root).
    pub(crate) fn dir(&mut self, name: Option<&Name>) -> Result<Arc<Dir>, StoreError> {
        let Some(name) = name else { return self.root() };
        if let Some(dir) = self.find(name) {
            return Ok(dir);
        }
        let (parent, leaf) = self.parent(name)?;
        let dir = self.open_dir(name, &parent, &leaf).naming("open", || self.folder.shown(name))?;
        Ok(self.hold(name, dir))
    }

    /// The folder of that name. It and the missing folders above it are created, accessible to this
    /// user only: its own permissions follow when everything in it has arrived.
    pub(crate) fn make_dir(
        &mut self,
        name: &Name,
        changed: &mut dyn FnMut(Option<Name>, &Arc<Dir>),
    ) -> Result<Arc<Dir>, StoreError> {
        if let Some(dir) = self.find(name) {
            return Ok(dir);
        }
        let (parent, leaf) = self.make_parent(name, changed)?;
        let shown = || self.folder.shown(name);
        let dir = match self.open_dir(name, &parent, &leaf) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match os::make_dir(&parent, &leaf, true) {
                    Ok(()) => {}
                    // Another program created it meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => {
                        return Err(StoreError::new("create a folder in", shown(), &error));
                    }
                }
                changed(name.parent(), &parent);
                self.open_dir(name, &parent, &leaf).naming("open", shown)?
            }
            other => other.naming("open", shown)?,
        };
        Ok(self.hold(name, dir))
    }

    /// The root, whose path is checked at the first use of the cursor only.
    fn root(&mut self) -> Result<Arc<Dir>, StoreError> {
        if let Some(root) = &self.root {
            return Ok(Arc::clone(root));
        }
        let root = self.folder.root()?;
        Ok(Arc::clone(self.root.insert(root)))
    }

    fn find(&self, name: &Name) -> Option<Arc<Dir>> {
        self.held.iter().rev().find(|(held, _)| held == name).map(|(_, dir)| Arc::clone(dir))
    }

    fn hold(&mut self, name: &Name, dir: Dir) -> Arc<Dir> {
        let dir = Arc::new(dir);
        if self.held.len() == MAX_HELD {
            self.held.remove(0);
        }
        self.held.push((name.clone(), Arc::clone(&dir)));
        dir
    }
}

/// The last component in the system's form. At the top, every spelling of `.rft` that differs in
/// case only is refused: on some file systems it is the same folder.
fn native(name: &Name) -> Result<OsString, NameError> {
    if name.leaf().eq_ignore_ascii_case(HIDDEN.as_bytes()) && name.depth() == 1 {
        return Err(NameError::Reserved);
    }
    name.native_leaf()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tree::meta::FileKind;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn parents_are_made_once_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path(), false).unwrap();
        let mut walk = folder.walk();
        let mut told = Vec::new();
        let deep = name("a/b/c/f");
        walk.make_parent(&deep, &mut |name, _| told.push(name)).unwrap();
        assert_eq!(told, [None, Some(name("a")), Some(name("a/b"))]);
        walk.make_parent(&deep, &mut |_, _| panic!("made twice")).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
    }

    #[test]
    fn more_folders_than_are_held_and_very_deep_ones() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path(), false).unwrap();
        let mut walk = folder.walk();
        for i in 0..3 * MAX_HELD {
            walk.make_dir(&name(&format!("d{i}")), &mut |_, _| {}).unwrap();
        }
        let deep = name(&vec!["x"; 1500].join("/"));
        walk.make_dir(&deep, &mut |_, _| {}).unwrap();
        assert_eq!(folder.stat(&deep).unwrap().kind, FileKind::Folder);
        assert!(walk.held.len() <= MAX_HELD);
    }
}
