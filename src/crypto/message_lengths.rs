//! Lengths of the handshake's messages and of their parts, bytes (protocol.md section 3.2).

use super::pake::SHARE_LEN;

/// Bytes of M1 and M2 before the key share: CPace's associated data.
pub(super) const PREFIX_LEN: usize = 40;
/// Length of M1 and of M2 in bytes.
pub(super) const HELLO_LEN: usize = PREFIX_LEN + SHARE_LEN;

/// Length of M1 in bytes.
pub const M1_LEN: usize = HELLO_LEN;
/// Length of M2 in bytes.
pub const M2_LEN: usize = HELLO_LEN;
/// Length of M3 in bytes.
pub const M3_LEN: usize = PROOF_LEN;
/// Length of M4 in bytes.
pub const M4_LEN: usize = PROOF_LEN + WRAP_LEN;

/// Length of a confirmation (Ta, Tb) in bytes.
pub(super) const PROOF_LEN: usize = 32;
/// Length of the session key in bytes.
pub(super) const SESSION_KEY_LEN: usize = 64;
/// The wrapped session key with its GCM tag.
pub(super) const WRAP_LEN: usize = SESSION_KEY_LEN + 16;
