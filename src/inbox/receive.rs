//! One file off one stream, top to bottom: offer, answer, chunks, commit, receipt (protocol.md
//! section 5).

mod large;

use super::active::Active;
use super::commit::Committer;
use super::ended::Ended;
use super::error::{ReceiveError, refused};
use super::refused::RefusedOffers;
use crate::compress::FrameDecompressor;
use crate::crypto::seal::RecordKind;
use crate::event::{Direction, Event, EventSink};
use crate::failpoint::fail_point;
use crate::proto::codec::Malformed;
use crate::proto::message::{CHUNK_SIZE, EntryKind, Offer, Outcome, Refusal, Trailer, TransferId};
use crate::session::record::{RecordError, RecordReader, RecordWriter};
use crate::store::{Arrived, Content, Incoming, Ledger, Reservation, StoreError};
use crate::transport::stream::StreamCode;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

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
    refused: RefusedOffers,
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

/// The other side is told when it broke the protocol; a stream that is lost needs no word.
fn give_up(writer: &mut RecordWriter, error: RecordError) -> RecordError {
    if !matches!(error, RecordError::Stream(_)) {
        writer.stream().reset(StreamCode::Protocol);
    }
    error
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
            refused: RefusedOffers::default(),
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

    /// The sender is done with these transfers for good. An attempt that was given up a moment ago
    /// may still let go of its file, and has some time for that; what is under way then stays, as
    /// an honest sender does not say it of that.
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
            fail_point("receive.forgetting");
            for (id, _claim) in &given_up {
                if ledger.received(*id)?.is_none() {
                    perhaps_staged.push(*id);
                }
            }
            perhaps_staged.into_iter().try_for_each(|id| incoming.discard(id))?;
            fail_point("receive.forgotten");
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
        fail_point("receive.offer");
        let offered = Instant::now();
        let mut started = None;
        let result = self.take(&offer, &mut writer, reader, &mut started).await;
        let withdrawn =
            matches!(&result, Err(ReceiveError::Record(error)) if error.is_withdrawal());
        let (outcome, error) = match result {
            Ok(outcome) => (outcome, None),
            Err(ReceiveError::Refused { reason, detail }) => {
                (Outcome::Refused { reason, detail }, None)
            }
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
        let news = match &outcome {
            Outcome::Refused { reason, detail } => {
                self.refused.refused(&self.incoming, &offer, *reason, detail)
            }
            Outcome::Done { .. } | Outcome::Have { .. } => {
                self.refused.taken(offer.id);
                true
            }
        };
        if news {
            Ended { offer, outcome, started, withdrawn, offered }.tell(&self.events);
        }
        answered
    }

    async fn answer(
        &self,
        writer: &mut RecordWriter,
        outcome: &Outcome,
    ) -> Result<(), RecordError> {
        fail_point("receive.receipting");
        writer.send(RecordKind::Receipt, |out| outcome.encode(out)).await?;
        fail_point("receive.receipted");
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
                let content =
                    if offer.kind == EntryKind::Folder { Content::Folder } else { Content::Link };
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
        fail_point("receive.whole");
        let arrived = Arrived { offer: offer.clone(), content, hash };
        let outcome = self.committer.commit(arrived, (claim, reservation)).await;
        outcome.map_err(|_| ReceiveError::Internal("the committing thread is gone".into()))
    }

    /// What can be said before any content comes.
    async fn admit(&self, offer: &Offer) -> Result<Option<Reservation>, ReceiveError> {
        if offer.name.to_path().is_err() {
            return Err(refused(Refusal::Name, "choose another name at the source"));
        }
        if let Some((reason, detail)) = self.refused.still(&self.incoming, offer) {
            return Err(refused(reason, detail));
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
        // Before it has all crossed in vain.
        self.incoming.check_size(size)?;
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
    async fn small(
        &self,
        size: u64,
        mut reader: RecordReader,
    ) -> Result<(Content, [u8; 32]), ReceiveError> {
        if size > CHUNK_SIZE as u64 {
            return Err(Malformed.into());
        }
        #[allow(clippy::cast_possible_truncation)] // at most a chunk
        let permit = self.small.clone().acquire_many_owned(size as u32).await;
        let permit =
            permit.map_err(|_| ReceiveError::Internal("the memory budget is gone".into()))?;
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
            plaintext = BytesMut::from(FrameDecompressor::default().chunk(data, size as usize)?);
        }
        if *blake3::hash(&plaintext).as_bytes() != trailer.hash {
            return Err(refused(Refusal::Corrupt, "its hash is not the announced one"));
        }
        Ok((Content::Bytes(Bytes::from_owner(Held { plaintext, _permit: permit })), trailer.hash))
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

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, ReceiveError> + Send + 'static,
) -> Result<T, ReceiveError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => Err(ReceiveError::Internal(error.to_string())),
    }
}
