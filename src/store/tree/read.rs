//! Reading beneath a folder: metadata, listings, files and links.

use super::folder::Folder;
use super::meta::Meta;
use super::os;
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::{Writers, writers_of};
use std::ffi::OsString;
use std::fs::File;
use std::io;

/// One entry of a folder.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its last component as bytes of the protocol, or the system's form if there is no such
    /// encoding (on Windows: invalid Unicode).
    pub leaf: Result<Vec<u8>, OsString>,
    /// The entry's own metadata.
    pub meta: Meta,
}

impl Folder {
    /// The metadata of an entry; a link is not followed.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::InTheWay`] if a component above it is a file or a link.
    pub fn stat(&self, name: &Name) -> Result<Meta, StoreError> {
        self.walk().stat(name)
    }

    /// Opens a regular file for reading, and returns the metadata of the opened file.
    ///
    /// # Errors
    /// [`StoreError::InTheWay`] if the entry is no regular file (it is not opened),
    /// [`StoreError::Busy`] on Windows while another program has it open for writing.
    pub fn open_file(&self, name: &Name) -> Result<(File, Meta), StoreError> {
        self.walk().open_file(name)
    }

    /// Whether any program has a file open for writing.
    ///
    /// # Errors
    /// As [`Folder::open_file`], except [`StoreError::Busy`]: a busy file has a writer.
    pub fn writers(&self, name: &Name) -> Result<Writers, StoreError> {
        match self.open_file(name) {
            Ok((file, _)) => Ok(writers_of(&file)),
            Err(StoreError::Busy { .. }) => Ok(Writers::Some),
            Err(error) => Err(error),
        }
    }

    /// The target of a symbolic link, `/`-separated.
    ///
    /// # Errors
    /// [`StoreError`], also if the entry is no link.
    pub fn read_link(&self, name: &Name) -> Result<Vec<u8>, StoreError> {
        let (parent, leaf) = self.walk().parent(name)?;
        os::read_link(&parent, &leaf).naming("read", || self.shown(name))
    }

    /// The entries of a folder (`None`: of the root), in no order. The folder is held by handle
    /// meanwhile. Entries that vanish meanwhile are omitted.
    ///
    /// # Errors
    /// [`StoreError`] when the folder itself cannot be read.
    pub fn list(&self, name: Option<&Name>) -> Result<Vec<Listed>, StoreError> {
        let dir = self.walk().dir(name)?;
        let shown =
            || name.map_or_else(|| self.path().display().to_string(), |name| self.shown(name));
        let leaves = os::entries(&dir).naming("list", shown)?;
        let mut listed = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            match os::stat(&dir, &leaf) {
                // At the top the caller recognizes the program's own folder by its name.
                Ok(meta) if name.is_some() && self.is_own(&dir, false, &leaf, &meta) => {}
                Ok(meta) => listed.push(Listed { leaf: os::leaf_bytes(leaf), meta }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // On Windows: another program has exclusive access to the file. A later listing
                // shows it.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                Err(error) => return Err(StoreError::new("list", shown(), &error)),
            }
        }
        Ok(listed)
    }
}
