//! What repair packets (`transport::fec`) are authenticated with: they are below QUIC, which protects only its own.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::schedule;

/// Length in bytes of what is kept of the HMAC. A forger gets one try a packet; what a forged one could cause is a packet
/// that QUIC refuses.
pub const TAG_LEN: usize = 8;

/// The key of one direction's repair packets.
pub struct RepairKey(Hmac<Sha256>);

impl RepairKey {
    /// Of a key that is uniform and used for nothing else.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(schedule::hmac(key))
    }

    /// HMAC-SHA256 of the packet's rest, cut to its first bytes (RFC 2104, section 5).
    pub fn tag(&self, rest: &[u8]) -> [u8; TAG_LEN] {
        let whole: [u8; 32] = self.0.clone().chain_update(rest).finalize().into_bytes().into();
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&whole[..TAG_LEN]);
        tag
    }

    /// Whether the tag is that of the rest, in constant time.
    pub fn verify(&self, rest: &[u8], tag: &[u8; TAG_LEN]) -> bool {
        self.0.clone().chain_update(rest).verify_truncated_left(tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::handshake::Role;
    use super::super::schedule::SessionSecret;
    use super::super::vectors::Vectors;
    use super::*;

    #[test]
    fn known_answers() {
        let vectors = Vectors::rft1();
        let session = SessionSecret::from_bytes(&vectors.array("s"));
        for repair in vectors.list("repairs") {
            let role = if repair.text("role") == "I" { Role::Initiator } else { Role::Responder };
            assert_eq!(session.repair(role)[..], repair.bytes("key"));
            let (key, rest) = (RepairKey::new(&repair.array("key")), repair.bytes("rest"));
            assert_eq!(key.tag(&rest)[..], repair.bytes("tag"));
            assert!(key.verify(&rest, &repair.array("tag")));
        }
        assert_eq!(vectors.list("repairs").len(), 2);
    }

    #[test]
    fn every_bit_counts() {
        let (key, rest) = (RepairKey::new(&[7; 32]), *b"a repair packet");
        let tag = key.tag(&rest);
        for bit in 0..8 * rest.len() {
            let mut changed = rest;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(&changed, &tag), "{bit}");
        }
        for bit in 0..8 * TAG_LEN {
            let mut changed = tag;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(&rest, &changed), "{bit}");
        }
        assert!(!RepairKey::new(&[8; 32]).verify(&rest, &tag), "another key");
    }
}
