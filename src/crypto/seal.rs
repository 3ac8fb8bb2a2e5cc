//! The seal of records. Each record is sealed under the keys of its stream, sender and epoch
//! (protocol.md sections 4.1 and 4.2).
//!
//! A record on the wire, all integers big-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 16 | header: kind 1, zero 3, length of the ciphertext u32, index u64 |
//! | n | C, AES-256-GCM of the plaintext; nonce = kind, 000, index; associated data = header |
//! | 16 | GCM tag |
//! | 32 | HMAC-SHA256 over the stream's context block, header and GCM tag |
//!
//! The HMAC covers the tag instead of the ciphertext ("CTX", Chan and Rogaway 2022). It commits to
//! key, stream, sender, index and kind, and the tag binds the ciphertext, so no second pass over
//! the data is needed. The opener verifies the HMAC first.
//!
//! Indices count from 0. A [`RecordKind::Final`] record is the last of its stream, and its index
//! gives the number of records. The end of the QUIC stream means nothing.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::cipher::{Cipher, CipherError, TAG_LEN};
use super::role::Role;
use super::schedule::{self, SessionSecret, StreamSecret};

mod buffers;
mod error;
mod header;

pub use buffers::Buffers;
pub use error::{MAX_AHEAD, OpenError, SealError};
use header::MAC_LEN;
pub use header::{HEADER_LEN, Header, RECORD_OVERHEAD, RecordKind, TRAILER_LEN};

/// Number of records under one key, as a power of two: 64 GiB in records of 256 KiB, which are 2^32
/// AES blocks.
const EPOCH_BITS: u32 = 18;

/// The sending half of a stream that has no sealer yet. [`SessionKeys::sealer`] consumes it, so
/// that a stream never has a second sealer, which would use the same nonces again.
///
/// Implement it for types that own the half: they cannot be cloned, and `Opened` cannot be turned
/// back.
///
/// ```
/// # use rft::internals::crypto::{handshake::Role, seal::{SessionKeys, UnsealedHalf}};
/// fn once<H: UnsealedHalf>(keys: &SessionKeys, half: H) {
///     keys.sealer(Role::Initiator, half);
/// }
/// ```
/// A second sealer does not compile:
/// ```compile_fail,E0382
/// # use rft::internals::crypto::{handshake::Role, seal::{SessionKeys, UnsealedHalf}};
/// fn twice<H: UnsealedHalf>(keys: &SessionKeys, half: H) {
///     keys.sealer(Role::Initiator, half);
///     keys.sealer(Role::Initiator, half);
/// }
/// ```
pub trait UnsealedHalf {
    /// The half once it has a sealer.
    type Opened;

    /// QUIC's stream id.
    fn stream_id(&self) -> u64;

    /// The half, ready for writing.
    fn opened(self) -> Self::Opened;
}

/// A substitute for a stream, with a stream id.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) struct Numbered<T>(pub(crate) T, pub(crate) u64);

#[cfg(any(test, feature = "fuzzing"))]
impl<T> UnsealedHalf for Numbered<T> {
    type Opened = T;

    fn stream_id(&self) -> u64 {
        self.1
    }

    fn opened(self) -> T {
        self.0
    }
}

/// The secret of a session, from which the keys of its streams are derived. Wiped when dropped.
pub struct SessionKeys(SessionSecret);

impl SessionKeys {
    pub(super) fn new(secret: SessionSecret) -> Self {
        Self(secret)
    }

    /// The sealer of the records that `sender` (this side's role) sends on a stream, and the
    /// stream.
    pub fn sealer<H: UnsealedHalf>(&self, sender: Role, half: H) -> (H::Opened, Sealer) {
        let keys = StreamKeys::new(self, sender, half.stream_id());
        (half.opened(), Sealer { keys: Box::new(keys), next: 0, ended: false })
    }

    /// Kr: the key that authenticates the repair packets of `sender`.
    pub fn repair(&self, sender: Role) -> zeroize::Zeroizing<[u8; 32]> {
        self.0.repair(sender)
    }

