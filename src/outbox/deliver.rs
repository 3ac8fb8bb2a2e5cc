//! One file onto one stream, top to bottom: offer, answer, chunks, receipt (protocol.md section 5).

use super::Item;
use super::pace::Pace;
use super::packing::{ChunkPacker, Packing};
use crate::crypto::filehash::{FILE_CHUNK, FileHashError, FileHasher};
use crate::crypto::seal::{HEADER_LEN, RecordKind, SealError, Sealer};
use crate::event::{Direction, Event, EventSink};
use crate::failpoint::hit;
use crate::net::record::{RecordError, RecordReader, RecordWriter, seal_message};
use crate::net::stream::{SendHalf, StreamCode};
use crate::pack::Packer;
use crate::proto::codec::Malformed;
use crate::proto::message::{
    Accept, Begin, CHUNK_SIZE, EntryKind, MAX_MESSAGE, Offer, Outcome, Refusal, Trailer,
};
use crate::proto::name::Name;
use crate::store::{Folder, Meta, StoreError, meta_of};
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Sealed chunks that wait for the stream, besides what QUIC holds.
const AHEAD: usize = 2;
/// Between two progress events of a file.
const PROGRESS_PACE: Duration = Duration::from_millis(200);

const _: () = assert!(FILE_CHUNK.bytes() as usize == CHUNK_SIZE);

/// A file that the peer holds.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// BLAKE3 of the whole (zero for folders and links).
    pub hash: [u8; 32],
    /// Where it stands at the peer.
    pub saved_as: Name,
    /// Bytes that were there from before.
    pub offset: u64,
}

