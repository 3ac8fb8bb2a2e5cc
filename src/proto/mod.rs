//! The wire format as pure values: names, messages, chunk sets, and their encoding.
//!
//! No code here does I/O or uses a clock or a random generator. `docs/protocol.md` is normative.

pub mod chunk_set;
pub mod codec;
pub mod message;
pub mod name;
