//! The key schedule (protocol.md section 3.3): the one table of labels, and every derivation that
//! uses one.
//!
//! HKDF-SHA256 (RFC 5869). Every output is 32 bytes, which is exactly one block, so Expand is one
//! HMAC. `info` is `label || 0x00 || context`, and no label holds a zero byte, so different
//! derivations have different inputs. The `hkdf` crate, which does not wipe the PRK and its
//! outputs, is the reference of the tests.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::channel_binding::ChannelBinding;
use super::message_lengths::{M1_LEN, M2_LEN, M4_LEN};
use super::pake::Isk;
use super::role::Role;

/// The TLS exporter's label (RFC 5705, RFC 8446 section 7.5), for an empty context and 96 bytes of
/// output.
///
/// RFC 5705 reserves the prefix for unregistered labels.
pub const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL rft/1 channel binding";

/// Every other label of the protocol, in the order of use. Besides CPace, no other code feeds a
/// constant to a hash.
pub(super) mod label {
    /// SHA-256 of this, cut to 16 bytes, is Argon2id's salt.
    pub(crate) const ARGON2_SALT: &[u8] = b"rft/1 argon2id salt";
    /// Start of CPace's channel identifier.
    pub(crate) const CHANNEL: &[u8] = b"rft/1 CI";
    /// Start of the transcript's hash.
    pub(crate) const TRANSCRIPT: &[u8] = b"rft/1 transcript";
    /// Key of the initiator's confirmation Ta.
    pub(crate) const CONFIRM_INITIATOR: &[u8] = b"rft/1 confirm initiator";
    /// Key of the responder's confirmation Tb.
    pub(crate) const CONFIRM_RESPONDER: &[u8] = b"rft/1 confirm responder";
    /// Key that encrypts the session keys on the wire.
    pub(crate) const WRAP_KEY: &[u8] = b"rft/1 wrap key";
    /// Start of the wrap's associated data.
    pub(crate) const WRAP_AAD: &[u8] = b"rft/1 wrap";
    /// Salt of the extraction from the session keys.
    pub(crate) const SESSION_SALT: &[u8] = b"rft/1 session salt";
    /// Short authentication string, for people to compare.
    pub(crate) const SAS: &[u8] = b"rft/1 sas";
    /// Public name of the session, for logs and events.
    pub(crate) const SESSION_ID: &[u8] = b"rft/1 session id";
    /// Secret of one stream and direction.
    pub(crate) const STREAM: &[u8] = b"rft/1 stream";
    /// AES-256-GCM key of one epoch of a stream.
    pub(crate) const CHUNK_AES: &[u8] = b"rft/1 chunk aes";
    /// HMAC key of one epoch of a stream.
    pub(crate) const CHUNK_MAC: &[u8] = b"rft/1 chunk mac";
    /// HMAC key of one direction's repair packets.
    pub(crate) const REPAIR: &[u8] = b"rft/1 repair";
    /// Start of the block that every record's HMAC begins with.
    pub(crate) const RECORD: &[u8] = b"rft/1 ";
}

/// A derived secret of 32 bytes, wiped when dropped.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// HMAC-SHA256 with a key of 32 bytes. It cannot fail, unlike the constructor from a slice.
pub(super) fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC fills a key that is shorter than a block with zeros (RFC 2104 section 2).
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    Hmac::new((&*block).into())
}

/// A pseudorandom key of HKDF, as keyed HMAC state, which is wiped when dropped. Each Expand starts
/// from a copy of it.
pub(super) struct Prk(Hmac<Sha256>);

impl Prk {
    /// HKDF-Extract with a salt of 32 bytes.
    fn extract(salt: &[u8; 32], ikm: &[&[u8]]) -> Self {
        let mut mac = hmac(salt);
        ikm.iter().for_each(|part| mac.update(part));
        Self::new(&secret(mac))
    }

    /// A key that already is uniform.
    fn new(key: &[u8; 32]) -> Self {
        Self(hmac(key))
    }

    /// HKDF-Expand to 32 bytes: T(1) = HMAC(PRK, info || 0x01).
    fn expand(&self, label: &[u8], context: &[&[u8]]) -> Secret {
        let mut mac = self.0.clone();
        mac.update(label);
        mac.update(&[0]);
        context.iter().for_each(|part| mac.update(part));
        mac.update(&[1]);
        secret(mac)
    }
}

fn secret(mac: Hmac<Sha256>) -> Secret {
    let mut out = Zeroizing::new([0; 32]);
    let mut bytes = mac.finalize().into_bytes();
    out.copy_from_slice(&bytes);
    bytes[..].zeroize();
    out
}

/// CPace's channel identifier. It makes the generator depend on the TLS channel, so the two ends of
/// a man in the middle have different generators.
pub(super) fn channel_identifier(binding: &ChannelBinding) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([label::CHANNEL, binding.cb()].concat())
}