/// Why a file was not delivered this time.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The stream or the session is gone, or the peer breaks the protocol.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is not the file any more that was offered.
    #[error("it changed while it was sent; it is sent again when it has settled")]
    Changed,
    /// It cannot be read, now.
    #[error("{0}; rft goes on trying")]
    Source(#[from] StoreError),
    /// The peer does not take it.
    #[error("{reason}{}", detail_of(.detail))]
    Refused {
        /// Why.
        reason: Refusal,
        /// In the peer's words, escaped.
        detail: String,
    },
    /// The hash of its chunks cannot be had: a bug.
    #[error("its hash could not be computed: {0}")]
    Hash(#[from] FileHashError),
    /// The reading thread died: a bug.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

fn detail_of(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

impl From<SealError> for DeliverError {
    fn from(error: SealError) -> Self {
        Self::Record(error.into())
    }
}

impl From<Malformed> for DeliverError {
    fn from(error: Malformed) -> Self {
        Self::Record(error.into())
    }
}

/// What every delivery needs.
pub struct Delivery {
    /// Outgoing.
    pub folder: Arc<Folder>,
    /// The cap on what is sent.
    pub pace: Pace,
    /// Where events go.
    pub events: EventSink,
}

type Answer = Pin<Box<dyn Future<Output = Result<Outcome, RecordError>> + Send>>;

impl Delivery {
    /// Delivers one entry on a fresh stream. `slot` is freed as soon as everything is handed to the
    /// stream, while the receipt is still on its way.
    ///
    /// # Errors
    /// [`DeliverError`]; the stream is then reset.
    pub async fn deliver(
        &self,
        item: &Item,
        writer: RecordWriter,
        reader: RecordReader,
        slot: OwnedSemaphorePermit,
        packing: Packing,
    ) -> Result<Delivered, DeliverError> {
        let (mut send, sealer) = writer.into_parts();
        let result = match &item.kind {
            EntryKind::File { size } if *size <= CHUNK_SIZE as u64 => {
                self.small(item, &mut send, sealer, reader, slot, packing).await
            }
            EntryKind::File { .. } => self.large(item, &mut send, sealer, reader, slot, packing).await,
            EntryKind::Folder | EntryKind::Link { .. } => {
                self.bare(item, &mut send, sealer, reader, slot).await
            }
        };
        if let Err(error) = &result {
            send.reset(match error {
                DeliverError::Changed => StreamCode::SourceChanged,
                // The same content may come again, behind what the peer holds of it.
                DeliverError::Source(_) => StreamCode::SourceUnreadable,
                DeliverError::Refused { .. } => StreamCode::Done,
                DeliverError::Record(RecordError::Malformed(_) | RecordError::Open(_)) => {
                    StreamCode::Protocol
                }
                _ => StreamCode::Stopping,
            });
        }
        result
    }

    /// A folder or a link is its offer alone.
    async fn bare(
        &self,
        item: &Item,
        send: &mut SendHalf,
        mut sealer: Sealer,
        reader: RecordReader,
        slot: OwnedSemaphorePermit,
    ) -> Result<Delivered, DeliverError> {
        let offer = seal_offer(item, true, &mut sealer)?;
        self.started(item, 0);
        send.set_priority(1);
        send.write(offer).await.map_err(RecordError::from)?;
        hit("send.bare");
        send.finish().await;
        drop(slot);
        receipt(outcome(reader).await?, None, 0)
    }

    /// A small file leaves at once, offer and content together: it costs no round trip before its
    /// receipt.
    async fn small(
        &self,
        item: &Item,
        send: &mut SendHalf,
        sealer: Sealer,
        reader: RecordReader,
        slot: OwnedSemaphorePermit,
        packing: Packing,
    ) -> Result<Delivered, DeliverError> {
        let (folder, job) = (self.folder.clone(), item.clone());
        let (hash, records) = blocking(move || seal_small(&folder, &job, sealer, &packing)).await?;
        self.started(item, 0);
        send.set_priority(1);
        for record in records {
            self.wait_for_pace(record.len()).await;
            // A peer that has it already stops the stream; its answer says so.
            if send.write(record).await.is_err() {
                break;
            }
        }
        hit("send.small");
        send.finish().await;
        drop(slot);
        receipt(outcome(reader).await?, Some(hash), 0)
    }

    /// A large file waits for the peer's word on what it holds from before, then goes chunk by chunk
    /// while it is read, hashed and sealed on a thread of its own.
    async fn large(
        &self,
        item: &Item,
        send: &mut SendHalf,
        mut sealer: Sealer,
        mut reader: RecordReader,
        slot: OwnedSemaphorePermit,
        packing: Packing,
    ) -> Result<Delivered, DeliverError> {
        let (folder, job) = (self.folder.clone(), item.clone());
        let file = blocking(move || Reading::open(&folder, &job)).await?;
        send.write(seal_offer(item, false, &mut sealer)?).await.map_err(RecordError::from)?;
        hit("send.offered");
        let accept = match reader.next(MAX_MESSAGE).await? {
            (RecordKind::Answer, plaintext) => Accept::decode(&plaintext)?,
            (RecordKind::Receipt, plaintext) => {
                return receipt_before_the_end(Outcome::decode(&plaintext)?, 0);
            }
            _ => return Err(Malformed.into()),
        };
        let size = item.size();
        let source = blocking(move || Source::resume(file, size, accept, &packing)).await?;
        let offset = source.offset;
        self.started(item, offset);
        let begin = Begin { offset, packed: source.packer.is_some() };
        send.write(seal_message(&mut sealer, RecordKind::Answer, |out| begin.encode(out))?)
            .await
            .map_err(RecordError::from)?;

        hit("send.begun");
        let (chunks, mut ready) = mpsc::channel(AHEAD);
        let reading = tokio::task::spawn_blocking(move || source.seal_chunks(sealer, &chunks));
        let mut answer: Answer = Box::pin(outcome(reader));
        let early = self.pump(item, offset, send, &mut ready, &mut answer).await?;
        if let Some(early) = &early
            && (!matches!(early, Outcome::Done { .. }) || ready.recv().await.is_some())
        {
            return receipt_before_the_end(early.clone(), offset);
        }
        let hash = reading.await.map_err(|error| DeliverError::Internal(error.to_string()))??;
        hit("send.last_chunk");
        send.finish().await;
        drop(slot);
        let last = match early {
            Some(early) => early,
            None => answer.await?,
        };
        receipt(last, Some(hash), offset)
    }

    /// Moves sealed chunks to the stream. An answer before the last chunk ends it.
    async fn pump(
        &self,
        item: &Item,
        offset: u64,
        send: &mut SendHalf,
        ready: &mut mpsc::Receiver<SealedChunk>,
        answer: &mut Answer,
    ) -> Result<Option<Outcome>, DeliverError> {
        let mut sent = offset;
        let mut told = Instant::now();
        loop {
            let record = tokio::select! {
                record = ready.recv() => record,
                early = &mut *answer => return Ok(Some(early?)),
            };
            let Some(SealedChunk { record, data }) = record else { return Ok(None) };
            self.wait_for_pace(record.len()).await;
            tokio::select! {
                written = send.write(record) => {
                    if let Err(error) = written {
                        // The peer stopped reading: its answer says why, if there is one.
                        return match answer.await {
                            Ok(early) => Ok(Some(early)),
                            Err(_) => Err(RecordError::from(error).into()),
                        };
                    }
                }
                early = &mut *answer => return Ok(Some(early?)),
            }
            hit("send.chunk");
            sent += data;
            if told.elapsed() >= PROGRESS_PACE {
                told = Instant::now();
                self.events.emit(Event::FileProgress {
                    direction: Direction::Send,
                    path: item.name.clone(),
                    transfer: item.id,
                    bytes: sent,
                    size: item.meta.size,
                });
            }
        }
    }

    async fn wait_for_pace(&self, bytes: usize) {
        let wait = self.pace.take(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn started(&self, item: &Item, offset: u64) {
        self.events.emit(Event::FileStarted {
            direction: Direction::Send,
            path: item.name.clone(),
            size: offer_of(item, false).size(),
            transfer: item.id,
            offset,
        });
    }
}

fn offer_of(item: &Item, inline: bool) -> Offer {
    Offer {
        id: item.id,
        name: item.name.clone(),
        kind: item.kind.clone(),
        modified: item.meta.modified,
        mode: item.meta.mode,
        inline,
    }
}

fn seal_offer(item: &Item, inline: bool, sealer: &mut Sealer) -> Result<Bytes, SealError> {
    seal_message(sealer, RecordKind::Offer, |out| offer_of(item, inline).encode(out))
}

/// The last word, once it comes. What it says is bounded by the size of a record.
async fn outcome(mut reader: RecordReader) -> Result<Outcome, RecordError> {
    reader.message(RecordKind::Receipt, Outcome::decode).await
}

/// What the peer may say before it has the whole file: that it has it from before, or does not take it.
fn receipt_before_the_end(outcome: Outcome, offset: u64) -> Result<Delivered, DeliverError> {
    match outcome {
        Outcome::Done { .. } => Err(Malformed.into()),
        other => receipt(other, None, offset),
    }
}

/// The file counts as delivered only under the hash that we sent.
fn receipt(outcome: Outcome, sent: Option<[u8; 32]>, offset: u64) -> Result<Delivered, DeliverError> {
    match outcome {
        Outcome::Done { hash, saved_as } | Outcome::Have { hash, saved_as } => match sent {
            Some(sent) if sent != hash => Err(DeliverError::Refused {
                reason: Refusal::Corrupt,
                detail: "the receipt is for other content".into(),
            }),
            _ => Ok(Delivered { hash, saved_as, offset }),
        },
        Outcome::Refused { reason, detail } => {
            Err(DeliverError::Refused { reason, detail: crate::proto::name::escape(detail.as_bytes()) })
        }
    }
}

/// A file being read that was queued, and no other.
struct Reading {
    file: File,
    /// As it was queued.
    meta: Meta,
    /// Where it is, for messages.
    shown: String,
}

impl Reading {
    fn open(folder: &Folder, item: &Item) -> Result<Self, DeliverError> {
        let (file, meta) = folder.open_file(&item.name)?;
        let shown = folder.shown(&item.name);
        if meta.unchanged(&item.meta) { Ok(Self { file, meta, shown }) } else { Err(DeliverError::Changed) }
    }

    /// Appends exactly `len` bytes; fewer means that the file was cut.
    fn fill(&mut self, buffer: &mut BytesMut, len: usize) -> Result<(), DeliverError> {
        let start = buffer.len();
        buffer.resize(start + len, 0);
        match self.file.read_exact(&mut buffer[start..]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DeliverError::Changed),
            read => self.named(read),
        }
    }

    /// Nothing happened to the file since it was queued, and it ends here: what was read of it is one
    /// content.
    fn check_end(&mut self) -> Result<(), DeliverError> {
        let more = self.file.read(&mut [0]);
        let grown = self.named(more)? > 0;
        let now = self.named(meta_of(&self.file))?;
        if grown || !now.unchanged(&self.meta) { Err(DeliverError::Changed) } else { Ok(()) }
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
) -> Result<([u8; 32], [Bytes; 2]), DeliverError> {
    let mut file = Reading::open(folder, item)?;
    let offer = seal_offer(item, true, &mut sealer)?;
    let size = usize::try_from(item.meta.size).map_err(|_| DeliverError::Changed)?;
    let mut chunk = Sealer::buffer(size + Trailer::LEN);
    file.fill(&mut chunk, size)?;
    file.check_end()?;
    let hash = *blake3::hash(&chunk[HEADER_LEN..]).as_bytes();
    if let Some(effort) = packing.small(item.meta.size) {
        let mut packed = Sealer::buffer(size + Trailer::LEN);
        if Packer::default().pack(&chunk[HEADER_LEN..], effort, &mut packed) {
            chunk = packed;
        }
    }
    Trailer { size: item.meta.size, hash }.encode(&mut chunk);
    Ok((hash, [offer, sealer.seal(RecordKind::Final, chunk)?]))
}

/// A chunk ready for the stream.
struct SealedChunk {
    record: Bytes,
    /// Bytes of the file in it.
    data: u64,
}

/// A file being read from some chunk on.
struct Source {
    file: Reading,
    size: u64,
    /// Of the next chunk.
    offset: u64,
    hasher: FileHasher,
    /// Packs chunks, if that promises anything.
    packer: Option<ChunkPacker>,
}

impl Source {
    /// Goes on behind what the peer holds if that is what the file begins with, else from the start.
    fn resume(file: Reading, size: u64, accept: Accept, packing: &Packing) -> Result<Self, DeliverError> {
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
                chunk.clear();
                source.read_chunk(&mut chunk)?;
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

    /// Appends the next chunk to `chunk` and takes its hash.
    fn read_chunk(&mut self, chunk: &mut BytesMut) -> Result<(), DeliverError> {
        let len = usize::try_from((self.size - self.offset).min(CHUNK_SIZE as u64)).unwrap_or(CHUNK_SIZE);
        let start = chunk.len();
        self.file.fill(chunk, len)?;
        let index = self.offset / CHUNK_SIZE as u64;
        if len > 0 || self.size == 0 {
            self.hasher.push(index, FILE_CHUNK.hash(index, &chunk[start..])?)?;
        }
        self.offset += len as u64;
        Ok(())
    }

    /// Reads, hashes and seals the rest. The last chunk is sealed only when the file is still the one
    /// that was queued, so that a mixture of two contents is never complete.
    fn seal_chunks(
        mut self,
        mut sealer: Sealer,
        chunks: &mpsc::Sender<SealedChunk>,
    ) -> Result<[u8; 32], DeliverError> {
        loop {
            let mut chunk = Sealer::buffer(CHUNK_SIZE + Trailer::LEN);
            self.read_chunk(&mut chunk)?;
            let data = (chunk.len() - HEADER_LEN) as u64;
            if let Some(packer) = &mut self.packer {
                packer.pack(&mut chunk, chunks.capacity() == 0);
            }
            let last = self.offset == self.size;
            let hash = if last {
                self.file.check_end()?;
                let hash = self.hasher.finish(self.size)?;
                Trailer { size: self.size, hash }.encode(&mut chunk);
                Some(hash)
            } else {
                None
            };
            let kind = if last { RecordKind::Final } else { RecordKind::Data };
            let record = sealer.seal(kind, chunk)?;
            let gone = chunks.blocking_send(SealedChunk { record, data }).is_err();
            if let Some(hash) = hash {
                return Ok(hash);
            }
            if gone {
                return Err(DeliverError::Internal("the stream was given up".into()));
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
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

    /// What reads of the process's memory at address 0 give is an I/O error as a disk's.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_read_is_not_called_changed() {
        let shown = "Outgoing/f".to_owned();
        let mut broken = Reading { file: File::open("/proc/self/mem").unwrap(), meta: file(1, 5, 1), shown };
        let error = broken.fill(&mut BytesMut::new(), 5).unwrap_err();
        assert!(matches!(error, DeliverError::Source(StoreError::Io { .. })), "{error}");
        assert!(
            error.to_string().starts_with("Outgoing/f: could not read it: Input/output error"),
            "{error}"
        );
        assert!(matches!(broken.check_end().unwrap_err(), DeliverError::Source(_)));
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
        };
        let open = || Reading::open(&folder, &item);
        let mut reading = open().unwrap();
        assert!(matches!(reading.fill(&mut BytesMut::new(), 6), Err(DeliverError::Changed)));
        let mut reading = open().unwrap();
        reading.fill(&mut BytesMut::new(), 4).unwrap();
        assert!(matches!(reading.check_end(), Err(DeliverError::Changed)));
        let mut reading = open().unwrap();
        reading.fill(&mut BytesMut::new(), 5).unwrap();
        reading.check_end().unwrap();
        std::fs::write(dir.path().join("f"), "hello!").unwrap();
        assert!(matches!(reading.check_end(), Err(DeliverError::Changed)));
        assert!(matches!(open(), Err(DeliverError::Changed)));
    }
}
