//! The errors of a session before it is authenticated.

use super::installation::Clash;

/// Why a connection did not become authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The connection was lost, or the deadline passed, with nothing said against the password.
    #[error("the connection was lost during the handshake: {0}")]
    Lost(String),
    /// The initiator proved itself, and the responder, which was there, did not answer that.
    #[error("the peer gave no answer to our proof of the password")]
    Unexplained,
    /// The other side has another password.
    #[error("the password was not accepted")]
    WrongPassword,
    /// The other side does not seem to speak this protocol, or another version. It has proved
    /// nothing, so that may be forged.
    #[error(
        "the peer does not speak rft/1: it runs another program or another version on that port"
    )]
    OtherVersion,
    /// A peer that has proved that it knows the password says what cannot be parsed.
    #[error("the peer knows the password, and yet does not speak rft/1 as this side does")]
    NotRft,
    /// The peer is this process itself.
    #[error("that address leads back to this very rft")]
    Itself,
    /// The responder has no guesses left, or too many strangers.
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
