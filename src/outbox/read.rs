//! What is read for the stream: hashed and sealed on threads of the blocking pool, while the network
//! goes on.

use super::Item;
use super::deliver::{DeliverError, seal_offer};
use super::packing::{ChunkPacker, Packing};
use super::shared::locked;
use crate::crypto::filehash::{FILE_CHUNK, FileHasher};
use crate::crypto::seal::{Buffers, HEADER_LEN, RECORD_OVERHEAD, RecordKind, Sealer};
use crate::failpoint;
use crate::pack::Packer;
use crate::proto::message::{Accept, CHUNK_SIZE, Trailer};
use crate::store::{Folder, Meta, StoreError, Writers, meta_of, writers_of};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

/// Small files that one thread reads before it answers for all of them: the threads change once for
/// so many. As many again have to wait before another thread is taken, so that a slow disk has
/// several requests at a time.
const TOGETHER: usize = 8;

/// A small file, sealed: what was read, its offer and its content.
type Small = (ReadFile, [Bytes; 2]);

/// A file that was read to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadFile {
    /// BLAKE3 of its content.
    pub hash: [u8; 32],
    /// As it was at the end.
    pub meta: Meta,
}

/// Reads small files, those that wait at the same time on the same thread.
pub(super) struct SmallReader {
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
    packing: Packing,
    answer: oneshot::Sender<Result<Small, DeliverError>>,
}

impl SmallReader {
    pub fn new(folder: Arc<Folder>) -> Self {
        Self { waiting: Arc::new(Mutex::new(Waiting { folder, jobs: VecDeque::new(), threads: 0 })) }
    }

    /// Reads a file of at most one chunk and seals its offer and all of it.
    pub async fn read(&self, item: Item, sealer: Sealer, packing: Packing) -> Result<Small, DeliverError> {
        let (answer, read) = oneshot::channel();
        let another = {
            let mut waiting = locked(&self.waiting);
            waiting.jobs.push_back(Job { item, sealer, packing, answer });
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
        let mut packer = Packer::default();
        loop {
            let (folder, jobs) = {
                let mut waiting = locked(&self.waiting);
                let count = waiting.jobs.len().min(TOGETHER);
                if count == 0 {
                    // Under the lock, or a file could come in between and find a thread that leaves.
                    waiting.threads -= 1;
                    self.left = true;
                    return;
                }
                (waiting.folder.clone(), waiting.jobs.drain(..count).collect::<Vec<_>>())
            };
            let wanted = jobs.into_iter().filter(|job| !job.answer.is_closed());
            let read: Vec<_> = wanted
                .map(|Job { item, sealer, packing, answer }| {
                    (answer, seal_small(&folder, &item, sealer, &packing, &mut packer))
                })
                .collect();
            for (answer, small) in read {
                // A delivery that ended meanwhile wants none.
                let _ = answer.send(small);
            }
        }
    }
}

/// A file being read that was queued, and no other.
pub(super) struct Reading {
    file: File,
    /// As it was opened.
    meta: Meta,
    /// Where it is, for messages.
    shown: String,
    /// It is read although a program has it open for writing.
    snapshot: bool,
}

impl Reading {
    /// # Errors
    /// [`DeliverError::Open`] while a program has it open for writing.
    pub fn open(folder: &Folder, item: &Item) -> Result<Self, DeliverError> {
        let (file, meta) = match folder.open_file(&item.name) {
            // Windows: a program that writes it does not share it.
            Err(StoreError::Busy { .. }) => return Err(DeliverError::Open),
            opened => opened?,
        };
        let (shown, snapshot) = (folder.shown(&item.name), item.snapshot);
        if !meta.same_file(&item.meta) || meta.mode != item.meta.mode {
            return Err(DeliverError::Changed);
        }
        if !snapshot && writers_of(&file) == Writers::Some {
            return Err(DeliverError::Open);
        }
        Ok(Self { file, meta, shown, snapshot })
    }

