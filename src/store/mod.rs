//! The folders and the ledger: all that syncs, renames and removes.
//!
//! Nothing outside this module names the database or changes a file. Whatever a peer sends reaches
//! a file through a [`Name`](crate::proto::name::Name) and a [`Folder`] held by handle only.

mod outgoing;
mod tree;

mod error;
mod incoming;
#[cfg(feature = "internals")]
pub mod internals;
mod state;

pub use error::StoreError;
pub use incoming::publish::{Arrived, Content, publish};
pub use incoming::stage::Staged;
pub use incoming::{Incoming, Reservation};
pub use open_writers::Writers;
pub use outgoing::remove::{Hold, Removed, Remover, Sent};
pub use state::ledger::{Delivered, Ledger, Received};
pub use state::{PROBE_PREFIX, StateDir};
pub use tree::folder::Folder;
pub use tree::meta::{FileIdentity, FileKind, Meta};
pub use tree::obstacle::Obstacle;
pub use tree::os::Program;
pub use tree::read::Listed;

/// The metadata of an open file.
///
/// # Errors
/// What the system says.
pub fn meta_of(file: &std::fs::File) -> std::io::Result<Meta> {
    tree::os::stat_file(file)
}

/// Which program has a file open for writing, where this user may know.
pub fn writer_of(file: &Meta) -> Option<Program> {
    tree::os::writer_of(file)
}

/// Whether a program of this host is known to have the file open for writing; `file` is open for
/// reading.
pub fn has_writer(file: &std::fs::File) -> bool {
    tree::os::has_writer(file).unwrap_or(false)
}

/// Whether any program has the file open for writing; `file` is open for reading.
pub fn writers_of(file: &std::fs::File) -> Writers {
    tree::os::writers(file).unwrap_or(Writers::Unknown)
}
