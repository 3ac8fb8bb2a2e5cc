//! `--quarantine`: a received file has a place with its real name while a program checks it.
//!
//! The file stays in the stage, where an interrupted transfer finds it, and gets a second name in
//! `.rft/quarantine/ID/`. On file systems without hard links it is moved there meanwhile. The
//! folder holds nothing else, so a start empties it: no receipt was sent for any file in it.

use super::Incoming;
use super::publish::Content;
use super::stage::{Staged, leaf_of};
use crate::failpoint::fail_point;
use crate::proto::message::{Refusal, TransferId};
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::state::{StateDir, WorkDir};
use crate::store::tree::meta::Meta;
use crate::store::tree::os;
use crate::store::tree::paths::HIDDEN;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

/// The folder in the state folder, or in `.rft` of Incoming if that is on another volume.
const QUARANTINE: &str = "quarantine";
/// Maximum depth of the folders that a program made there.
const MAX_DEPTH: usize = 100;

/// A received file while it is checked. It is closed: a program may want it for itself.
#[derive(Debug)]
pub struct QuarantinedFile {
    id: TransferId,
    /// The quarantine.
    folder: WorkDir,
    stage: WorkDir,
    /// Its folder in the quarantine.
    own: Dir,
    /// Its name there.
    leaf: OsString,
    /// It has a name in the stage as well.
    linked: bool,
    before: Meta,
    hash: [u8; 32],
}

/// Why a checked file cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum NotReleased {
    /// The program changed or removed it.
    #[error("the program changed it")]
    Changed,
    /// It cannot be read or moved.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotReleased {
    /// The reason for the sender.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Changed => Refusal::Rejected,
            Self::Store(error) => error.refusal(),
        }
    }
}

impl Incoming {
    /// Empties the quarantine of an earlier process. With `wanted` files can be put into it.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be created or emptied.
    pub fn with_quarantine(mut self, state: &StateDir, wanted: bool) -> Result<Self, StoreError> {
        let places = [state.path().to_owned(), self.folder.path().join(HIDDEN)];
        if !wanted && !places.iter().any(|place| place.join(QUARANTINE).exists()) {
            return Ok(self);
        }
        let quarantine = state.work_dir(&self.folder, QUARANTINE)?;
        let folder = quarantine.of(&self.folder)?;
        for leaf in os::entries(&folder.dir).naming("list", || folder.path.display())? {
            if let Err(error) = clear(&folder.dir, &leaf, 0) {
                let path = folder.path.join(&leaf);
                tracing::warn!(%error, path = %path.display(), "a file of an earlier check stays in quarantine");
            }
        }
        fail_point("quarantine.emptied");
        self.quarantine = wanted.then_some(quarantine);
        Ok(self)
    }

    /// Puts a complete file into the quarantine under its own name.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written or named.
    pub fn quarantine(
        &self,
        id: TransferId,
        name: &Name,
        content: Content,
        hash: [u8; 32],
    ) -> Result<QuarantinedFile, StoreError> {
        let shown = || self.folder.shown(name);
        let (Some(quarantine), Ok(leaf)) = (&self.quarantine, name.native_leaf()) else {
            return Err(StoreError::new("check", shown(), &io::ErrorKind::Unsupported.into()));
        };
        let (folder, stage) = (quarantine.of(&self.folder)?, self.stage_dir()?);
        let staged = match content {
            Content::Staged(staged) => staged,
            Content::Bytes(bytes) => {
                let staged = Staged::create(&stage, id)?;
                staged.write_at(0, &bytes)?;
                staged
            }
            Content::Folder | Content::Link => {
                return Err(StoreError::new("check", shown(), &io::ErrorKind::Unsupported.into()));
            }
        };
        fail_point("quarantine.staged");
        staged.close();
        let own_name = id.to_string();
        // One that an earlier attempt of this process left.
        let _: io::Result<()> = clear(&folder.dir, OsStr::new(&own_name), 0);
        let own = os::make_dir(&folder.dir, OsStr::new(&own_name), true)
            .and_then(|()| os::open_dir(&folder.dir, OsStr::new(&own_name)))
            .naming("create", || folder.path.display())?;
        let linked = os::link(&stage.dir, &leaf_of(id), &own, &leaf).is_ok();
        if !linked {
            os::rename_own(&stage.dir, &leaf_of(id), &own, &leaf).naming("rename", shown)?;
        }
        let before = os::stat(&own, &leaf).naming("look at", shown)?;
        fail_point("quarantine.named");
        Ok(QuarantinedFile { id, folder, stage, own, leaf, linked, before, hash })
    }
}

impl QuarantinedFile {
    /// Its absolute path.
    ///
    /// # Errors
    /// [`StoreError`] if the system knows no absolute path.
    pub fn path(&self) -> Result<PathBuf, StoreError> {
        let path = self.folder.path.join(self.id.to_string()).join(&self.leaf);
        std::path::absolute(&path).naming("find", || path.display())
    }

    /// Takes an accepted file out of the quarantine. Its content is the one that was received.
    ///
    /// # Errors
    /// [`NotReleased`]; the file is gone then.
    pub fn release(self) -> Result<Staged, NotReleased> {
        let staged = self.take_back();
        if staged.is_err() {
            self.discard();
        }
        staged
    }