    /// The opener of the records that `sender` (the peer's role) sends on the stream `stream_id`.
    pub fn opener(&self, sender: Role, stream_id: u64) -> Opener {
        Opener {
            keys: Box::new(StreamKeys::new(self, sender, stream_id)),
            contiguous: 0,
            ahead: BTreeSet::new(),
            end: None,
            highest: None,
        }
    }
}

/// The keys of one stream and direction. It caches the keys of two neighbouring epochs, because
/// records arrive out of order around the change of an epoch. They are boxed, since sealers move
/// between tasks: key schedules are large, and moved memory cannot be wiped.
struct StreamKeys {
    secret: StreamSecret,
    context: [u8; 64],
    epochs: [Option<Box<(u64, EpochKeys)>>; 2],
}

/// AES with its key schedule, and HMAC state after the key and the context block.
struct EpochKeys {
    cipher: Cipher,
    mac: Hmac<Sha256>,
}

impl StreamKeys {
    fn new(session: &SessionKeys, sender: Role, stream_id: u64) -> Self {
        let secret = session.0.stream(sender, stream_id);
        Self { secret, context: schedule::record_context(sender, stream_id), epochs: [None, None] }
    }

    fn of(&mut self, index: u64) -> Result<&EpochKeys, CipherError> {
        let epoch = index >> EPOCH_BITS;
        let slot = &mut self.epochs[(epoch & 1) as usize];
        if slot.as_ref().is_some_and(|kept| kept.0 != epoch) {
            *slot = None;
        }
        match slot {
            Some(kept) => Ok(&kept.1),
            empty => {
                let cipher = Cipher::new(&self.secret.chunk_aes(epoch))?;
                let mac = schedule::hmac(&self.secret.chunk_mac(epoch)).chain_update(self.context);
                Ok(&empty.insert(Box::new((epoch, EpochKeys { cipher, mac }))).1)
            }
        }
    }
}

impl EpochKeys {
    fn mac(&self, header: &[u8], tag: &[u8]) -> Hmac<Sha256> {
        self.mac.clone().chain_update(header).chain_update(tag)
    }
}

/// Seals the records of one stream and direction, in order. It owns the counter, so a caller cannot
/// choose or repeat a nonce.
pub struct Sealer {
    keys: Box<StreamKeys>,
    next: u64,
    ended: bool,
}

impl Sealer {
    /// A buffer that begins with room for the header. The caller appends up to `capacity` bytes of
    /// plaintext; the buffer has capacity for these and for the bytes that sealing appends.
    pub fn buffer(capacity: usize) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(RECORD_OVERHEAD.saturating_add(capacity));
        buffer.extend_from_slice(&[0; HEADER_LEN]);
        buffer
    }

    /// The index of the next record.
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// Seals the next record in place. `buffer` holds 16 bytes of room for the header and then the
    /// plaintext; the result is the whole record. A buffer from [`Sealer::buffer`] is neither
    /// copied nor moved.
    ///
    /// # Errors
    /// [`SealError`]. Reset the stream then, since its counter may have advanced.
    pub fn seal(&mut self, kind: RecordKind, mut buffer: BytesMut) -> Result<Bytes, SealError> {
        let len = buffer.len().checked_sub(HEADER_LEN).ok_or(SealError::NoHeaderRoom)?;
        let len = u32::try_from(len).map_err(|_| SealError::TooLong)?;
        if self.ended {
            return Err(SealError::Ended);
        }
        let header = Header { kind, len, index: self.next };
        // The index is consumed before the cipher runs, so that no failure leads to its reuse.
        self.next = self.next.checked_add(1).ok_or(SealError::Ended)?;
        self.ended = kind == RecordKind::Final;

        let nonce = header.nonce();
        let header = header.to_bytes();
        let keys = self.keys.of(self.next - 1).map_err(|CipherError| SealError::Cipher)?;
        let (room, plaintext) = buffer.split_at_mut(HEADER_LEN);
        room.copy_from_slice(&header);
        let tag =
            keys.cipher.seal(nonce, &header, plaintext).map_err(|CipherError| SealError::Cipher)?;
        buffer.extend_from_slice(&tag);
        buffer.extend_from_slice(&keys.mac(&header, &tag).finalize().into_bytes());
        Ok(buffer.freeze())
    }
}

