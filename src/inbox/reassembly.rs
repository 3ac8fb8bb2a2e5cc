//! Reassembles sealed records from the pieces of a stream, which arrive in any order (protocol.md
//! section 4.3). Pure.
//!
//! Without compression the position of each record follows from the file's size, so no record
//! waits for the one before it: a lost packet delays its own chunk and no other. With compression
//! [`VariableLayout`] finds the positions.

use super::layout::{Layout, OutOfPlace};
use super::variable_layout::{KnownRecord, VariableLayout, distance};
use crate::crypto::seal::Buffers;
use bytes::BytesMut;
use std::collections::BTreeMap;

/// A complete record, still sealed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SealedRecord {
    /// Its number in the [`Layout`].
    pub k: u64,
    /// Its bytes.
    pub bytes: BytesMut,
}

/// Collects the pieces of a file's stream into records.
#[derive(Debug)]
pub(super) struct Reassembler {
    layout: Layout,
    /// The positions of the records, if they do not follow from the layout.
    variable: Option<VariableLayout>,
    /// Incomplete records of known position, by stream offset.
    partial: BTreeMap<u64, PartialRecord>,
    buffers: Buffers,
    /// Memory of the incomplete records, in bytes.
    held: usize,
    /// Number of records that were complete.
    complete: u64,
}

#[derive(Debug)]
struct PartialRecord {
    k: u64,
    bytes: BytesMut,
    filled: usize,
}

impl Reassembler {
    /// Expects the records of `layout`; if `compressed`, they may be shorter than there.
    pub(super) fn new(layout: Layout, compressed: bool) -> Self {
        Self {
            layout,
            variable: compressed.then(|| VariableLayout::new(layout)),
            partial: BTreeMap::new(),
            buffers: Buffers::default(),
            held: 0,
            complete: 0,
        }
    }

    /// Takes a piece of the stream that has arrived for the first time. Passes each record that it
    /// completes to `complete`.
    ///
    /// # Errors
    /// [`OutOfPlace`] for bytes that do not fit the layout.
    pub(super) fn push(
        &mut self,
        mut position: u64,
        mut piece: &[u8],
        mut complete: impl FnMut(SealedRecord),
    ) -> Result<(), OutOfPlace> {
        while let Some(variable) = &mut self.variable
            && !piece.is_empty()
        {
            if position == variable.frontier()
                && let Some(header) = piece.first_chunk()
            {
                let record = variable.learn(header)?;
                self.begin(record);
                continue;
            }
            let frontier = variable.frontier();
            if position >= frontier {
                variable.keep(position, piece)?;
                break;
            }
            let (known, later) = piece.split_at(piece.len().min(distance(position, frontier)));
            self.fill(position, known, &mut complete)?;
            position += known.len() as u64;
            piece = later;
        }
        match self.variable {
            None => self.fill(position, piece, &mut complete),
            Some(_) => self.fill_kept(&mut complete),
        }
    }

    /// The source of the records' buffers, which takes them back.
    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Whether all records were complete.
    pub(super) fn is_complete(&self) -> bool {
        self.complete == self.layout.records()
    }

    /// Memory of incomplete records and kept pieces, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held + self.variable.as_ref().map_or(0, VariableLayout::held)
    }

    /// Learns positions as far as headers are in the kept pieces, and fills these into the records.
    fn fill_kept(&mut self, complete: &mut impl FnMut(SealedRecord)) -> Result<(), OutOfPlace> {
        while let Some(variable) = &mut self.variable {
            if let Some((position, piece)) = variable.take_known() {
                self.fill(position, &piece, complete)?;
            } else if let Some(header) = variable.kept_header() {
                let record = variable.learn(&header)?;
                self.begin(record);
            } else {
                break;
            }
        }
        Ok(())
    }

    fn begin(&mut self, KnownRecord { k, start, len }: KnownRecord) {
        self.held += len;
        let bytes = self.buffers.take(len);
        self.partial.insert(start, PartialRecord { k, bytes, filled: 0 });
    }

    /// Copies a piece into the records at its position. They are all known.
    fn fill(
        &mut self,
        mut position: u64,
        mut piece: &[u8],
        complete: &mut impl FnMut(SealedRecord),
    ) -> Result<(), OutOfPlace> {
        while !piece.is_empty() {
            let record = match self.variable {
                None => {
                    let (k, start) = self.layout.locate(position).ok_or(OutOfPlace)?;
                    let record = self.partial.entry(start).or_insert_with(|| {
                        let len = self.layout.record_len(k);
                        self.held += len;
                        PartialRecord { k, bytes: self.buffers.take(len), filled: 0 }
                    });
                    Some((start, record))
                }
                Some(_) => {
                    let before = self.partial.range_mut(..=position).next_back();
                    before.map(|(&start, record)| (start, record))
                }
            };
            let (start, PartialRecord { bytes, filled, .. }) = record.ok_or(OutOfPlace)?;
            let (at, len) = (distance(start, position), bytes.len());
            let (now, later) = piece.split_at(piece.len().min(len.saturating_sub(at)));
            // A record that is complete, or a byte that arrived twice.
            if now.is_empty() || *filled + now.len() > len {
                return Err(OutOfPlace);
            }
            bytes[at..at + now.len()].copy_from_slice(now);
            *filled += now.len();
            if *filled == len
                && let Some(PartialRecord { k, bytes, .. }) = self.partial.remove(&start)
            {
                self.held -= len;
                self.complete += 1;
                complete(SealedRecord { k, bytes });
            }
            position += now.len() as u64;
            piece = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
