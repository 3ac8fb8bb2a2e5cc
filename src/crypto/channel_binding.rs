//! Binds a handshake to its TLS connection (protocol.md section 1).

use zeroize::Zeroizing;

/// The output of the TLS exporter. Wiped when dropped.
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
