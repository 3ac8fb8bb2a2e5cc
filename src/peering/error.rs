//! The errors that end a process.

use std::net::SocketAddr;

/// An error after which dialling and accepting make no sense.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The peer's name does not resolve, or the address cannot be reached from this socket.
    #[error("{host}: {reason}; give an IP address or a host name that resolves")]
    PeerAddress {
        /// The name or address as the user wrote it.
        host: String,
        /// The resolver's error.
        reason: String,
    },
    /// The responder did not accept our password, and there was no session before.
    #[error("{peer} did not accept the password; start both sides with the same one")]
    WrongPassword {
        /// The responder.
        peer: SocketAddr,
    },
    /// The peer's addresses are this host's own, and this process answered.
    #[error(
        "{peer} leads back to this very rft; give the other host's address (each host names the other). Of two peers \
         on one host, one is started with `rft listen`"
    )]
    Itself {
        /// The dialled address.
        peer: SocketAddr,
    },
    /// An initiator had a wrong password, and `--exit-on-auth-failure` is set.
    #[error("{peer} came with a wrong password (--exit-on-auth-failure)")]
    InitiatorRefused {
        /// The initiator.
        peer: SocketAddr,
    },
    /// A peer that has proved that it knows the password sent a message that cannot be parsed.
    #[error(
        "{peer} knows the password, and yet does not speak rft/1 as this side does; run the same version of rft on both sides"
    )]
    Malformed {
        /// The peer.
        peer: SocketAddr,
    },
    /// The keys from the responder could not be unwrapped.
    #[error(
        "the session keys from {peer} could not be unwrapped; run the same version of rft on both sides"
    )]
    Unwrap {
        /// The responder.
        peer: SocketAddr,
    },
    /// The session keys could not be made or wrapped.
    #[error("the session keys could not be made: the system gives no random numbers")]
    Wrap,
    /// The initiator could not take the keys.
    #[error("{peer} could not take the session keys; run the same version of rft on both sides")]
    KeysRefused {
        /// The initiator.
        peer: SocketAddr,
    },
    /// A bug.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}
