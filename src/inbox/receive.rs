//! One file off one stream, top to bottom: offer, answer, chunks, commit, receipt (protocol.md
//! section 5).

use super::active::{Active, Claim};
use super::assemble::{Layout, OutOfPlace, Whole};
use super::commit::Committer;
use super::stage::{Staging, Written};
use super::walk::Records;
use crate::crypto::filehash::FileHashError;
use crate::crypto::seal::{OpenError, Opener, RecordKind};
use crate::event::{Direction, Event, EventSink};
use crate::failpoint::hit;
use crate::net::record::{RecordError, RecordReader, RecordWriter};
use crate::net::stream::{RecvHalf, StreamCode, StreamError};
use crate::pack::{NotPacked, Unpacker};
use crate::proto::codec::Malformed;
use crate::proto::message::{
    Accept, Begin, CHUNK_SIZE, EntryKind, Offer, Outcome, Refusal, Trailer, TransferId,
};
use crate::store::{Arrived, Content, Incoming, Ledger, Reservation, StoreError};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// Sealed records that wait for the thread which opens and writes them.
const BEHIND: usize = 4;
/// Between two progress events of a file.
const PROGRESS_PACE: Duration = Duration::from_millis(200);
/// How long an earlier attempt at the same transfer may take to let go.
const HANDOVER: Duration = Duration::from_secs(5);
/// Plaintext of small files that may be in memory at once, in bytes.
const SMALL_BUDGET: usize = 64 << 20;

/// Large files that are written at once, each by a thread of its own; more wait for their answer.
const MAX_LARGE: usize = 128;

/// Where files arrive, for all sessions of a process.
pub struct Inbox {
    incoming: Arc<Incoming>,
    ledger: Arc<Ledger>,
    committer: Committer,
    events: EventSink,
    active: Arc<Active>,
    limits: Limits,
    small: Arc<Semaphore>,
    large: Semaphore,
    /// Bytes of records that are not complete, of all streams.
    partial: AtomicUsize,
}

/// What an operator allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest file, in bytes.
    pub max_file_size: Option<u64>,
    /// Bytes that Incoming may hold; a file larger than that is never taken.
    pub max_incoming: Option<u64>,
    /// Bytes of free space that must remain.
    pub min_free: u64,
    /// Bytes that incomplete records may hold.
    pub partial: usize,
    /// An existing file of another size is kept, so that its offer is refused at once.
    pub keep_existing: bool,
}

/// Why a stream did not bring a file. What the peer is told is an [`Outcome::Refused`] or nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The stream or the session is gone, or a record did not open.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Not taken.
    #[error("{reason}: {detail}")]
    Refused {
        /// What the peer is told.
        reason: Refusal,
        /// For people on both sides.
        detail: String,
    },
    /// A thread died: a bug.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl From<Malformed> for ReceiveError {
    fn from(error: Malformed) -> Self {
        Self::Record(error.into())
    }
}

impl From<OpenError> for ReceiveError {
    fn from(error: OpenError) -> Self {
        Self::Record(error.into())
    }
}

impl From<StreamError> for ReceiveError {
    fn from(error: StreamError) -> Self {
        Self::Record(error.into())
    }
}

impl From<OutOfPlace> for ReceiveError {
    fn from(_: OutOfPlace) -> Self {
        Malformed.into()
    }
}

impl From<NotPacked> for ReceiveError {
    fn from(_: NotPacked) -> Self {
        Malformed.into()
    }
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        Self::Refused { reason: error.refusal(), detail: error.to_string() }
    }
}

impl From<FileHashError> for ReceiveError {
    fn from(_: FileHashError) -> Self {
        refused(Refusal::Corrupt, "the chunks are not those of the file")
    }
}

fn refused(reason: Refusal, detail: impl Into<String>) -> ReceiveError {
    ReceiveError::Refused { reason, detail: detail.into() }
}

/// The other side is told when it broke the protocol; a stream that is lost needs no word.
fn give_up(writer: &mut RecordWriter, error: RecordError) -> RecordError {
    if !matches!(error, RecordError::Stream(_)) {
        writer.stream().reset(StreamCode::Protocol);
    }
    error
}

/// How a transfer went, for its events.
struct Ended {
    offer: Offer,
    outcome: Outcome,
    offset: u64,
}

