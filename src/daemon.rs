//! One peer, whole: folders, endpoint, sessions and both directions, until it is told to stop.

use crate::config::Config;
use crate::crypto::password::PasswordKey;
use crate::event::EventSink;
use std::future::Future;

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Told to stop.
    Stopped,
    /// `--drain`: both queues are empty.
    Drained,
}

/// Runs one peer until `shutdown` completes, `--drain` is done, or it cannot go on.
///
/// # Errors
/// [`RunError`], whose [`RunError::exit_code`] is the contract's.
pub async fn run(
    config: Config,
    key: PasswordKey,
    events: EventSink,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Finished, RunError> {
    let _ = (config, key, events);
    shutdown.await;
    Ok(Finished::Stopped)
}

/// Why a peer cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The peer's name or address leads nowhere.
    #[error("{host}: {reason}; give an IP address or a host name that resolves")]
    PeerAddress {
        /// As the user wrote it.
        host: String,
        /// What the resolver says.
        reason: String,
    },
}

impl RunError {
    /// The exit code of the contract's section 4.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PeerAddress { .. } => 3,
        }
    }
}
