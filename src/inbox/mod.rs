//! Receiving: one file off one stream, into Incoming.
//!
//! `receive` reads one stream from top to bottom; `assemble` (pure) makes whole records of its
//! pieces; `stage` opens, hashes and writes them; `notes` syncs meanwhile what is there already;
//! `commit` publishes many files at once; `active` keeps two attempts at one transfer apart;
//! `ended` tells the user how it went.

mod active;
mod checkpoint;
mod commit;
mod ended;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod reassembly;
mod receive;
mod refused;
mod stage;
mod variable_layout;

pub use commit::Committer;
pub use error::ReceiveError;
pub use receive::{Inbox, Limits};
