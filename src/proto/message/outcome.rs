//! How a transfer ends: the sender's word on the whole file, the receiver's on what became of it.

use super::MAX_TEXT;
use crate::proto::codec::{Malformed, Reader, put_bytes};
use crate::proto::name::{MAX_NAME, Name};
use bytes::{BufMut, BytesMut};

/// What closes the last chunk's plaintext, behind its data: the whole file in two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The file's length, from its first byte.
    pub size: u64,
    /// BLAKE3 of the whole file.
    pub hash: [u8; 32],
}

impl Trailer {
    /// Bytes of an encoded trailer.
    pub const LEN: usize = 40;

    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.size);
        out.put_slice(&self.hash);
    }

    /// Splits a final chunk's plaintext into data and trailer.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short.
    pub fn split(plaintext: &[u8]) -> Result<(&[u8], Self), Malformed> {
        let at = plaintext.len().checked_sub(Self::LEN).ok_or(Malformed)?;
        let (data, trailer) = plaintext.split_at(at);
        let mut r = Reader::new(trailer);
        Ok((data, Self { size: r.u64()?, hash: r.array()? }))
    }
}

/// The last word on a transfer, from the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file stands in Incoming, on stable storage: the receipt.
    Done {
        /// BLAKE3 of what stands there (zero for folders and links).
        hash: [u8; 32],
        /// Under which name.
        saved_as: Name,
    },
    /// This very transfer was finished before, only its receipt was lost: the receipt again.
    Have {
        /// BLAKE3 of what was received then.
        hash: [u8; 32],
        /// The name it was given then.
        saved_as: Name,
    },
    /// It does not stand in Incoming.
    Refused {
        /// Why, for the program.
        reason: Refusal,
        /// Why, for people; escaped before it is shown.
        detail: String,
    },
}

/// Why a receiver does not take a file; numbered on the wire (protocol.md section 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// Another file stands at that name, and `--on-conflict skip` keeps it.
    #[error("another file already stands there and the peer keeps it (--on-conflict skip)")]
    Conflict = 1,
    /// Not enough free space in Incoming.
    #[error("the peer's disk is full")]
    NoSpace = 2,
    /// The receiver's system has no such names.
    #[error("the peer's system cannot have a file of this name")]
    Name = 3,
    /// The receiver could not write.
    #[error("the peer could not write it")]
    Storage = 4,
    /// The receiver's limits do not allow a file so large.
    #[error("the peer does not take files so large")]
    TooLarge = 5,
    /// The bytes that arrived are not those that were announced.
    #[error("the bytes did not arrive as they were sent")]
    Corrupt = 6,
    /// The same transfer is going on in another stream.
    #[error("the peer is still busy with an earlier attempt")]
    Busy = 7,
    /// A file stands where the name wants a folder, or a folder where it wants a file.
    #[error("something else stands in its place at the peer")]
    InTheWay = 8,
    /// A symbolic link that leaves the tree, or that the receiver's system cannot make.
    #[error("the peer cannot have this symbolic link")]
    Link = 9,
    /// The receiver stops, or replaces the session.
    #[error("the peer is stopping")]
    Stopping = 10,
    /// Incoming holds as much as the receiver's limit lets it.
    #[error("the peer's Incoming holds as much as it may")]
    Full = 11,
}

impl Refusal {
    pub(super) const ALL: [Self; 11] = [
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
    ];

    /// Whether something in the receiver's Incoming stands in the file's place.
    pub fn is_in_the_way(self) -> bool {
        matches!(self, Self::InTheWay | Self::Conflict)
    }

    /// Whether offering the same file again may end otherwise.
    pub fn retry_helps(self) -> bool {
        matches!(
            self,
            Self::NoSpace
                | Self::Storage
                | Self::Corrupt
                | Self::Busy
                | Self::Stopping
                | Self::Full
        )
    }
}

impl Outcome {
    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Done { hash, saved_as } | Self::Have { hash, saved_as } => {
                out.put_u8(if matches!(self, Self::Done { .. }) { 0 } else { 1 });
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

    /// # Errors
    /// [`Malformed`] for anything that [`Outcome::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let kind = r.u8()?;
        let outcome = match kind {
            0 | 1 => {
                let hash = r.array()?;
                let saved_as = Name::parse(r.bytes(MAX_NAME)?).map_err(|_| Malformed)?;
                if kind == 0 {
                    Self::Done { hash, saved_as }
                } else {
                    Self::Have { hash, saved_as }
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

/// Text for people: whatever is no UTF-8 is replaced, and the rest is escaped where it is shown.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
