//! The delivery of one entry over one stream, from top to bottom: offer, answer, chunks, receipt
//! (protocol.md section 5).

use super::answer::{
    AnswerReader, FirstAnswer, Receipt, check_receipt, first_answer, read_outcome,
};
use super::compress::Compression;
use super::error::DeliverError;
use super::in_flight::{Entered, InFlight, Stop};
use super::offer::{offer_of, seal_offer};
use super::read::{ChunkSource, SealedChunk, SmallReader, blocking};
use super::source_file::SourceFile;
use crate::crypto::filehash::FILE_CHUNK;
use crate::crypto::seal::{RecordKind, Sealer};
use crate::event::{Direction, Event, EventSink};
use crate::failpoint::fail_point;
use crate::meter::{Meter, Stage};
use crate::outbox::item::Item;
use crate::proto::codec::Malformed;
use crate::proto::message::{Accept, Begin, CHUNK_SIZE, EntryKind, Outcome};
use crate::session::record::{RecordError, RecordReader, RecordWriter, seal_message};
use crate::store::{Folder, Meta};
use crate::transport::priority::{Priority, StreamOrder};
use crate::transport::stream::{SendHalf, StreamCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How many sealed chunks wait for the stream, besides those that QUIC buffers.
const MAX_WAITING_CHUNKS: usize = 2;
/// How many bytes of a new file are sent before the receiver's `Accept` arrives: a few round trips
/// of most paths, since the `Accept` may be lost. A refused file costs no more than that.
const MAX_BEFORE_ACCEPT: u64 = 32 << 20;
/// How long a cancelled delivery waits for the peer's receipt if all of the file has left: the peer
/// may hold it already.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval between two progress events of a file.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

const _: () = assert!(FILE_CHUNK.bytes() as usize == CHUNK_SIZE);

/// A delivery's place among those that are read and sent at once.
struct DeliverySlot<'a> {
    permit: OwnedSemaphorePermit,
    /// Whether all of the entry has left.
    is_whole: &'a AtomicBool,
}

impl DeliverySlot<'_> {
    /// The stream has taken the last record.
    fn leave(self) {
        self.is_whole.store(true, Ordering::Relaxed);
        drop(self.permit);
    }
}

/// Completes when a delivery is to stop. `is_whole` says whether all of the entry has left.
async fn stopped(entered: &mut Entered, is_whole: &AtomicBool) -> DeliverError {
    match entered.stopped().await {
        Stop::TakenBack => DeliverError::Changed,
        Stop::Cancelled => {
            if is_whole.load(Ordering::Relaxed) {
                tokio::time::sleep(RECEIPT_TIMEOUT).await;
            }
            DeliverError::Cancelled
        }
    }
}

/// Delivers entries of one folder.
pub(crate) struct Delivery {
    folder: Arc<Folder>,
    events: EventSink,
    small: SmallReader,
    meter: Arc<Meter>,
    in_flight: Arc<InFlight>,
    order: StreamOrder,
}

impl Delivery {
    /// Reads from `folder` (Outgoing), and reports progress to `events` and its waits to `meter`.
    /// `in_flight` stops deliveries ([`Outbox::in_flight`](crate::outbox::Outbox::in_flight)).
    pub(crate) fn new(
        folder: Arc<Folder>,
        events: EventSink,
        meter: Arc<Meter>,
        in_flight: Arc<InFlight>,
    ) -> Self {
        let small = SmallReader::new(folder.clone(), meter.clone());
        Self { folder, events, small, meter, in_flight, order: StreamOrder::default() }
    }

    /// Outgoing.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Stops deliveries whose entries the user takes out of Outgoing ([`InFlight::look`]).
    pub(crate) async fn look_after(&self) {
        self.in_flight.look(&self.folder).await;
    }

