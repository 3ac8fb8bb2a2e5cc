//! The messages inside the sealed records, and their bytes (protocol.md sections 4 and 5).
//!
//! A file stream carries one [`Offer`] and the file's chunks one way, and at most one [`Accept`] and
//! exactly one [`Outcome`] the other way. The control stream carries [`Settings`] once each way,
//! then [`Control`] messages.

use super::codec::{Malformed, Reader, put_bytes};
use super::name::{MAX_NAME, Name};
use bytes::{BufMut, BytesMut};
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
        /// `/`-separated, relative; [`super::name::link_stays_inside`] holds.
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
    /// Chunks may be packed, so that records differ in length. Only to a peer with
    /// [`Settings::UNPACKS`].
    pub packed: bool,
}

impl Begin {
    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.offset);
        if self.packed {
            out.put_u8(1);
        }
    }

    /// # Errors
    /// [`Malformed`] for another length, or an offset that is not at a chunk.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (offset, packed) = match *bytes {
            [ref offset @ .., 1] if bytes.len() == 9 => (offset, true),
            ref offset => (offset, false),
        };
        let mut r = Reader::new(offset);
        let offset = r.u64()?;
        r.end()?;
        if offset % CHUNK_SIZE as u64 == 0 { Ok(Self { offset, packed }) } else { Err(Malformed) }
    }
}

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
    #[error("a file and a folder are in each other's way at the peer")]
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
    const ALL: [Self; 11] = [
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

    /// Whether offering the same file again may end otherwise.
    pub fn retry_helps(self) -> bool {
        matches!(
            self,
            Self::NoSpace | Self::Storage | Self::Corrupt | Self::Busy | Self::Stopping | Self::Full
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
                if kind == 0 { Self::Done { hash, saved_as } } else { Self::Have { hash, saved_as } }
            }
            2 => {
                let number = r.u8()?;
                let reason = Refusal::ALL.into_iter().find(|&r| r as u8 == number).ok_or(Malformed)?;
                Self::Refused { reason, detail: text(r.bytes(MAX_TEXT)?) }
            }
            _ => return Err(Malformed),
        };
        r.end()?;
        Ok(outcome)
    }
}

/// The first record each way on the control stream. The guest's is its receipt for the session keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The last session that this side knows to be adopted, all zero for none: tells two dials that
    /// crossed from a peer that lost its session (protocol.md section 3.5).
    pub last_session: [u8; 16],
    /// Whether this side still holds that session for good.
    pub last_alive: bool,
    /// How many file streams this side lets the other have open at once.
    pub streams: u32,
    /// What this side can do beside the rest; unknown bits are ignored.
    pub capabilities: u32,
}

impl Settings {
    /// Capability: takes packed chunks.
    pub const UNPACKS: u32 = 1;

    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.last_session);
        out.put_u8(u8::from(self.last_alive));
        out.put_u32(self.streams);
        out.put_u32(self.capabilities);
    }

    /// What follows the known fields is ignored, so that a later version may add to them.
    ///
    /// # Errors
    /// [`Malformed`] when the message is too short or grants no streams.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let settings = Self {
            last_session: r.array()?,
            last_alive: flag(r.u8()?)?,
            streams: r.u32()?,
            capabilities: r.u32()?,
        };
        if settings.streams == 0 { Err(Malformed) } else { Ok(settings) }
    }
}

/// What the peers tell each other beside the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// From the leader: this connection is the session; file streams may open.
    Adopt,
    /// How much this side still has to send: the peer shows it, and `--drain` waits for zero.
    Backlog {
        /// Entries in Outgoing that the peer does not hold yet, settling ones included.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The sender is done with these transfers for good (receipt taken and file removed, or the
    /// file is gone): the receiver may drop what it keeps about them.
    Forget(Vec<TransferId>),
    /// This side leaves in order.
    Goodbye,
}

