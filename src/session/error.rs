//! The errors of a session before it is authenticated.

use super::installation::Clash;

/// Why a connection did not become authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The connection was lost, or the deadline passed, without a verdict on the password.
    #[error("the connection was lost during the handshake: {0}")]
    Lost(String),
    /// The initiator sent its proof, and the reachable responder did not answer it.
    #[error("the peer gave no answer to our proof of the password")]
    Unanswered,
    /// The other side has another password.
    #[error("the password was not accepted")]
    WrongPassword,
    /// The other side seems to speak another protocol or version. It is not authenticated, so this
    /// may be forged.
    #[error(
        "the peer does not speak rft/1: it runs another program or another version on that port"
    )]
    OtherVersion,
    /// An authenticated peer sent a message that cannot be parsed.
    #[error("the peer knows the password, but its messages do not follow rft/1")]
    Malformed,
    /// The peer is this process itself.
    #[error("that address belongs to this rft itself")]
    Itself,
    /// The responder has no guesses left, or too many pending connections.
    #[error("the peer takes no more connections just now")]
    Busy,
    /// The other of two crossed connections is kept.
    #[error("another connection to the same peer is kept")]
    Duplicate,
    /// The peer keeps another session.
    #[error("the peer keeps its session with another installation or program ({0:?})")]
    PeerRefuses(Clash),
    /// This side keeps its session.
    #[error("the session with another installation or program is kept ({0:?})")]
    WeRefuse(Clash),
    /// The keys could not be unwrapped (initiator).
    #[error("the session keys could not be unwrapped")]
    Unwrap,
    /// The keys could not be wrapped, or the random generator failed (responder).
    #[error("the session keys could not be wrapped")]
    Wrap,
    /// The initiator could not take the keys (seen by the responder).
    #[error("the peer could not take the session keys")]
    KeysRefused,
}
