use proptest::prelude::*;
use rand::seq::SliceRandom;

use super::*;
use crate::crypto::vectors::seeded;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 1024) as u8).collect()
}

fn chunks(size: ChunkSize, data: &[u8]) -> Vec<(u64, ChunkHash)> {
    if data.is_empty() {
        return vec![(0, size.hash(0, data).unwrap())];
    }
    let pieces = data.chunks(size.bytes() as usize);
    pieces.zip(0..).map(|(piece, index)| (index, size.hash(index, piece).unwrap())).collect()
}

fn hash(
    size: ChunkSize,
    chunks: &[(u64, ChunkHash)],
    len: usize,
) -> Result<[u8; 32], FileHashError> {
    let mut hasher = FileHasher::new(size);
    chunks.iter().try_for_each(|(index, chunk)| hasher.push(*index, *chunk))?;
    hasher.finish(len as u64)
}

fn size(bytes: u32) -> ChunkSize {
    ChunkSize::new(bytes).unwrap()
}

#[test]
fn chunk_sizes() {
    for bytes in [0, 1, 512, 1023, 1025, 3 * 1024, u32::MAX] {
        assert_eq!(ChunkSize::new(bytes), Err(FileHashError::ChunkSize));
    }
    for bytes in [1024, 1 << 18, 1 << 31] {
        assert_eq!(ChunkSize::new(bytes).map(ChunkSize::bytes), Ok(bytes));
    }
}

/// Every count of chunks up to 70, with each kind of last chunk, in order and backwards.
#[test]
fn equals_blake3_at_every_boundary() {
    for bytes in [1024, 4096] {
        let size = size(bytes);
        for count in 0..70 {
            for tail in [0, 1, bytes as usize - 1] {
                let data = content(count * bytes as usize + tail);
                let mut chunks = chunks(size, &data);
                let expected = *blake3::hash(&data).as_bytes();
                assert_eq!(
                    hash(size, &chunks, data.len()),
                    Ok(expected),
                    "{count} chunks and {tail} in order"
                );
                chunks.reverse();
                assert_eq!(
                    hash(size, &chunks, data.len()),
                    Ok(expected),
                    "{count} chunks and {tail} backwards"
                );
            }
        }
    }
}

#[test]
fn equals_blake3_at_the_real_size() {
    let size = size(256 * 1024);
    for len in [0, 1, 262_143, 262_144, 262_145, 3 << 18, (5 << 18) + 777] {
        let data = content(len);
        assert_eq!(
            hash(size, &chunks(size, &data), len),
            Ok(*blake3::hash(&data).as_bytes()),
            "{len} bytes"
        );
    }
}

proptest! {
    #[test]
    fn equals_blake3_in_any_order(len in 0usize..200_000, bits in 10u32..14, seed: u64) {
        let size = size(1 << bits);
        let data = content(len);
        let mut chunks = chunks(size, &data);
        chunks.shuffle(&mut seeded(seed));
        prop_assert_eq!(hash(size, &chunks, len), Ok(*blake3::hash(&data).as_bytes()));
    }

    /// With any one chunk missing, moved or pushed twice, there is no hash.
    #[test]
    fn a_wrong_set_of_chunks_has_no_hash(count in 2usize..40, at: prop::sample::Index, seed: u64) {
        let size = size(1024);
        let data = content(count * 1024 - 3);
        let mut chunks = chunks(size, &data);
        chunks.shuffle(&mut seeded(seed));
        let at = at.index(count);
        let mut missing = chunks.clone();
        let one = missing.remove(at);
        prop_assert_eq!(hash(size, &missing, data.len()), Err(FileHashError::Incomplete));
        chunks.push(one);
        prop_assert_eq!(hash(size, &chunks, data.len()), Err(FileHashError::Duplicate));
        missing.push((count as u64 + 5, one.1));
        prop_assert_eq!(hash(size, &missing, data.len()), Err(FileHashError::Incomplete));
    }
}

#[test]
fn the_length_must_be_that_of_the_chunks() {
    let size = size(1024);
    for len in [0, 1, 1023, 1024, 1025, 2048, 5000] {
        let chunks = chunks(size, &content(len));
        for wrong in 0..6000 {
            if wrong != len {
                assert_eq!(
                    hash(size, &chunks, wrong),
                    Err(FileHashError::Incomplete),
                    "{len} as {wrong}"
                );
            }
        }
        assert_eq!(hash(size, &chunks, usize::MAX), Err(FileHashError::Incomplete));
    }
    assert_eq!(hash(size, &[], 0), Err(FileHashError::Incomplete));
}

#[test]
fn only_the_last_chunk_is_short() {
    let size = size(1024);
    assert_eq!(size.hash(0, &[0; 1025]), Err(FileHashError::ChunkLength));
    assert_eq!(size.hash(1, &[]), Err(FileHashError::ChunkLength));
    assert_eq!(size.hash(u64::MAX, &[0]), Err(FileHashError::ChunkLength));
    let (short, full) = (size.hash(0, &[0; 5]).unwrap(), size.hash(1, &[0; 1024]).unwrap());
    assert_eq!(hash(size, &[(0, short), (1, full)], 2048), Err(FileHashError::Incomplete));
    assert_eq!(hash(size, &[(0, short), (1, full)], 1029), Err(FileHashError::Incomplete));
    let other = size.hash(1, &[0; 6]).unwrap();
    assert_eq!(hash(size, &[(0, short), (1, other)], 1030), Err(FileHashError::ChunkLength));
}

/// One hasher gives the hash of each prefix and then of the whole.
#[test]
fn goes_on_after_a_prefix() {
    let size = size(1024);
    let data = content(10 * 1024 + 1);
    let mut hasher = FileHasher::new(size);
    for (index, chunk) in chunks(size, &data) {
        hasher.push(index, chunk).unwrap();
        let end = data.len().min((index as usize + 1) * 1024);
        assert_eq!(hasher.finish(end as u64), Ok(*blake3::hash(&data[..end]).as_bytes()));
    }
    assert_eq!(hasher.chunks(), 11);
}

/// With one gap among 2^17 chunks, memory is logarithmic in the number of chunks.
#[test]
fn memory_follows_the_gaps() {
    let size = size(1024);
    let one = size.hash(1, &[7; 1024]).unwrap();
    let mut hasher = FileHasher::new(size);
    for index in (0..1 << 17).filter(|index| *index != 70_001) {
        hasher.push(index, one).unwrap();
        assert!(hasher.subtrees.len() <= 70);
    }
    assert!(hasher.subtrees.len() <= 35);
    assert_eq!(hasher.push(12_345, one), Err(FileHashError::Duplicate));
}

#[test]
fn a_chunk_of_a_larger_size_is_refused() {
    let (small, large) = (ChunkSize::new(1024).unwrap(), ChunkSize::new(2048).unwrap());
    let chunk = large.hash(0, &[7; 2048]).unwrap();
    let mut hasher = FileHasher::new(small);
    assert_eq!(hasher.push(0, chunk), Err(FileHashError::ChunkLength));
    assert_eq!(hasher.chunks(), 0);
}
