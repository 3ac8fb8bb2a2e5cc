//! Reading, hashing and sealing files on the threads of the blocking pool, while the network
//! continues.

use super::compress::{ChunkCompressor, Compression, SmallFileCompressor};
use super::error::DeliverError;
use super::offer::seal_offer;
use super::source_file::{ReadFile, SourceFile};
use crate::crypto::filehash::{FILE_CHUNK, FileHasher};
use crate::crypto::seal::{Buffers, HEADER_LEN, RECORD_OVERHEAD, RecordKind, Sealer};
use crate::failpoint::fail_point;
use crate::meter::{Meter, Stage, Timed};
use crate::outbox::item::Item;
use crate::outbox::mailbox::locked;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::{Accept, CHUNK_SIZE, Trailer};
use crate::store::{DirCursor, Folder, Meta};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

/// How many small files one thread reads before it answers for all of them, to save context
/// switches. Another thread starts when this many more files wait for each running thread, so that
/// a slow disk gets several requests at a time.
const FILES_PER_THREAD: usize = 8;

/// A sealed small file: the file that was read, and the records of its offer and its content.
type SealedSmallFile = (ReadFile, [Bytes; 2]);

/// Reads small files. Files that wait at the same time share a thread.
pub(crate) struct SmallReader {
    queue: Arc<Mutex<SmallFileQueue>>,
}

struct SmallFileQueue {
    folder: Arc<Folder>,
    meter: Arc<Meter>,
    jobs: VecDeque<SmallFileJob>,
    threads: usize,
    /// The compressors of threads that have ended, for the next ones.
    compressors: Vec<SmallFileCompressor>,
}

struct SmallFileJob {
    item: Item,
    sealer: Sealer,
    compression: Compression,
    answer: oneshot::Sender<Result<SealedSmallFile, DeliverError>>,
}

impl SmallReader {
    pub(crate) fn new(folder: Arc<Folder>, meter: Arc<Meter>) -> Self {
        Self {
            queue: Arc::new(Mutex::new(SmallFileQueue {
                folder,
                meter,
                jobs: VecDeque::new(),
                threads: 0,
                compressors: Vec::new(),
            })),
        }
    }

    /// Reads a file of at most one chunk and seals its offer and all of it.
    pub(crate) async fn read(
        &self,
        item: Item,
        sealer: Sealer,
        compression: Compression,
    ) -> Result<SealedSmallFile, DeliverError> {
        let (answer, read) = oneshot::channel();
        let another = {
            let mut queue = locked(&self.queue);
            queue.jobs.push_back(SmallFileJob { item, sealer, compression, answer });
            let another = queue.jobs.len() > queue.threads * FILES_PER_THREAD;
            queue.threads += usize::from(another);
            another
        };
        if another {
            let thread = SmallFileThread { queue: self.queue.clone(), left: false };
            tokio::task::spawn_blocking(move || thread.run());
        }
        read.await.map_err(|_| DeliverError::Internal("a reading thread died".into()))?
    }
}

/// One of the threads that read small files.
struct SmallFileThread {
    queue: Arc<Mutex<SmallFileQueue>>,
    left: bool,
}

impl Drop for SmallFileThread {
    fn drop(&mut self) {
        if !self.left {
            // It panicked: the waiting readers get an error, and the next file a new thread.
            let mut queue = locked(&self.queue);
            queue.threads -= 1;
            queue.jobs.clear();
        }
    }
}

impl SmallFileThread {
    /// Reads files until none waits.
    fn run(mut self) {
        let mut compressor = locked(&self.queue).compressors.pop().unwrap_or_default();
        loop {
            let (folder, meter, jobs) = {
                let mut queue = locked(&self.queue);
                let count = queue.jobs.len().min(FILES_PER_THREAD);
                if count == 0 {
                    // The lock is held, so no file can be queued for a thread that ends.
                    queue.threads -= 1;
                    queue.compressors.push(compressor);
                    self.left = true;
                    return;
                }
                let jobs = queue.jobs.drain(..count).collect::<Vec<_>>();
                (queue.folder.clone(), queue.meter.clone(), jobs)
            };
            let mut walk = folder.walk();
            let wanted = jobs.into_iter().filter(|job| !job.answer.is_closed());
            let read: Vec<_> = wanted
                .map(|SmallFileJob { item, sealer, compression, answer }| {
                    let stage = meter.enter(Stage::Read);
                    let read =
                        seal_small(&mut walk, &item, sealer, &compression, &mut compressor, stage);
                    (answer, read)
                })
                .collect();
            for (answer, small) in read {
                // A delivery that ended meanwhile does not need it.
                let _ = answer.send(small);
            }
        }
    }
}

