//! The bodies of the fuzz targets (`fuzz/`). They are in the library so that the ordinary test run
//! replays the corpus and some thousand further inputs. Each accepts any bytes and panics if a
//! property does not hold.
//!
//! Bodies that need a module's private parts are in the `fuzzing` submodule of that module.

mod messages;
#[cfg(test)]
mod tests;
mod transfer;

pub use crate::control::fuzzing::requests;
pub use crate::crypto::fuzzing::{handshake, records};
pub use crate::history::record::fuzzing::history_blocks;
pub use crate::inbox::fuzzing::{active_transfers, reassembly};
pub use crate::outbox::fuzzing::{ignore_file, table};
pub use crate::transport::fec::fuzzing::repair;
pub use crate::transport::reach::fuzzing::probe_answers;
pub use messages::{messages, names};
pub use transfer::transfer;

/// Every target by name, and the number of inputs that the test run adds to the corpus.
#[allow(clippy::type_complexity)] // a name would say no more
pub const TARGETS: &[(&str, fn(&[u8]), u32)] = &[
    ("messages", messages, 20_000),
    ("names", names, 20_000),
    ("records", records, 2_000),
    ("handshake", handshake, 200),
    ("reassembly", reassembly, 300),
    ("active_transfers", active_transfers, 2_000),
    ("repair", repair, 200),
    ("table", table, 500),
    ("ignore_file", ignore_file, 300),
    ("transfer", transfer, 30),
    ("requests", requests, 2_000),
    ("probe_answers", probe_answers, 20_000),
    ("history_blocks", history_blocks, 20_000),
];