    /// Delivers one entry over a new stream. `slot` is freed when the stream has taken the last
    /// record, before the receipt arrives.
    ///
    /// # Errors
    /// [`DeliverError`]; the stream is then reset.
    pub(crate) async fn deliver(
        &self,
        item: &Item,
        writer: RecordWriter,
        reader: RecordReader,
        slot: OwnedSemaphorePermit,
        compression: Compression,
    ) -> Result<Receipt, DeliverError> {
        let (mut send, sealer) = writer.into_parts();
        let is_whole = AtomicBool::new(false);
        let slot = DeliverySlot { permit: slot, is_whole: &is_whole };
        let delivery = self.entry(item, &mut send, sealer, reader, slot, compression);
        let mut entered = self.in_flight.enter(&item.name, item.meta);
        let result = tokio::select! {
            biased;
            result = delivery => result,
            error = stopped(&mut entered, &is_whole) => Err(error),
        };
        if let Err(error) = &result {
            send.reset(match error {
                DeliverError::Changed | DeliverError::Opened | DeliverError::OtherContent => {
                    StreamCode::SourceChanged
                }
                DeliverError::Cancelled => StreamCode::Cancelled,
                // None of it was sent.
                DeliverError::Open => StreamCode::Done,
                // The same content may follow, from the length that the peer holds.
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

    async fn entry(
        &self,
        item: &Item,
        send: &mut SendHalf,
        sealer: Sealer,
        reader: RecordReader,
        slot: DeliverySlot<'_>,
        compression: Compression,
    ) -> Result<Receipt, DeliverError> {
        match &item.kind {
            // An empty file has no content that could wait.
            EntryKind::File { size }
                if *size <= CHUNK_SIZE as u64 && (!item.ask_first || *size == 0) =>
            {
                self.small(item, send, sealer, reader, slot, compression).await
            }
            // Boxed: the future of a small file would be as large as that of a large one.
            EntryKind::File { .. } => {
                Box::pin(self.large(item, send, sealer, reader, slot, compression)).await
            }
            EntryKind::Folder | EntryKind::Link { .. } => {
                self.bare(item, send, sealer, reader, slot).await
            }
        }
    }

    /// Delivers a folder or a link, which consists of its offer alone.
    async fn bare(
        &self,
        item: &Item,
        send: &mut SendHalf,
        mut sealer: Sealer,
        reader: RecordReader,
        slot: DeliverySlot<'_>,
    ) -> Result<Receipt, DeliverError> {
        let offer = seal_offer(item, true, &mut sealer)?;
        self.started(item, 0);
        send.set_priority(self.order.small());
        send.write(offer).await.map_err(RecordError::from)?;
        fail_point("send.bare");
        send.finish().await;
        slot.leave();
        let _waits = self.meter.enter(Stage::Answer);
        check_receipt(read_outcome(reader).await?, None, 0)
    }

    /// Delivers a small file: offer and content leave together, so the receipt arrives after one
    /// round trip.
    async fn small(
        &self,
        item: &Item,
        send: &mut SendHalf,
        sealer: Sealer,
        reader: RecordReader,
        slot: DeliverySlot<'_>,
        compression: Compression,
    ) -> Result<Receipt, DeliverError> {
        let mut waits = self.meter.enter(Stage::Source);
        let (read, records) = self.small.read(item.clone(), sealer, compression).await?;
        self.started(item, 0);
        send.set_priority(self.order.small());
        for record in records {
            waits.switch(Stage::Path);
            // A peer that has the file already stops the stream, and its answer says so.
            if send.write(record).await.is_err() {
                break;
            }
        }
        fail_point("send.small");
        send.finish().await;
        slot.leave();
        waits.switch(Stage::Answer);
        check_receipt(read_outcome(reader).await?, Some(read), 0)
    }

    /// Delivers a large file, or one whose path was occupied. If the peer may hold some of it, its
    /// answer says how much. The rest is sent chunk by chunk, while another thread reads, hashes
    /// and seals it.
    async fn large(
        &self,
        item: &Item,
        send: &mut SendHalf,
        mut sealer: Sealer,
        mut reader: RecordReader,
        slot: DeliverySlot<'_>,
        compression: Compression,
    ) -> Result<Receipt, DeliverError> {
        let (folder, opened) = (self.folder.clone(), item.clone());
        let file = blocking(move || SourceFile::open(&mut folder.walk(), &opened)).await?;
        send.set_priority(self.priority_of(item, item.size()));
        send.write(seal_offer(item, false, &mut sealer)?).await.map_err(RecordError::from)?;
        fail_point("send.offered");
        let mut waits = self.meter.enter(Stage::Answer);
        let accept = if item.first_offer {
            Accept::NOTHING
        } else {
            match first_answer(&mut reader).await? {
                FirstAnswer::Accept(accept) => accept,
                FirstAnswer::Outcome(outcome) => {
                    return self.early_receipt(item, outcome, 0).await;
                }
            }
        };
        let size = item.size();
        waits.switch(Stage::Source);
        let meter = self.meter.clone();
        let source =
            blocking(move || ChunkSource::resume(file, size, accept, &compression, meter)).await?;
        let (confirmed, offset) = (source.confirmed.clone(), source.offset);
        send.set_priority(self.priority_of(item, size.saturating_sub(offset)));
        self.started(item, offset);
        let begin = Begin { confirmed, compressed: source.compressor.is_some() };
        send.write(seal_message(&mut sealer, RecordKind::Answer, |out| begin.encode(out))?)
            .await
            .map_err(RecordError::from)?;

        drop(waits);
        fail_point("send.begun");
        let (chunks, mut ready) = mpsc::channel(MAX_WAITING_CHUNKS);
        let (folder, name) = (self.folder.clone(), item.name.clone());
        let still_there =
            move |meta: &Meta| folder.stat(&name).is_ok_and(|now| now.same_file(meta));
        let reading =
            tokio::task::spawn_blocking(move || source.seal_chunks(sealer, &chunks, still_there));
        let mut answer = AnswerReader::new(reader, item.first_offer);
        let early = self.pump(item, offset, send, &mut ready, &mut answer).await?;
        if let Some(early) = &early
            && (!matches!(early, Outcome::Done { .. }) || ready.recv().await.is_some())
        {
            return self.early_receipt(item, early.clone(), offset).await;
        }
        let read = reading.await.map_err(|error| DeliverError::Internal(error.to_string()))??;
        fail_point("send.last_chunk");
        send.finish().await;
        slot.leave();
        let _waits = self.meter.enter(Stage::Answer);
        let outcome = match early {
            Some(early) => early,
            None => answer.outcome.await?,
        };
        check_receipt(outcome, Some(read), offset)
    }

    /// Handles an outcome that arrives before the whole file was sent: the peer has it from before,
    /// or refuses it. The former counts only if the file still has that content.
    async fn early_receipt(
        &self,
        item: &Item,
        outcome: Outcome,
        offset: u64,
    ) -> Result<Receipt, DeliverError> {
        match outcome {
            Outcome::Done { .. } => Err(Malformed.into()),
            Outcome::Have { hash, .. } => {
                let (folder, opened) = (self.folder.clone(), item.clone());
                let verify = move || SourceFile::open(&mut folder.walk(), &opened)?.verify(hash);
                let read = blocking(verify).await?;
                check_receipt(outcome, Some(read), offset)
            }
            Outcome::Refused { .. } => check_receipt(outcome, None, offset),
        }
    }

    /// Moves sealed chunks to the stream. Returns early with the outcome if that arrives first.
    async fn pump(
        &self,
        item: &Item,
        offset: u64,
        send: &mut SendHalf,
        ready: &mut mpsc::Receiver<SealedChunk>,
        answer: &mut AnswerReader,
    ) -> Result<Option<Outcome>, DeliverError> {
        let mut sent = offset;
        let mut reported = Instant::now();
        let mut stage = self.meter.enter(Stage::Source);
        loop {
            let waits = sent - offset >= MAX_BEFORE_ACCEPT && !answer.accepted.is_terminated();
            stage.switch(if waits { Stage::Answer } else { Stage::Source });
            let record = tokio::select! {
                record = ready.recv(), if !waits => record,
                _ = &mut answer.accepted, if waits => continue,
                early = &mut answer.outcome => return Ok(Some(early?)),
            };
            let Some(SealedChunk { record, data }) = record else { return Ok(None) };
            stage.switch(Stage::Path);
            tokio::select! {
                written = send.write(record) => {
                    if let Err(error) = written {
                        // The peer stopped reading. Its answer says why, if there is one.
                        return match (&mut answer.outcome).await {
                            Ok(early) => Ok(Some(early)),
                            Err(_) => Err(RecordError::from(error).into()),
                        };
                    }
                }
                early = &mut answer.outcome => return Ok(Some(early?)),
            }
            fail_point("send.chunk");
            sent += data;
            self.order.sent(data);
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
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

    /// The priority of a file of many chunks.
    fn priority_of(&self, item: &Item, remaining: u64) -> Priority {
        if item.urgent { self.order.urgent() } else { self.order.bulk(remaining) }
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
