//! Copies one file or folder of the user into the work folder.

use super::area::PutArea;
use super::{PutContext, PutError};
use crate::proto::name::{Name, link_stays_inside};
use crate::store::tree::meta::{FileKind, Meta};
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are copied between two looks at the request to stop.
const STEP: u64 = 32 << 20;
/// The mode of a folder while its contents are copied.
const PRIVATE: u32 = 0o700;

/// A copy that has no name in Outgoing yet.
#[derive(Debug)]
pub struct Copied {
    pub(super) leaf: OsString,
    /// The folder and its metadata.
    folder: Option<(Dir, Meta)>,
    /// Files in it.
    pub files: u64,
    /// Folders and links in it.
    pub folders: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Copied {
    /// Gives a folder its permissions, after its rename: a folder that its user may not write to
    /// cannot be moved.
    pub(super) fn finish(&self) {
        if let Some((dir, meta)) = &self.folder {
            // The folder is in Outgoing already; with other permissions it is better than none.
            let _ = os::set_dir(dir, meta.mode, meta.modified);
        }
    }
}

/// Why an entry of a folder is not copied: rft would not send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skipped {
    /// A symbolic link that leads out of Outgoing.
    LinkOut,
    /// A socket, FIFO or device.
    Kind,
    /// It has a name that cannot be sent.
    Name,
}

/// A copy in progress.
struct Copying<'a> {
    stop: &'a AtomicBool,
    skipped: &'a mut dyn FnMut(&str, Skipped),
    /// Files that were copied so far, of all copies.
    before: usize,
    files: u64,
    folders: u64,
    bytes: u64,
}

impl PutArea<'_> {
    /// Copies a file, or a folder with all that rft would send of it; a link at `source` itself is
    /// followed. `name` is the later name in Outgoing. Stops soon after `stop` becomes true.
    ///
    /// # Errors
    /// [`PutError`]. The rest of the copy is removed with this value.
    pub fn copy(
        &mut self,
        source: &Path,
        name: &Name,
        stop: &AtomicBool,
        skipped: &mut dyn FnMut(&str, Skipped),
    ) -> Result<Copied, PutError> {
        let shown = source.display().to_string();
        let real = source.canonicalize().during("read", &shown)?;
        let leaf = self.new_leaf();
        let before = self.files;
        let mut copying = Copying { stop, skipped, before, files: 0, folders: 0, bytes: 0 };
        let mut folder = None;
        if real.is_dir() {
            let from = os::open_root(&real).during("open", &shown)?;
            let meta = os::stat_dir(&from).during("read", &shown)?;
            let dir = copying.folder(&from, &self.work, &leaf, name, &shown)?;
            folder = Some((dir, meta));
        } else if let (true, Some(parent), Some(last)) =
            (real.is_file(), real.parent(), real.file_name())
        {
            let parent = os::open_root(parent).during("open", &shown)?;
            copying.file(&parent, last, &self.work, &leaf, &shown)?;
        } else {
            return Err(PutError::Kind(shown));
        }
        let Copying { files, folders, bytes, .. } = copying;
        self.files += usize::try_from(files).unwrap_or(usize::MAX);
        if self.files >= os::SYNC_VOLUME_FROM {
            os::sync_volume(&self.work).during("sync the copy of", &shown)?;
        }
        os::sync_dir(&self.work).during("sync the copy of", &shown)?;
        Ok(Copied { leaf, folder, files, folders, bytes })
    }
}

impl Copying<'_> {
    /// Copies a folder, and returns the copy, which is private so far.
    fn folder(
        &mut self,
        from: &Dir,
        to: &Dir,
        leaf: &OsStr,
        name: &Name,
        shown: &str,
    ) -> Result<Dir, PutError> {
        os::make_dir(to, leaf, true).during("copy", shown)?;
        let copy = os::open_dir(to, leaf).during("copy", shown)?;
        self.folders += 1;
        for leaf in os::entries(from).during("list", shown)? {
            let shown = format!("{shown}{}{}", std::path::MAIN_SEPARATOR, leaf.display());
            let inner = os::leaf_bytes(leaf.clone()).ok().and_then(|leaf| name.join(&leaf).ok());
            let Some(name) = inner else {
                (self.skipped)(&shown, Skipped::Name);
                continue;
            };
            let meta = os::stat(from, &leaf).during("read", &shown)?;
            match meta.kind {
                FileKind::File => self.file(from, &leaf, &copy, &leaf, &shown)?,
                FileKind::Folder => {
                    let inner = os::open_dir(from, &leaf).during("open", &shown)?;
                    let copied = self.folder(&inner, &copy, &leaf, &name, &shown)?;
                    os::set_dir(&copied, meta.mode, meta.modified).during("copy", &shown)?;
                }
                FileKind::Link => self.link(from, &leaf, &copy, &name, &shown)?,
                FileKind::Other => (self.skipped)(&shown, Skipped::Kind),
            }
        }
        let meta = os::stat_dir(from).during("read", shown)?;
        os::set_dir(&copy, Some(PRIVATE), meta.modified).during("copy", shown)?;
        os::sync_dir(&copy).during("sync the copy of", shown)?;
        Ok(copy)
    }

    fn link(
        &mut self,
        from: &Dir,
        leaf: &OsStr,
        to: &Dir,
        name: &Name,
        shown: &str,
    ) -> Result<(), PutError> {
        let target = os::read_link(from, leaf).during("read", shown)?;
        if !link_stays_inside(name, &target) {
            (self.skipped)(shown, Skipped::LinkOut);
            return Ok(());
        }
        let modified = os::stat(from, leaf).during("read", shown)?.modified;
        os::make_link(to, leaf, &target).during("copy", shown)?;
        os::set_link(to, leaf, modified).during("copy", shown)?;
        self.folders += 1;
        Ok(())
    }

    /// Copies a file with its permissions and its time.
    fn file(
        &mut self,
        from: &Dir,
        leaf: &OsStr,
        to: &Dir,
        to_leaf: &OsStr,
        shown: &str,
    ) -> Result<(), PutError> {
        let (source, meta) = os::open_read(from, leaf).during("read", shown)?;
        let copy = os::create_new(to, to_leaf).during("copy", shown)?;
        self.content(&source, &copy, shown)?;
        let now = os::stat_file(&source).during("read", shown)?;
        let copied = os::stat_file(&copy).during("copy", shown)?.size;
        if !now.same_file(&meta) || copied != meta.size {
            return Err(PutError::Changed(shown.to_owned()));
        }
        os::set_file(&copy, meta.mode, meta.modified).during("copy", shown)?;
        self.files += 1;
        self.bytes += meta.size;
        // One sync of the volume replaces those of many files.
        let files = self.before + usize::try_from(self.files).unwrap_or(usize::MAX);
        if files < os::SYNC_VOLUME_FROM || !os::can_sync_volume() {
            os::sync_file(&copy).during("sync the copy of", shown)?;
        }
        Ok(())
    }

    fn content(&self, source: &File, copy: &File, shown: &str) -> Result<(), PutError> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(PutError::Stopped);
            }
            let (mut part, mut to) = (source.take(STEP), copy);
            if io::copy(&mut part, &mut to).during("copy", shown)? < STEP {
                return Ok(());
            }
        }
    }
}
