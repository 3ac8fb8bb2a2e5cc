//! The messages inside the sealed records, and their bytes (protocol.md sections 4 and 5).
//!
//! A file stream carries one [`Offer`] and the file's chunks one way, and at most one [`Accept`]
//! and exactly one [`Outcome`] the other way. The control stream carries [`Settings`] once each
//! way, then [`Control`] messages.

mod control;
mod offer;
mod outcome;
#[cfg(test)]
mod tests;

pub use control::{Control, Settings};
pub use offer::{Accept, Begin, EntryKind, Offer, Timestamp};
pub use outcome::{Outcome, Refusal, Trailer};

use super::codec::Malformed;
use std::fmt;

/// Bytes of plaintext in every chunk but a file's last. A power of two, so that chunks are whole
/// subtrees of BLAKE3.
pub const CHUNK_SIZE: usize = 256 * 1024;
/// Longest plaintext of any record that is not a chunk.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// Longest text for people in a message, in bytes.
pub const MAX_TEXT: usize = 512;
/// Most ids in one [`Control::Forget`].
pub const MAX_FORGET: usize = 512;

/// What identifies this content of this file to both sides, over restarts: derived by the sender
/// from the file's name, size, times and inode (protocol.md section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub [u8; 16]);

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What identifies a peer's state folder, over restarts of its process. It is no secret, and proves
/// nothing: whoever may tell it has proved that it knows the password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstallationId(pub [u8; 16]);

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A boolean is one byte.
fn flag(byte: u8) -> Result<bool, Malformed> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}