/// The values that both sides know after M2: the transcript's hash and the pseudorandom key.
pub(super) struct Confirmation {
    th: [u8; 32],
    prk: Prk,
}

impl Confirmation {
    /// Derives th and PRK. PRK depends on CPace's output and on the TLS secret MIX: an attacker
    /// needs both.
    pub(super) fn derive(
        isk: &Isk,
        binding: &ChannelBinding,
        m1: &[u8; M1_LEN],
        m2: &[u8; M2_LEN],
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(label::TRANSCRIPT);
        hash.update((M1_LEN as u32).to_be_bytes());
        hash.update(m1);
        hash.update((M2_LEN as u32).to_be_bytes());
        hash.update(m2);
        hash.update(binding.cb());
        let th: [u8; 32] = hash.finalize().into();
        let prk = Prk::extract(&th, &[&isk[..], binding.mix()]);
        Self { th, prk }
    }

    /// The initiator's proof Ta, as a MAC that can be finished or verified.
    pub(super) fn initiator_proof(&self) -> Hmac<Sha256> {
        hmac(&self.prk.expand(label::CONFIRM_INITIATOR, &[])).chain_update(self.th)
    }

    /// The responder's proof Tb, over the initiator's proof and the wrapped keys (encrypt, then
    /// MAC).
    pub(super) fn responder_proof(&self, ta: &[u8], wrap: &[u8]) -> Hmac<Sha256> {
        let mac = hmac(&self.prk.expand(label::CONFIRM_RESPONDER, &[]));
        mac.chain_update(self.th).chain_update(ta).chain_update(wrap)
    }

    /// Kw, used for one message only.
    pub(super) fn wrap_key(&self) -> Secret {
        self.prk.expand(label::WRAP_KEY, &[])
    }

    /// The wrap's associated data.
    pub(super) fn wrap_aad(&self, ta: &[u8; 32]) -> Vec<u8> {
        [label::WRAP_AAD, &self.th, ta].concat()
    }

    /// S, the secret of the session. The salt depends on the input of both sides, in case the
    /// responder's random generator is weak.
    pub(super) fn session(&self, m4: &[u8; M4_LEN], session_key: &[u8; 64]) -> SessionSecret {
        let salt = self.prk.expand(label::SESSION_SALT, &[&Sha256::digest(m4)]);
        SessionSecret(Prk::extract(&salt, &[session_key]))
    }
}

/// S: the secret from which every record key, the session id and the short authentication string
/// are derived.
pub(super) struct SessionSecret(Prk);

impl SessionSecret {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn from_bytes(s: &[u8; 32]) -> Self {
        Self(Prk::new(s))
    }

    pub(super) fn sas(&self) -> [u8; 4] {
        truncate(&self.0.expand(label::SAS, &[]))
    }

    pub(super) fn session_id(&self) -> [u8; 16] {
        truncate(&self.0.expand(label::SESSION_ID, &[]))
    }

    /// Sx, the secret of the records that `sender` sends on the stream `stream_id`.
    pub(super) fn stream(&self, sender: Role, stream_id: u64) -> StreamSecret {
        let secret = self.0.expand(label::STREAM, &[&[sender.letter()], &stream_id.to_be_bytes()]);
        StreamSecret(Prk::new(&secret))
    }

    /// Kr, the key of the repair packets that `sender` sends.
    pub(super) fn repair(&self, sender: Role) -> Secret {
        self.0.expand(label::REPAIR, &[&[sender.letter()]])
    }
}

/// Sx: the secret of one stream and direction.
pub(super) struct StreamSecret(Prk);

impl StreamSecret {
    /// Kaes(e) of an epoch (protocol.md section 3.3).
    pub(super) fn chunk_aes(&self, epoch: u64) -> Secret {
        self.0.expand(label::CHUNK_AES, &[&epoch.to_be_bytes()])
    }

    /// Kmac(e) of an epoch (protocol.md section 3.3).
    pub(super) fn chunk_mac(&self, epoch: u64) -> Secret {
        self.0.expand(label::CHUNK_MAC, &[&epoch.to_be_bytes()])
    }
}

/// The block (64 bytes, one of SHA-256) that starts every record's HMAC on this stream and
/// direction.
pub(super) fn record_context(sender: Role, stream_id: u64) -> [u8; 64] {
    let used = label::RECORD.len();
    let mut block = [0; 64];
    block[..used].copy_from_slice(label::RECORD);
    block[used] = sender.letter();
    block[used + 1..used + 9].copy_from_slice(&stream_id.to_be_bytes());
    block
}

fn truncate<const N: usize>(secret: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&secret[..N]);
    out
}

#[cfg(test)]
mod tests;
