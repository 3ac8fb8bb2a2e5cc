//! The receiver's messages on the stream of an entry: its answer to the offer, and its receipt.

use super::error::DeliverError;
use super::source_file::ReadFile;
use crate::crypto::seal::RecordKind;
use crate::proto::codec::Malformed;
use crate::proto::message::{Accept, MAX_MESSAGE, Outcome, Refusal};
use crate::proto::name::{Name, escape};
use crate::session::record::{RecordError, RecordReader};
use crate::store::Meta;
use std::pin::Pin;
use tokio::sync::oneshot;

/// The peer's confirmation that it holds an entry on stable storage.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    /// BLAKE3 of the content (zero for folders and links).
    pub hash: [u8; 32],
    /// The name of the entry at the peer.
    pub saved_as: Name,
    /// The bytes that the peer held from before.
    pub offset: u64,
    /// A program of the peer has accepted it before it appeared there.
    pub checked: bool,
    /// The metadata of the file when its last part was read; `None` for folders and links.
    pub meta: Option<Meta>,
}

/// Reads the receiver's messages while a file is being sent to it.
pub(crate) struct AnswerReader {
    /// Resolves when the receiver has accepted the file. Makes progress only while `outcome` is
    /// polled.
    pub(crate) accepted: oneshot::Receiver<()>,
    /// The receiver's last message.
    pub(crate) outcome: Pin<Box<dyn Future<Output = Result<Outcome, RecordError>> + Send>>,
}

impl AnswerReader {
    /// `expects_accept`: the file is sent before the receiver's [`Accept`] has arrived.
    pub(crate) fn new(mut reader: RecordReader, expects_accept: bool) -> Self {
        let (accept, accepted) = oneshot::channel();
        let outcome = Box::pin(async move {
            if expects_accept
                && let FirstAnswer::Outcome(outcome) = first_answer(&mut reader).await?
            {
                return Ok(outcome);
            }
            // The receiver of this is gone if the whole file was sent already.
            let _ = accept.send(());
            read_outcome(reader).await
        });
        Self { accepted, outcome }
    }
}

/// The receiver's first message about a large file.
pub(crate) enum FirstAnswer {
    /// It accepts the file, and says how much of it it holds.
    Accept(Accept),
    /// It has the whole file from before, or refuses it.
    Outcome(Outcome),
}

pub(crate) async fn first_answer(reader: &mut RecordReader) -> Result<FirstAnswer, RecordError> {
    match reader.next(MAX_MESSAGE).await? {
        (RecordKind::Answer, plaintext) => Ok(FirstAnswer::Accept(Accept::decode(&plaintext)?)),
        (RecordKind::Receipt, plaintext) => Ok(FirstAnswer::Outcome(Outcome::decode(&plaintext)?)),
        _ => Err(Malformed.into()),
    }
}

/// The receiver's last message. The size of a record bounds its length.
pub(crate) async fn read_outcome(mut reader: RecordReader) -> Result<Outcome, RecordError> {
    reader.message(RecordKind::Receipt, Outcome::decode).await
}

/// Checks the receiver's last message: the file counts as delivered only under the hash of the
/// bytes that were read.
pub(crate) fn check_receipt(
    outcome: Outcome,
    read: Option<ReadFile>,
    offset: u64,
) -> Result<Receipt, DeliverError> {
    match outcome {
        Outcome::Have { hash, .. } if read.is_some_and(|read| read.hash != hash) => {
            Err(DeliverError::OtherContent)
        }
        Outcome::Done { hash, .. } if read.is_some_and(|read| read.hash != hash) => {
            let detail = "the receipt is for other content".into();
            Err(DeliverError::Refused { reason: Refusal::Corrupt, detail })
        }
        Outcome::Done { hash, saved_as, checked } | Outcome::Have { hash, saved_as, checked } => {
            Ok(Receipt { hash, saved_as, offset, checked, meta: read.map(|read| read.meta) })
        }
        Outcome::Refused { reason, detail } => {
            Err(DeliverError::Refused { reason, detail: escape(detail.as_bytes()) })
        }
    }
}