    /// Puts exactly `len` bytes behind the first `start` of the buffer; fewer means that the file was cut.
    fn fill(&mut self, buffer: &mut BytesMut, start: usize, len: usize) -> Result<(), DeliverError> {
        // What is there already is not cleared.
        buffer.resize(start + len, 0);
        let read = failpoint::io("send.read").and_then(|()| self.file.read_exact(&mut buffer[start..]));
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DeliverError::Changed),
            read => self.named(read),
        }
    }

    /// What was read, with this hash, is one content: the file ends here, no program has it open for writing, and
    /// its size and time are as when it was opened. In this order: what a program writes that opened it after the
    /// question shows in the times.
    fn check_end(&mut self, hash: [u8; 32]) -> Result<ReadFile, DeliverError> {
        let more = self.file.read(&mut [0]);
        if self.named(more)? > 0 {
            return Err(DeliverError::Changed);
        }
        if !self.snapshot && writers_of(&self.file) == Writers::Some {
            return Err(DeliverError::Opened);
        }
        let mut meta = self.named(meta_of(&self.file))?;
        if meta.same_file(&self.meta) && !meta.unchanged(&self.meta) {
            // It was touched: new permissions, an attribute, another hard link; or written, and its time put back.
            // Only its content tells.
            meta = self.read_again(hash)?;
        }
        if !meta.same_file(&self.meta) {
            return Err(DeliverError::Changed);
        }
        Ok(ReadFile { hash, meta })
    }

    /// Reads the whole file once more: it must have this hash, and stay untouched meanwhile.
    fn read_again(&mut self, hash: [u8; 32]) -> Result<Meta, DeliverError> {
        let before = self.named(meta_of(&self.file))?;
        self.start_over()?;
        let mut hasher = blake3::Hasher::new();
        let read = hasher.update_reader(&self.file).map(|_| ());
        self.named(read)?;
        let after = self.named(meta_of(&self.file))?;
        if *hasher.finalize().as_bytes() == hash && after.unchanged(&before) {
            Ok(after)
        } else {
            Err(DeliverError::Changed)
        }
    }

    /// Whether the whole file has this hash: the peer says that it holds it.
    pub fn verify(&mut self, hash: [u8; 32]) -> Result<ReadFile, DeliverError> {
        let meta = match self.read_again(hash) {
            Err(DeliverError::Changed) => return Err(DeliverError::OtherContent),
            read => read?,
        };
        self.meta = meta;
        self.check_end(hash)
    }

    fn start_over(&mut self) -> Result<(), DeliverError> {
        let sought = self.file.seek(SeekFrom::Start(0));
        self.named(sought).map(|_| ())
    }

    /// What the system says is no change of the file: it is told, and the file tried again.
    fn named<T>(&self, result: io::Result<T>) -> Result<T, DeliverError> {
        result.map_err(|error| StoreError::new("read", &self.shown, &error).into())
    }
}

fn seal_small(
    folder: &Folder,
    item: &Item,
    mut sealer: Sealer,
    packing: &Packing,
    packer: &mut Packer,
) -> Result<Small, DeliverError> {
    let mut file = Reading::open(folder, item)?;
    let offer = seal_offer(item, true, &mut sealer)?;
    let size = usize::try_from(item.meta.size).map_err(|_| DeliverError::Changed)?;
    let mut chunk = Sealer::buffer(size + Trailer::LEN);
    file.fill(&mut chunk, HEADER_LEN, size)?;
    let hash = *blake3::hash(&chunk[HEADER_LEN..]).as_bytes();
    let read = file.check_end(hash)?;
    if let Some(effort) = packing.small(item.meta.size) {
        let mut packed = Sealer::buffer(size + Trailer::LEN);
        if packer.pack(&chunk[HEADER_LEN..], effort, &mut packed) {
            chunk = packed;
        }
    }
    Trailer { size: item.meta.size, hash }.encode(&mut chunk);
    Ok((read, [offer, sealer.seal(RecordKind::Final, chunk)?]))
}

/// A chunk ready for the stream.
pub(super) struct SealedChunk {
    pub record: Bytes,
    /// Bytes of the file in it.
    pub data: u64,
}

/// A file being read from some chunk on.
pub(super) struct Source {
    file: Reading,
    size: u64,
    /// Of the next chunk.
    pub offset: u64,
    hasher: FileHasher,
    /// Packs chunks, if that promises anything.
    pub packer: Option<ChunkPacker>,
}

