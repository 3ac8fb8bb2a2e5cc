//! The folders and the ledger: all that syncs, renames and removes.
//!
//! Nothing outside this module names the database or changes a file. Whatever a peer sends reaches
//! a file through a [`Name`](crate::proto::name::Name) and a [`Folder`] held by handle only.

mod age;
mod archive;
mod error;
mod folder;
mod incoming;
mod ledger;
mod meta;
mod numbered;
mod obstacle;
mod os;
mod place;
#[cfg(test)]
mod powerloss;
mod publish;
mod quota;
mod remove;
mod removing;
mod stage;
mod state;
mod sync;

pub use error::StoreError;
pub use folder::{Folder, Listed};
pub use incoming::{Incoming, Reservation};
pub use ledger::{Delivered, Ledger, Received};
pub use meta::{FileKind, Identity, Meta};
pub use obstacle::Obstacle;
pub use open_writers::Writers;
pub use os::Program;
pub use publish::{Arrived, Content, publish};
pub use remove::{Hold, Removed, Remover, Sent};
pub use stage::Staged;
pub use state::{PROBE_PREFIX, StateDir};

/// The metadata of an open file.
///
/// # Errors
/// What the system says.
pub fn meta_of(file: &std::fs::File) -> std::io::Result<Meta> {
    os::stat_file(file)
}

/// Which program has a file open for writing, where this user may know.
pub fn writer_of(file: &Meta) -> Option<Program> {
    os::writer_of(file)
}

/// Whether a program of this host is known to have the file open for writing; `file` is open for reading.
pub fn has_writer(file: &std::fs::File) -> bool {
    os::has_writer(file).unwrap_or(false)
}

/// Whether any program has the file open for writing; `file` is open for reading.
pub fn writers_of(file: &std::fs::File) -> Writers {
    os::writers(file).unwrap_or(Writers::Unknown)
}