impl Inbox {
    /// Files arrive in `incoming` and are remembered in `ledger`.
    pub fn new(
        incoming: Arc<Incoming>,
        ledger: Arc<Ledger>,
        committer: Committer,
        events: EventSink,
        limits: Limits,
    ) -> Self {
        Self {
            incoming,
            ledger,
            committer,
            events,
            active: Arc::default(),
            limits,
            small: Arc::new(Semaphore::new(SMALL_BUDGET)),
            large: Semaphore::new(MAX_LARGE),
            partial: AtomicUsize::new(0),
        }
    }

    /// Transfers under way.
    pub fn busy(&self) -> usize {
        self.active.len()
    }

    /// The sender is done with these transfers for good. An attempt that was given up a moment ago may still
    /// let go of its file, and has some time for that; what is under way then stays, as an honest sender does
    /// not say it of that.
    pub async fn forget(&self, ids: Vec<TransferId>) {
        let (under_way, at_rest): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| self.active.contains(*id));
        let patience = tokio::time::Instant::now() + HANDOVER;
        let mut given_up = Vec::new();
        for id in under_way {
            if let Ok(claim) = tokio::time::timeout_at(patience, self.active.claim(id)).await {
                given_up.push((id, claim));
            }
        }
        let (incoming, ledger) = (self.incoming.clone(), self.ledger.clone());
        let job = move || {
            // What is committed has left the stage.
            let mut perhaps_staged = ledger.forget(&at_rest)?;
            hit("receive.forgetting");
            for (id, _claim) in &given_up {
                if ledger.received(*id)?.is_none() {
                    perhaps_staged.push(*id);
                }
            }
            perhaps_staged.into_iter().try_for_each(|id| incoming.discard(id))?;
            hit("receive.forgotten");
            Ok::<_, StoreError>(())
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(job).await {
            tracing::info!(%error, "what is kept about finished transfers stays for now");
        }
    }

    /// Takes one file off one stream, answers, and tells the events. The error is for the session:
    /// a record that did not open, or nonsense in an authentic one.
    ///
    /// # Errors
    /// [`RecordError`] when the stream did not carry the protocol.
    pub async fn receive(
        &self,
        mut writer: RecordWriter,
        mut reader: RecordReader,
    ) -> Result<(), RecordError> {
        let offer = match reader.message(RecordKind::Offer, Offer::decode).await {
            Ok(offer) => offer,
            Err(error) => return Err(give_up(&mut writer, error)),
        };
        hit("receive.offer");
        let begun = Instant::now();
        let mut started = None;
        let result = self.take(&offer, &mut writer, reader, &mut started).await;
        let (outcome, error) = match result {
            Ok(outcome) => (outcome, None),
            Err(ReceiveError::Refused { reason, detail }) => (Outcome::Refused { reason, detail }, None),
            Err(ReceiveError::Internal(detail)) => {
                (Outcome::Refused { reason: Refusal::Storage, detail }, None)
            }
            Err(ReceiveError::Record(error)) => {
                let detail = error.to_string();
                (Outcome::Refused { reason: Refusal::Stopping, detail }, Some(error))
            }
        };
        let answered = match error {
            None => self.answer(&mut writer, &outcome).await,
            Some(error) => Err(give_up(&mut writer, error)),
        };
        self.tell(&Ended { offer, outcome, offset: started.unwrap_or(0) }, started.is_some(), begun);
        answered
    }

    async fn answer(&self, writer: &mut RecordWriter, outcome: &Outcome) -> Result<(), RecordError> {
        hit("receive.receipting");
        writer.send(RecordKind::Receipt, |out| outcome.encode(out)).await?;
        hit("receive.receipted");
        writer.stream().finish().await;
        Ok(())
    }

