//! Why a run ends, and the errors of single values.

pub use crate::crypto::password::CryptoError;
pub use crate::proto::name::NameError;

use crate::hooks::HookError;
use crate::outbox::OutboxError;
use crate::peering::Fatal;
use crate::proto::name::Name;
use crate::status::Status;
use crate::store::StoreError;
use crate::transport::endpoint::EndpointError;
use std::time::Duration;

/// A run that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Told to stop.
    Stopped,
    /// `--drain`: both queues are empty.
    Drained {
        /// Unfinished files that stay in Outgoing (`--temp-names`).
        left_alone: u64,
    },
}

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Incoming, Outgoing or the state folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system starts no thread for Outgoing.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The UDP socket cannot be opened or used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No session is possible.
    #[error(transparent)]
    Net(#[from] Fatal),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Rng,
    /// The helper process of `--on-received` cannot be used.
    #[error(transparent)]
    Hooks(#[from] HookError),
    /// [`crate::config::Config::hooks`] is set, and no helper was given.
    #[error("programs for received files need a helper process (HookHelper)")]
    NoHookHelper,
    /// A chunk could not be sealed.
    #[error("{path}: a chunk could not be sealed; please report it")]
    Seal {
        /// The file.
        path: Name,
    },
    /// With `--drain`: records from the peer keep failing to open.
    #[error(
        "chunks from the peer keep arriving changed; something on the way tampers with them, or a host's memory is bad"
    )]
    Open,
    /// With `--drain`: sent files could not be removed.
    #[error(
        "sent files could not be removed from Outgoing (see the warnings); check the folder's permissions"
    )]
    Removal,
    /// With `--drain`: files that could not be sent remain.
    #[error("{0} files could not be sent and remain in Outgoing; the messages above say why")]
    Undelivered(u64),
    /// One exchange: entries were not sent.
    #[error("{}", not_crossed("sent", .0))]
    NotSent(NotCrossed),
    /// One exchange: files of the peer did not arrive.
    #[error("{}", not_crossed("received", .0))]
    NotReceived(NotCrossed),
    /// One exchange: the peer had nothing to send.
    #[error(
        "nothing arrived: the peer has nothing to send; type there: rft send FILE... PEER PORT"
    )]
    NothingSent,
    /// One exchange: the peer sends too, and receives nothing.
    #[error("the peer receives no files: it runs `rft send` too; type there: rft receive PORT")]
    PeerReceivesNothing,
    /// Told to stop before `--drain` was done.
    #[error("stopped before everything was exchanged")]
    Interrupted(Box<Status>),
    /// `--wait` ran out.
    #[error("--drain was not done within --wait {wait:?}")]
    OutOfTime {
        /// The limit.
        wait: Duration,
        /// The state at that moment, with a few of the remaining files.
        status: Box<Status>,
    },
    /// A bug ended the run.
    #[error("the engine ended by a bug; please report it")]
    Internal,
}

/// What did not cross in one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCrossed {
    /// Some entries, each with the reason. Without a name the reason has it.
    pub some: Vec<(String, String)>,
    /// How many more there are.
    pub more: u64,
}

/// `not sent (2 in all): a: it was deleted; b: the peer's disk is full`.
fn not_crossed(done: &str, NotCrossed { some, more }: &NotCrossed) -> String {
    let entry = |(name, reason): &(String, String)| match &name[..] {
        "" => reason.clone(),
        name => format!("{name}: {reason}"),
    };
    let list = some.iter().map(entry).collect::<Vec<_>>().join("; ");
    let (count, rest) = (some.len() as u64 + more, if *more > 0 { "; ..." } else { "" });
    format!(
        "not {done} ({count} in all): {list}{rest}; mend that, and type the same commands again"
    )
}

/// The kind of a [`RunError`], for decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Incoming, Outgoing or the state folder cannot be used.
    Folders,
    /// The local port or address cannot be bound.
    Bind,
    /// The peer's address is invalid, does not resolve, or leads back to this process.
    PeerAddress,
    /// The responder refused the password, before any session.
    WrongPassword,
    /// A peer that knows the password sent an unreadable message, before any session.
    Malformed,
    /// The session keys could not be unwrapped.
    Unwrap,
    /// The session keys could not be generated or wrapped.
    Wrap,
    /// The initiator could not take the session keys.
    KeysRefused,
    /// An initiator gave a wrong password ([`crate::config::Config::exit_on_auth_failure`]).
    InitiatorRefused,
    /// A chunk could not be sealed.
    Seal,
    /// Records from the peer keep failing to open.
    Open,
    /// Sent files could not be removed.
    Removal,
    /// `--wait` ran out.
    OutOfTime,
    /// Told to stop before `--drain` was done.
    Interrupted,
    /// One exchange: not everything crossed.
    Incomplete,
    /// Anything else.
    Other,
}

impl RunError {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(_) => ErrorKind::Folders,
            Self::Endpoint(EndpointError::Bind(_)) => ErrorKind::Bind,
            Self::Net(fatal) => match fatal {
                Fatal::PeerAddress { .. } | Fatal::Itself { .. } => ErrorKind::PeerAddress,
                Fatal::WrongPassword { .. } => ErrorKind::WrongPassword,
                Fatal::Malformed { .. } => ErrorKind::Malformed,
                Fatal::Unwrap { .. } => ErrorKind::Unwrap,
                Fatal::InitiatorRefused { .. } => ErrorKind::InitiatorRefused,
                Fatal::Wrap => ErrorKind::Wrap,
                Fatal::KeysRefused { .. } => ErrorKind::KeysRefused,
                Fatal::Internal(_) => ErrorKind::Other,
            },
            Self::Seal { .. } => ErrorKind::Seal,
            Self::Open => ErrorKind::Open,
            Self::Removal => ErrorKind::Removal,
            Self::OutOfTime { .. } => ErrorKind::OutOfTime,
            Self::Interrupted(_) => ErrorKind::Interrupted,
            Self::NotSent(_)
            | Self::NotReceived(_)
            | Self::NothingSent
            | Self::PeerReceivesNothing => ErrorKind::Incomplete,
            Self::Endpoint(_)
            | Self::Outbox(_)
            | Self::Hooks(_)
            | Self::NoHookHelper
            | Self::Rng
            | Self::Undelivered(_)
            | Self::Internal => ErrorKind::Other,
        }
    }
}