/// Opens the records of one stream and direction, each at most once, in any order.
pub struct Opener {
    keys: Box<StreamKeys>,
    /// Every index below is open.
    contiguous: u64,
    /// Open indices above `contiguous`.
    ahead: BTreeSet<u64>,
    /// The final record's index plus one, once it is open.
    end: Option<u64>,
    highest: Option<u64>,
}

impl Opener {
    /// Opens the record number `index` of its stream in place, and returns its kind and plaintext.
    ///
    /// The caller derives `index` from the record's position, never from its header. A refused
    /// record stays unchanged, except that its ciphertext may be filled with zeros; the true record
    /// can still be opened at that index. An error says nothing about other records.
    ///
    /// # Errors
    /// Every [`OpenError`] except [`OpenError::TooLong`], which only [`Header::parse`] returns.
    pub fn open<'a>(
        &mut self,
        index: u64,
        record: &'a mut [u8],
    ) -> Result<(RecordKind, &'a mut [u8]), OpenError> {
        let (header_bytes, rest) =
            record.split_first_chunk_mut::<HEADER_LEN>().ok_or(OpenError::Truncated)?;
        let header = Header::parse(header_bytes, u32::MAX)?;
        if rest.len() as u64 + HEADER_LEN as u64 != header.record_len() {
            return Err(OpenError::Truncated);
        }
        if header.index != index {
            return Err(OpenError::WrongIndex);
        }
        self.admit(header)?;

        let (body, mac) = rest.split_last_chunk_mut::<MAC_LEN>().ok_or(OpenError::Truncated)?;
        let (ciphertext, tag) =
            body.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError::Truncated)?;
        let keys = self.keys.of(index).map_err(|CipherError| OpenError::Forged)?;
        keys.mac(header_bytes, tag).verify_slice(mac).map_err(|_| OpenError::Forged)?;
        keys.cipher
            .open(header.nonce(), header_bytes, ciphertext, *tag)
            .map_err(|CipherError| OpenError::Forged)?;
        self.opened(header);
        Ok((header.kind, ciphertext))
    }

    /// Whether the final record and all records before it have been opened.
    pub fn is_complete(&self) -> bool {
        self.end == Some(self.contiguous)
    }

    /// Number of records from the start of the stream that have been opened without a gap.
    pub fn contiguous(&self) -> u64 {
        self.contiguous
    }

    /// Checks that a record may be opened now, provided that it is authentic.
    fn admit(&self, header: Header) -> Result<(), OpenError> {
        let Header { kind, index, .. } = header;
        if index < self.contiguous || self.ahead.contains(&index) {
            return Err(OpenError::Replayed);
        }
        let behind_end = self.end.is_some_and(|end| index >= end);
        let before_others =
            kind == RecordKind::Final && self.highest.is_some_and(|highest| highest > index);
        if behind_end || before_others || index == u64::MAX {
            return Err(OpenError::AfterFinal);
        }
        if index != self.contiguous && self.ahead.len() >= MAX_AHEAD {
            return Err(OpenError::TooFarAhead);
        }
        Ok(())
    }

    /// Marks an authentic record as opened.
    fn opened(&mut self, header: Header) {
        let Header { kind, index, .. } = header;
        self.highest = self.highest.max(Some(index));
        if kind == RecordKind::Final {
            self.end = Some(index + 1);
        }
        if index != self.contiguous {
            self.ahead.insert(index);
            return;
        }
        self.contiguous += 1;
        while self.ahead.remove(&self.contiguous) {
            self.contiguous += 1;
        }
    }
}

#[cfg(test)]
mod tests;
