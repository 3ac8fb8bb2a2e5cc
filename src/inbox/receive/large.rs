//! A large file: the agreement on the chunks that are held, then the other chunks in any order. A
//! separate thread opens and writes them.

use super::super::active::Claim;
use super::super::error::{ReceiveError, refused};
use super::super::layout::Layout;
use super::super::reassembly::{Reassembler, SealedRecord};
use super::super::stage::{Staging, Written};
use super::{Inbox, blocking};
use crate::crypto::seal::{Opener, RecordKind};
use crate::event::{Direction, Event};
use crate::failpoint::fail_point;
use crate::meter::Stage;
use crate::proto::codec::Malformed;
use crate::proto::message::{Begin, Offer, Refusal};
use crate::session::record::{RecordReader, RecordWriter};
use crate::store::Content;
use crate::transport::stream::{RecvHalf, StreamCode, StreamError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Number of complete records that may wait for the thread that opens and writes them.
const MAX_WAITING_RECORDS: usize = 4;
/// Minimum time between two progress events of a file.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Number of pieces, of a packet each, between two looks at the clock.
const PIECES_PER_CLOCK_READ: u32 = 16;

/// A large file whose chunks are about to arrive.
pub(super) struct AcceptedFile {
    staging: Staging,
    stream: RecvHalf,
    opener: Opener,
    layout: Layout,
    compressed: bool,
}

impl AcceptedFile {
    /// Bytes of the file that are held already.
    pub(super) fn held_bytes(&self) -> u64 {
        self.staging.held.prefix_bytes()
    }
}

impl Inbox {
    /// Tells the sender which chunks are held, and reads which of them it confirms.
    pub(super) async fn accept(
        &self,
        offer: &Offer,
        size: u64,
        writer: &mut RecordWriter,
        mut reader: RecordReader,
        claim: Arc<Claim>,
    ) -> Result<AcceptedFile, ReceiveError> {
        let (incoming, id) = (self.incoming.clone(), offer.id);
        // The claim is dropped after the staged file, even if this future is dropped meanwhile.
        let staging = blocking(move || Ok((Staging::open(&incoming, id, size)?, claim)));
        let (mut staging, _claim) = staging.await?;
        let accept = staging.accept()?;
        fail_point("receive.accepting");
        writer.send(RecordKind::Answer, |out| accept.encode(out)).await?;
        let begin = reader.message(RecordKind::Answer, Begin::decode).await?;
        if begin.confirmed != staging.held {
            if !begin.confirmed.is_empty() {
                return Err(Malformed.into());
            }
            staging.start_over()?;
        }
        let (stream, opener, index, position) = reader.into_parts();
        let layout = Layout::new(position, index, size, &begin.confirmed).ok_or(Malformed)?;
        let compressed = begin.compressed;
        Ok(AcceptedFile { staging, stream, opener, layout, compressed })
    }

    /// Receives the chunks that are missing.
    pub(super) async fn large(
        &self,
        offer: &Offer,
        accepted: AcceptedFile,
        claim: Arc<Claim>,
    ) -> Result<(Content, [u8; 32]), ReceiveError> {
        let written = Arc::new(AtomicU64::new(accepted.held_bytes()));
        let AcceptedFile { staging, mut stream, opener, layout, compressed } = accepted;
        let (complete, records) = mpsc::channel(MAX_WAITING_RECORDS);
        let reassembler = Reassembler::new(layout, compressed);
        let buffers = reassembler.buffers().clone();
        let (counter, meter) = (written.clone(), self.meter.clone());
        // Here too the claim is dropped last.
        let worker = tokio::task::spawn_blocking(move || {
            (staging.write_all(layout, opener, records, &buffers, &counter, &meter), claim)
        });
        let fed = self.feed(offer, reassembler, &mut stream, complete, &written).await;
        let waits = self.meter.enter(Stage::Store);
        let (written, _claim) =
            worker.await.map_err(|error| ReceiveError::Internal(error.to_string()))?;
        drop(waits);
        match (fed, written) {
            (Ok(()), Ok(Written::Whole(staged, hash))) => Ok((Content::Staged(staged), hash)),
            (Ok(()), Ok(Written::Part)) => {
                Err(ReceiveError::Internal("chunks were lost on their way to the disk".into()))
            }
            // The thread's error is the cause of the stream's.
            (_, Err(error)) => {
                stream.stop(StreamCode::Refused);
                Err(error)
            }
            (Err(error), Ok(_)) => {
                if let ReceiveError::Record(error) = &error
                    && (error.is_withdrawal() || error.is_cancelled())
                {
                    // The content of this transfer id no longer exists, so it cannot be resumed.
                    self.incoming.discard(offer.id)?;
                }
                Err(error)
            }
        }
    }

    /// Moves pieces from the stream to the reassembler, and complete records to the worker.
    async fn feed(
        &self,
        offer: &Offer,
        mut reassembler: Reassembler,
        stream: &mut RecvHalf,
        complete: mpsc::Sender<SealedRecord>,
        written: &AtomicU64,
    ) -> Result<(), ReceiveError> {
        let mut share = MemoryShare { total: &self.partial, held: 0 };
        let mut ready = Vec::new();
        let (mut emitted, mut pieces) = (Instant::now(), 0u32);
        let mut stage = self.meter.enter(Stage::Arrive);
        while !reassembler.is_complete() {
            let Some((position, piece)) = stream.piece().await? else {
                return Err(StreamError::Ended.into());
            };
            reassembler.push(position, &piece, |record| ready.push(record))?;
            if share.set(reassembler.held()) > self.limits.partial {
                return Err(refused(
                    Refusal::Busy,
                    "incomplete chunks use all the memory for them; it is tried again later",
                ));
            }
            if !ready.is_empty() {
                stage.switch(Stage::Store);
            }
            for record in ready.drain(..) {
                if complete.send(record).await.is_err() {
                    // The worker has ended with an error, which the caller reads.
                    return Ok(());
                }
            }
            stage.switch(Stage::Arrive);
            pieces = pieces.wrapping_add(1);
            if pieces.is_multiple_of(PIECES_PER_CLOCK_READ)
                && emitted.elapsed() >= PROGRESS_INTERVAL
            {
                emitted = Instant::now();
                self.events.emit(Event::FileProgress {
                    direction: Direction::Receive,
                    path: offer.name.clone(),
                    transfer: offer.id,
                    bytes: written.load(Ordering::Relaxed),
                    size: offer.size(),
                });
            }
        }
        Ok(())
    }
}

/// One stream's part of the memory of incomplete records. Given back when dropped.
struct MemoryShare<'a> {
    total: &'a AtomicUsize,
    held: usize,
}

impl MemoryShare<'_> {
    /// Sets this stream's part, and returns the total of all streams; both in bytes.
    fn set(&mut self, held: usize) -> usize {
        let before = std::mem::replace(&mut self.held, held);
        if held >= before {
            self.total.fetch_add(held - before, Ordering::Relaxed) + (held - before)
        } else {
            self.total.fetch_sub(before - held, Ordering::Relaxed) - (before - held)
        }
    }
}

impl Drop for MemoryShare<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}
