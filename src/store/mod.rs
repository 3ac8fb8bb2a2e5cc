//! The folders and the ledger: all that syncs, renames and removes.
//!
//! Nothing outside this module names the database or changes a file. Whatever a peer sends reaches
//! a file through a [`Name`](crate::proto::name::Name) and a [`Folder`] held by handle only.

mod error;
mod folder;
mod ledger;
mod meta;
mod numbered;
mod os;
mod remove;
mod removing;
mod state;
mod sync;

pub use error::StoreError;
pub use folder::{Folder, Listed};
pub use ledger::{Ledger, Received};
pub use meta::{FileKind, Identity, Meta};
pub use remove::{Removed, Remover};
pub use state::StateDir;
