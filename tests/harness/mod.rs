//! What the tests of the real program share: hosts and the program running there, the link between
//! them, and what is compared of their folders.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // a test's own

pub mod files;
pub mod forge;
pub mod peer;
pub mod raw;
pub mod relay;
#[cfg(unix)]
pub mod tree;
