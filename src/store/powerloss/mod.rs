//! A loss of power at any moment: what was not synced may be lost, and the promises still hold.
//!
//! The real code runs in a real folder; its changes and syncs are written down (`os::recorded`).
//! From that follows what a loss of power at each moment may leave (`disk`), which is put into a
//! new folder and started from there (`host`). The same run with one sync left out must break a
//! promise, or that sync was for nothing.
#![cfg(all(target_os = "linux", feature = "failpoints"))]

pub(super) mod disk;
mod host;
mod receiver;
mod sender;
