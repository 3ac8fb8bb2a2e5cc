//! The integration tests: the real program, or its library over real sockets, on loopback. Each
//! module tests one subject.
//!
//! Cargo runs the tests as threads of one process, nextest runs each in a process of its own. No
//! test may therefore change its own process (environment, working directory, umask, resource
//! limits), and a measurement of memory is one of the program under test, which is always a child
//! process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../harness/mod.rs"]
mod harness;

#[cfg(target_os = "linux")]
mod at_rest;
#[cfg(unix)]
mod cancel;
#[cfg(target_os = "linux")]
mod causes;
#[cfg(unix)]
mod check;
mod cli;
mod compress;
mod connector;
#[cfg(unix)]
mod control;
#[cfg(unix)]
mod cuts;
#[cfg(unix)]
mod disks;
mod docs;
#[cfg(unix)]
mod documents;
#[cfg(target_os = "linux")]
mod flood;
#[cfg(unix)]
mod history;
#[cfg(target_os = "linux")]
mod hooks;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(unix)]
mod limits;
#[cfg(unix)]
mod metrics;
mod mitm;
#[cfg(unix)]
mod once;
#[cfg(unix)]
mod overtake;
#[cfg(unix)]
mod page;
mod put;
#[cfg(unix)]
mod rate;
mod relay;
mod repair;
#[cfg(target_os = "linux")]
mod service;
#[cfg(unix)]
mod sources;
#[cfg(unix)]
mod status;
#[cfg(unix)]
mod steer;
mod stranger;
#[cfg(target_os = "linux")]
mod top;
mod urgent;
#[cfg(target_os = "linux")]
mod writers;
