//! The positions of a file's records in its stream (protocol.md section 4.3). Pure.

use crate::crypto::seal::RECORD_OVERHEAD;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::{CHUNK_SIZE, Trailer};

/// Length in the stream of a full chunk's record, without a trailer.
pub(super) const FULL_RECORD: u64 = (CHUNK_SIZE + RECORD_OVERHEAD) as u64;

/// The records that carry a file's chunks. Records are numbered from 0, the first chunk that is
/// sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Stream offset of record 0.
    position: u64,
    /// Index of record 0 in the stream (protocol.md section 4.1).
    index: u64,
    /// Offset in the file of the data of record 0: a multiple of [`CHUNK_SIZE`].
    offset: u64,
    /// Length of the file in bytes.
    size: u64,
    /// Number of records; at least one, since the last record also carries the trailer.
    records: u64,
}

impl Layout {
    /// The records for the chunks of a file of `size` bytes that are not in `held`. The first of
    /// them has `index` and begins at the stream offset `position`.
    ///
    /// `None` if `held` has gaps or reaches beyond the file, or if an offset overflows.
    pub(super) fn new(position: u64, index: u64, size: u64, held: &ChunkSet) -> Option<Self> {
        let offset = held.prefix_bytes();
        if !held.is_prefix() || offset > size {
            return None;
        }
        let records = (size - offset).div_ceil(CHUNK_SIZE as u64).max(1);
        // A peer may claim any size.
        records.checked_mul(FULL_RECORD)?.checked_add(position)?.checked_add(FULL_RECORD)?;
        index.checked_add(records)?;
        Some(Self { position, index, offset, size, records })
    }

    /// Stream offset of the first record.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Number of records.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Length in bytes of the chunk that record `k` carries, before compression.
    pub(super) fn data_len(&self, k: u64) -> usize {
        let before = self.file_offset(k);
        usize::try_from((self.size - before).min(CHUNK_SIZE as u64)).unwrap_or(CHUNK_SIZE)
    }

    /// Length in bytes of the trailer in record `k`: 0 unless it is the last.
    pub(super) fn trailer_len(&self, k: u64) -> usize {
        if self.is_last(k) { Trailer::LEN } else { 0 }
    }

    /// Whether record `k` is the last.
    pub(super) fn is_last(&self, k: u64) -> bool {
        k + 1 == self.records
    }

    /// Length in the stream of record `k`, without compression.
    pub(super) fn record_len(&self, k: u64) -> usize {
        self.data_len(k) + self.trailer_len(k) + RECORD_OVERHEAD
    }

    /// Index of record `k` in the stream.
    pub(super) fn index(&self, k: u64) -> u64 {
        self.index + k
    }

    /// Offset in the file of the data of record `k`.
    pub(super) fn file_offset(&self, k: u64) -> u64 {
        self.offset + k * CHUNK_SIZE as u64
    }

    /// The record at a stream offset, without compression: its number and its stream offset.
    /// `None` outside all records.
    pub(super) fn locate(&self, position: u64) -> Option<(u64, u64)> {
        let k = (position.checked_sub(self.position)? / FULL_RECORD).min(self.records - 1);
        let start = self.position + k * FULL_RECORD;
        (position - start < self.record_len(k) as u64).then_some((k, start))
    }
}

/// Bytes that do not fit the layout: outside all records, received twice, or a header that is not
/// valid at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent bytes that do not belong to the file it announced")]
pub(crate) struct OutOfPlace;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_one_record() {
        let layout = Layout::new(100, 2, 0, &ChunkSet::EMPTY).unwrap();
        assert_eq!((layout.records(), layout.record_len(0)), (1, RECORD_OVERHEAD + Trailer::LEN));
        assert!(layout.is_last(0));
    }

    #[test]
    fn a_file_of_full_chunks_has_no_empty_last_record() {
        let size = 2 * CHUNK_SIZE as u64;
        let layout = Layout::new(0, 0, size, &ChunkSet::EMPTY).unwrap();
        assert_eq!(layout.records(), 2);
        assert_eq!(layout.data_len(1), CHUNK_SIZE);
        let resumed = Layout::new(0, 0, size, &ChunkSet::prefix(2)).unwrap();
        assert_eq!((resumed.records(), resumed.data_len(0)), (1, 0));
    }

    #[test]
    fn impossible_values_have_no_layout() {
        let gap = ChunkSet::from_ranges(vec![0..1, 2..3]).unwrap();
        assert_eq!(Layout::new(0, 0, 9 * CHUNK_SIZE as u64, &gap), None);
        assert_eq!(Layout::new(0, 0, 10, &ChunkSet::prefix(1)), None);
        assert_eq!(Layout::new(u64::MAX, 0, 10, &ChunkSet::EMPTY), None);
        assert_eq!(Layout::new(0, 0, u64::MAX, &ChunkSet::EMPTY), None);
    }
}
