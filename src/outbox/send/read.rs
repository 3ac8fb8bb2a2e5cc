//! What is read for the stream: hashed and sealed on threads of the blocking pool, while the
//! network goes on.

mod reading;

use super::compress::{ChunkCompressor, Compression};
use super::deliver::{DeliverError, seal_offer};
use crate::compress::FrameCompressor;
use crate::crypto::filehash::{FILE_CHUNK, FileHasher};
use crate::crypto::seal::{Buffers, HEADER_LEN, RECORD_OVERHEAD, RecordKind, Sealer};
use crate::outbox::Item;
use crate::outbox::shared::locked;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::{Accept, CHUNK_SIZE, Trailer};
use crate::store::{Folder, Meta};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

pub(crate) use reading::{ReadFile, Reading};

/// Small files that one thread reads before it answers for all of them: the threads change once for
/// so many. As many again have to wait before another thread is taken, so that a slow disk has
/// several requests at a time.
const TOGETHER: usize = 8;

/// A small file, sealed: what was read, its offer and its content.
type Small = (ReadFile, [Bytes; 2]);

/// Reads small files, those that wait at the same time on the same thread.
pub(crate) struct SmallReader {
    waiting: Arc<Mutex<Waiting>>,
}

struct Waiting {
    folder: Arc<Folder>,
    jobs: VecDeque<Job>,
    threads: usize,
}

struct Job {
    item: Item,
    sealer: Sealer,
    compression: Compression,
    answer: oneshot::Sender<Result<Small, DeliverError>>,
}

impl SmallReader {
    pub fn new(folder: Arc<Folder>) -> Self {
        Self {
            waiting: Arc::new(Mutex::new(Waiting { folder, jobs: VecDeque::new(), threads: 0 })),
        }
    }

    /// Reads a file of at most one chunk and seals its offer and all of it.
    pub async fn read(
        &self,
        item: Item,
        sealer: Sealer,
        compression: Compression,
    ) -> Result<Small, DeliverError> {
        let (answer, read) = oneshot::channel();
        let another = {
            let mut waiting = locked(&self.waiting);
            waiting.jobs.push_back(Job { item, sealer, compression, answer });
            let another = waiting.jobs.len() > waiting.threads * TOGETHER;
            waiting.threads += usize::from(another);
            another
        };
        if another {
            let thread = Thread { waiting: self.waiting.clone(), left: false };
            tokio::task::spawn_blocking(move || thread.run());
        }
        read.await.map_err(|_| DeliverError::Internal("a reading thread died".into()))?
    }
}

/// One of the threads that read small files.
struct Thread {
    waiting: Arc<Mutex<Waiting>>,
    left: bool,
}

impl Drop for Thread {
    fn drop(&mut self) {
        if !self.left {
            // It panicked: whoever waits hears so, and the next one gets a new thread.
            let mut waiting = locked(&self.waiting);
            waiting.threads -= 1;
            waiting.jobs.clear();
        }
    }
}

impl Thread {
    /// Until no file waits.
    fn run(mut self) {
        let mut compressor = FrameCompressor::default();
        loop {
            let (folder, jobs) = {
                let mut waiting = locked(&self.waiting);
                let count = waiting.jobs.len().min(TOGETHER);
                if count == 0 {
                    // Under the lock, or a file could come in between and find a thread that
                    // leaves.
                    waiting.threads -= 1;
                    self.left = true;
                    return;
                }
                (waiting.folder.clone(), waiting.jobs.drain(..count).collect::<Vec<_>>())
            };
            let wanted = jobs.into_iter().filter(|job| !job.answer.is_closed());
            let read: Vec<_> = wanted
                .map(|Job { item, sealer, compression, answer }| {
                    (answer, seal_small(&folder, &item, sealer, &compression, &mut compressor))
                })
                .collect();
            for (answer, small) in read {
                // A delivery that ended meanwhile wants none.
                let _ = answer.send(small);
            }
        }
    }
}

fn seal_small(
    folder: &Folder,
    item: &Item,
    mut sealer: Sealer,
    compression: &Compression,
    compressor: &mut FrameCompressor,
) -> Result<Small, DeliverError> {
    let mut file = Reading::open(folder, item)?;
    let offer = seal_offer(item, true, &mut sealer)?;
    let size = usize::try_from(item.meta.size).map_err(|_| DeliverError::Changed)?;
    let mut chunk = Sealer::buffer(size + Trailer::LEN);
    file.fill(&mut chunk, HEADER_LEN, size)?;
    let hash = *blake3::hash(&chunk[HEADER_LEN..]).as_bytes();
    let read = file.check_end(hash)?;
    if let Some(effort) = compression.small(item.meta.size) {
        let mut compressed = Sealer::buffer(size + Trailer::LEN);
        if compressor.compress(&chunk[HEADER_LEN..], effort, &mut compressed) {
            chunk = compressed;
        }
    }
    Trailer { size: item.meta.size, hash }.encode(&mut chunk);
    Ok((read, [offer, sealer.seal(RecordKind::Final, chunk)?]))
}

