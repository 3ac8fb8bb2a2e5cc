//! Copies the user's files into Outgoing (`rft put`), each whole or not at all.
//!
//! A copy is made in the [`area`], which is never sent. When it is complete and synced, one rename
//! gives it its name in Outgoing: no part of it is ever sent, and a kill leaves nothing that would
//! be.
//!
//! The content is never hard-linked. A second link would cost nothing, but it shares the content: a
//! program that writes to the original later would change the file in flight. On Linux the copy is
//! `copy_file_range` (by the standard library), which shares the blocks until either file changes
//! (reflink) where the file system can.

mod area;
mod copy;

pub use area::{PutArea, clear_put_area};
pub use copy::{Copied, Skipped};

use crate::cause;
use crate::proto::name::Name;
use crate::store::StoreError;
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

/// Why a file cannot be put into Outgoing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// Outgoing has an entry of this name.
    #[error("Outgoing has {0} already")]
    Taken(Name),
    /// The source changed while it was copied.
    #[error("{0} changed while it was copied; put it again when it is complete")]
    Changed(String),
    /// It is neither a file nor a folder.
    #[error("{0} is neither a file nor a folder, and only these can be sent")]
    Kind(String),
    /// The caller stopped it.
    #[error("stopped")]
    Stopped,
    /// The system refused an operation.
    #[error("cannot {doing} {path}: {}", cause::of(.source))]
    Io {
        /// The operation: a verb.
        doing: &'static str,
        /// The file or folder.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// Outgoing cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds the operation and the path to an error of the system.
trait PutContext<T> {
    fn during(self, doing: &'static str, path: &str) -> Result<T, PutError>;
}

impl<T> PutContext<T> for io::Result<T> {
    fn during(self, doing: &'static str, path: &str) -> Result<T, PutError> {
        self.map_err(|source| PutError::Io { doing, path: path.to_owned(), source })
    }
}

impl PutArea<'_> {
    /// Whether Outgoing has no entry of this name.
    ///
    /// # Errors
    /// [`PutError::Taken`], others if Outgoing cannot be read or can have no such name.
    pub fn is_free(&self, name: &Name) -> Result<(), PutError> {
        match self.outgoing.walk().stat(name) {
            Ok(_) => Err(PutError::Taken(name.clone())),
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a copy its name in Outgoing by one rename, which replaces nothing. Missing folders
    /// above the name arrive with it in the same rename.
    ///
    /// # Errors
    /// [`PutError::Taken`], others if the rename fails.
    pub fn publish(&mut self, copied: &Copied, name: &Name) -> Result<(), PutError> {
        let shown = self.outgoing.shown(name);
        let mut walk = self.outgoing.walk();
        let top = first_missing(&mut walk, name)?;
        // A folder of the same user around it, for each missing one.
        let (mut leaf, mut inner) = (copied.leaf.clone(), name.clone());
        while inner != top {
            let native = inner.native_leaf().map_err(|_| self.no_such_name(name))?;
            let (around, dir) = self.new_folder().during("create a folder for", &shown)?;
            os::rename_own(&self.work, &leaf, &dir, &native).during("move", &shown)?;
            os::sync_dir(&dir).during("sync", &shown)?;
            leaf = around;
            inner = inner.parent().unwrap_or_else(|| top.clone());
        }
        let (parent, native) = walk.parent(&top)?;
        match os::rename_new(&self.work, &leaf, &parent, &native) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(PutError::Taken(top));
            }
            renamed => renamed.during("move a copy to", &shown)?,
        }
        copied.finish();
        os::sync_dir(&parent).during("sync", &shown)
    }

    fn no_such_name(&self, name: &Name) -> PutError {
        StoreError::Name { path: self.outgoing.shown(name) }.into()
    }

    /// A new folder in the work folder, with the permissions of the user's new folders.
    fn new_folder(&mut self) -> io::Result<(OsString, Dir)> {
        let leaf = self.new_leaf();
        os::make_dir(&self.work, &leaf, false)?;
        let dir = os::open_dir(&self.work, &leaf)?;
        Ok((leaf, dir))
    }
}

/// The uppermost folder above `name` that is missing in Outgoing, or the name itself.
fn first_missing(walk: &mut DirCursor<'_>, name: &Name) -> Result<Name, StoreError> {
    let mut top = name.clone();
    while let Some(above) = top.parent() {
        match walk.dir(Some(&above)).map(|dir: Arc<Dir>| drop(dir)) {
            Ok(()) => break,
            Err(StoreError::NotFound { .. }) => top = above,
            Err(error) => return Err(error),
        }
    }
    Ok(top)
}

#[cfg(test)]
mod tests;
