//! The chunks of a file that a peer holds (protocol.md section 5.3). Pure.

use super::codec::{Malformed, Reader};
use bytes::{BufMut, BytesMut};
use std::ops::Range;

/// Length of a chunk in bytes; only a file's last chunk may be shorter. A power of two, so that
/// each chunk is a whole subtree of BLAKE3.
pub const CHUNK_SIZE: usize = 256 * 1024;

/// Number of chunks in 2^64 bytes: no chunk has this number or a greater one.
const MAX_CHUNKS: u64 = 1 << (u64::BITS - CHUNK_SIZE.trailing_zeros());

/// A set of chunk numbers, as ranges.
///
/// The ranges ascend, none is empty, and at least one missing chunk separates two of them, so
/// equal sets have equal ranges and equal encodings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkSet {
    ranges: Vec<Range<u64>>,
}

impl ChunkSet {
    /// The set without chunks.
    pub const EMPTY: Self = Self { ranges: Vec::new() };
    /// Maximum number of ranges in a set. It bounds the size of a message that carries one.
    pub const MAX_RANGES: usize = 256;
    /// Maximum length of an encoding, in bytes.
    pub const MAX_LEN: usize = 2 + 16 * Self::MAX_RANGES;

    /// The first `chunks` chunks of a file.
    pub fn prefix(chunks: u64) -> Self {
        let all = 0..chunks.min(MAX_CHUNKS);
        Self { ranges: if all.is_empty() { Vec::new() } else { vec![all] } }
    }

    /// The set with these ranges. `None` unless they are in the form that the type describes, end
    /// within 2^64 bytes, and are at most [`ChunkSet::MAX_RANGES`].
    pub fn from_ranges(ranges: Vec<Range<u64>>) -> Option<Self> {
        let separated = ranges.is_sorted_by(|before, after| before.end < after.start);
        let bounded = ranges.iter().all(|range| !range.is_empty() && range.end <= MAX_CHUNKS);
        let valid = separated && bounded && ranges.len() <= Self::MAX_RANGES;
        valid.then_some(Self { ranges })
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Whether the set has no chunk.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of chunks from the file's start to the first that is missing.
    pub fn prefix_chunks(&self) -> u64 {
        self.ranges.first().filter(|range| range.start == 0).map_or(0, |range| range.end)
    }

    /// Bytes from the file's start to the first missing chunk, in a file whose last chunk is not
    /// in the set or is full.
    pub fn prefix_bytes(&self) -> u64 {
        self.prefix_chunks().saturating_mul(CHUNK_SIZE as u64)
    }

    /// Whether the set is a prefix: empty, or one range from chunk 0.
    pub fn is_prefix(&self) -> bool {
        *self == Self::prefix(self.prefix_chunks())
    }

    /// The part of the set that a file of `len` bytes holds in full chunks.
    pub fn within(mut self, len: u64) -> Self {
        let full = len / CHUNK_SIZE as u64;
        self.ranges.iter_mut().for_each(|range| range.end = range.end.min(full));
        self.ranges.retain(|range| !range.is_empty());
        self
    }

    /// Appends the set's encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        #[allow(clippy::cast_possible_truncation)] // at most MAX_RANGES
        out.put_u16(self.ranges.len() as u16);
        for range in &self.ranges {
            out.put_u64(range.start);
            out.put_u64(range.end - range.start);
        }
    }

