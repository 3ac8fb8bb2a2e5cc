//! The reasons for which this program closes a connection.

use quinn::{ConnectionError, VarInt};

/// How a connection is closed; the application error code of CONNECTION_CLOSE (protocol.md
/// section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// An orderly end.
    Goodbye = 0x00,
    /// Something before authentication was wrong; nothing more is said.
    Authentication = 0x01,
    /// The other of two connections is kept, or this is the dialler itself.
    Duplicate = 0x02,
    /// Too many guesses or strangers; later perhaps.
    Busy = 0x03,
    /// A newer session took this one's place.
    Superseded = 0x04,
    /// The initiator could not take the session keys.
    KeysRefused = 0x05,
    /// An authenticated peer broke the protocol.
    Protocol = 0x06,
    /// A session with another installation lives.
    Occupied = 0x07,
    /// A session with another process of the same installation lives, which displaced this one.
    Copied = 0x08,
}

impl CloseCode {
    /// As QUIC carries it.
    pub fn var_int(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// Whether the peer closed with this code.
    pub fn is_reason_of(self, error: &ConnectionError) -> bool {
        matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == self.var_int())
    }
}
