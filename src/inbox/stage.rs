//! A large file on its way into the stage: what is there from before, and the thread that opens,
//! hashes and writes each chunk at its place.

use super::checkpoint::Checkpoints;
use super::error::ReceiveError;
use super::reassembly::{Layout, Whole};
use crate::compress::FrameDecompressor;
use crate::crypto::filehash::{FILE_CHUNK, FileHasher};
use crate::crypto::seal::{Buffers, Opener, RecordKind};
use crate::failpoint::fail_point;
use crate::proto::codec::Malformed;
use crate::proto::message::{CHUNK_SIZE, Refusal, Trailer, TransferId};
use crate::store::{Incoming, Staged, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// What is sent again after a cut stays below this, or the part of the file that is below. A
/// checkpoint is begun at half of it, when the one before is finished.
const LOST: u64 = 8 << 20;
const LOST_PART: u64 = 20;

/// A staged file and the hash of the prefix that is there.
pub(super) struct Staging {
    // Before the file: whoever drops this waits for the thread.
    notes: Checkpoints,
    staged: Arc<Staged>,
    size: u64,
    /// Bytes from the start that are there and hashed.
    pub(super) prefix: u64,
    hasher: FileHasher,
    decompressor: FrameDecompressor,
}

/// What the thread leaves.
pub(super) enum Written {
    /// Every chunk came: the file, and its hash.
    Whole(Staged, [u8; 32]),
    /// Not every chunk. What can be resumed is in the stage.
    Part,
}

impl Staging {
    /// Opens what an earlier attempt left, or begins. Whether the prefix is the sender's, its hash
    /// tells.
    pub(super) fn open(incoming: &Incoming, id: TransferId, size: u64) -> Result<Self, StoreError> {
        let (staged, there) = incoming.stage(id)?;
        let (hasher, decompressor) = (FileHasher::new(FILE_CHUNK), FrameDecompressor::default());
        let mut staging = Self {
            notes: Checkpoints::default(),
            staged: Arc::new(staged),
            size,
            prefix: 0,
            hasher,
            decompressor,
        };
        if there > 0 && there <= size {
            staging.hash_prefix(there)?;
        }
        Ok(staging)
    }

    fn hash_prefix(&mut self, there: u64) -> Result<(), StoreError> {
        let mut chunk = vec![0; CHUNK_SIZE];
        while self.prefix + CHUNK_SIZE as u64 <= there {
            self.staged.read_at(&mut chunk, self.prefix)?;
            let index = self.prefix / CHUNK_SIZE as u64;
            let pushed =
                FILE_CHUNK.hash(index, &chunk).and_then(|hash| self.hasher.push(index, hash));
            if pushed.is_err() {
                break;
            }
            self.prefix += CHUNK_SIZE as u64;
        }
        Ok(())
    }

    /// BLAKE3 of the prefix; zero when there is none.
    pub(super) fn prefix_hash(&self) -> Result<[u8; 32], ReceiveError> {
        if self.prefix == 0 { Ok([0; 32]) } else { Ok(self.hasher.finish(self.prefix)?) }
    }

    /// The sender does not have this prefix.
    pub(super) fn start_over(&mut self) -> Result<(), StoreError> {
        self.staged.truncate(0)?;
        self.prefix = 0;
        self.hasher = FileHasher::new(FILE_CHUNK);
        Ok(())
    }

    /// Opens, hashes and writes records as they come, until all are there or no more come; then
    /// what is there can be resumed. Gives back their buffers, and counts the bytes in `counter`.
    pub(super) fn write_all(
        mut self,
        layout: Layout,
        mut opener: Opener,
        mut records: mpsc::Receiver<Whole>,
        buffers: &Buffers,
        counter: &AtomicU64,
    ) -> Result<Written, ReceiveError> {
        let step = LOST.max(self.size / LOST_PART) / 2 - CHUNK_SIZE as u64;
        let mut saved = self.prefix;
        let mut trailer = None;
        while let Some(mut whole) = records.blocking_recv() {
            let k = whole.k;
            if let Some(last) = self.write(layout, &mut opener, &mut whole, counter)? {
                trailer = Some(last);
            }
            buffers.give_back(whole.record);
            if trailer.is_some() && opener.is_complete() {
                break;
            }
            // The records that are opened without a gap end here.
            self.prefix = layout.file_offset(opener.contiguous().saturating_sub(layout.index(0)));
            if self.prefix >= saved + step && !layout.is_last(k) {
                self.notes.note(&self.staged, self.prefix)?;
                saved = self.prefix;
            }
        }
        // A write that failed may have been told to its last sync alone.
        self.notes.finish()?;
        let Some(trailer) = trailer.filter(|_| opener.is_complete()) else {
            if self.prefix > saved {
                self.staged.checkpoint(self.prefix)?;
            }
            return Ok(Written::Part);
        };
        let staged = Arc::into_inner(self.staged)
            .ok_or_else(|| ReceiveError::Internal("the thread that notes is still there".into()))?;
        if trailer.size != self.size || self.hasher.finish(self.size)? != trailer.hash {
            staged.discard()?;
            let detail = "its hash is not the announced one".into();
            return Err(ReceiveError::Refused { reason: Refusal::Corrupt, detail });
        }
        Ok(Written::Whole(staged, trailer.hash))
    }

    /// One record: opened in place, decompressed if it is compressed, hashed, written. The last
    /// gives its trailer.
    fn write(
        &mut self,
        layout: Layout,
        opener: &mut Opener,
        whole: &mut Whole,
        counter: &AtomicU64,
    ) -> Result<Option<Trailer>, ReceiveError> {
        let (kind, plaintext) = opener.open(layout.index(whole.k), &mut whole.record)?;
        let last = layout.is_last(whole.k);
        if kind != if last { RecordKind::Final } else { RecordKind::Data } {
            return Err(Malformed.into());
        }
        let (data, trailer) = match last {
            true => Trailer::split(plaintext).map(|(data, trailer)| (data, Some(trailer)))?,
            false => (&*plaintext, None),
        };
        let data = self.decompressor.chunk(data, layout.data_len(whole.k))?;
        let offset = layout.file_offset(whole.k);
        self.staged.write_at(offset, data)?;
        fail_point("stage.written");
        if !data.is_empty() || self.size == 0 {
            let index = offset / CHUNK_SIZE as u64;
            self.hasher.push(index, FILE_CHUNK.hash(index, data)?)?;
        }
        counter.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(trailer)
    }
}