impl Control {
    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Adopt => out.put_u8(1),
            Self::Backlog { files, bytes } => {
                out.put_u8(2);
                out.put_u64(*files);
                out.put_u64(*bytes);
            }
            Self::Forget(ids) => {
                out.put_u8(3);
                for id in ids.iter().take(MAX_FORGET) {
                    out.put_slice(&id.0);
                }
            }
            Self::Goodbye => out.put_u8(4),
        }
    }

    /// # Errors
    /// [`Malformed`] for anything that [`Control::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let message = match r.u8()? {
            1 => Self::Adopt,
            2 => Self::Backlog { files: r.u64()?, bytes: r.u64()? },
            3 => {
                let (ids, rest) = bytes[1..].as_chunks::<16>();
                if !rest.is_empty() || ids.len() > MAX_FORGET {
                    return Err(Malformed);
                }
                return Ok(Self::Forget(ids.iter().copied().map(TransferId).collect()));
            }
            4 => Self::Goodbye,
            _ => return Err(Malformed),
        };
        r.end()?;
        Ok(message)
    }
}

fn flag(byte: u8) -> Result<bool, Malformed> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

/// Text for people: whatever is no UTF-8 is replaced, and the rest is escaped where it is shown.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn bytes_of(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        encode(&mut out);
        out
    }

    fn offer(kind: EntryKind) -> Offer {
        Offer {
            id: TransferId([7; 16]),
            name: name("a/b"),
            kind,
            modified: Timestamp { seconds: -5, nanos: 999_999_999 },
            mode: Some(0o644),
            inline: true,
        }
    }

    #[test]
    fn an_offer_has_the_bytes_of_the_table() {
        let bytes = bytes_of(|out| offer(EntryKind::File { size: 258 }).encode(out));
        let mut expected = vec![0, 1];
        expected.extend([7; 16]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb]);
        expected.extend([0x3b, 0x9a, 0xc9, 0xff]);
        expected.extend([0, 0, 1, 0xa4]);
        expected.extend([0, 3, b'a', b'/', b'b', 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn offers_with_nonsense_are_malformed() {
        let good = bytes_of(|out| offer(EntryKind::File { size: 1 }).encode(out));
        assert!(Offer::decode(&good).is_ok());
        for (at, value) in [(0, 3), (1, 2), (34, 0xff), (38, 1), (43, 0), (48, 9)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Offer::decode(&bad), Err(Malformed), "byte {at} = {value}");
        }
        assert_eq!(Offer::decode(&good[..good.len() - 1]), Err(Malformed));
        let folder_with_a_size = {
            let mut bytes = bytes_of(|out| offer(EntryKind::Folder).encode(out));
            bytes[25] = 1;
            bytes
        };
        assert_eq!(Offer::decode(&folder_with_a_size), Err(Malformed));
        let link_to_nothing = bytes_of(|out| offer(EntryKind::Link { target: vec![] }).encode(out));
        assert_eq!(Offer::decode(&link_to_nothing), Err(Malformed));
    }

    #[test]
    fn a_trailer_is_split_off_the_last_chunk() {
        let trailer = Trailer { size: 3, hash: [9; 32] };
        let mut plaintext = BytesMut::from(&b"abc"[..]);
        trailer.encode(&mut plaintext);
        assert_eq!(Trailer::split(&plaintext), Ok((&b"abc"[..], trailer)));
        assert_eq!(Trailer::split(&plaintext[4..]), Err(Malformed));
    }

    #[test]
    fn a_beginning_says_more_only_of_packed_chunks() {
        let plain = Begin { offset: CHUNK_SIZE as u64, packed: false };
        let packed = Begin { packed: true, ..plain };
        let bytes = bytes_of(|out| plain.encode(out));
        assert_eq!(bytes.len(), 8, "as a peer without this capability knows it");
        assert_eq!(Begin::decode(&bytes), Ok(plain));
        let bytes = bytes_of(|out| packed.encode(out));
        assert_eq!(Begin::decode(&bytes), Ok(packed));
        for bad in [&bytes[..7], &[&bytes[..8], &[0]].concat(), &[&bytes[..], &[1]].concat(), &[1; 8]] {
            assert_eq!(Begin::decode(bad), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn settings_may_grow() {
        let settings = Settings { last_session: [1; 16], last_alive: true, streams: 4, capabilities: 0 };
        let mut bytes = bytes_of(|out| settings.encode(out));
        bytes.put_u64(99);
        assert_eq!(Settings::decode(&bytes), Ok(settings));
    }

    proptest! {
        #[test]
        fn every_message_survives_its_bytes(
            id in any::<[u8; 16]>(), size in any::<u64>(), seconds in any::<i64>(), nanos in 0u32..1_000_000_000,
            mode in proptest::option::of(0u32..=0o777), inline in any::<bool>(), kind in 0u8..3,
            ids in proptest::collection::vec(any::<[u8; 16]>(), 0..MAX_FORGET), detail in "\\PC{0,100}",
        ) {
            let kind = match kind {
                0 => EntryKind::File { size },
                1 => EntryKind::Folder,
                _ => EntryKind::Link { target: b"x/y".to_vec() },
            };
            let offer = Offer {
                id: TransferId(id), name: name("n"), kind, modified: Timestamp { seconds, nanos }, mode, inline,
            };
            prop_assert_eq!(Offer::decode(&bytes_of(|o| offer.encode(o))), Ok(offer));
            for outcome in [
                Outcome::Done { hash: [1; 32], saved_as: name("a/b") },
                Outcome::Have { hash: [2; 32], saved_as: name("c") },
                Outcome::Refused { reason: Refusal::NoSpace, detail },
            ] {
                prop_assert_eq!(Outcome::decode(&bytes_of(|o| outcome.encode(o))), Ok(outcome));
            }
            for control in [
                Control::Adopt,
                Control::Backlog { files: size, bytes: size },
                Control::Forget(ids.into_iter().map(TransferId).collect()),
                Control::Goodbye,
            ] {
                prop_assert_eq!(Control::decode(&bytes_of(|o| control.encode(o))), Ok(control));
            }
        }

        #[test]
        fn names_reasons_and_plain_numbers_survive_too(
            bytes in proptest::collection::vec(any::<u8>(), 1..300), target in proptest::collection::vec(any::<u8>(), 1..300),
            offset in 0..u64::MAX / CHUNK_SIZE as u64, hash in any::<[u8; 32]>(), size in any::<u64>(),
            last_session in any::<[u8; 16]>(), last_alive in any::<bool>(), streams in 1u32.., capabilities in any::<u32>(),
            data in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            if let Ok(name) = Name::parse(&bytes) {
                let offer = Offer { name: name.clone(), ..offer(EntryKind::Link { target }) };
                prop_assert_eq!(Offer::decode(&bytes_of(|o| offer.encode(o))), Ok(offer));
                let done = Outcome::Done { hash, saved_as: name };
                prop_assert_eq!(Outcome::decode(&bytes_of(|o| done.encode(o))), Ok(done));
            }
            for reason in Refusal::ALL {
                let refused = Outcome::Refused { reason, detail: String::new() };
                prop_assert_eq!(Outcome::decode(&bytes_of(|o| refused.encode(o))), Ok(refused));
            }
            let accept = Accept { offset: offset * CHUNK_SIZE as u64, prefix: hash };
            prop_assert_eq!(Accept::decode(&bytes_of(|o| accept.encode(o))), Ok(accept));
            let begin = Begin { offset: accept.offset, packed: data.len() % 2 == 1 };
            prop_assert_eq!(Begin::decode(&bytes_of(|o| begin.encode(o))), Ok(begin));
            let settings = Settings { last_session, last_alive, streams, capabilities };
            prop_assert_eq!(Settings::decode(&bytes_of(|o| settings.encode(o))), Ok(settings));
            let mut plaintext = BytesMut::from(&data[..]);
            let trailer = Trailer { size, hash };
            trailer.encode(&mut plaintext);
            prop_assert_eq!(Trailer::split(&plaintext), Ok((&data[..], trailer)));
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Offer::decode(&bytes);
            let _ = Outcome::decode(&bytes);
            let _ = Control::decode(&bytes);
            let _ = Settings::decode(&bytes);
            let _ = Accept::decode(&bytes);
            let _ = Begin::decode(&bytes);
            let _ = Trailer::split(&bytes);
        }
    }
}
