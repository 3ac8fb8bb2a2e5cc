//! rft, Reactive File Transfer: files that are dropped into `Outgoing` on one host arrive in
//! `Incoming` on another host, in both directions.
//!
//! [`Daemon::start`] runs a [`Config`] inside a program, and returns a [`Handle`]: [`Status`] is a
//! snapshot of it, [`Event`]s are the changes. `examples/embed.rs` shows how. `docs/design.md` in
//! the repository has the tree of the sources.

#![forbid(unsafe_code)]
// The tests use more of the engine than the library itself does, through `internals`. Only with
// that feature does the compiler see all uses.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unused_imports))]
#![cfg_attr(feature = "internals", warn(unreachable_pub))]

#[doc(hidden)]
pub mod check;
mod compress;
pub mod config;
#[doc(hidden)]
pub mod control;
mod crypto;
mod daemon;
pub mod error;
pub mod event;
mod failpoint;
pub mod hindrance;
pub mod history;
mod hooks;
mod inbox;
mod meter;
#[doc(hidden)]
pub mod metrics;
mod outbox;
mod peering;
mod proto;
#[doc(hidden)]
pub mod put;
pub mod rate_schedule;
mod session;
pub mod status;
mod store;
mod transport;

#[doc(hidden)]
pub mod cause;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;

pub use config::Config;
pub use crypto::password::{Password, PasswordKey};
pub use daemon::{CancelledEntries, Daemon, EventReceiver, Handle, SteerError};
pub use error::{Finished, RunError};
pub use event::{Event, PeerEvent};
pub use proto::name::Name;
pub use status::Status;
pub use transport::tls::PROTOCOL;

// What the command line needs beside it.
#[doc(hidden)]
pub use daemon::{HistoryAtRest, LockedFolders};
#[doc(hidden)]
pub use hooks::{HELPER_COMMAND, HookError, HookHelper, run_helper};
#[doc(hidden)]
pub use proto::name::{escape, is_unprintable};
#[doc(hidden)]
pub use transport::port::Port;
