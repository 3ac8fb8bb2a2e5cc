//! One file onto one stream, top to bottom: offer, answer, chunks, receipt (protocol.md section 5).

mod answer;

use super::compress::Compression;
use super::rate_limit::RateLimit;
use super::read::{Reading, SealedChunk, SmallReader, Source, blocking};
use crate::crypto::filehash::{FILE_CHUNK, FileHashError};
use crate::crypto::seal::{RecordKind, SealError, Sealer};
use crate::event::{Direction, Event, EventSink};
use crate::failpoint::fail_point;
use crate::outbox::Item;
use crate::proto::codec::Malformed;
use crate::proto::message::{Accept, Begin, CHUNK_SIZE, EntryKind, Offer, Outcome, Refusal};
use crate::proto::name::Name;
use crate::session::record::{RecordError, RecordReader, RecordWriter, seal_message};
use crate::store::{Folder, Meta, StoreError};
use crate::transport::stream::{Priority, SendHalf, StreamCode};
use answer::{Answer, FirstWord, first_word, outcome, receipt};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Sealed chunks that wait for the stream, besides what QUIC holds.
const AHEAD: usize = 2;
/// Of a file of which the peer can hold nothing, so many bytes leave before its word: a few round
/// trips of most links, as the word may be lost. A peer that refuses the file has cost no more than
/// that, and no more than what leaves in one.
const BEFORE_ACCEPT: u64 = 32 << 20;
/// Between two progress events of a file.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

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
    /// The file as it was when the last of it was read; `None` for folders and links.
    pub meta: Option<Meta>,
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
    /// A program had it open for writing before anything was sent.
    #[error("a program has it open for writing; it is sent when it is closed")]
    Open,
    /// A program opened it for writing while it was sent.
    #[error(
        "a program opened it for writing while it was sent; it is sent again when it is closed"
    )]
    Opened,
    /// The peer holds another content under the id of this transfer.
    #[error("the peer holds an older content of it; it is sent again")]
    OtherContent,
    /// It cannot be read, now.
    #[error(transparent)]
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
    folder: Arc<Folder>,
    rate_limit: RateLimit,
    events: EventSink,
    small: SmallReader,
    turns: AtomicU32,
}

impl Delivery {
    /// Reads from `folder` (Outgoing), sends no faster than `rate_limit`, and tells `events`.
    pub fn new(folder: Arc<Folder>, rate_limit: RateLimit, events: EventSink) -> Self {
        let small = SmallReader::new(folder.clone());
        Self { folder, rate_limit, events, small, turns: AtomicU32::new(0) }
    }

