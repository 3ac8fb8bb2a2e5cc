//! A tree of files and folders, one held folder and one component at a time.

pub(crate) mod cursor;
pub(crate) mod folder;
pub(crate) mod meta;
pub(crate) mod numbered;
pub(crate) mod obstacle;
pub(crate) mod os;
pub(crate) mod paths;
pub(crate) mod read;
pub(crate) mod sync;