fn seal_small(
    walk: &mut DirCursor<'_>,
    item: &Item,
    mut sealer: Sealer,
    compression: &Compression,
    compressor: &mut SmallFileCompressor,
    mut stage: Timed<'_>,
) -> Result<SealedSmallFile, DeliverError> {
    let mut file = SourceFile::open(walk, item)?;
    let offer = seal_offer(item, true, &mut sealer)?;
    let size = usize::try_from(item.meta.size).map_err(|_| DeliverError::Changed)?;
    let mut chunk = Sealer::buffer(size + Trailer::LEN);
    file.fill(&mut chunk, HEADER_LEN, size)?;
    stage.switch(Stage::Seal);
    let hash = *blake3::hash(&chunk[HEADER_LEN..]).as_bytes();
    let read = file.check_end(hash)?;
    compressor.compress(&mut chunk, compression);
    Trailer { size: item.meta.size, hash }.encode(&mut chunk);
    Ok((read, [offer, sealer.seal(RecordKind::Final, chunk)?]))
}

/// A chunk ready for the stream.
pub(crate) struct SealedChunk {
    pub record: Bytes,
    /// Bytes of the file in it.
    pub data: u64,
}

/// Reads the chunks of a large file in order.
pub(crate) struct ChunkSource {
    file: SourceFile,
    size: u64,
    /// The chunks at the start of the file that the peer holds; they are not sent.
    pub confirmed: ChunkSet,
    /// The position of the next chunk, in bytes.
    pub offset: u64,
    hasher: FileHasher,
    /// Compresses the chunks, if the file is compressible.
    pub compressor: Option<ChunkCompressor>,
    meter: Arc<Meter>,
}

impl ChunkSource {
    /// Continues after the part that the peer holds if the file begins with that part, otherwise
    /// from the start.
    pub(crate) fn resume(
        file: SourceFile,
        size: u64,
        accept: Accept,
        compression: &Compression,
        meter: Arc<Meter>,
    ) -> Result<Self, DeliverError> {
        let mut source = Self::after_prefix(file, size, accept, meter)?;
        source.compressor = compression.large(&mut source.file.file, source.offset, size);
        Ok(source)
    }

    fn after_prefix(
        file: SourceFile,
        size: u64,
        accept: Accept,
        meter: Arc<Meter>,
    ) -> Result<Self, DeliverError> {
        let hasher = FileHasher::new(FILE_CHUNK);
        let confirmed = ChunkSet::EMPTY;
        let (compressor, measured) = (None, meter.clone());
        let mut source = Self { file, size, confirmed, offset: 0, hasher, compressor, meter };
        if let Some((prefix, hash)) = accept.held_prefix()
            && prefix.prefix_bytes() <= size
        {
            let mut chunk = BytesMut::new();
            while source.offset < prefix.prefix_bytes() {
                source.read_chunk(&mut chunk, 0, &mut measured.enter(Stage::Read))?;
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

    /// Reads the next chunk of the file into the buffer, after its first `start` bytes, and hashes
    /// it.
    fn read_chunk(
        &mut self,
        chunk: &mut BytesMut,
        start: usize,
        stage: &mut Timed<'_>,
    ) -> Result<(), DeliverError> {
        let len =
            usize::try_from((self.size - self.offset).min(CHUNK_SIZE as u64)).unwrap_or(CHUNK_SIZE);
        self.file.fill(chunk, start, len)?;
        stage.switch(Stage::Seal);
        let index = self.offset / CHUNK_SIZE as u64;
        if len > 0 || self.size == 0 {
            self.hasher.push(index, FILE_CHUNK.hash(index, &chunk[start..])?)?;
        }
        self.offset += len as u64;
        Ok(())
    }

    /// Reads, hashes and seals the rest. The last chunk is sealed only if the file is still the one
    /// that was queued and still has the offered name in Outgoing. So a mixture of two versions is
    /// never complete, and a file that its user took back does not arrive.
    pub(crate) fn seal_chunks(
        mut self,
        mut sealer: Sealer,
        chunks: &mpsc::Sender<SealedChunk>,
        still_there: impl Fn(&Meta) -> bool,
    ) -> Result<ReadFile, DeliverError> {
        let (buffers, meter) = (Buffers::default(), self.meter.clone());
        loop {
            let mut stage = meter.enter(Stage::Read);
            let mut chunk = buffers.take(RECORD_OVERHEAD + CHUNK_SIZE + Trailer::LEN);
            self.read_chunk(&mut chunk, HEADER_LEN, &mut stage)?;
            fail_point("send.sealing");
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
            drop(stage);
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
