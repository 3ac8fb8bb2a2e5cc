//! What crosses the wire, as pure values: names and messages with their bytes.
//!
//! Nothing here does I/O, tells the time or rolls dice. `docs/protocol.md` is normative.

pub mod codec;
pub mod message;
pub mod name;
