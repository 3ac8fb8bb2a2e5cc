//! The positions of records of differing length, for a file whose chunks may be compressed
//! (protocol.md section 4.3). Pure.
//!
//! The header of a record tells its length, so the position of each record is known when the
//! headers of all records before it are. Bytes beyond the last known record are kept until the
//! header between has arrived. A header is a claim until its record opens: it is checked against
//! its position before memory is allocated.

use super::layout::{FULL_RECORD, Layout, OutOfPlace};
use crate::crypto::seal::{HEADER_LEN, Header, RECORD_OVERHEAD, RecordKind};
use crate::proto::message::Trailer;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Memory that a kept piece costs besides its bytes.
pub(super) const PIECE_COST: usize = 128;

/// The records whose headers have arrived, and the bytes behind them.
#[derive(Debug)]
pub(super) struct VariableLayout {
    layout: Layout,
    /// Number of the first record whose header is missing.
    next: u64,
    /// Its stream offset; the stream's end if no header is missing.
    frontier: u64,
    /// Pieces from `frontier` on, by stream offset.
    beyond: BTreeMap<u64, Bytes>,
    /// Memory of the pieces, in bytes.
    held: usize,
}

/// A record whose header has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KnownRecord {
    /// Its number.
    pub k: u64,
    /// Its stream offset.
    pub start: u64,
    /// Its length in the stream.
    pub len: usize,
}

impl VariableLayout {
    /// Expects the records of `layout`, each at most as long as there.
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, next: 0, frontier: layout.position(), beyond: BTreeMap::new(), held: 0 }
    }

    /// Stream offset of the first record whose header is missing.
    pub(super) fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Memory of the kept pieces, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes the header of the record at the frontier, and moves the frontier behind it.
    ///
    /// # Errors
    /// [`OutOfPlace`] if no record is missing, or the header is not valid for this one.
    pub(super) fn learn(&mut self, header: &[u8; HEADER_LEN]) -> Result<KnownRecord, OutOfPlace> {
        let (layout, k) = (&self.layout, self.next);
        if k == layout.records() {
            return Err(OutOfPlace);
        }
        let kind = if layout.is_last(k) { RecordKind::Final } else { RecordKind::Data };
        let (data_len, trailer_len) = (layout.data_len(k), layout.trailer_len(k));
        let max = u32::try_from(data_len + trailer_len).map_err(|_| OutOfPlace)?;
        let header = Header::parse(header, max).map_err(|_| OutOfPlace)?;
        let min = trailer_len + data_len.min(1);
        if header.kind != kind || header.index != layout.index(k) || (header.len as usize) < min {
            return Err(OutOfPlace);
        }
        let record =
            KnownRecord { k, start: self.frontier, len: header.len as usize + RECORD_OVERHEAD };
        self.frontier += record.len as u64;
        self.next += 1;
        Ok(record)
    }

    /// The header at the frontier, if all its bytes are in the kept pieces.
    pub(super) fn kept_header(&self) -> Option<[u8; HEADER_LEN]> {
        let (mut header, mut len) = ([0; HEADER_LEN], 0);
        for (&position, piece) in &self.beyond {
            if position != self.frontier + len as u64 {
                return None;
            }
            let part = piece.len().min(HEADER_LEN - len);
            header[len..len + part].copy_from_slice(&piece[..part]);
            len += part;
            if len == HEADER_LEN {
                return Some(header);
            }
        }
        None
    }

    /// Keeps a piece at or beyond the frontier.
    ///
    /// # Errors
    /// [`OutOfPlace`] if it lies behind the longest possible stream, or overlaps a kept piece.
    pub(super) fn keep(&mut self, position: u64, piece: &[u8]) -> Result<(), OutOfPlace> {
        let left = self.layout.records() - self.next;
        let max = if left == 0 { 0 } else { left * FULL_RECORD + Trailer::LEN as u64 };
        let end = position.checked_add(piece.len() as u64).ok_or(OutOfPlace)?;
        let before = self.beyond.range(..end).next_back();
        let overlaps = before.is_some_and(|(&at, kept)| at + kept.len() as u64 > position);
        if end - self.frontier > max || overlaps {
            return Err(OutOfPlace);
        }
        self.held += piece.len() + PIECE_COST;
        // A copy, because the piece is a part of a larger buffer that it would keep in memory.
        self.beyond.insert(position, Bytes::copy_from_slice(piece));
        Ok(())
    }

    /// Gives back the first kept bytes that lie before the frontier, with their stream offset.
    pub(super) fn take_known(&mut self) -> Option<(u64, Bytes)> {
        let entry = self.beyond.first_entry().filter(|entry| *entry.key() < self.frontier)?;
        let (position, mut piece) = entry.remove_entry();
        self.held -= piece.len() + PIECE_COST;
        let later = piece.split_off(piece.len().min(distance(position, self.frontier)));
        if !later.is_empty() {
            self.held += later.len() + PIECE_COST;
            self.beyond.insert(self.frontier, later);
        }
        Some((position, piece))
    }
}

/// Bytes from `start` to `end`, saturating where they are more than memory can hold.
pub(super) fn distance(start: u64, end: u64) -> usize {
    usize::try_from(end - start).unwrap_or(usize::MAX)
}
