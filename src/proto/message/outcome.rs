//! The messages that end a transfer: the sender's trailer and the receiver's outcome (protocol.md
//! sections 5.4 and 5.5).

use crate::proto::codec::{Malformed, Reader, put_bytes};
use crate::proto::name::{MAX_NAME, Name};
use bytes::{BufMut, BytesMut};

/// Maximum length of text for people in a message, in bytes.
pub const MAX_TEXT: usize = 512;

/// Size and hash of the whole file. They follow the data in the last chunk's plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The file's length in bytes, from its first byte.
    pub size: u64,
    /// BLAKE3 of the whole file.
    pub hash: [u8; 32],
}

impl Trailer {
    /// Length of an encoded trailer in bytes.
    pub const LEN: usize = 40;

    /// Appends the message's encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.size);
        out.put_slice(&self.hash);
    }

    /// Splits a final chunk's plaintext into data and trailer.
    ///
    /// # Errors
    /// [`Malformed`] if it is shorter than a trailer.
    pub fn split(plaintext: &[u8]) -> Result<(&[u8], Self), Malformed> {
        let at = plaintext.len().checked_sub(Self::LEN).ok_or(Malformed)?;
        let (data, trailer) = plaintext.split_at(at);
        let mut r = Reader::new(trailer);
        Ok((data, Self { size: r.u64()?, hash: r.array()? }))
    }
}

/// The receiver's last message on a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receipt: the entry is in Incoming on stable storage.
    Done {
        /// BLAKE3 of the file (zero for folders and links).
        hash: [u8; 32],
        /// Its name in Incoming.
        saved_as: Name,
        /// A program of the receiver accepted the file before it appeared (`--quarantine`).
        checked: bool,
    },
    /// The receipt again: this transfer was finished before, and its receipt was lost.
    Have {
        /// BLAKE3 of the file that was received.
        hash: [u8; 32],
        /// The name that it was given.
        saved_as: Name,
        /// A program of the receiver accepted the file before it appeared (`--quarantine`).
        checked: bool,
    },
    /// The receiver refuses the entry.
    Refused {
        /// The reason, for the program.
        reason: Refusal,
        /// The reason, for people; to be escaped before it is shown.
        detail: String,
    },
}

/// Why a receiver refuses an entry; numbered on the wire (protocol.md section 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// Another file has the name, and `--on-conflict skip` keeps it.
    #[error("another file has this name at the peer and is kept (--on-conflict skip)")]
    Conflict = 1,
    /// Incoming has not enough free space.
    #[error("the peer's disk is full")]
    NoSpace = 2,
    /// The receiver's system has no such names.
    #[error("the peer's system cannot have a file of this name")]
    Name = 3,
    /// The receiver could not write.
    #[error("the peer could not write it")]
    Storage = 4,
    /// The file is larger than the receiver allows.
    #[error("it is larger than the peer allows")]
    TooLarge = 5,
    /// The received bytes differ from the announced ones.
    #[error("the received bytes differ from those that were sent")]
    Corrupt = 6,
    /// An earlier attempt at the same transfer runs, or memory is short.
    #[error("the peer is busy with an earlier attempt, or short of memory")]
    Busy = 7,
    /// A file is in the place of a folder, or a folder in the place of a file.
    #[error("something else is in its place at the peer")]
    InTheWay = 8,
    /// The symbolic link leaves the tree, or the receiver's system cannot make it.
    #[error("the peer cannot create this symbolic link")]
    Link = 9,
    /// The receiver stops or replaces the session.
    #[error("the peer is stopping")]
    Stopping = 10,
    /// Incoming has reached the receiver's limit.
    #[error("the peer's Incoming has reached its limit")]
    Full = 11,
    /// The receiver's program did not accept the file (`--quarantine`).
    #[error("the peer's check refused it (--quarantine)")]
    Rejected = 12,
    /// The receiver's program could not judge the file (`--quarantine`).
    #[error("the peer could not check it (--quarantine)")]
    Unchecked = 13,
}

impl Refusal {
    pub(super) const ALL: [Self; 13] = [
        Self::Conflict,
        Self::NoSpace,
        Self::Name,
        Self::Storage,
        Self::TooLarge,
        Self::Corrupt,
        Self::Busy,
        Self::InTheWay,
        Self::Link,
        Self::Stopping,
        Self::Full,
        Self::Rejected,
        Self::Unchecked,
    ];

    /// Whether another entry of Incoming is in the file's place.
    pub fn is_in_the_way(self) -> bool {
        matches!(self, Self::InTheWay | Self::Conflict)
    }

    /// Whether a later attempt at the same file may succeed.
    pub fn retry_helps(self) -> bool {
        matches!(
            self,
            Self::NoSpace
                | Self::Storage
                | Self::Corrupt
                | Self::Busy
                | Self::Stopping
                | Self::Full
                | Self::Unchecked
        )
    }
}

impl Outcome {
    /// Appends the message's encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Done { hash, saved_as, checked } | Self::Have { hash, saved_as, checked } => {
                out.put_u8(if matches!(self, Self::Done { .. }) { 0 } else { 1 });
                out.put_u8(u8::from(*checked));
                out.put_slice(hash);
                put_bytes(out, saved_as.as_bytes(), MAX_NAME);
            }
            Self::Refused { reason, detail } => {
                out.put_u8(2);
                out.put_u8(*reason as u8);
                put_bytes(out, detail.as_bytes(), MAX_TEXT);
            }
        }
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Outcome::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let kind = r.u8()?;
        let outcome = match kind {
            0 | 1 => {
                let checked = r.bool()?;
                let hash = r.array()?;
                let saved_as = Name::parse(r.bytes(MAX_NAME)?).map_err(|_| Malformed)?;
                if kind == 0 {
                    Self::Done { hash, saved_as, checked }
                } else {
                    Self::Have { hash, saved_as, checked }
                }
            }
            2 => {
                let number = r.u8()?;
                let reason =
                    Refusal::ALL.into_iter().find(|&r| r as u8 == number).ok_or(Malformed)?;
                Self::Refused { reason, detail: text(r.bytes(MAX_TEXT)?) }
            }
            _ => return Err(Malformed),
        };
        r.end()?;
        Ok(outcome)
    }
}

/// Text for people. Bytes that are not UTF-8 are replaced; the output escapes the rest.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
