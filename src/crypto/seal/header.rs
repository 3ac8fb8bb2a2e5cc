//! The header of a record: its kind, length and index. All integers are big-endian.

use super::error::OpenError;
use crate::crypto::cipher::{NONCE_LEN, TAG_LEN};

/// Length of a record's header in bytes.
pub const HEADER_LEN: usize = 16;
/// Length of the HMAC in bytes.
pub(super) const MAC_LEN: usize = 32;
/// Length of the GCM tag and the HMAC, which follow the ciphertext, in bytes.
pub const TRAILER_LEN: usize = TAG_LEN + MAC_LEN;
/// Length of a record without its plaintext, in bytes.
pub const RECORD_OVERHEAD: usize = HEADER_LEN + TRAILER_LEN;

/// The kind of a record. Its number on the wire is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A file is offered: its name, size and metadata.
    Offer = 0x00,
    /// A chunk of a file that is not the last.
    Data = 0x01,
    /// A file's last chunk, which is the last record of its stream and direction.
    Final = 0x02,
    /// The receiver's acceptance of an offer, and the sender's answer to it.
    Answer = 0x10,
    /// The receiver's outcome of a transfer.
    Receipt = 0x11,
    /// Settings of the session: the first record each way on the control stream.
    Settings = 0x20,
    /// Any later message on the control stream.
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

/// A record's header. It is not authenticated until the record is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The kind of the record.
    pub kind: RecordKind,
    /// Length of the plaintext, and of the ciphertext, in bytes.
    pub len: u32,
    /// Number of the record in its stream and direction, from 0.
    pub index: u64,
}

impl Header {
    /// Decodes a header, and refuses one whose length exceeds `max_len` bytes before memory is
    /// allocated for the record.
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

    /// Length of the whole record in bytes, including header, tag and HMAC.
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

    /// The GCM nonce: kind, three zeros, index. It is a counter that also marks the last record, as
    /// in STREAM (Hoang et al. 2015).
    pub(super) fn nonce(self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[0] = self.kind.to_wire();
        nonce[4..].copy_from_slice(&self.index.to_be_bytes());
        nonce
    }
}
