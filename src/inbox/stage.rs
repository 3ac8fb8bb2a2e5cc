//! A large file in the stage: the chunks that an earlier attempt left, and the thread that opens,
//! hashes and writes the chunks that arrive.

use super::checkpoint::Checkpoints;
use super::error::{ReceiveError, refused};
use super::layout::Layout;
use super::reassembly::SealedRecord;
use crate::compress::FrameDecompressor;
use crate::crypto::filehash::{FILE_CHUNK, FileHasher};
use crate::crypto::seal::{Buffers, Opener, RecordKind};
use crate::failpoint::fail_point;
use crate::meter::{Meter, Stage};
use crate::proto::chunk_set::ChunkSet;
use crate::proto::codec::Malformed;
use crate::proto::message::{Accept, CHUNK_SIZE, Refusal, Trailer, TransferId};
use crate::store::{Incoming, Staged, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Maximum number of bytes that are sent again after a cut: this, or [`MAX_RESENT_PART`] of a
/// larger file. Checkpoints are made at half this distance, since the writer is up to one
/// checkpoint ahead.
const MAX_RESENT: u64 = 8 << 20;
/// See [`MAX_RESENT`]; the reciprocal of the part.
const MAX_RESENT_PART: u64 = 20;

/// A staged file and the hash of the chunks that it holds.
pub(super) struct Staging {
    // Declared before the file, so that dropping this joins the thread first.
    checkpoints: Checkpoints,
    staged: Arc<Staged>,
    /// Length of the file in bytes.
    size: u64,
    /// Chunks that are in the staged file and hashed.
    pub(super) held: ChunkSet,
    hasher: FileHasher,
    decompressor: FrameDecompressor,
}

/// The result of [`Staging::write_all`].
pub(super) enum Written {
    /// Every chunk arrived: the file, and its hash.
    Whole(Staged, [u8; 32]),
    /// Some chunks are missing. The others can be resumed from the stage.
    Part,
}

impl Staging {
    /// Opens the file that an earlier attempt left, or creates one, and hashes the chunks in it.
    pub(super) fn open(incoming: &Incoming, id: TransferId, size: u64) -> Result<Self, StoreError> {
        let (staged, recorded) = incoming.stage(id)?;
        let length = staged.length()?;
        let mut staging = Self {
            checkpoints: Checkpoints::default(),
            staged: Arc::new(staged),
            size,
            held: ChunkSet::EMPTY,
            hasher: FileHasher::new(FILE_CHUNK),
            decompressor: FrameDecompressor::default(),
        };
        staging.hash_held(recorded.within(length.min(size)).prefix_chunks())?;
        Ok(staging)
    }

    fn hash_held(&mut self, chunks: u64) -> Result<(), StoreError> {
        let mut chunk = vec![0; CHUNK_SIZE];
        for index in 0..chunks {
            self.staged.read_at(&mut chunk, index * CHUNK_SIZE as u64)?;
            let pushed =
                FILE_CHUNK.hash(index, &chunk).and_then(|hash| self.hasher.push(index, hash));
            if pushed.is_err() {
                break;
            }
            self.held = ChunkSet::prefix(index + 1);
        }
        Ok(())
    }

    /// The message that tells the sender which chunks are held.
    pub(super) fn accept(&self) -> Result<Accept, ReceiveError> {
        if self.held.is_empty() {
            return Ok(Accept::NOTHING);
        }
        let hash = self.hasher.finish(self.held.prefix_bytes())?;
        Ok(Accept::prefix(self.held.prefix_chunks(), hash))
    }

    /// Drops the held chunks: they are not those of the sender's file.
    pub(super) fn start_over(&mut self) -> Result<(), StoreError> {
        self.staged.truncate(0)?;
        self.held = ChunkSet::EMPTY;
        self.hasher = FileHasher::new(FILE_CHUNK);
        Ok(())
    }

    /// Opens, hashes and writes records as they arrive, until the file is complete or `records`
    /// ends; then the written chunks can be resumed. Gives the buffers back, and adds the bytes
    /// written to `counter`.
    pub(super) fn write_all(
        mut self,
        layout: Layout,
        mut opener: Opener,
        mut records: mpsc::Receiver<SealedRecord>,
        buffers: &Buffers,
        counter: &AtomicU64,
        meter: &Meter,
    ) -> Result<Written, ReceiveError> {
        let chunk = CHUNK_SIZE as u64;
        let step = (MAX_RESENT.max(self.size / MAX_RESENT_PART) / 2 - chunk).div_ceil(chunk);
        let mut saved = self.held.prefix_chunks();
        let mut trailer = None;
        while let Some(mut record) = records.blocking_recv() {
            if let Some(last) = self.write(layout, &mut opener, &mut record, counter, meter)? {
                trailer = Some(last);
            }
            buffers.give_back(record.bytes);
            if trailer.is_some() && opener.is_complete() {
                break;
            }
            // The prefix ends at the first record that is missing.
            let written = opener.contiguous().saturating_sub(layout.index(0));
            self.held = ChunkSet::prefix(layout.file_offset(written) / chunk);
            if self.held.prefix_chunks() >= saved + step && !layout.is_last(record.k) {
                let _busy = meter.enter(Stage::Write);
                self.checkpoints.request(&self.staged, &self.held)?;
                saved = self.held.prefix_chunks();
            }
        }
        let _busy = meter.enter(Stage::Write);
        // Only a sync may report that a write failed.
        self.checkpoints.finish()?;
        let Some(trailer) = trailer.filter(|_| opener.is_complete()) else {
            if self.held.prefix_chunks() > saved {
                self.staged.checkpoint(&self.held)?;
            }
            return Ok(Written::Part);
        };
        let staged = Arc::into_inner(self.staged)
            .ok_or_else(|| ReceiveError::Internal("the checkpoint thread did not end".into()))?;
        if trailer.size != self.size || self.hasher.finish(self.size)? != trailer.hash {
            staged.discard()?;
            return Err(refused(Refusal::Corrupt, "its hash is not the announced one"));
        }
        Ok(Written::Whole(staged, trailer.hash))
    }

    /// Handles one record: opens it in place, decompresses the chunk if it is compressed, hashes
    /// and writes it. Returns the trailer of the last record.
    fn write(
        &mut self,
        layout: Layout,
        opener: &mut Opener,
        record: &mut SealedRecord,
        counter: &AtomicU64,
        meter: &Meter,
    ) -> Result<Option<Trailer>, ReceiveError> {
        let mut stage = meter.enter(Stage::Open);
        let (kind, plaintext) = opener.open(layout.index(record.k), &mut record.bytes)?;
        let last = layout.is_last(record.k);
        if kind != if last { RecordKind::Final } else { RecordKind::Data } {
            return Err(Malformed.into());
        }
        let (data, trailer) = match last {
            true => Trailer::split(plaintext).map(|(data, trailer)| (data, Some(trailer)))?,
            false => (&*plaintext, None),
        };
        let data = self.decompressor.chunk(data, layout.data_len(record.k))?;
        let offset = layout.file_offset(record.k);
        stage.switch(Stage::Write);
        self.staged.write_at(offset, data)?;
        fail_point("stage.written");
        stage.switch(Stage::Open);
        fail_point("stage.opened");
        if !data.is_empty() || self.size == 0 {
            let index = offset / CHUNK_SIZE as u64;
            self.hasher.push(index, FILE_CHUNK.hash(index, data)?)?;
        }
        counter.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(trailer)
    }
}
