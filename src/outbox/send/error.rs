//! Why a delivery failed.

use crate::crypto::filehash::FileHashError;
use crate::crypto::seal::SealError;
use crate::proto::codec::Malformed;
use crate::proto::message::Refusal;
use crate::session::record::RecordError;
use crate::store::StoreError;

/// Why an entry was not delivered this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliverError {
    /// The stream or the session ended, or the peer violated the protocol.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file is not the one that was offered any more.
    #[error("it changed while it was sent; it is sent again when it has settled")]
    Changed,
    /// A program had it open for writing before any of it was sent.
    #[error("a program has it open for writing; it is sent when it is closed")]
    Open,
    /// A program opened it for writing while it was sent.
    #[error(
        "a program opened it for writing while it was sent; it is sent again when it is closed"
    )]
    Opened,
    /// The user cancelled it.
    #[error("it was cancelled")]
    Cancelled,
    /// The peer holds another content under the id of this transfer.
    #[error("the peer holds an older content of it; it is sent again")]
    OtherContent,
    /// It cannot be read at present.
    #[error(transparent)]
    Source(#[from] StoreError),
    /// The peer refused it.
    #[error("{reason}{}", detail_of(.detail))]
    Refused {
        /// Why.
        reason: Refusal,
        /// The peer's explanation, escaped.
        detail: String,
    },
    /// The hash of its chunks cannot be computed: a bug.
    #[error("its hash could not be computed: {0}")]
    Hash(#[from] FileHashError),
    /// The reading thread ended early: a bug.
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
