//! The two ends of a connection.

/// Which end of the connection a peer is. TLS fixes it: nothing on the wire can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The QUIC server of the connection.
    Responder,
    /// The QUIC client of the connection.
    Initiator,
}

impl Role {
    /// The byte that stands for the role on the wire and in derivations: 'R' or 'I'.
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
