//! From the peer to Incoming: each entry arrives on a stream of its own.
//!
//! `receive` handles one stream from offer to receipt. For a large file, `reassembly` (pure)
//! collects the pieces of the stream into records, at the positions that `layout` or
//! `variable_layout` tell; `stage` opens, hashes and writes them, and `checkpoint` syncs them
//! meanwhile. `commit` publishes entries in batches. `active` keeps two attempts at one transfer
//! apart, `refused` remembers refused offers, and `report` emits the events.

mod active;
mod checkpoint;
mod commit;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod layout;
mod reassembly;
mod receive;
mod refused;
mod report;
mod stage;
mod variable_layout;

pub(crate) use commit::Committer;
pub(crate) use receive::{Inbox, InboxHooks, Limits};
