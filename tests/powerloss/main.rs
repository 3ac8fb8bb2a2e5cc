//! A loss of power at any moment: what was not synced may be lost, and the promises still hold.
//!
//! The real code runs in a real folder while a recorder writes down its changes and syncs
//! (`recorder`). From these follows what a loss of power at each moment may leave (`disk`). That is
//! put into a new folder, and the program starts from there (`host`). As a control, the same run with
//! one kind of sync left out must break a promise; otherwise that sync is needless.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
mod host;
mod receiver;
mod recorder;
mod sender;
