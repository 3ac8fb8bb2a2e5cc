//! How a transfer begins: offer, answer, and where the chunks begin.

use super::{CHUNK_SIZE, TransferId, flag};
use crate::proto::codec::{Malformed, Reader, put_bytes};
use crate::proto::name::{MAX_NAME, Name};
use bytes::{BufMut, BytesMut};

/// A point in time as file systems have it: seconds since 1970 (negative before), and nanoseconds
/// below one second, always counted forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of that many bytes.
    File {
        /// Its length when it was offered; what differs at the end is another file.
        size: u64,
    },
    /// A folder: its permissions and time, after all that it held.
    Folder,
    /// A symbolic link, with the bytes of its target.
    Link {
        /// `/`-separated, relative; [`crate::proto::name::link_stays_inside`] holds.
        target: Vec<u8>,
    },
}

/// The first record of a file stream: what the sender has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The same for the same content after any restart of the sender.
    pub id: TransferId,
    /// Where it stands below Outgoing, and shall stand below Incoming.
    pub name: Name,
    /// File, folder or link.
    pub kind: EntryKind,
    /// Last modification.
    pub modified: Timestamp,
    /// Unix permission bits (`0o777`), where the sender's system has them.
    pub mode: Option<u32>,
    /// The chunks follow without waiting for an [`Accept`]: so small files need no round trip.
    pub inline: bool,
}

const NO_MODE: u32 = u32::MAX;

impl Offer {
    /// The bytes of a file, 0 for anything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            EntryKind::Folder | EntryKind::Link { .. } => 0,
        }
    }

    /// Appends the message's bytes.
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

    /// # Errors
    /// [`Malformed`] for anything that [`Offer::encode`] does not write, names included.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let kind = r.u8()?;
        let inline = flag(r.u8()?)?;
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

/// The receiver wants the file, from `offset` on: what it holds of it has the hash `prefix`. The
/// sender compares with its own first `offset` bytes and answers by where its chunks begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// Bytes that the receiver holds on stable storage; a multiple of [`CHUNK_SIZE`].
    pub offset: u64,
    /// BLAKE3 of those bytes; all zero when there are none.
    pub prefix: [u8; 32],
}

impl Accept {
    /// The receiver holds none of it.
    pub const NOTHING: Self = Self { offset: 0, prefix: [0; 32] };

    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.offset);
        out.put_slice(&self.prefix);
    }

    /// # Errors
    /// [`Malformed`] for another length, or an offset that is not at a chunk.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let accept = Self { offset: r.u64()?, prefix: r.array()? };
        r.end()?;
        if accept.offset.is_multiple_of(CHUNK_SIZE as u64) { Ok(accept) } else { Err(Malformed) }
    }
}

/// The sender's word on where its chunks begin, in the record before them, when the offer was not
/// inline: the receiver's offset, or 0 when the prefix is not the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Offset in the file of the first chunk that follows.
    pub offset: u64,
    /// Chunks may be compressed, so that records differ in length. Only to a peer with
    /// [`Settings::UNPACKS`](super::Settings::UNPACKS).
    pub compressed: bool,
}

impl Begin {
    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.offset);
        if self.compressed {
            out.put_u8(1);
        }
    }

    /// # Errors
    /// [`Malformed`] for another length, or an offset that is not at a chunk.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (offset, compressed) = match *bytes {
            [ref offset @ .., 1] if bytes.len() == 9 => (offset, true),
            ref offset => (offset, false),
        };
        let mut r = Reader::new(offset);
        let offset = r.u64()?;
        r.end()?;
        if offset % CHUNK_SIZE as u64 == 0 {
            Ok(Self { offset, compressed })
        } else {
            Err(Malformed)
        }
    }
}
