//! Receiving: one file off one stream, into Incoming.
//!
//! `receive` reads one stream from top to bottom; `assemble` (pure) makes whole records of its pieces;
//! `stage` opens, hashes and writes them; `commit` publishes many files at once; `active` keeps two
//! attempts at one transfer apart.

mod active;
pub mod assemble;
mod commit;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod receive;
mod stage;
mod walk;

pub use commit::Committer;
pub use receive::{Inbox, Limits, ReceiveError};
