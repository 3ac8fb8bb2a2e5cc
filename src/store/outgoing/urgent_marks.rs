//! `.rft/urgent`: the names in Outgoing that overtake others (`rft put --urgent`), so that a restart
//! remembers them. Each is a file whose name is the hash of its content, which is the entry's name:
//! a file that a crash has left incomplete does not match, and is removed.

use crate::proto::name::{MAX_NAME, Name};
use crate::store::error::{Naming, StoreError};
use crate::store::state::StateDir;
use crate::store::tree::os;
use crate::store::tree::paths::make_path;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder in `.rft`.
const URGENT: &str = "urgent";
/// Maximum number of marks.
const MAX_MARKS: usize = 10_000;

/// The marks of a state folder.
#[derive(Debug)]
pub struct UrgentMarks {
    state: Arc<Dir>,
    path: PathBuf,
}

impl UrgentMarks {
    /// The marks of the folder of this process.
    pub fn of(state: &StateDir) -> Self {
        Self { state: Arc::clone(state.dir()), path: state.path().join(URGENT) }
    }

    /// Those of the folder `state`, which no process uses. It is created if it is missing.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be used.
    pub fn at_rest(state: &Path) -> Result<Self, StoreError> {
        make_path(state, true).naming("create", || state.display())?;
        let dir = os::open_root(state).naming("open", || state.display())?;
        Ok(Self { state: Arc::new(dir), path: state.join(URGENT) })
    }

    /// Adds a mark, durably.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written, or there are too many.
    pub fn add(&self, name: &Name) -> Result<(), StoreError> {
        let shown = || self.path.display();
        let dir = self.dir(true).naming("write to", shown)?;
        let leaf = leaf_of(name);
        if os::stat(&dir, &leaf).is_ok() {
            return Ok(());
        }
        if os::entries(&dir).naming("list", shown)?.len() >= MAX_MARKS {
            let full = io::Error::other("too many files are urgent; make some of them usual first");
            return Err(StoreError::new("write to", shown(), &full));
        }
        let written = (|| {
            let file = os::create_new(&dir, &leaf)?;
            os::write_at(&file, name.as_bytes(), 0)?;
            os::sync_file(&file)?;
            os::sync_dir(&dir)
        })();
        written.naming("write to", shown)
    }

    /// Removes a mark. Without a sync: an older mark does no harm.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be removed.
    pub fn remove(&self, name: &Name) -> Result<(), StoreError> {
        let removed = self.dir(false).and_then(|dir| os::unlink(&dir, &leaf_of(name)));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).naming("remove a mark from", || self.path.display())
            }
            _ => Ok(()),
        }
    }

    /// The marked names. Files that are none are removed.
    pub fn list(&self) -> Vec<Name> {
        let Ok(dir) = self.dir(false) else { return Vec::new() };
        let mut leaves = os::entries(&dir).unwrap_or_default();
        leaves.truncate(MAX_MARKS);
        let read = |leaf: &OsString| {
            let name = name_in(&dir, leaf).filter(|name| leaf_of(name) == *leaf);
            if name.is_none() {
                let _: io::Result<()> = os::unlink(&dir, leaf);
            }
            name
        };
        leaves.iter().filter_map(read).collect()
    }

    fn dir(&self, create: bool) -> io::Result<Dir> {
        if create {
            return crate::store::state::subfolder(&self.state, URGENT);
        }
        os::open_dir(&self.state, OsStr::new(URGENT))
    }
}

fn name_in(dir: &Dir, leaf: &OsStr) -> Option<Name> {
    let (file, _) = os::open_read(dir, leaf).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_NAME as u64 + 1).read_to_end(&mut bytes).ok()?;
    Name::parse(&bytes).ok()
}

fn leaf_of(name: &Name) -> OsString {
    blake3::hash(name.as_bytes()).to_hex()[..32].to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn marks_are_remembered_and_others_removed() {
        let base = tempfile::tempdir().unwrap();
        let state = base.path().join(".rft");
        let marks = UrgentMarks::at_rest(&state).unwrap();
        assert_eq!(marks.list(), []);
        marks.remove(&name("none")).unwrap();
        for text in ["a", "d/b", "a"] {
            marks.add(&name(text)).unwrap();
        }
        // Cut off by a crash, and foreign.
        let cut = state.join(URGENT).join(leaf_of(&name("long name")));
        std::fs::write(&cut, "long").unwrap();
        std::fs::write(state.join(URGENT).join("x"), "a").unwrap();
        let mut names = UrgentMarks::at_rest(&state).unwrap().list();
        names.sort();
        assert_eq!(names, [name("a"), name("d/b")]);
        assert!(!cut.exists());
        marks.remove(&name("a")).unwrap();
        assert_eq!(marks.list(), [name("d/b")]);
    }
}