    fn take_back(&self) -> Result<Staged, NotReleased> {
        let shown = || self.folder.path.join(&self.leaf).display().to_string();
        let now = os::stat(&self.own, &self.leaf);
        if !self.linked {
            os::rename_own(&self.own, &self.leaf, &self.stage.dir, &leaf_of(self.id)).map_err(
                |error| match error.kind() {
                    io::ErrorKind::NotFound => NotReleased::Changed,
                    _ => StoreError::new("rename", shown(), &error).into(),
                },
            )?;
        }
        fail_point("quarantine.releasing");
        // Before the file is opened: Windows may keep a name of an open file.
        self.clear();
        fail_point("quarantine.released");
        let staged = Staged::reopen(&self.stage, self.id)?;
        let untouched = now.is_ok_and(|now| now.unchanged(&self.before));
        if !untouched && staged.hash()? != self.hash {
            staged.discard()?;
            return Err(NotReleased::Changed);
        }
        Ok(staged)
    }

    /// Ends the check without a judgement. The stage keeps the file, and a later attempt at the
    /// transfer continues from it.
    pub fn keep(self) {
        if !self.linked {
            let leaf = leaf_of(self.id);
            // Without it the whole file is sent again.
            let _: io::Result<()> = os::rename_own(&self.own, &self.leaf, &self.stage.dir, &leaf);
        }
        self.clear();
    }

    /// Removes a refused file. What cannot be removed now is removed at the next start.
    pub fn discard(self) {
        fail_point("test.quarantine.discarding");
        self.clear();
        for leaf in [Staged::checkpoint_leaf(self.id), leaf_of(self.id)] {
            let _: io::Result<()> = os::unlink(&self.stage.dir, &leaf);
        }
    }

    /// Removes its folder in the quarantine.
    fn clear(&self) {
        let own = OsString::from(self.id.to_string());
        if let Err(error) = clear(&self.folder.dir, &own, 0) {
            let path = self.folder.path.join(own);
            tracing::warn!(%error, path = %path.display(), "a file stays in quarantine until the next start");
        }
    }
}

/// Removes an entry of the quarantine, and what a program made in it. `depth` is the number of
/// folders above it.
fn clear(dir: &Dir, leaf: &OsStr, depth: usize) -> io::Result<()> {
    match os::open_dir(dir, leaf) {
        Ok(_) if depth >= MAX_DEPTH => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        Ok(own) => {
            for inner in os::entries(&own)? {
                clear(&own, &inner, depth + 1)?;
            }
            os::remove_dir(dir, leaf)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => os::unlink(dir, leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;
    use bytes::Bytes;

    struct Rig {
        folders: Folders,
        state: StateDir,
        incoming: Incoming,
        _base: tempfile::TempDir,
    }

    fn rig() -> Rig {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        let state = StateDir::open(&folders).unwrap();
        let incoming = Incoming::open(&folders.incoming, &state).unwrap();
        let incoming = incoming.with_quarantine(&state, true).unwrap();
        Rig { folders, state, incoming, _base: base }
    }

    impl Rig {
        fn put(&self, name: &str) -> QuarantinedFile {
            let content = Content::Bytes(Bytes::from_static(b"content"));
            let hash = *blake3::hash(b"content").as_bytes();
            let name = Name::parse(name.as_bytes()).unwrap();
            self.incoming.quarantine(TransferId([7; 16]), &name, content, hash).unwrap()
        }

        fn left(&self) -> usize {
            let count =
                |folder: &str| std::fs::read_dir(self.folders.state.join(folder)).unwrap().count();
            count("stage") + count(QUARANTINE)
        }
    }

    #[test]
    fn a_file_has_its_own_name_while_it_is_checked() {
        let rig = rig();
        let file = rig.put("d/report.pdf");
        let path = file.path().unwrap();
        assert_eq!(path.file_name().unwrap(), "report.pdf");
        assert!(path.is_absolute() && path.starts_with(rig.folders.state.join(QUARANTINE)));
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        let staged = file.release().unwrap();
        assert_eq!(staged.length().unwrap(), 7);
        assert!(!path.exists());
        assert_eq!(rig.left(), 1, "the staged file, which is published next");
    }

    #[test]
    fn a_file_that_was_changed_or_refused_is_gone() {
        let rig = rig();
        let file = rig.put("a");
        std::fs::write(file.path().unwrap(), "CONTENT").unwrap();
        assert!(matches!(file.release(), Err(NotReleased::Changed)));
        assert_eq!(rig.left(), 0);
        rig.put("a").discard();
        assert_eq!(rig.left(), 0);
        // What the program puts beside it, or in its place, is not published.
        let file = rig.put("a");
        let path = file.path().unwrap();
        std::fs::write(path.with_file_name("report.txt"), "x").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "other").unwrap();
        let staged = file.release().unwrap();
        assert_eq!(staged.hash().unwrap(), *blake3::hash(b"content").as_bytes());
        assert_eq!(rig.left(), 1);
    }

    #[test]
    fn a_touched_file_is_read_again() {
        let rig = rig();
        let file = rig.put("a");
        let path = file.path().unwrap();
        std::fs::write(&path, "content").unwrap();
        assert_eq!(file.release().unwrap().length().unwrap(), 7);
    }

    #[test]
    fn the_next_start_empties_it() {
        let Rig { folders, state, incoming, _base } = rig();
        let file = Rig { folders: folders.clone(), state, incoming, _base }.put("a").path();
        // The rig is gone, as a killed process is; its folder too.
        assert!(!file.unwrap().exists());
        let rig = rig();
        let path = rig.put("a").path().unwrap();
        std::fs::create_dir(path.with_file_name("unpacked")).unwrap();
        std::fs::write(path.with_file_name("unpacked").join("x"), "x").unwrap();
        for wanted in [false, true] {
            let incoming = Incoming::open(&rig.folders.incoming, &rig.state).unwrap();
            let incoming = incoming.with_quarantine(&rig.state, wanted).unwrap();
            assert_eq!(incoming.quarantine.is_some(), wanted);
            assert_eq!(std::fs::read_dir(rig.folders.state.join(QUARANTINE)).unwrap().count(), 0);
        }
    }
}
