//! Inputs of the key schedule from a handshake: its messages' lengths, and the TLS channel to which
//! it is bound.

use zeroize::Zeroizing;

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
/// Length of the session keys in bytes.
pub(super) const SESSION_KEYS_LEN: usize = 64;
/// The wrapped session keys with their GCM tag.
pub(super) const WRAP_LEN: usize = SESSION_KEYS_LEN + 16;

/// Binds a handshake to its TLS connection: the output of the TLS exporter. Wiped when dropped.
pub struct ChannelBinding(Zeroizing<[u8; 96]>);

impl ChannelBinding {
    /// Takes 96 bytes of the connection's TLS exporter with
    /// [`EXPORTER_LABEL`](super::EXPORTER_LABEL) and an empty context: SID (CPace's session id), CB
    /// (in the channel identifier) and MIX (in the key schedule).
    pub fn from_exporter(exported: &[u8; 96]) -> Self {
        Self(Zeroizing::new(*exported))
    }

    pub(super) fn sid(&self) -> &[u8] {
        &self.0[..32]
    }

    pub(super) fn cb(&self) -> &[u8] {
        &self.0[32..64]
    }

    pub(super) fn mix(&self) -> &[u8] {
        &self.0[64..]
    }

    pub(super) fn duplicate(&self) -> Self {
        Self::from_exporter(&self.0)
    }
}
