//! The messages inside the sealed records, and their encoding (protocol.md sections 4 and 5).
//!
//! On a file stream the sender sends one [`Offer`] and the file's chunks; the receiver sends at
//! most one [`Accept`] and exactly one [`Outcome`]. On the control stream each side sends
//! [`Settings`] once, then [`Control`] messages.

mod constraint;
mod control;
mod id;
mod label;
mod offer;
mod outcome;
#[cfg(test)]
mod tests;

pub use super::chunk_set::CHUNK_SIZE;
pub use constraint::Constraint;
pub use control::{Control, MAX_FORGET, Settings};
pub use id::{InstallationId, TransferId};
pub use label::Label;
pub use offer::{Accept, Begin, EntryKind, Offer, Timestamp};
pub use outcome::{MAX_TEXT, Outcome, Refusal, Trailer};

/// Maximum length of the plaintext of a record that is not a chunk, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024;
