//! From pieces of a stream, in whatever order they come, to whole sealed records (protocol.md
//! section 4.3). Pure.
//!
//! Where each record of a file begins and ends follows from the file's size alone, so no record
//! waits for the one before it: a lost packet holds up its own chunk and nothing else.

use crate::crypto::seal::{Buffers, RECORD_OVERHEAD};
use crate::proto::message::{CHUNK_SIZE, Trailer};
use bytes::BytesMut;
use std::collections::BTreeMap;

/// Which records a file's stream carries once the chunks begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Offset in the stream of the first chunk's record.
    position: u64,
    /// Index of that record.
    index: u64,
    /// Offset in the file of the first chunk, and of each that follows: a multiple of
    /// [`CHUNK_SIZE`].
    offset: u64,
    /// Length of the file.
    size: u64,
    /// Records in all; at least one, as an empty file has an empty last chunk.
    records: u64,
}

/// Stream bytes of a chunk's record, unless it is the last.
const FULL: u64 = (CHUNK_SIZE + RECORD_OVERHEAD) as u64;

impl Layout {
    /// The records of a file of `size` bytes from `offset` on, the first of which has `index` and
    /// stands at `position` in the stream. `None` when the offset is not at a chunk of the file.
    pub fn new(position: u64, index: u64, size: u64, offset: u64) -> Option<Self> {
        let chunk = CHUNK_SIZE as u64;
        if !offset.is_multiple_of(chunk) || offset > size {
            return None;
        }
        let records = (size - offset).div_ceil(chunk).max(1);
        // The last position must be a number, whatever size a peer may claim.
        records.checked_mul(FULL)?.checked_add(position)?.checked_add(FULL)?;
        index.checked_add(records)?;
        Some(Self { position, index, offset, size, records })
    }

    /// Offset in the stream of the first record.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Records in all.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of data in record `k`, counted from the first chunk.
    pub fn data_len(&self, k: u64) -> usize {
        let before = self.offset + k * CHUNK_SIZE as u64;
        usize::try_from((self.size - before).min(CHUNK_SIZE as u64)).unwrap_or(CHUNK_SIZE)
    }

    /// Whether record `k` is the last.
    pub fn is_last(&self, k: u64) -> bool {
        k + 1 == self.records
    }

    /// Stream bytes of record `k`.
    pub fn record_len(&self, k: u64) -> usize {
        let trailer = if self.is_last(k) { Trailer::LEN } else { 0 };
        self.data_len(k) + trailer + RECORD_OVERHEAD
    }

    /// Index of record `k` in the stream.
    pub fn index(&self, k: u64) -> u64 {
        self.index + k
    }

    /// Offset in the file of the data of record `k`.
    pub fn file_offset(&self, k: u64) -> u64 {
        self.offset + k * CHUNK_SIZE as u64
    }

    /// Which record holds this stream position, and where in it; `None` behind the last or before
    /// the first.
    fn locate(&self, position: u64) -> Option<(u64, usize)> {
        let into = position.checked_sub(self.position)?;
        let k = (into / FULL).min(self.records - 1);
        let within = usize::try_from(into - k * FULL).ok()?;
        (within < self.record_len(k)).then_some((k, within))
    }
}

/// Pieces that do not fit the stream's layout: the peer sends more than it announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent bytes beyond the file that it announced")]
pub struct OutOfPlace;

/// A whole record, still sealed.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    /// Which one, counted from the first chunk.
    pub k: u64,
    /// Its bytes.
    pub record: BytesMut,
}

/// Puts records together.
#[derive(Debug)]
pub struct Assembler {
    layout: Layout,
    /// Records that began to come: their bytes, and how many of these are there.
    partial: BTreeMap<u64, (BytesMut, usize)>,
    buffers: Buffers,
    held: usize,
    complete: u64,
}

impl Assembler {
    /// Expects these records.
    pub fn new(layout: Layout) -> Self {
        Self { layout, partial: BTreeMap::new(), buffers: Buffers::default(), held: 0, complete: 0 }
    }