    async fn take(
        &self,
        offer: &Offer,
        writer: &mut RecordWriter,
        mut reader: RecordReader,
        started: &mut Option<u64>,
    ) -> Result<Outcome, ReceiveError> {
        let claim = tokio::time::timeout(HANDOVER, self.active.claim(offer.id));
        let Ok(claim) = claim.await else {
            return Err(refused(Refusal::Busy, "an earlier attempt is still under way"));
        };
        if let Some(received) = self.ledger.received(offer.id)? {
            reader.stream().stop(StreamCode::Done);
            return Ok(Outcome::Have { hash: received.hash, saved_as: received.saved_as });
        }
        let reservation = self.admit(offer).await?;
        let (content, hash) = match &offer.kind {
            EntryKind::Folder | EntryKind::Link { .. } => {
                self.started(offer, 0, started);
                let content = if offer.kind == EntryKind::Folder { Content::Folder } else { Content::Link };
                (content, [0; 32])
            }
            EntryKind::File { size } if offer.inline => {
                self.started(offer, 0, started);
                self.small(*size, reader).await?
            }
            EntryKind::File { size } => {
                let _place = self.large.acquire().await;
                let accepted = self.accept(offer, *size, writer, reader, claim.clone()).await?;
                self.started(offer, accepted.offset, started);
                self.large(offer, accepted, claim.clone()).await?
            }
        };
        hit("receive.whole");
        let arrived = Arrived { offer: offer.clone(), content, hash };
        let outcome = self.committer.commit(arrived, (claim, reservation)).await;
        outcome.map_err(|_| ReceiveError::Internal("the committing thread is gone".into()))
    }

    /// What can be said before any content comes.
    async fn admit(&self, offer: &Offer) -> Result<Option<Reservation>, ReceiveError> {
        if offer.name.to_path().is_err() {
            return Err(refused(Refusal::Name, "choose another name at the source"));
        }
        let EntryKind::File { size } = offer.kind else { return Ok(None) };
        if let Some(most) = self.limits.max_file_size
            && size > most
        {
            return Err(refused(Refusal::TooLarge, format!("the limit there is {most} bytes")));
        }
        if let Some(most) = self.limits.max_incoming
            && size > most
        {
            let detail = format!("all of Incoming may hold {most} bytes (--max-incoming-bytes)");
            return Err(refused(Refusal::TooLarge, detail));
        }
        if self.limits.keep_existing
            && let Ok(existing) = self.incoming.folder().stat(&offer.name)
            && existing.size != size
        {
            return Err(refused(Refusal::Conflict, ""));
        }
        let (incoming, id, min_free) = (self.incoming.clone(), offer.id, self.limits.min_free);
        if !incoming.is_limited() {
            return Ok(Some(incoming.reserve(id, size, min_free)?));
        }
        blocking(move || Ok(Some(incoming.reserve(id, size, min_free)?))).await
    }

    /// A small file is one record behind its offer, whole in memory.
    async fn small(&self, size: u64, mut reader: RecordReader) -> Result<(Content, [u8; 32]), ReceiveError> {
        if size > CHUNK_SIZE as u64 {
            return Err(Malformed.into());
        }
        #[allow(clippy::cast_possible_truncation)] // at most a chunk
        let permit = self.small.clone().acquire_many_owned(size as u32).await;
        let permit = permit.map_err(|_| ReceiveError::Internal("the memory budget is gone".into()))?;
        let (kind, mut plaintext) = reader.next(size as usize + Trailer::LEN).await?;
        if kind != RecordKind::Final {
            return Err(Malformed.into());
        }
        let (data, trailer) = Trailer::split(&plaintext)?;
        if trailer.size != size {
            return Err(Malformed.into());
        }
        if data.len() as u64 == size {
            plaintext.truncate(plaintext.len() - Trailer::LEN);
        } else {
            plaintext = BytesMut::from(Unpacker::default().chunk(data, size as usize)?);
        }
        if *blake3::hash(&plaintext).as_bytes() != trailer.hash {
            return Err(refused(Refusal::Corrupt, "its hash is not the announced one"));
        }
        Ok((Content::Bytes(Bytes::from_owner(Held { plaintext, _permit: permit })), trailer.hash))
    }

    /// Tells the sender what is here from before, and hears where it begins.
    async fn accept(
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
        hit("receive.accepting");
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
        Ok(Accepted { staging, stream, opener, layout, packed: begin.packed, offset: begin.offset })
    }

