//! What the peer answers to an offered file, and what counts as its receipt.

use super::{DeliverError, Delivered};
use crate::crypto::seal::RecordKind;
use crate::outbox::send::read::ReadFile;
use crate::proto::codec::Malformed;
use crate::proto::message::{Accept, MAX_MESSAGE, Outcome, Refusal};
use crate::proto::name::escape;
use crate::session::record::{RecordError, RecordReader};
use std::pin::Pin;
use tokio::sync::oneshot;

/// What the peer says while a file is on its way to it.
pub(crate) struct Answer {
    /// Resolves when it has accepted the file, polled together with `last`.
    pub(crate) accepted: oneshot::Receiver<()>,
    pub(crate) last: Pin<Box<dyn Future<Output = Result<Outcome, RecordError>> + Send>>,
}

impl Answer {
    /// `awaited`: the file goes ahead of the peer's first word.
    pub(crate) fn of(mut reader: RecordReader, awaited: bool) -> Self {
        let (accept, accepted) = oneshot::channel();
        let last = Box::pin(async move {
            if awaited && let FirstWord::Last(outcome) = first_word(&mut reader).await? {
                return Ok(outcome);
            }
            // Nobody waits for it when the file has left already.
            let _ = accept.send(());
            outcome(reader).await
        });
        Self { accepted, last }
    }
}

/// What comes first from a peer that is offered a large file.
pub(crate) enum FirstWord {
    /// It takes the file, and holds so much of it.
    Accept(Accept),
    /// It has it from before, or does not take it.
    Last(Outcome),
}

pub(crate) async fn first_word(reader: &mut RecordReader) -> Result<FirstWord, RecordError> {
    match reader.next(MAX_MESSAGE).await? {
        (RecordKind::Answer, plaintext) => Ok(FirstWord::Accept(Accept::decode(&plaintext)?)),
        (RecordKind::Receipt, plaintext) => Ok(FirstWord::Last(Outcome::decode(&plaintext)?)),
        _ => Err(Malformed.into()),
    }
}

/// The last word, once it comes. What it says is bounded by the size of a record.
pub(crate) async fn outcome(mut reader: RecordReader) -> Result<Outcome, RecordError> {
    reader.message(RecordKind::Receipt, Outcome::decode).await
}

/// The file counts as delivered only under the hash of what was read.
pub(crate) fn receipt(
    outcome: Outcome,
    read: Option<ReadFile>,
    offset: u64,
) -> Result<Delivered, DeliverError> {
    match outcome {
        Outcome::Have { hash, .. } if read.is_some_and(|read| read.hash != hash) => {
            Err(DeliverError::OtherContent)
        }
        Outcome::Done { hash, .. } if read.is_some_and(|read| read.hash != hash) => {
            let detail = "the receipt is for other content".into();
            Err(DeliverError::Refused { reason: Refusal::Corrupt, detail })
        }
        Outcome::Done { hash, saved_as } | Outcome::Have { hash, saved_as } => {
            Ok(Delivered { hash, saved_as, offset, meta: read.map(|read| read.meta) })
        }
        Outcome::Refused { reason, detail } => {
            Err(DeliverError::Refused { reason, detail: escape(detail.as_bytes()) })
        }
    }
}
