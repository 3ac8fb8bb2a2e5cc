//! A power loss at any moment: unsynced data may be lost, but all promises hold.
//!
//! The real code runs in a real folder while a recorder logs its changes and syncs (`recorder`).
//! From the log a model derives the possible disks after a power loss at each moment (`disk`). Each
//! is written to a new folder, and the program starts from there (`host`). As a control, one kind
//! of sync at a time is left out of the log: a promise must then break, or that sync is needless.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
mod host;
mod receiver;
mod recorder;
mod sender;
