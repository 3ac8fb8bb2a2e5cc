//! Entries as they are on the disk: blocks of records, each preceded by its length in 16 bits. The
//! fields are big-endian, in the encoding of `proto::codec`.
//!
//! A later version may append fields to a record: a reader ignores what follows those that it knows.

use super::{HistoryEntry, HistoryKind};
use crate::config::PeerName;
use crate::proto::codec::{Malformed, Reader, put_bytes};
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::{MAX_NAME, Name};
use crate::status::Direction;
use bytes::BufMut;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum length of an error and of a peer's name, in bytes.
const MAX_TEXT: usize = 2048;

/// Bits of the optional fields.
const HASH: u8 = 1;
const INSTALLATION: u8 = 2;
const ELAPSED: u8 = 4;
/// The name in Incoming is the one that the file was sent with.
const SAVED_AS_SENT: u8 = 8;
const SAVED_AS: u8 = 16;
const ERROR: u8 = 32;
const CHECKED: u8 = 64;
const OUTPUT: u8 = 128;

/// Appends a record.
pub(crate) fn put(block: &mut Vec<u8>, entry: &HistoryEntry) {
    let begin = block.len();
    block.put_u16(0);
    let saved = entry.saved_as.as_ref();
    let is_same = saved.is_some_and(|name| *name == entry.path);
    let flag = |set: bool, bit| if set { bit } else { 0 };
    let flags = flag(entry.blake3.is_some(), HASH)
        | flag(entry.installation.is_some(), INSTALLATION)
        | flag(entry.elapsed.is_some(), ELAPSED)
        | flag(is_same, SAVED_AS_SENT)
        | flag(saved.is_some() && !is_same, SAVED_AS)
        | flag(entry.error.is_some(), ERROR)
        | flag(entry.checked, CHECKED)
        | flag(entry.output.is_some(), OUTPUT);
    block.put_slice(&[code_of(entry.kind), u8::from(entry.direction == Direction::Receive), flags]);
    block.put_u64(micros(entry.time));
    block.put_slice(&entry.transfer.0);
    block.put_u64(entry.size);
    block.put_u64(entry.offset);
    put_bytes(block, entry.peer.as_str().as_bytes(), MAX_TEXT);
    put_bytes(block, entry.path.as_bytes(), MAX_NAME);
    block.put_slice(entry.blake3.as_ref().map_or(&[], |hash| &hash[..]));
    block.put_slice(entry.installation.as_ref().map_or(&[], |id| &id.0[..]));
    if let Some(elapsed) = entry.elapsed {
        block.put_u64(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }
    if let Some(name) = saved.filter(|_| !is_same) {
        put_bytes(block, name.as_bytes(), MAX_NAME);
    }
    if let Some(error) = &entry.error {
        put_bytes(block, error.as_bytes(), MAX_TEXT);
    }
    if let Some(output) = &entry.output {
        put_bytes(block, output.as_bytes(), MAX_TEXT);
    }
    // Two names and two texts at their limits are far below 64 KiB.
    let len = u16::try_from(block.len() - begin - 2).unwrap_or(0);
    block[begin..begin + 2].copy_from_slice(&len.to_be_bytes());
}

/// The records of a block, in their order. One that cannot be read, such as one of a later version's
/// kind, is left out; a block that is cut ends there.
pub(crate) fn read(block: &[u8]) -> impl Iterator<Item = HistoryEntry> {
    let mut rest = Reader::new(block);
    std::iter::from_fn(move || rest.bytes(usize::from(u16::MAX)).ok())
        .filter_map(|record| parse(record).ok())
}

fn parse(record: &[u8]) -> Result<HistoryEntry, Malformed> {
    let mut fields = Reader::new(record);
    let (kind, direction, flags) = (fields.u8()?, fields.bool()?, fields.u8()?);
    let time = UNIX_EPOCH.checked_add(Duration::from_micros(fields.u64()?)).ok_or(Malformed)?;
    let transfer = TransferId(fields.array()?);
    let (size, offset) = (fields.u64()?, fields.u64()?);
    let peer = PeerName::new(&text(&mut fields)?);
    let path = name(&mut fields)?;
    let has = |bit| flags & bit != 0;
    let blake3 = if has(HASH) { Some(fields.array()?) } else { None };
    let installation = if has(INSTALLATION) { Some(InstallationId(fields.array()?)) } else { None };
    let elapsed = if has(ELAPSED) { Some(Duration::from_micros(fields.u64()?)) } else { None };
    let saved_as = match (has(SAVED_AS_SENT), has(SAVED_AS)) {
        (true, _) => Some(path.clone()),
        (false, true) => Some(name(&mut fields)?),
        (false, false) => None,
    };
    let error = if has(ERROR) { Some(text(&mut fields)?) } else { None };
    let output = if has(OUTPUT) { Some(text(&mut fields)?) } else { None };
    let direction = if direction { Direction::Receive } else { Direction::Send };
    Ok(HistoryEntry {
        time,
        kind: kind_of(kind)?,
        direction,
        peer,
        path,
        size,
        blake3,
        transfer,
        installation,
        elapsed,
        offset,
        saved_as,
        checked: has(CHECKED),
        error,
        output,
    })
}

fn text(fields: &mut Reader<'_>) -> Result<String, Malformed> {
    // A text that was cut may end within a character.
    Ok(String::from_utf8_lossy(fields.bytes(MAX_TEXT)?).into_owned())
}

fn name(fields: &mut Reader<'_>) -> Result<Name, Malformed> {
    Name::parse(fields.bytes(MAX_NAME)?).map_err(|_| Malformed)
}

fn code_of(kind: HistoryKind) -> u8 {
    match kind {
        HistoryKind::Sent => 0,
        HistoryKind::Received => 1,
        HistoryKind::Refused => 2,
        HistoryKind::Failed => 3,
        HistoryKind::Removed => 4,
        HistoryKind::Archived => 5,
        HistoryKind::Cancelled => 6,
        HistoryKind::HookDone => 7,
        HistoryKind::HookFailed => 8,
    }
}

fn kind_of(code: u8) -> Result<HistoryKind, Malformed> {
    Ok(match code {
        0 => HistoryKind::Sent,
        1 => HistoryKind::Received,
        2 => HistoryKind::Refused,
        3 => HistoryKind::Failed,
        4 => HistoryKind::Removed,
        5 => HistoryKind::Archived,
        6 => HistoryKind::Cancelled,
        7 => HistoryKind::HookDone,
        8 => HistoryKind::HookFailed,
        _ => return Err(Malformed),
    })
}

/// Microseconds since 1970.
pub(crate) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Fuzz target for the blocks of the history.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing {
    use super::{put, read};

    /// Any block: the entries in it survive another one.
    pub fn history_blocks(data: &[u8]) {
        let entries: Vec<_> = read(data).collect();
        let mut again = Vec::new();
        entries.iter().for_each(|entry| put(&mut again, entry));
        // A text that is not UTF-8 grows, and may be cut.
        let kept = |entries: &[super::HistoryEntry]| {
            entries.iter().map(|e| (e.path.clone(), e.time, e.size)).collect::<Vec<_>>()
        };
        assert_eq!(kept(&read(&again).collect::<Vec<_>>()), kept(&entries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<HistoryEntry> {
        let time = UNIX_EPOCH + Duration::from_micros(1_764_500_000_123_456);
        let name = |bytes: &[u8]| Name::parse(bytes).unwrap();
        let full = HistoryEntry {
            time,
            kind: HistoryKind::Received,
            direction: Direction::Receive,
            peer: PeerName::new("bob"),
            path: name(b"d/a\xff.txt"),
            size: 12,
            blake3: Some([0xab; 32]),
            transfer: TransferId([1; 16]),
            installation: Some(InstallationId([2; 16])),
            elapsed: Some(Duration::from_micros(1500)),
            offset: 3,
            saved_as: Some(name(b"d/a\xff (1).txt")),
            checked: true,
            error: Some("disk full".to_owned()),
            output: Some("clean".to_owned()),
        };
        let same = HistoryEntry {
            saved_as: Some(full.path.clone()),
            error: None,
            checked: false,
            ..full.clone()
        };
        let least = HistoryEntry {
            kind: HistoryKind::Removed,
            direction: Direction::Send,
            blake3: None,
            installation: None,
            elapsed: None,
            saved_as: None,
            output: None,
            ..same.clone()
        };
        vec![full, same, least]
    }

    #[test]
    fn entries_survive_their_block_and_a_later_field() {
        let mut block = Vec::new();
        entries().iter().for_each(|entry| put(&mut block, entry));
        assert_eq!(read(&block).collect::<Vec<_>>(), entries());
        let len = u16::from_be_bytes([block[0], block[1]]);
        let mut later = (len + 3).to_be_bytes().to_vec();
        later.extend_from_slice(&block[2..usize::from(len) + 2]);
        later.extend_from_slice(b"new");
        // A kind that is not known yet.
        later.extend_from_slice(&[0, 3, 99, 0, 0]);
        later.extend_from_slice(&block[usize::from(len) + 2..]);
        assert_eq!(read(&later).collect::<Vec<_>>(), entries());
        assert_eq!(read(&block[..block.len() - 1]).count(), 2);
    }

    #[test]
    fn a_long_error_is_cut() {
        let mut entry = entries().remove(0);
        entry.error = Some("é".repeat(5000));
        let mut block = Vec::new();
        put(&mut block, &entry);
        let read: Vec<_> = read(&block).collect();
        assert_eq!(read[0].error.as_ref().unwrap().chars().count(), MAX_TEXT / 2);
    }
}