    /// Pieces come in any order; each record is opened, hashed and written when it is whole.
    async fn large(
        &self,
        offer: &Offer,
        accepted: Accepted,
        claim: Arc<Claim>,
    ) -> Result<(Content, [u8; 32]), ReceiveError> {
        let Accepted { staging, mut stream, opener, layout, packed, offset } = accepted;
        let (whole, records) = mpsc::channel(BEHIND);
        let written = Arc::new(AtomicU64::new(offset));
        let counter = written.clone();
        // As above: the claim comes last.
        let worker = tokio::task::spawn_blocking(move || {
            (staging.write_all(layout, opener, records, &counter), claim)
        });
        let fed = self.feed(offer, Records::new(layout, packed), &mut stream, whole, &written).await;
        let (written, _claim) = worker.await.map_err(|error| ReceiveError::Internal(error.to_string()))?;
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
                if let ReceiveError::Record(RecordError::Stream(StreamError::Abandoned(code))) = &error
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
        let mut told = Instant::now();
        while !pending.is_complete() {
            let Some((position, piece)) = stream.piece().await? else {
                return Err(StreamError::Ended.into());
            };
            pending.push(position, &piece, |record| done.push(record))?;
            if share.set(pending.held()) > self.limits.partial {
                return Err(refused(Refusal::Busy, "too many incomplete chunks; tried again later"));
            }
            for record in done.drain(..) {
                if whole.send(record).await.is_err() {
                    // The worker ended: it says why.
                    return Ok(());
                }
            }
            if told.elapsed() >= PROGRESS_PACE {
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

    fn started(&self, offer: &Offer, offset: u64, started: &mut Option<u64>) {
        *started = Some(offset);
        self.events.emit(Event::FileStarted {
            direction: Direction::Receive,
            path: offer.name.clone(),
            size: offer.size(),
            transfer: offer.id,
            offset,
        });
    }

    /// Events of the end. A receipt given again is no news.
    fn tell(&self, ended: &Ended, started: bool, begun: Instant) {
        let Ended { offer, outcome, offset } = ended;
        let (path, transfer) = (offer.name.clone(), offer.id);
        match outcome {
            Outcome::Done { hash, saved_as } => self.events.emit(Event::FileDone {
                direction: Direction::Receive,
                path,
                size: offer.size(),
                transfer,
                blake3: *hash,
                elapsed: begun.elapsed(),
                offset: *offset,
                saved_as: Some(saved_as.clone()),
            }),
            Outcome::Have { .. } => tracing::debug!(%path, %transfer, "its receipt was given again"),
            Outcome::Refused { reason: Refusal::Stopping, detail } if !started => {
                tracing::debug!(%path, %transfer, %detail, "the stream ended before its file began");
            }
            Outcome::Refused { reason, detail } => {
                let error = match (reason, detail.is_empty()) {
                    (Refusal::Stopping, _) => detail.clone(),
                    (_, true) => local_reason(*reason).to_owned(),
                    (_, false) => format!("{}: {detail}", local_reason(*reason)),
                };
                self.events.emit(Event::FileFailed {
                    direction: Direction::Receive,
                    path,
                    transfer,
                    error,
                    retry: reason.retry_helps(),
                });
            }
        }
    }
}

/// A refusal as the receiving user reads it.
fn local_reason(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Conflict => "another file stands at that name and is kept (--on-conflict skip)",
        Refusal::NoSpace => "not enough free space in Incoming; free some, the peer tries again",
        Refusal::Name => "this system cannot have a file of that name",
        Refusal::Storage => "it could not be written",
        Refusal::TooLarge => "it is larger than allowed here",
        Refusal::Corrupt => "the bytes are not those that were announced; the peer sends it again",
        Refusal::Busy => "an earlier attempt at it still goes on; the peer tries again",
        Refusal::InTheWay => "a file and a folder are in each other's way in Incoming; move one of them",
        Refusal::Link => "this symbolic link cannot be made here",
        Refusal::Stopping => "the transfer was interrupted",
        Refusal::Full => "Incoming holds as much as it may",
    }
}

/// A small file's plaintext with its share of the memory budget.
struct Held {
    plaintext: BytesMut,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.plaintext
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
struct Accepted {
    staging: Staging,
    stream: RecvHalf,
    opener: Opener,
    layout: Layout,
    packed: bool,
    offset: u64,
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, ReceiveError> + Send + 'static,
) -> Result<T, ReceiveError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => Err(ReceiveError::Internal(error.to_string())),
    }
}
