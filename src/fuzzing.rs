//! What the fuzz targets (`fuzz/`) run. The bodies are here, so that the ordinary test run replays
//! the corpus and some thousand inputs more. Each takes any bytes, and panics when what should hold
//! does not.
//!
//! Bodies that need what a module keeps to itself stand in that module's `fuzzing`.

mod messages;
#[cfg(test)]
mod tests;
mod transfer;

pub use crate::crypto::fuzzing::{handshake, records};
pub use crate::inbox::fuzzing::{assemble, claims};
pub use crate::outbox::fuzzing::{ignore_file, table};
pub use crate::transport::fec::fuzzing::repair;
pub use messages::{messages, names};
pub use transfer::transfer;

/// Every target by its name, and how many inputs beside the corpus the test run gives it.
#[allow(clippy::type_complexity)] // a name would say no more
pub const TARGETS: &[(&str, fn(&[u8]), u32)] = &[
    ("messages", messages, 20_000),
    ("names", names, 20_000),
    ("records", records, 2_000),
    ("handshake", handshake, 200),
    ("assemble", assemble, 300),
    ("claims", claims, 2_000),
    ("repair", repair, 200),
    ("table", table, 500),
    ("ignore_file", ignore_file, 300),
    ("transfer", transfer, 30),
];