impl Source {
    /// Goes on behind what the peer holds if that is what the file begins with, else from the start.
    pub fn resume(file: Reading, size: u64, accept: Accept, packing: &Packing) -> Result<Self, DeliverError> {
        let mut source = Self::behind(file, size, accept)?;
        source.packer = packing.large(&mut source.file.file, source.offset, size);
        Ok(source)
    }

    fn behind(file: Reading, size: u64, accept: Accept) -> Result<Self, DeliverError> {
        let hasher = FileHasher::new(FILE_CHUNK);
        let mut source = Self { file, size, offset: 0, hasher, packer: None };
        if accept.offset > 0 && accept.offset <= size {
            let mut chunk = BytesMut::new();
            while source.offset < accept.offset {
                source.read_chunk(&mut chunk, 0)?;
            }
            if source.hasher.finish(accept.offset)? == accept.prefix {
                return Ok(source);
            }
            source.file.start_over()?;
            source.offset = 0;
            source.hasher = FileHasher::new(FILE_CHUNK);
        }
        Ok(source)
    }

    /// Puts the next chunk of the file behind the first `start` bytes of the buffer and takes its hash.
    fn read_chunk(&mut self, chunk: &mut BytesMut, start: usize) -> Result<(), DeliverError> {
        let len = usize::try_from((self.size - self.offset).min(CHUNK_SIZE as u64)).unwrap_or(CHUNK_SIZE);
        self.file.fill(chunk, start, len)?;
        let index = self.offset / CHUNK_SIZE as u64;
        if len > 0 || self.size == 0 {
            self.hasher.push(index, FILE_CHUNK.hash(index, &chunk[start..])?)?;
        }
        self.offset += len as u64;
        Ok(())
    }

    /// Reads, hashes and seals the rest. The last chunk is sealed only when the file is still the one
    /// that was queued, and still stands in Outgoing under the name that was offered: a mixture of two contents is
    /// never complete, and what its user took back does not arrive.
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
            if let Some(packer) = &mut self.packer {
                packer.pack(&mut chunk, chunks.capacity() == 0);
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

pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, DeliverError> + Send + 'static,
) -> Result<T, DeliverError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => Err(DeliverError::Internal(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::table::model::{file, name};
    use crate::proto::message::EntryKind;

    /// What reads of the process's memory at address 0 give is an I/O error as a disk's.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_read_is_not_called_changed() {
        let shown = "Outgoing/f".to_owned();
        let file_of_memory = File::open("/proc/self/mem").unwrap();
        let mut broken = Reading { file: file_of_memory, meta: file(1, 5, 1), shown, snapshot: false };
        let error = broken.fill(&mut BytesMut::new(), 0, 5).unwrap_err();
        assert!(matches!(error, DeliverError::Source(StoreError::Io { .. })), "{error}");
        assert!(
            error.to_string().starts_with("Outgoing/f: could not read it: Input/output error"),
            "{error}"
        );
        assert!(matches!(broken.check_end([0; 32]).unwrap_err(), DeliverError::Source(_)));
    }

    #[test]
    fn what_is_cut_or_grows_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "hello").unwrap();
        let folder = Folder::open(dir.path(), false).unwrap();
        let meta = folder.stat(&name("f")).unwrap();
        let item = Item {
            name: name("f"),
            meta,
            kind: EntryKind::File { size: 5 },
            id: crate::proto::message::TransferId([1; 16]),
            attempt: 0,
            fresh: false,
            snapshot: false,
            content: None,
        };
        let hash = *blake3::hash(b"hello").as_bytes();
        let open = || Reading::open(&folder, &item);
        let mut reading = open().unwrap();
        assert!(matches!(reading.fill(&mut BytesMut::new(), 0, 6), Err(DeliverError::Changed)));
        let mut reading = open().unwrap();
        reading.fill(&mut BytesMut::new(), 0, 4).unwrap();
        assert!(matches!(reading.check_end(hash), Err(DeliverError::Changed)));
        let mut reading = open().unwrap();
        reading.fill(&mut BytesMut::new(), 0, 5).unwrap();
        reading.check_end(hash).unwrap();
        std::fs::write(dir.path().join("f"), "hello!").unwrap();
        assert!(matches!(reading.check_end(hash), Err(DeliverError::Changed)));
        assert!(matches!(open(), Err(DeliverError::Changed)));
    }
}
