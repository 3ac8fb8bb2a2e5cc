//! Authentication of repair packets: they travel below QUIC, which protects only its own packets.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Length of the truncated HMAC, bytes. Each attempt of a forger costs a packet, and success only
/// yields a packet that QUIC drops.
pub(super) const TAG_LEN: usize = 8;

/// The key of one direction's repair packets.
pub struct RepairKey(Hmac<Sha256>);

impl RepairKey {
    /// Takes a uniformly random key that serves no other purpose.
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC pads a key shorter than its block with zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(key);
        Self(Hmac::new((&*block).into()))
    }

    /// The tag over the rest of the packet: HMAC-SHA256, truncated (RFC 2104, section 5).
    pub fn tag(&self, rest: &[u8]) -> [u8; TAG_LEN] {
        let whole: [u8; 32] = self.0.clone().chain_update(rest).finalize().into_bytes().into();
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&whole[..TAG_LEN]);
        tag
    }

    /// Whether the tag matches the rest of the packet, in constant time.
    pub fn verify(&self, rest: &[u8], tag: &[u8; TAG_LEN]) -> bool {
        self.0.clone().chain_update(rest).verify_truncated_left(tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags of a second implementation (tests/vectors/make_rft1.py).
    #[test]
    fn known_answers() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/rft1.json")).unwrap();
        let repairs = vectors["repairs"].as_array().unwrap();
        for repair in repairs {
            let bytes = |name: &str| {
                data_encoding::HEXLOWER.decode(repair[name].as_str().unwrap().as_bytes()).unwrap()
            };
            let (key, rest) = (RepairKey::new(&bytes("key").try_into().unwrap()), bytes("rest"));
            assert_eq!(key.tag(&rest)[..], bytes("tag"));
            assert!(key.verify(&rest, &bytes("tag").try_into().unwrap()));
        }
        assert_eq!(repairs.len(), 2);
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
