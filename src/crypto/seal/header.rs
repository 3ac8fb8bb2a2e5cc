//! What stands before every record: its kind, its length and its place. All integers are
//! big-endian.

use super::{OpenError, RECORD_OVERHEAD};

/// Length of a record's header in bytes.
pub const HEADER_LEN: usize = 16;

/// What a record is. The number on the wire is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A file is offered: its name, size and metadata.
    Offer = 0x00,
    /// A piece of a file, with more to follow.
    Data = 0x01,
    /// The last record of a stream and direction.
    Final = 0x02,
    /// The receiver's answer to an offer.
    Answer = 0x10,
    /// The receiver has the file on stable storage.
    Receipt = 0x11,
    /// Settings of the session, the first record each way on the handshake's stream.
    Settings = 0x20,
    /// Any later message on the handshake's stream.
    Control = 0x21,
}

impl RecordKind {
    /// The kind with this number on the wire.
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0x00 => Self::Offer,
            0x01 => Self::Data,
            0x02 => Self::Final,
            0x10 => Self::Answer,
            0x11 => Self::Receipt,
            0x20 => Self::Settings,
            0x21 => Self::Control,
            _ => return None,
        })
    }

    /// The kind's number on the wire.
    pub fn to_wire(self) -> u8 {
        self as u8
    }
}

/// A record's header. Before the record is opened it is only a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the record is.
    pub kind: RecordKind,
    /// Length of the plaintext (and of the ciphertext without tag and HMAC) in bytes.
    pub len: u32,
    /// The record's place in its stream and direction, from 0.
    pub index: u64,
}

impl Header {
    /// Reads a header and refuses one that asks for more than `max_len` bytes, before anything is
    /// allocated for it.
    ///
    /// # Errors
    /// [`OpenError::BadHeader`] or [`OpenError::TooLong`].
    pub fn parse(bytes: &[u8; HEADER_LEN], max_len: u32) -> Result<Self, OpenError> {
        let &[kind, r0, r1, r2, l0, l1, l2, l3, ref index @ ..] = bytes;
        let kind = RecordKind::from_wire(kind).ok_or(OpenError::BadHeader)?;
        if [r0, r1, r2] != [0; 3] {
            return Err(OpenError::BadHeader);
        }
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if len > max_len {
            return Err(OpenError::TooLong);
        }
        Ok(Self { kind, len, index: u64::from_be_bytes(*index) })
    }

    /// Length of the whole record in bytes, header, tag and HMAC included.
    pub fn record_len(&self) -> u64 {
        u64::from(self.len) + RECORD_OVERHEAD as u64
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = self.kind.to_wire();
        bytes[4..8].copy_from_slice(&self.len.to_be_bytes());
        bytes[8..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// Kind, 000, index: a counter that also says whether the record is the last (as in STREAM,
    /// Hoang et al. 2015).
    pub(super) fn nonce(self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[0] = self.kind.to_wire();
        nonce[4..].copy_from_slice(&self.index.to_be_bytes());
        nonce
    }
}
