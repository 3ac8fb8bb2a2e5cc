//! From pieces of a stream to whole sealed records where chunks may be compressed (protocol.md
//! section 4.3). Pure.
//!
//! Packed chunks make records of any length up to that of a whole one. Where a record ends, its
//! header says, so places become known one after the other: what comes beyond the last known place
//! is kept until the header in between is there. A header is only a claim. It is held against what
//! may come there before anything is allocated, and believed when its record opens.

use super::reassembly::{Assembler, Layout, OutOfPlace, Whole};
use crate::crypto::seal::{Buffers, HEADER_LEN, Header, RECORD_OVERHEAD, RecordKind};
use crate::proto::message::{CHUNK_SIZE, Trailer};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

/// What a kept piece costs beside its bytes.
const PIECE_COST: usize = 128;
/// Stream bytes of a record at most, but for the trailer of the last.
const FULL: u64 = (CHUNK_SIZE + RECORD_OVERHEAD) as u64;

/// Puts records of varying length together.
#[derive(Debug)]
pub struct VariableLayout {
    layout: Layout,
    /// The first record whose place is not known, counted from the first chunk.
    next: u64,
    /// Where it begins, if there is one; else where the stream ends.
    frontier: u64,
    /// Records whose place is known and whose bytes are not all there, by position.
    known: BTreeMap<u64, Partial>,
    /// Pieces from `frontier` on, by position.
    beyond: BTreeMap<u64, Bytes>,
    buffers: Buffers,
    held: usize,
    complete: u64,
}

#[derive(Debug)]
struct Partial {
    k: u64,
    record: BytesMut,
    filled: usize,
}

impl VariableLayout {
    /// Expects as many records as this layout has, none of them longer than there.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            next: 0,
            frontier: layout.position(),
            known: BTreeMap::new(),
            beyond: BTreeMap::new(),
            buffers: Buffers::default(),
            held: 0,
            complete: 0,
        }
    }

    /// Takes a piece, no byte of which came before, and hands each record that it completes to
    /// `whole`.
    ///
    /// # Errors
    /// [`OutOfPlace`] for a piece that is not part of any record, and for a header that does not
    /// belong where it is.
    pub fn push(
        &mut self,
        mut position: u64,
        mut piece: &[u8],
        mut whole: impl FnMut(Whole),
    ) -> Result<(), OutOfPlace> {
        while !piece.is_empty() {
            if position == self.frontier
                && let Some(header) = piece.first_chunk()
            {
                self.learn(header)?;
            }
            if position >= self.frontier {
                self.keep(position, piece)?;
                break;
            }
            let (now, later) = piece.split_at(piece.len().min(to_len(self.frontier - position)));
            self.fill(position, now, &mut whole)?;
            position += now.len() as u64;
            piece = later;
        }
        self.walk(&mut whole)
    }

    /// Whether every record was handed out.
    pub fn is_complete(&self) -> bool {
        self.complete == self.layout.records()
    }

    /// Bytes held for records that are not complete.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Finds places as far as headers are there, and puts the kept pieces into them.
    fn walk(&mut self, whole: &mut impl FnMut(Whole)) -> Result<(), OutOfPlace> {
        while let Some((&position, _)) = self.beyond.first_key_value() {
            if position == self.frontier
                && let Some(header) = self.header()
            {
                self.learn(&header)?;
            }
            if position >= self.frontier {
                break;
            }
            let Some((_, mut piece)) = self.beyond.pop_first() else { break };
            self.held -= piece.len() + PIECE_COST;
            let later = piece.split_off(piece.len().min(to_len(self.frontier - position)));
            if !later.is_empty() {
                self.held += later.len() + PIECE_COST;
                self.beyond.insert(self.frontier, later);
            }
            self.fill(position, &piece, whole)?;
        }
        Ok(())
    }

    /// The header at the frontier, if its bytes are there.
    fn header(&self) -> Option<[u8; HEADER_LEN]> {
        let (mut header, mut there) = ([0; HEADER_LEN], 0);
        for (&position, piece) in &self.beyond {
            if position != self.frontier + there as u64 {
                return None;
            }
            let len = piece.len().min(HEADER_LEN - there);
            header[there..there + len].copy_from_slice(&piece[..len]);
            there += len;
            if there == HEADER_LEN {
                return Some(header);
            }
        }
        None
    }

    /// The record at the frontier has this header: so long it is, and there the next begins.
    fn learn(&mut self, header: &[u8; HEADER_LEN]) -> Result<(), OutOfPlace> {
        let (layout, k) = (&self.layout, self.next);
        if k == layout.records() {
            return Err(OutOfPlace);
        }
        let (kind, trailer) = if layout.is_last(k) {
            (RecordKind::Final, Trailer::LEN)
        } else {
            (RecordKind::Data, 0)
        };
        let most = u32::try_from(layout.data_len(k) + trailer).map_err(|_| OutOfPlace)?;
        let header = Header::parse(header, most).map_err(|_| OutOfPlace)?;
        let least = trailer + layout.data_len(k).min(1);
        if header.kind != kind || header.index != layout.index(k) || (header.len as usize) < least {
            return Err(OutOfPlace);
        }
        let len = header.len as usize + RECORD_OVERHEAD;
        self.known.insert(self.frontier, Partial { k, record: self.buffers.take(len), filled: 0 });
        self.held += len;
        self.frontier += len as u64;
        self.next += 1;
        Ok(())
    }

    /// Keeps a piece whose record is not known yet.
    fn keep(&mut self, position: u64, piece: &[u8]) -> Result<(), OutOfPlace> {
        let left = self.layout.records() - self.next;
        let most = if left == 0 { 0 } else { left * FULL + Trailer::LEN as u64 };
        let end = position.checked_add(piece.len() as u64).ok_or(OutOfPlace)?;
        let overlaps = self.beyond.range(..end).next_back();
        if end - self.frontier > most
            || overlaps.is_some_and(|(&at, kept)| at + kept.len() as u64 > position)
        {
            return Err(OutOfPlace);
        }
        self.held += piece.len() + PIECE_COST;
        // A copy: the piece is a part of a larger buffer, which would stay with it.
        self.beyond.insert(position, Bytes::copy_from_slice(piece));
        Ok(())
    }

    /// Puts a piece that lies before the frontier into its records.
    fn fill(
        &mut self,
        mut position: u64,
        mut piece: &[u8],
        whole: &mut impl FnMut(Whole),
    ) -> Result<(), OutOfPlace> {
        while !piece.is_empty() {
            let (&start, partial) =
                self.known.range_mut(..=position).next_back().ok_or(OutOfPlace)?;
            let len = partial.record.len();
            let at = to_len(position - start);
            if at >= len {
                return Err(OutOfPlace);
            }
            let (now, later) = piece.split_at(piece.len().min(len - at));
            partial.record[at..at + now.len()].copy_from_slice(now);
            partial.filled += now.len();
            if partial.filled > len {
                return Err(OutOfPlace);
            }
            if partial.filled == len
                && let Some(Partial { k, record, .. }) = self.known.remove(&start)
            {
                self.held -= len;
                self.complete += 1;
                whole(Whole { k, record });
            }
            position += now.len() as u64;
            piece = later;
        }
        Ok(())
    }
}