/// A chunk ready for the stream.
pub(crate) struct SealedChunk {
    pub record: Bytes,
    /// Bytes of the file in it.
    pub data: u64,
}

/// A file being read from some chunk on.
pub(crate) struct Source {
    file: Reading,
    size: u64,
    /// The chunks that the peer holds and the file begins with; they are not sent.
    pub confirmed: ChunkSet,
    /// Of the next chunk.
    pub offset: u64,
    hasher: FileHasher,
    /// Packs chunks, if that promises anything.
    pub compressor: Option<ChunkCompressor>,
}

impl Source {
    /// Goes on behind what the peer holds if that is what the file begins with, else from the
    /// start.
    pub fn resume(
        file: Reading,
        size: u64,
        accept: Accept,
        compression: &Compression,
    ) -> Result<Self, DeliverError> {
        let mut source = Self::behind(file, size, accept)?;
        source.compressor = compression.large(&mut source.file.file, source.offset, size);
        Ok(source)
    }

    fn behind(file: Reading, size: u64, accept: Accept) -> Result<Self, DeliverError> {
        let hasher = FileHasher::new(FILE_CHUNK);
        let confirmed = ChunkSet::EMPTY;
        let mut source = Self { file, size, confirmed, offset: 0, hasher, compressor: None };
        if let Some((prefix, hash)) = accept.held_prefix()
            && prefix.prefix_bytes() <= size
        {
            let mut chunk = BytesMut::new();
            while source.offset < prefix.prefix_bytes() {
                source.read_chunk(&mut chunk, 0)?;
            }
            if source.hasher.finish(source.offset)? == hash {
                source.confirmed = prefix;
                return Ok(source);
            }
            source.file.start_over()?;
            source.offset = 0;
            source.hasher = FileHasher::new(FILE_CHUNK);
        }
        Ok(source)
    }

    /// Puts the next chunk of the file behind the first `start` bytes of the buffer and takes its
    /// hash.
    fn read_chunk(&mut self, chunk: &mut BytesMut, start: usize) -> Result<(), DeliverError> {
        let len =
            usize::try_from((self.size - self.offset).min(CHUNK_SIZE as u64)).unwrap_or(CHUNK_SIZE);
        self.file.fill(chunk, start, len)?;
        let index = self.offset / CHUNK_SIZE as u64;
        if len > 0 || self.size == 0 {
            self.hasher.push(index, FILE_CHUNK.hash(index, &chunk[start..])?)?;
        }
        self.offset += len as u64;
        Ok(())
    }

    /// Reads, hashes and seals the rest. The last chunk is sealed only when the file is still the
    /// one that was queued, and still stands in Outgoing under the name that was offered: a mixture
    /// of two contents is never complete, and what its user took back does not arrive.
    pub fn seal_chunks(
        mut self,
        mut sealer: Sealer,
        chunks: &mpsc::Sender<SealedChunk>,
        still_there: impl Fn(&Meta) -> bool,
    ) -> Result<ReadFile, DeliverError> {
        let buffers = Buffers::default();
        loop {
            let mut chunk = buffers.take(RECORD_OVERHEAD + CHUNK_SIZE + Trailer::LEN);
            self.read_chunk(&mut chunk, HEADER_LEN)?;
            let data = (chunk.len() - HEADER_LEN) as u64;
            if let Some(compressor) = &mut self.compressor {
                compressor.compress(&mut chunk, chunks.capacity() == 0);
            }
            let last = self.offset == self.size;
            let read = if last {
                let hash = self.hasher.finish(self.size)?;
                let read = self.file.check_end(hash)?;
                if !still_there(&read.meta) {
                    return Err(DeliverError::Changed);
                }
                Trailer { size: self.size, hash }.encode(&mut chunk);
                Some(read)
            } else {
                None
            };
            let kind = if last { RecordKind::Final } else { RecordKind::Data };
            let record = buffers.lend(sealer.seal(kind, chunk)?);
            let gone = chunks.blocking_send(SealedChunk { record, data }).is_err();
            if let Some(read) = read {
                return Ok(read);
            }
            if gone {
                return Err(DeliverError::Internal("the stream was given up".into()));
            }
        }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, DeliverError> + Send + 'static,
) -> Result<T, DeliverError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => Err(DeliverError::Internal(error.to_string())),
    }
}
