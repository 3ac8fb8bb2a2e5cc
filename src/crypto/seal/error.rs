//! Why a record could not be sealed or opened.

/// Maximum number of records opened ahead of the first missing one. It bounds the memory of an
/// [`Opener`](super::Opener).
pub const MAX_AHEAD: usize = 1 << 16;

/// Why a record could not be sealed. The stream cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The buffer has no room for the header at its start (see
    /// [`Sealer::buffer`](super::Sealer::buffer)).
    #[error("the buffer has no room for a record's header")]
    NoHeaderRoom,
    /// The plaintext is longer than the length field can express (4 GiB).
    #[error("the record is too long")]
    TooLong,
    /// The stream's final record has been sealed, or its indices are used up.
    #[error("the stream has ended")]
    Ended,
    /// The cipher refused.
    #[error("the record could not be sealed")]
    Cipher,
}

/// Why a record is refused. The caller gets no part of its plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The header's reserved bytes are not zero, or its kind is unknown.
    #[error("the record's header is not valid")]
    BadHeader,
    /// The header announces more bytes than the caller allows.
    #[error("the record is longer than agreed")]
    TooLong,
    /// The record's length differs from that in its header.
    #[error("the record is incomplete")]
    Truncated,
    /// The header's index is not that of the record's position.
    #[error("the record is out of its place")]
    WrongIndex,
    /// The record was opened before.
    #[error("the record was seen before")]
    Replayed,
    /// The record follows the final one, or is a final record that others follow.
    #[error("the record lies behind the end of its stream")]
    AfterFinal,
    /// More than [`MAX_AHEAD`] records were opened ahead of a missing one.
    #[error("the record is too far ahead")]
    TooFarAhead,
    /// The HMAC or the GCM tag is wrong: the record was changed, or belongs to another stream,
    /// sender or session.
    #[error("the record is not authentic")]
    Forged,
}
