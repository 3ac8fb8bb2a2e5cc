//! The BLAKE3 hash of a whole file, computed chunk by chunk in any order and on any thread.
//!
//! BLAKE3 is a binary tree over pieces of 1 KiB (BLAKE3 paper, section 2.1): a chunk whose size is
//! a power of two of those is a subtree, and its chaining value does not depend on the others.
//! Workers hash chunks ([`ChunkSize::hash`]), one [`FileHasher`] puts the values together. What
//! comes out is `b3sum`'s hash of the file.

use std::collections::BTreeMap;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

/// Why a file's hash cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileHashError {
    /// A chunk size that is no power of two, or is below 1 KiB.
    #[error("the chunk size is not a power of two of at least 1 KiB")]
    ChunkSize,
    /// A chunk that is longer than the chunk size, empty though not the only one, or beyond 2^64
    /// bytes.
    #[error("the chunk does not fit its place in the file")]
    ChunkLength,
    /// A chunk was pushed twice.
    #[error("the chunk was there before")]
    Duplicate,
    /// The chunks that were pushed are not those of a file of this length.
    #[error("the file's chunks are not complete")]
    Incomplete,
}

/// Size of a file's chunks in bytes: a power of two, at least 1 KiB and at most 2 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// Checks a size in bytes.
    ///
    /// # Errors
    /// [`FileHashError::ChunkSize`].
    pub const fn new(bytes: u32) -> Result<Self, FileHashError> {
        if bytes.is_power_of_two() && bytes as usize >= blake3::CHUNK_LEN {
            Ok(Self(bytes))
        } else {
            Err(FileHashError::ChunkSize)
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Hashes the chunk that starts at byte `index * self.bytes()` of the file. `data` is shorter
    /// than the chunk size only in the file's last chunk, and empty only in an empty file.
    ///
    /// # Errors
    /// [`FileHashError::ChunkLength`].
    pub fn hash(self, index: u64, data: &[u8]) -> Result<ChunkHash, FileHashError> {
        let len = u32::try_from(data.len())
            .ok()
            .filter(|len| *len <= self.0)
            .ok_or(FileHashError::ChunkLength)?;
        let offset = index.checked_mul(u64::from(self.0)).ok_or(FileHashError::ChunkLength)?;
        let mut hasher = Hasher::new();
        if len == 0 {
            // An empty file has a hash, but no subtree: the value is never used as one.
            let root = *hasher.finalize().as_bytes();
            return if index == 0 {
                Ok(ChunkHash { value: root, root, len })
            } else {
                Err(FileHashError::ChunkLength)
            };
        }
        hasher.set_input_offset(offset);
        hasher.update(data);
        let value = hasher.finalize_non_root();
        // Only the first chunk can turn out to be the whole file, whose root is hashed otherwise
        // than a subtree.
        let root = if index == 0 { *hasher.finalize().as_bytes() } else { value };
        Ok(ChunkHash { value, root, len })
    }
}

/// The chunks of every file on the wire: 256 KiB (protocol.md section 4.3).
pub const FILE_CHUNK: ChunkSize = ChunkSize(256 * 1024);

/// The hash of one chunk at its place. Plain data, to be sent from the worker that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHash {
    value: ChainingValue,
    /// The file's hash, should chunk 0 be the whole file.
    root: [u8; 32],
    len: u32,
}

/// Puts the chunks' hashes together as they come.
///
/// Neighbours are merged at once, so what is held grows with the number of gaps and with the
/// logarithm of the number of chunks, not with the file.
#[derive(Debug, Clone)]
pub struct FileHasher {
    chunk_size: ChunkSize,
    /// Complete subtrees by (level, position in that level); level 0 is the chunks. Merged with
    /// their sibling as soon as it is there, but for those along the left edge: such a parent may
    /// be the root, which is hashed otherwise.
    subtrees: BTreeMap<(u32, u64), ChainingValue>,
    count: u64,
    last: Option<u64>,
    /// The one chunk that is shorter than the chunk size: index and length.
    short: Option<(u64, u32)>,
    /// Root of chunk 0 as a whole file.
    single: Option<[u8; 32]>,
}

