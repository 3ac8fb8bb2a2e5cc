//! Shared by the tests of the real program: hosts, the running program, the emulated link between
//! two peers, and comparisons of folders.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // a test's own

#[cfg(unix)]
pub mod browser;
pub mod command;
pub mod connector;
pub mod events;
pub mod files;
pub mod forge;
#[cfg(unix)]
pub mod http;
pub mod peer;
pub mod raw;
pub mod relay;
pub mod status;
#[cfg(target_os = "linux")]
pub mod terminal;
#[cfg(unix)]
pub mod tree;

use std::time::{Duration, Instant};

/// Waits until `check` holds. Fails with the message `what` after a minute.
pub fn until(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A lock for tests that measure rates or waits: no two of them run at once in one process. Under
/// nextest, which starts a process for each test, `.config/nextest.toml` has the same effect.
pub static MEASURING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
