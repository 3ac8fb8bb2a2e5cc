//! The BLAKE3 hash of a whole file, computed chunk by chunk in any order and on any thread.
//!
//! BLAKE3 is a binary tree over pieces of 1 KiB (BLAKE3 paper, section 2.1). A chunk of a power of
//! two of such pieces is a subtree, and its chaining value does not depend on the other chunks.
//! Workers hash chunks ([`ChunkSize::hash`]), and one [`FileHasher`] combines the values. The
//! result equals the output of `b3sum` for the file.

use std::collections::BTreeMap;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

/// Why a file's hash could not be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileHashError {
    /// The chunk size is not a power of two, or is below 1 KiB.
    #[error("the chunk size is not a power of two of at least 1 KiB")]
    ChunkSize,
    /// The chunk is longer than the chunk size, is empty although it is not the only one, or lies
    /// beyond 2^64 bytes.
    #[error("the chunk does not fit its place in the file")]
    ChunkLength,
    /// A chunk was pushed twice.
    #[error("the chunk was pushed twice")]
    Duplicate,
    /// The chunks that were pushed do not form a file of this length.
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

    /// Hashes the chunk that begins at byte `index * self.bytes()` of the file. Only the file's
    /// last chunk may be shorter than the chunk size, and only an empty file has an empty chunk.
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
            // An empty file has a hash but no subtree, so this value is never merged.
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
        // Only the first chunk can be the whole file, whose root is hashed differently from a
        // subtree.
        let root = if index == 0 { *hasher.finalize().as_bytes() } else { value };
        Ok(ChunkHash { value, root, len })
    }
}

/// The chunks of every file on the wire: 256 KiB (protocol.md section 4.3).
pub const FILE_CHUNK: ChunkSize = ChunkSize(256 * 1024);

/// The hash of one chunk at its position in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHash {
    value: ChainingValue,
    /// The file's hash if chunk 0 is the whole file.
    root: [u8; 32],
    len: u32,
}

/// Combines the hashes of chunks that arrive in any order.
///
/// Neighbours are merged at once, so memory grows with the number of gaps and with the logarithm of
/// the number of chunks, not with the file.
#[derive(Debug, Clone)]
pub struct FileHasher {
    chunk_size: ChunkSize,
    /// Complete subtrees by level and position in the level; chunks are level 0. A subtree is
    /// merged with its sibling at once, except along the left edge, where the parent may be the
    /// root, which is hashed differently.
    subtrees: BTreeMap<(u32, u64), ChainingValue>,
    count: u64,
    last: Option<u64>,
    /// Index and length of the chunk that is shorter than the chunk size.
    short: Option<(u64, u32)>,
    /// The file's hash if chunk 0 is the whole file.
    single: Option<[u8; 32]>,
}

impl FileHasher {
    /// Hashes a file in chunks of this size.
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

    /// Number of chunks that have been pushed.
    pub fn chunks(&self) -> u64 {
        self.count
    }

    /// Adds the hash of chunk `index`, computed by [`ChunkSize::hash`] for the same index and chunk
    /// size.
    ///
    /// # Errors
    /// [`FileHashError::Duplicate`], or [`FileHashError::ChunkLength`] for a second chunk that is
    /// not full. The hasher is unchanged then.
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

    /// The hash of the file of `total_len` bytes, if exactly its chunks have been pushed.
    ///
    /// More chunks may be pushed afterwards, so the hash of a prefix can be computed on the way.
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
        // Indices are distinct. If none is above the last chunk and their number is right, every
        // chunk was pushed.
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

    /// Whether the chunk was pushed: it is in the map, or a merged subtree contains it.
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

    /// The value of the subtree over `len` chunks from `start`. `start` is a multiple of the
    /// smallest power of two that is at least `len`.
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
