//! The two ends of a connection.

/// The end of the connection that a peer has. TLS fixes it; no message can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The QUIC server of the connection.
    Responder,
    /// The QUIC client of the connection.
    Initiator,
}

impl Role {
    /// The role's byte on the wire and in derivations: 'R' or 'I'.
    pub fn letter(self) -> u8 {
        match self {
            Self::Responder => b'R',
            Self::Initiator => b'I',
        }
    }

    /// The peer's role.
    pub fn other(self) -> Self {
        match self {
            Self::Responder => Self::Initiator,
            Self::Initiator => Self::Responder,
        }
    }
}