impl FileHasher {
    /// A hasher of a file in chunks of this size.
    pub fn new(chunk_size: ChunkSize) -> Self {
        Self {
            chunk_size,
            subtrees: BTreeMap::new(),
            count: 0,
            last: None,
            short: None,
            single: None,
        }
    }

    /// The size of the chunks.
    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// How many chunks have been pushed.
    pub fn chunks(&self) -> u64 {
        self.count
    }

    /// Takes the hash of chunk `index`, which [`ChunkSize::hash`] made for the same index and chunk
    /// size.
    ///
    /// # Errors
    /// [`FileHashError::Duplicate`], or [`FileHashError::ChunkLength`] for a second chunk that is
    /// not full. The hasher is as it was before.
    pub fn push(&mut self, index: u64, chunk: ChunkHash) -> Result<(), FileHashError> {
        if self.holds(index) {
            return Err(FileHashError::Duplicate);
        }
        if chunk.len > self.chunk_size.0 {
            return Err(FileHashError::ChunkLength);
        }
        if chunk.len < self.chunk_size.0 {
            if self.short.is_some() {
                return Err(FileHashError::ChunkLength);
            }
            self.short = Some((index, chunk.len));
        }
        if index == 0 {
            self.single = Some(chunk.root);
        }
        self.count += 1;
        self.last = self.last.max(Some(index));
        self.insert(index, chunk.value);
        Ok(())
    }

    /// The hash of the file of `total_len` bytes whose chunks, and no others, have been pushed.
    ///
    /// The hasher can go on afterwards: the hash of what is there so far proves a prefix.
    ///
    /// # Errors
    /// [`FileHashError::Incomplete`].
    pub fn finish(&self, total_len: u64) -> Result<[u8; 32], FileHashError> {
        let size = u64::from(self.chunk_size.0);
        let chunks = total_len.div_ceil(size).max(1);
        let short = match total_len - (chunks - 1) * size {
            tail if tail == size => None,
            tail => Some((chunks - 1, tail as u32)),
        };
        // Distinct indices, as many as the file has chunks, and none above: then each of them is
        // there.
        if self.count != chunks || self.last != Some(chunks - 1) || self.short != short {
            return Err(FileHashError::Incomplete);
        }
        if chunks == 1 {
            return self.single.ok_or(FileHashError::Incomplete);
        }
        let middle = left_chunks(chunks);
        let left = self.subtree(0, middle).ok_or(FileHashError::Incomplete)?;
        let right = self.subtree(middle, chunks - middle).ok_or(FileHashError::Incomplete)?;
        Ok(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
    }

    /// Whether the chunk is there, on its own or in a merged subtree.
    fn holds(&self, index: u64) -> bool {
        let levels = self.last.map_or(0, |last| u64::BITS - last.leading_zeros());
        (0..=levels.min(63)).any(|level| self.subtrees.contains_key(&(level, index >> level)))
    }

    fn insert(&mut self, index: u64, value: ChainingValue) {
        let (mut level, mut position, mut value) = (0, index, value);
        while position > 1 {
            let Some(sibling) = self.subtrees.remove(&(level, position ^ 1)) else { break };
            let (left, right) = if position & 1 == 0 { (value, sibling) } else { (sibling, value) };
            value = merge_subtrees_non_root(&left, &right, Mode::Hash);
            level += 1;
            position >>= 1;
        }
        self.subtrees.insert((level, position), value);
    }

    /// The value of the subtree over `len` chunks from `start`, which is a multiple of the power of
    /// two at or above `len`.
    fn subtree(&self, start: u64, len: u64) -> Option<ChainingValue> {
        if len.is_power_of_two() {
            let level = len.trailing_zeros();
            if let Some(value) = self.subtrees.get(&(level, start >> level)) {
                return Some(*value);
            }
        }
        if len < 2 {
            return None;
        }
        let middle = left_chunks(len);
        let left = self.subtree(start, middle)?;
        let right = self.subtree(start + middle, len - middle)?;
        Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
    }
}

/// How many of `chunks` (at least 2) are in the left subtree: the largest power of two that leaves
/// one for the right.
fn left_chunks(chunks: u64) -> u64 {
    1 << (u64::BITS - 1 - (chunks - 1).leading_zeros())
}

#[cfg(test)]
mod tests;