/// A distance in the stream that is then cut to what is in memory.
fn to_len(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

/// Either way to put a file's records together.
#[derive(Debug)]
pub enum Records {
    /// Their places follow from the file's size.
    Fixed(Assembler),
    /// Chunks may be compressed: their places follow from their headers.
    Walked(VariableLayout),
}

impl Records {
    /// Expects these records, or with `compressed` such as are no longer.
    pub fn new(layout: Layout, compressed: bool) -> Self {
        match compressed {
            false => Self::Fixed(Assembler::new(layout)),
            true => Self::Walked(VariableLayout::new(layout)),
        }
    }

    /// See [`Assembler::push`] and [`VariableLayout::push`].
    ///
    /// # Errors
    /// [`OutOfPlace`].
    pub fn push(
        &mut self,
        position: u64,
        piece: &[u8],
        whole: impl FnMut(Whole),
    ) -> Result<(), OutOfPlace> {
        match self {
            Self::Fixed(assembler) => assembler.push(position, piece, whole),
            Self::Walked(walker) => walker.push(position, piece, whole),
        }
    }

    /// See [`Assembler::buffers`].
    pub fn buffers(&self) -> &Buffers {
        match self {
            Self::Fixed(assembler) => assembler.buffers(),
            Self::Walked(walker) => &walker.buffers,
        }
    }

    /// Whether every record was handed out.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Fixed(assembler) => assembler.is_complete(),
            Self::Walked(walker) => walker.is_complete(),
        }
    }

    /// Bytes held for records that are not complete.
    pub fn held(&self) -> usize {
        match self {
            Self::Fixed(assembler) => assembler.held(),
            Self::Walked(walker) => walker.held(),
        }
    }
}

#[cfg(test)]
mod tests;
