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
pub use ledger::{Ledger, Received};
pub use meta::{FileKind, Identity, Meta};
pub use publish::{Arrived, Content, publish};
pub use remove::{Removed, Remover};
pub use stage::Staged;
pub use state::StateDir;

/// The metadata of an open file.
///
/// # Errors
/// What the system says.
pub fn meta_of(file: &std::fs::File) -> std::io::Result<Meta> {
    os::stat_file(file)
}