    /// Reads a set from the front of a message.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`ChunkSet::encode`] does not write.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::from(reader.u16()?);
        if count > Self::MAX_RANGES {
            return Err(Malformed);
        }
        let ranges: Result<_, Malformed> = (0..count)
            .map(|_| {
                let (start, chunks) = (reader.u64()?, reader.u64()?);
                Ok(start..start.checked_add(chunks).ok_or(Malformed)?)
            })
            .collect();
        Self::from_ranges(ranges?).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn encoded(set: &ChunkSet) -> BytesMut {
        let mut out = BytesMut::new();
        set.encode(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<ChunkSet, Malformed> {
        let mut reader = Reader::new(bytes);
        let set = ChunkSet::decode(&mut reader)?;
        reader.end().map(|()| set)
    }

    /// The set of these numbers.
    fn set_of(chunks: &BTreeSet<u64>) -> ChunkSet {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for &chunk in chunks {
            match ranges.last_mut() {
                Some(range) if range.end == chunk => range.end += 1,
                _ => ranges.push(chunk..chunk + 1),
            }
        }
        ChunkSet::from_ranges(ranges).unwrap()
    }

    fn chunks_of(set: &ChunkSet) -> BTreeSet<u64> {
        set.ranges().iter().cloned().flatten().collect()
    }

    #[test]
    fn a_set_has_at_most_256_ranges() {
        let ranges = |count: u64| (0..count).map(|n| 2 * n..2 * n + 1).collect::<Vec<_>>();
        assert!(ChunkSet::from_ranges(ranges(256)).is_some());
        assert_eq!(ChunkSet::from_ranges(ranges(257)), None);
    }

    #[test]
    fn a_set_has_the_bytes_of_the_table() {
        assert_eq!(encoded(&ChunkSet::EMPTY), [0, 0][..]);
        let set = ChunkSet::from_ranges(vec![0..258, 300..301]).unwrap();
        let mut expected = vec![0, 2];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 44, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(encoded(&set), expected);
        assert_eq!(decode(&expected), Ok(set));
    }

    #[test]
    fn ranges_in_another_form_are_no_set() {
        let max = MAX_CHUNKS;
        for bad in [
            vec![(0, 0)],
            vec![(1, 2), (3, 1)],
            vec![(1, 2), (2, 4)],
            vec![(5, 1), (1, 1)],
            vec![(1, 1), (1, 1)],
            vec![(0, max + 1)],
            vec![(max, 1)],
            vec![(u64::MAX, 1)],
            (0..257).map(|n| (2 * n, 1)).collect(),
        ] {
            let mut bytes = BytesMut::new();
            bytes.put_u16(bad.len() as u16);
            for &(start, chunks) in &bad {
                bytes.put_u64(start);
                bytes.put_u64(chunks);
            }
            assert_eq!(decode(&bytes), Err(Malformed), "{bad:?}");
        }
        let most = ChunkSet::from_ranges((0..256).map(|n| 2 * n..2 * n + 1).collect()).unwrap();
        assert_eq!(decode(&encoded(&most)), Ok(most));
        assert_eq!(decode(&encoded(&ChunkSet::prefix(max))), Ok(ChunkSet::prefix(u64::MAX)));
    }

    proptest! {
        #[test]
        fn a_set_holds_its_chunks_and_survives_its_encoding(
            chunks in proptest::collection::btree_set(0u64..40, 0..30),
            len in 0u64..50 * CHUNK_SIZE as u64,
        ) {
            let set = set_of(&chunks);
            prop_assert_eq!(&chunks_of(&set), &chunks);
            prop_assert_eq!(set.is_empty(), chunks.is_empty());
            let prefix = (0..).take_while(|chunk| chunks.contains(chunk)).count() as u64;
            prop_assert_eq!(set.prefix_chunks(), prefix);
            prop_assert_eq!(set.prefix_bytes(), prefix * CHUNK_SIZE as u64);
            prop_assert_eq!(set.is_prefix(), prefix == chunks.len() as u64);
            prop_assert_eq!(decode(&encoded(&set)), Ok(set.clone()));
            let within = set.within(len);
            let full = len / CHUNK_SIZE as u64;
            let expected = chunks.into_iter().filter(|&chunk| chunk < full).collect();
            prop_assert_eq!(chunks_of(&within), expected);
            prop_assert_eq!(ChunkSet::from_ranges(within.ranges().to_vec()), Some(within));
        }

        #[test]
        fn bytes_that_decode_are_the_encoding_of_their_set(
            bytes in proptest::collection::vec(0u8..3, 0..60),
        ) {
            if let Ok(set) = decode(&bytes) {
                prop_assert_eq!(encoded(&set), bytes);
            }
        }
    }
}
