//! What tests outside of `src/` use of this module and a program does not.

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

/// How the names of files begin that are copied before they are removed.
pub const COPY_PREFIX: &str = super::outgoing::removal_record::COPY_PREFIX;

/// The name that a file gets when `number` names before it are taken.
pub fn numbered_name(name: &Name, number: u32) -> Option<Name> {
    numbered::numbered(name, number)
}

/// The moment as the standard library has it.
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
