//! Receives one entry from one stream, from offer to receipt (protocol.md section 5).
//!
//! The submodules are its steps: `admit` checks the offer, `small` and `large` receive the content,
//! `check` lets a program judge it (`--quarantine`). `forget` handles transfers with which the sender
//! is done.

mod admit;
mod check;
mod forget;
mod large;
mod small;

use super::active::ActiveTransfers;
use super::commit::Committer;
use super::error::{ReceiveError, refused};
use super::refused::RefusedOffers;
use super::report::TransferReport;
use crate::crypto::seal::RecordKind;
use crate::event::{Cause, Direction, Event, EventSink};
use crate::failpoint::fail_point;
use crate::meter::Meter;
use crate::proto::message::{EntryKind, Offer, Outcome, Refusal};
use crate::session::record::{RecordError, RecordReader, RecordWriter};
use crate::store::{Arrived, Content, Incoming, Ledger, Received};
use crate::transport::stream::StreamCode;
pub(crate) use check::InboxHooks;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long an attempt waits for an earlier one at the same transfer to end.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum total size of small files in memory, in bytes.
const SMALL_BUDGET: usize = 64 << 20;
/// Maximum number of large files written at once, each by its own thread. The next one waits for
/// its `Accept`.
const MAX_LARGE: usize = 128;

/// Receives files, for all sessions of a process.
pub(crate) struct Inbox {
    incoming: Arc<Incoming>,
    ledger: Arc<Ledger>,
    committer: Committer,
    events: EventSink,
    active: Arc<ActiveTransfers>,
    refused: RefusedOffers,
    limits: Limits,
    meter: Arc<Meter>,
    /// The programs of `--on-received`; `None` without the option.
    hooks: Option<InboxHooks>,
    small: Arc<Semaphore>,
    large: Semaphore,
    /// Memory of incomplete records of all streams, in bytes.
    partial: AtomicUsize,
}

/// The limits that an operator sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum size of a file, in bytes.
    pub max_file_size: Option<u64>,
    /// Maximum size of Incoming, in bytes. A file that is larger is refused at once.
    pub max_incoming: Option<u64>,
    /// Free space that must remain, in bytes.
    pub min_free: u64,
    /// Maximum memory of incomplete records, in bytes.
    pub partial: usize,
    /// An existing file is kept (`--on-conflict skip`), so an offer of another size is refused at
    /// once.
    pub keep_existing: bool,
    /// A file in the place of a folder is no obstacle: the folder gets another name
    /// (`--on-conflict rename`).
    pub renames: bool,
}

/// Resets the stream with a code that says that the sender broke the protocol, unless the stream is
/// lost.
fn reset_unless_lost(writer: &mut RecordWriter, error: RecordError) -> RecordError {
    if !matches!(error, RecordError::Stream(_)) {
        writer.stream().reset(StreamCode::Protocol);
    }
    error
}

impl Inbox {
    /// Receives files into `incoming` and remembers them in `ledger`.
    pub(crate) fn new(
        incoming: Arc<Incoming>,
        ledger: Arc<Ledger>,
        committer: Committer,
        events: EventSink,
        limits: Limits,
        meter: Arc<Meter>,
        hooks: Option<InboxHooks>,
    ) -> Self {
        Self {
            meter,
            hooks,
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

    /// Number of active transfers.
    pub(crate) fn busy(&self) -> usize {
        self.active.len()
    }

    /// Receives one entry from one stream, sends the outcome, and emits the events.
    ///
    /// # Errors
    /// [`RecordError`] if a record did not open or held no valid message; the session handles it.
    pub(crate) async fn receive(
        &self,
        mut writer: RecordWriter,
        mut reader: RecordReader,
    ) -> Result<(), RecordError> {
        let offer = match reader.message(RecordKind::Offer, Offer::decode).await {
            Ok(offer) => offer,
            Err(error) => return Err(reset_unless_lost(&mut writer, error)),
        };
        fail_point("receive.offer");
        let offered = Instant::now();
        let mut started = None;
        let result = self.receive_entry(&offer, &mut writer, reader, &mut started).await;
        let given_up = match &result {
            Err(ReceiveError::Record(error)) if error.is_withdrawal() => Some(Cause::Withdrawn),
            Err(ReceiveError::Record(error)) if error.is_cancelled() => Some(Cause::Cancelled),
            _ => None,
        };
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
        let sent = match error {
            None => self.send_outcome(&mut writer, &outcome).await,
            Some(error) => Err(reset_unless_lost(&mut writer, error)),
        };
        let is_news = match &outcome {
            Outcome::Refused { reason, detail } => {
                self.refused.remember(&self.incoming, &offer, *reason, detail)
            }
            Outcome::Done { .. } | Outcome::Have { .. } => {
                self.refused.forget(offer.id);
                true
            }
        };
        let hook = self.has_hook_afterwards(&offer, &outcome);
        let id = offer.id;
        if is_news {
            TransferReport { offer, outcome, started, given_up, offered }.emit(&self.events);
        }
        // After the event of the file, since the hook has one too.
        hook.inspect(|due| due(id));
        sent
    }

    async fn send_outcome(
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

    /// Receives and commits the entry. Sets `started` to the bytes that are held already when the
    /// content begins.
    async fn receive_entry(
        &self,
        offer: &Offer,
        writer: &mut RecordWriter,
        mut reader: RecordReader,
        started: &mut Option<u64>,
    ) -> Result<Outcome, ReceiveError> {
        let claim = tokio::time::timeout(HANDOVER_TIMEOUT, self.active.claim(offer.id));
        let Ok(claim) = claim.await else {
            let check = self.hooks.as_ref().is_some_and(InboxHooks::is_quarantine);
            return Err(refused(
                Refusal::Busy,
                match check {
                    true => "an earlier attempt is still active, or being checked (--quarantine)",
                    false => "an earlier attempt is still active",
                },
            ));
        };
        if let Some(received) = self.ledger.received(offer.id)? {
            reader.stream().stop(StreamCode::Done);
            let Received { hash, saved_as, checked } = received;
            return Ok(Outcome::Have { hash, saved_as, checked });
        }
        let reservation = self.admit(offer).await?;
        let (content, hash) = match &offer.kind {
            EntryKind::Folder | EntryKind::Link { .. } => {
                self.emit_started(offer, 0, started);
                let content =
                    if offer.kind == EntryKind::Folder { Content::Folder } else { Content::Link };
                (content, [0; 32])
            }
            EntryKind::File { size } if offer.inline => {
                self.emit_started(offer, 0, started);
                self.small(*size, reader).await?
            }
            EntryKind::File { size } => {
                let _permit = self.large.acquire().await;
                // Boxed: the future of a small file would be as large as that of a large one.
                let accept = self.accept(offer, *size, writer, reader, claim.clone());
                let accepted = Box::pin(accept).await?;
                self.emit_started(offer, accepted.held_bytes(), started);
                Box::pin(self.large(offer, accepted, claim.clone())).await?
            }
        };
        fail_point("receive.whole");
        let (content, hook) = self.check(offer, content, hash).await?;
        let arrived = Arrived { offer: offer.clone(), content, hash, hook };
        let outcome = self.committer.commit(arrived, (claim, reservation)).await;
        outcome.map_err(|_| ReceiveError::Internal("the committing thread is gone".into()))
    }

    fn emit_started(&self, offer: &Offer, offset: u64, started: &mut Option<u64>) {
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

/// Runs a job that may block on a thread of tokio's blocking pool.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, ReceiveError> + Send + 'static,
) -> Result<T, ReceiveError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => Err(ReceiveError::Internal(error.to_string())),
    }
}
