//! A large file: what is here from before, then chunks in any order, opened and written on a thread
//! of their own.

use super::super::active::Claim;
use super::super::error::{ReceiveError, refused};
use super::super::stage::{Staging, Written};
use super::{Inbox, blocking};
use crate::crypto::seal::{Opener, RecordKind};
use crate::event::{Direction, Event};
use crate::failpoint::fail_point;
use crate::inbox::reassembly::{Layout, Whole};
use crate::inbox::variable_layout::Records;
use crate::proto::codec::Malformed;
use crate::proto::message::{Accept, Begin, Offer, Refusal};
use crate::session::record::{RecordError, RecordReader, RecordWriter};
use crate::store::Content;
use crate::transport::stream::{RecvHalf, StreamCode, StreamError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Sealed records that wait for the thread which opens and writes them.
const BEHIND: usize = 4;
/// Between two progress events of a file.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Pieces, of a packet each, after which the clock is looked at.
const LOOK: u32 = 16;

impl Inbox {
    /// Tells the sender what is here from before, and hears where it begins.
    pub(super) async fn accept(
        &self,
        offer: &Offer,
        size: u64,
        writer: &mut RecordWriter,
        mut reader: RecordReader,
        claim: Arc<Claim>,
    ) -> Result<Accepted, ReceiveError> {
        let (incoming, id) = (self.incoming.clone(), offer.id);
        // The claim ends after what it claims, also when nobody waits for this any more.
        let staging = blocking(move || Ok((Staging::open(&incoming, id, size)?, claim)));
        let (mut staging, _claim) = staging.await?;
        let accept = Accept { offset: staging.prefix, prefix: staging.prefix_hash()? };
        fail_point("receive.accepting");
        writer.send(RecordKind::Answer, |out| accept.encode(out)).await?;
        let begin = reader.message(RecordKind::Answer, Begin::decode).await?;
        if begin.offset != staging.prefix {
            if begin.offset != 0 {
                return Err(Malformed.into());
            }
            staging.start_over()?;
        }
        let (stream, opener, index, position) = reader.into_parts();
        let layout = Layout::new(position, index, size, begin.offset).ok_or(Malformed)?;
        Ok(Accepted {
            staging,
            stream,
            opener,
            layout,
            compressed: begin.compressed,
            offset: begin.offset,
        })
    }

    /// Pieces come in any order; each record is opened, hashed and written when it is whole.
    pub(super) async fn large(
        &self,
        offer: &Offer,
        accepted: Accepted,
        claim: Arc<Claim>,
    ) -> Result<(Content, [u8; 32]), ReceiveError> {
        let Accepted { staging, mut stream, opener, layout, compressed, offset } = accepted;
        let (whole, records) = mpsc::channel(BEHIND);
        let pending = Records::new(layout, compressed);
        let buffers = pending.buffers().clone();
        let written = Arc::new(AtomicU64::new(offset));
        let counter = written.clone();
        // As above: the claim comes last.
        let worker = tokio::task::spawn_blocking(move || {
            (staging.write_all(layout, opener, records, &buffers, &counter), claim)
        });
        let fed = self.feed(offer, pending, &mut stream, whole, &written).await;
        let (written, _claim) =
            worker.await.map_err(|error| ReceiveError::Internal(error.to_string()))?;
        match (fed, written) {
            (Ok(()), Ok(Written::Whole(staged, hash))) => Ok((Content::Staged(staged), hash)),
            (Ok(()), Ok(Written::Part)) => {
                Err(ReceiveError::Internal("chunks were lost on their way to the disk".into()))
            }
            // What the thread says is the cause of what the stream says.
            (_, Err(error)) => {
                stream.stop(StreamCode::Refused);
                Err(error)
            }
            (Err(error), Ok(_)) => {
                if let ReceiveError::Record(RecordError::Stream(StreamError::Abandoned(code))) =
                    &error
                    && *code == StreamCode::SourceChanged as u64
                {
                    // The content that was begun is gone; it never comes again under this id.
                    self.incoming.discard(offer.id)?;
                }
                Err(error)
            }
        }
    }

    /// Moves pieces from the stream to the assembler, and whole records to the worker.
    async fn feed(
        &self,
        offer: &Offer,
        mut pending: Records,
        stream: &mut RecvHalf,
        whole: mpsc::Sender<Whole>,
        written: &AtomicU64,
    ) -> Result<(), ReceiveError> {
        let mut share = Share { budget: &self.partial, held: 0 };
        let mut done = Vec::new();
        let (mut told, mut pieces) = (Instant::now(), 0u32);
        while !pending.is_complete() {
            let Some((position, piece)) = stream.piece().await? else {
                return Err(StreamError::Ended.into());
            };
            pending.push(position, &piece, |record| done.push(record))?;
            if share.set(pending.held()) > self.limits.partial {
                return Err(refused(
                    Refusal::Busy,
                    "too many incomplete chunks; tried again later",
                ));
            }
            for record in done.drain(..) {
                if whole.send(record).await.is_err() {
                    // The worker ended: it says why.
                    return Ok(());
                }
            }
            pieces = pieces.wrapping_add(1);
            if pieces.is_multiple_of(LOOK) && told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
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

/// One stream's part of the bytes in incomplete records.
struct Share<'a> {
    budget: &'a AtomicUsize,
    held: usize,
}

impl Share<'_> {
    /// Changes this stream's part, and gives the sum of all.
    fn set(&mut self, held: usize) -> usize {
        let before = std::mem::replace(&mut self.held, held);
        if held >= before {
            self.budget.fetch_add(held - before, Ordering::Relaxed) + (held - before)
        } else {
            self.budget.fetch_sub(before - held, Ordering::Relaxed) - (before - held)
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A large file whose chunks are about to come.
pub(super) struct Accepted {
    staging: Staging,
    stream: RecvHalf,
    opener: Opener,
    layout: Layout,
    compressed: bool,
    pub(super) offset: u64,
}
