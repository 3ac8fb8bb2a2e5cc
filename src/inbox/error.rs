//! Why a stream did not bring a file, and what the peer is told of it.

use super::reassembly::OutOfPlace;
use crate::compress::NotCompressed;
use crate::crypto::filehash::FileHashError;
use crate::crypto::seal::OpenError;
use crate::proto::codec::Malformed;
use crate::proto::message::Refusal;
use crate::session::record::RecordError;
use crate::store::StoreError;
use crate::transport::stream::StreamError;

/// Why a stream did not bring a file. What the peer is told is an
/// [`Outcome::Refused`](crate::proto::message::Outcome::Refused) or nothing.
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
        refused(Refusal::Corrupt, "the chunks are not those of the file")
    }
}

pub(super) fn refused(reason: Refusal, detail: impl Into<String>) -> ReceiveError {
    ReceiveError::Refused { reason, detail: detail.into() }
}
