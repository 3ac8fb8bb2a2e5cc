//! Why a transfer failed, and the reason that the sender is told.

use super::layout::OutOfPlace;
use crate::compress::NotCompressed;
use crate::crypto::filehash::FileHashError;
use crate::crypto::seal::OpenError;
use crate::proto::codec::Malformed;
use crate::proto::message::Refusal;
use crate::session::record::RecordError;
use crate::store::StoreError;
use crate::transport::stream::StreamError;

/// Why a transfer failed. The sender is told an
/// [`Outcome::Refused`](crate::proto::message::Outcome::Refused), or nothing if the stream is lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The stream or the session is lost, a record did not open, or the sender broke the protocol.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The receiver refuses the entry.
    #[error("{reason}: {detail}")]
    Refused {
        /// The reason that the sender is told.
        reason: Refusal,
        /// Text for the users of both sides.
        detail: String,
    },
    /// A thread died, which is a bug.
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

impl From<NotCompressed> for ReceiveError {
    fn from(_: NotCompressed) -> Self {
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
        refused(Refusal::Corrupt, "the chunks do not form the file that was offered")
    }
}

pub(super) fn refused(reason: Refusal, detail: impl Into<String>) -> ReceiveError {
    ReceiveError::Refused { reason, detail: detail.into() }
}