    /// Outgoing.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Delivers one entry on a first_offer stream. `slot` is freed as soon as everything is handed
    /// to the stream, while the receipt is still on its way.
    ///
    /// # Errors
    /// [`DeliverError`]; the stream is then reset.
    pub async fn deliver(
        &self,
        item: &Item,
        writer: RecordWriter,
        reader: RecordReader,
        slot: OwnedSemaphorePermit,
        compression: Compression,
    ) -> Result<Delivered, DeliverError> {
        let (mut send, sealer) = writer.into_parts();
        let result = match &item.kind {
            // An empty file has nothing to hold back.
            EntryKind::File { size }
                if *size <= CHUNK_SIZE as u64 && (!item.ask_first || *size == 0) =>
            {
                self.small(item, &mut send, sealer, reader, slot, compression).await
            }
            EntryKind::File { .. } => {
                self.large(item, &mut send, sealer, reader, slot, compression).await
            }
            EntryKind::Folder | EntryKind::Link { .. } => {
                self.bare(item, &mut send, sealer, reader, slot).await
            }
        };
        if let Err(error) = &result {
            send.reset(match error {
                DeliverError::Changed | DeliverError::Opened | DeliverError::OtherContent => {
                    StreamCode::SourceChanged
                }
                // Nothing was sent of it.
                DeliverError::Open => StreamCode::Done,
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
        send.set_turn(Priority::Small(self.turn()));
        send.write(offer).await.map_err(RecordError::from)?;
        fail_point("send.bare");
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
        compression: Compression,
    ) -> Result<Delivered, DeliverError> {
        let (read, records) = self.small.read(item.clone(), sealer, compression).await?;
        self.started(item, 0);
        send.set_turn(Priority::Small(self.turn()));
        for record in records {
            self.wait_for_pace(record.len()).await;
            // A peer that has it already stops the stream; its answer says so.
            if send.write(record).await.is_err() {
                break;
            }
        }
        fail_point("send.small");
        send.finish().await;
        drop(slot);
        receipt(outcome(reader).await?, Some(read), 0)
    }

    /// A large file, or one that the peer has refused, waits for the peer's word on what it holds
    /// from before, if it can hold anything. It then goes chunk by chunk while it is read, hashed
    /// and sealed on a thread of its own.
    async fn large(
        &self,
        item: &Item,
        send: &mut SendHalf,
        mut sealer: Sealer,
        mut reader: RecordReader,
        slot: OwnedSemaphorePermit,
        compression: Compression,
    ) -> Result<Delivered, DeliverError> {
        let (folder, job) = (self.folder.clone(), item.clone());
        let file = blocking(move || Reading::open(&folder, &job)).await?;
        send.set_turn(Priority::Bulk(self.turn()));
        send.write(seal_offer(item, false, &mut sealer)?).await.map_err(RecordError::from)?;
        fail_point("send.offered");
        let accept = if item.first_offer {
            Accept::NOTHING
        } else {
            match first_word(&mut reader).await? {
                FirstWord::Accept(accept) => accept,
                FirstWord::Last(outcome) => {
                    return self.receipt_before_the_end(item, outcome, 0).await;
                }
            }
        };
        let size = item.size();
        let source = blocking(move || Source::resume(file, size, accept, &compression)).await?;
        let (confirmed, offset) = (source.confirmed.clone(), source.offset);
        self.started(item, offset);
        let begin = Begin { confirmed, compressed: source.compressor.is_some() };
        send.write(seal_message(&mut sealer, RecordKind::Answer, |out| begin.encode(out))?)
            .await
            .map_err(RecordError::from)?;

        fail_point("send.begun");
        let (chunks, mut ready) = mpsc::channel(AHEAD);
        let (folder, name) = (self.folder.clone(), item.name.clone());
        let still_there =
            move |meta: &Meta| folder.stat(&name).is_ok_and(|now| now.same_file(meta));
        let reading =
            tokio::task::spawn_blocking(move || source.seal_chunks(sealer, &chunks, still_there));
        let mut answer = Answer::of(reader, item.first_offer);
        let early = self.pump(item, offset, send, &mut ready, &mut answer).await?;
        if let Some(early) = &early
            && (!matches!(early, Outcome::Done { .. }) || ready.recv().await.is_some())
        {
            return self.receipt_before_the_end(item, early.clone(), offset).await;
        }
        let read = reading.await.map_err(|error| DeliverError::Internal(error.to_string()))??;
        fail_point("send.last_chunk");
        send.finish().await;
        drop(slot);
        let last = match early {
            Some(early) => early,
            None => answer.last.await?,
        };
        receipt(last, Some(read), offset)
    }

    /// What the peer may say before it has the whole file: that it has it from before, or does not
    /// take it. That it has it counts only if the file still has that content.
    async fn receipt_before_the_end(
        &self,
        item: &Item,
        outcome: Outcome,
        offset: u64,
    ) -> Result<Delivered, DeliverError> {
        match outcome {
            Outcome::Done { .. } => Err(Malformed.into()),
            Outcome::Have { hash, .. } => {
                let (folder, job) = (self.folder.clone(), item.clone());
                let read = blocking(move || Reading::open(&folder, &job)?.verify(hash)).await?;
                receipt(outcome, Some(read), offset)
            }
            Outcome::Refused { .. } => receipt(outcome, None, offset),
        }
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
            let waits = sent - offset >= BEFORE_ACCEPT && !answer.accepted.is_terminated();
            let record = tokio::select! {
                record = ready.recv(), if !waits => record,
                _ = &mut answer.accepted, if waits => continue,
                early = &mut answer.last => return Ok(Some(early?)),
            };
            let Some(SealedChunk { record, data }) = record else { return Ok(None) };
            self.wait_for_pace(record.len()).await;
            tokio::select! {
                written = send.write(record) => {
                    if let Err(error) = written {
                        // The peer stopped reading: its answer says why, if there is one.
                        return match (&mut answer.last).await {
                            Ok(early) => Ok(Some(early)),
                            Err(_) => Err(RecordError::from(error).into()),
                        };
                    }
                }
                early = &mut answer.last => return Ok(Some(early?)),
            }
            fail_point("send.chunk");
            sent += data;
            if told.elapsed() >= PROGRESS_INTERVAL {
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

    fn turn(&self) -> u32 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    async fn wait_for_pace(&self, bytes: usize) {
        let wait = self.rate_limit.take(bytes, Instant::now());
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

pub(crate) fn seal_offer(
    item: &Item,
    inline: bool,
    sealer: &mut Sealer,
) -> Result<Bytes, SealError> {
    seal_message(sealer, RecordKind::Offer, |out| offer_of(item, inline).encode(out))
}