    /// Takes a piece, no byte of which came before, and hands each record that it completes to
    /// `whole`.
    ///
    /// # Errors
    /// [`OutOfPlace`] for a piece that is not part of any record.
    pub fn push(
        &mut self,
        mut position: u64,
        mut piece: &[u8],
        mut whole: impl FnMut(Whole),
    ) -> Result<(), OutOfPlace> {
        while !piece.is_empty() {
            let (k, at) = self.layout.locate(position).ok_or(OutOfPlace)?;
            let len = self.layout.record_len(k);
            let (now, later) = piece.split_at(piece.len().min(len - at));
            let (record, filled) = self.partial.entry(k).or_insert_with(|| {
                self.held += len;
                (self.buffers.take(len), 0)
            });
            record[at..at + now.len()].copy_from_slice(now);
            *filled += now.len();
            if *filled > len {
                return Err(OutOfPlace);
            }
            if *filled == len
                && let Some((record, _)) = self.partial.remove(&k)
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

    /// Where the buffers of its records come from, and may be given back.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Whether every record was handed out.
    pub fn is_complete(&self) -> bool {
        self.complete == self.layout.records
    }

    /// Bytes held for records that are not complete.
    pub fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The stream of a file: record k is filled with k as a byte.
    fn stream(layout: &Layout) -> Vec<u8> {
        (0..layout.records()).flat_map(|k| vec![k as u8; layout.record_len(k)]).collect()
    }

    #[test]
    fn an_empty_file_is_one_record() {
        let layout = Layout::new(100, 2, 0, 0).unwrap();
        assert_eq!((layout.records(), layout.record_len(0)), (1, RECORD_OVERHEAD + Trailer::LEN));
        assert!(layout.is_last(0));
    }

    #[test]
    fn a_file_of_whole_chunks_has_no_empty_last_one() {
        let layout = Layout::new(0, 0, 2 * CHUNK_SIZE as u64, 0).unwrap();
        assert_eq!(layout.records(), 2);
        assert_eq!(layout.data_len(1), CHUNK_SIZE);
        let resumed = Layout::new(0, 0, 2 * CHUNK_SIZE as u64, 2 * CHUNK_SIZE as u64).unwrap();
        assert_eq!((resumed.records(), resumed.data_len(0)), (1, 0));
    }

    #[test]
    fn nonsense_has_no_layout() {
        assert_eq!(Layout::new(0, 0, 10, 1), None);
        assert_eq!(Layout::new(0, 0, 10, CHUNK_SIZE as u64), None);
        assert_eq!(Layout::new(u64::MAX, 0, 10, 0), None);
        assert_eq!(Layout::new(0, 0, u64::MAX, 0), None);
    }

    #[test]
    fn bytes_beyond_the_end_are_refused() {
        let layout = Layout::new(10, 0, 5, 0).unwrap();
        let mut assembler = Assembler::new(layout);
        let all = vec![0; layout.record_len(0) + 1];
        assert_eq!(assembler.push(10, &all, drop), Err(OutOfPlace));
        assert_eq!(Assembler::new(layout).push(9, &[0], drop), Err(OutOfPlace));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_order_of_any_pieces_gives_every_record_once(
            size in 0u64..4 * CHUNK_SIZE as u64, position in 0u64..1000,
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
            order in any::<u64>(),
        ) {
            let layout = Layout::new(position, 1, size, 0).unwrap();
            let stream = stream(&layout);
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            ends.extend([0, stream.len()]);
            ends.sort_unstable();
            let mut pieces: Vec<_> = ends.windows(2).map(|w| (w[0], w[1])).collect();
            pieces.sort_by_key(|(start, _)| (*start as u64).wrapping_mul(order | 1).rotate_left(17));
            let mut assembler = Assembler::new(layout);
            let mut seen = vec![0; layout.records() as usize];
            for (start, end) in pieces {
                assembler.push(position + start as u64, &stream[start..end], |whole| {
                    assert!(whole.record.iter().all(|&byte| byte == whole.k as u8));
                    assert_eq!(whole.record.len(), layout.record_len(whole.k));
                    seen[whole.k as usize] += 1;
                }).unwrap();
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
            prop_assert!(assembler.is_complete());
            prop_assert_eq!(assembler.held(), 0);
        }
    }
}
