//! The messages that begin a transfer: offer, acceptance, and the sender's answer to it (protocol.md
//! sections 5.2 and 5.3).

use super::id::TransferId;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::codec::{Malformed, Reader, put_bytes};
use crate::proto::name::{MAX_NAME, Name};
use bytes::{BufMut, BytesMut};

/// A point in time as file systems store it: seconds since 1970 (negative before), and nanoseconds,
/// which always count forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// The kind of a folder's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length in bytes when it was offered. A file whose length changes is another file.
        size: u64,
    },
    /// A folder. It is offered after its content, so that its permissions and time stay.
    Folder,
    /// A symbolic link, with the bytes of its target.
    Link {
        /// Relative and `/`-separated. The receiver checks it with
        /// [`crate::proto::name::link_stays_inside`].
        target: Vec<u8>,
    },
}

/// The first record of a file stream: the entry that the sender wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Identifies the content, also after a restart of the sender.
    pub id: TransferId,
    /// The path below Outgoing, and below Incoming.
    pub name: Name,
    /// File, folder or link.
    pub kind: EntryKind,
    /// Time of the last modification.
    pub modified: Timestamp,
    /// Unix permission bits (at most `0o777`), if the sender's system has them.
    pub mode: Option<u32>,
    /// The content follows without an [`Accept`], so a small file needs one round trip only.
    pub inline: bool,
}

const NO_MODE: u32 = u32::MAX;

impl Offer {
    /// The length of a file in bytes; 0 for folders and links.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            EntryKind::Folder | EntryKind::Link { .. } => 0,
        }
    }

    /// Appends the message's encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        let (kind, size, target) = match &self.kind {
            EntryKind::File { size } => (0, *size, &[][..]),
            EntryKind::Folder => (1, 0, &[][..]),
            EntryKind::Link { target } => (2, 0, &target[..]),
        };
        out.put_u8(kind);
        out.put_u8(u8::from(self.inline));
        out.put_slice(&self.id.0);
        out.put_u64(size);
        out.put_i64(self.modified.seconds);
        out.put_u32(self.modified.nanos);
        out.put_u32(self.mode.unwrap_or(NO_MODE));
        put_bytes(out, self.name.as_bytes(), MAX_NAME);
        put_bytes(out, target, MAX_NAME);
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Offer::encode`] does not write, including invalid names.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let kind = r.u8()?;
        let inline = r.bool()?;
        let id = TransferId(r.array()?);
        let size = r.u64()?;
        let modified = Timestamp { seconds: r.i64()?, nanos: r.u32()? };
        let mode = match r.u32()? {
            NO_MODE => None,
            bits @ 0..=0o777 => Some(bits),
            _ => return Err(Malformed),
        };
        let name = Name::parse(r.bytes(MAX_NAME)?).map_err(|_| Malformed)?;
        let target = r.bytes(MAX_NAME)?;
        r.end()?;
        let kind = match (kind, size, target) {
            (0, size, []) => EntryKind::File { size },
            (1, 0, []) => EntryKind::Folder,
            (2, 0, target @ [_, ..]) => EntryKind::Link { target: target.to_vec() },
            _ => return Err(Malformed),
        };
        if modified.nanos > 999_999_999 {
            return Err(Malformed);
        }
        Ok(Self { id, name, kind, modified, mode, inline })
    }
}

/// The receiver accepts the file and tells which of its chunks it holds. The sender compares its
/// own content with them, and answers with [`Begin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Chunks that the receiver holds on stable storage.
    pub held: ChunkSet,
    /// BLAKE3 of the bytes of each range of `held`, in the order of the ranges.
    pub proofs: Vec<[u8; 32]>,
}

impl Accept {
    /// The receiver holds no part of the file.
    pub const NOTHING: Self = Self { held: ChunkSet::EMPTY, proofs: Vec::new() };

    /// The receiver holds the first `chunks` chunks, whose bytes have the BLAKE3 hash `hash`.
    pub fn prefix(chunks: u64, hash: [u8; 32]) -> Self {
        if chunks == 0 {
            return Self::NOTHING;
        }
        Self { held: ChunkSet::prefix(chunks), proofs: vec![hash] }
    }

    /// The chunks that the receiver holds from the file's start without a gap, and their hash.
    /// `None` if it does not hold the first chunk.
    pub fn held_prefix(&self) -> Option<(ChunkSet, [u8; 32])> {
        let chunks = self.held.prefix_chunks();
        (chunks > 0).then(|| ChunkSet::prefix(chunks)).zip(self.proofs.first().copied())
    }

    /// Appends the message's encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        self.held.encode(out);
        self.proofs.iter().for_each(|proof| out.put_slice(proof));
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// [`Malformed`] for anything but a set and one hash for each of its ranges.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let held = ChunkSet::decode(&mut r)?;
        let proofs = held.ranges().iter().map(|_| r.array()).collect::<Result<_, _>>()?;
        r.end()?;
        Ok(Self { held, proofs })
    }
}

/// The sender's answer to [`Accept`], in the record before the chunks: which of the held chunks are
/// the file's. The sender sends all others. An inline offer has no such answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Chunks that the receiver holds and the sender confirms: the prefix of the receiver's set, or
    /// no chunk.
    pub confirmed: ChunkSet,
    /// Chunks may be compressed, so that records differ in length. Only for a peer with
    /// [`Settings::ACCEPTS_COMPRESSED`](super::Settings::ACCEPTS_COMPRESSED).
    pub compressed: bool,
}

impl Begin {
    /// Appends the message's encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        self.confirmed.encode(out);
        if self.compressed {
            out.put_u8(1);
        }
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// [`Malformed`] for anything but a set, followed by nothing or by the byte 1.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let confirmed = ChunkSet::decode(&mut r)?;
        let compressed = match r.rest() {
            [] => false,
            [1] => true,
            _ => return Err(Malformed),
        };
        Ok(Self { confirmed, compressed })
    }
}
