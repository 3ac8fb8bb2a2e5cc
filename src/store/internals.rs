//! Private parts of this module for the tests outside of `src/`.

use super::StoreError;
use super::tree::folder::Folder;
use super::tree::{meta, numbered};
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use cap_std::fs::Dir;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::SystemTime;

pub use super::tree::os::{Calls, System, replace_calls};

/// Prefix of the names of copies that are made before a file is removed.
pub const COPY_PREFIX: &str = super::outgoing::removal_record::COPY_PREFIX;

/// The numbered form of a name, for a file whose name is taken; `None` if there is none.
pub fn numbered_name(name: &Name, number: u32) -> Option<Name> {
    numbered::numbered(name, number)
}

/// A time from the wire as the standard library's type.
pub fn system_time_of(time: Timestamp) -> SystemTime {
    meta::system_time_of(time)
}

/// The folder of `name` and the last component, with the folders above made where they are missing.
///
/// # Errors
/// [`StoreError`] when a folder cannot be opened or made.
pub fn make_parent(folder: &Folder, name: &Name) -> Result<(Arc<Dir>, OsString), StoreError> {
    folder.walk().make_parent(name, &mut |_, _| {})
}

/// The folder of that name, made where it is missing.
///
/// # Errors
/// [`StoreError`] when it cannot be opened or made.
pub fn make_dir(folder: &Folder, name: &Name) -> Result<Arc<Dir>, StoreError> {
    folder.walk().make_dir(name, &mut |_, _| {})
}
