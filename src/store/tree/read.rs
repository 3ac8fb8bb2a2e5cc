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

/// One entry of a listed folder.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its last component as it crosses the wire, or as it is where that cannot be (Windows: not
    /// Unicode).
    pub leaf: Result<Vec<u8>, OsString>,
    /// The entry's own metadata.
    pub meta: Meta,
}

impl Folder {
    /// The metadata of an entry, of a link itself.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::InTheWay`] when a file or a link stands above it.
    pub fn stat(&self, name: &Name) -> Result<Meta, StoreError> {
        self.walk().stat(name)
    }

    /// Opens a regular file for reading; the metadata are those of the opened file.
    ///
    /// # Errors
    /// [`StoreError::InTheWay`] for anything that is no regular file (it is not opened),
    /// [`StoreError::Busy`] on Windows while another program has it open for writing.
    pub fn open_file(&self, name: &Name) -> Result<(File, Meta), StoreError> {
        let (parent, leaf) = self.walk().parent(name)?;
        os::open_read(&parent, &leaf).naming("read", || self.shown(name))
    }

    /// Whether any program has a file open for writing.
    ///
    /// # Errors
    /// As [`Folder::open_file`], but for a file that is busy: that is the answer.
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
    /// [`StoreError`], also when it is no link.
    pub fn read_link(&self, name: &Name) -> Result<Vec<u8>, StoreError> {
        let (parent, leaf) = self.walk().parent(name)?;
        os::read_link(&parent, &leaf).naming("read", || self.shown(name))
    }

    /// What stands in a folder (`None`: at the top), in no order. The folder is held by handle
    /// meanwhile. What vanishes meanwhile is left out.
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
                // At the top its name is known, and left out with its like.
                Ok(meta) if name.is_some() && self.is_own(&dir, false, &leaf, &meta) => {}
                Ok(meta) => listed.push(Listed { leaf: os::leaf_bytes(leaf), meta }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A file that another program holds alone on Windows: it is seen again later.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                Err(error) => return Err(StoreError::new("list", shown(), &error)),
            }
        }
        Ok(listed)
    }
}
