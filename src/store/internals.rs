//! Parts of this module for tests outside of `src/`.

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

/// Prefix of the hidden names of copies on their way into the archive.
pub const COPY_PREFIX: &str = super::outgoing::removal_record::COPY_PREFIX;

/// The name of a file if `number` names before it are taken.
pub fn numbered_name(name: &Name, number: u32) -> Option<Name> {
    numbered::numbered(name, number)
}

/// The time in the standard library's type.
pub fn system_time_of(time: Timestamp) -> SystemTime {
    meta::system_time_of(time)
}

/// The folder of `name`, and its last component. Missing folders are created.
///
/// # Errors
/// [`StoreError`] when a folder cannot be opened or made.
pub fn make_parent(folder: &Folder, name: &Name) -> Result<(Arc<Dir>, OsString), StoreError> {
    folder.walk().make_parent(name, &mut |_, _| {})
}

/// The folder of that name, created if it is missing.
///
/// # Errors
/// [`StoreError`] when it cannot be opened or made.
pub fn make_dir(folder: &Folder, name: &Name) -> Result<Arc<Dir>, StoreError> {
    folder.walk().make_dir(name, &mut |_, _| {})
}
