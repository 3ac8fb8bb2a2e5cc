//! The layout that M1 and M2 share (protocol.md section 3.2).

use super::{HandshakeError, PeerId, Role};
use crate::crypto::message_lengths::{HELLO_LEN, PREFIX_LEN};
use crate::crypto::pake::SHARE_LEN;

/// The only suite: CPACE-RISTR255-SHA512, Argon2id, HKDF-SHA256, AES-256-GCM and HMAC-SHA256 over
/// context, header and tag.
pub const SUITE: u8 = 0x01;

const MAGIC: &[u8; 4] = b"RFT1";

/// The content of M1 or M2, unauthenticated.
pub(super) struct Hello<'a> {
    /// CPace's associated data.
    pub prefix: &'a [u8],
    pub peer: PeerId,
    pub share: [u8; SHARE_LEN],
}

impl<'a> Hello<'a> {
    /// Decodes a hello. It checks, in this order, the magic, the suite and flags, the sender's
    /// role, and that the sender is not this process.
    pub(super) fn parse(
        message: &'a [u8; HELLO_LEN],
        sender: Role,
        own: PeerId,
    ) -> Result<Self, HandshakeError> {
        let (prefix, share) = split(message);
        let [m0, m1, m2, m3, role, suite, flag0, flag1, rest @ ..] = message;
        if [*m0, *m1, *m2, *m3] != *MAGIC {
            return Err(HandshakeError::NotRft);
        }
        if *suite != SUITE || [*flag0, *flag1] != [0, 0] {
            return Err(HandshakeError::UnsupportedVersion);
        }
        if *role != sender.letter() {
            return Err(HandshakeError::WrongRole);
        }
        let mut peer = PeerId([0; 16]);
        peer.0.copy_from_slice(&rest[..16]);
        if peer == own {
            return Err(HandshakeError::SelfConnection);
        }
        Ok(Self { prefix, peer, share })
    }
}

pub(super) fn split(message: &[u8; HELLO_LEN]) -> (&[u8], [u8; SHARE_LEN]) {
    let (prefix, rest) = message.split_at(PREFIX_LEN);
    let mut share = [0; SHARE_LEN];
    share.copy_from_slice(rest);
    (prefix, share)
}

pub(super) fn prefix(role: Role, own: PeerId, random: [u8; 16]) -> [u8; PREFIX_LEN] {
    let mut prefix = [0; PREFIX_LEN];
    prefix[..4].copy_from_slice(MAGIC);
    prefix[4] = role.letter();
    prefix[5] = SUITE;
    prefix[8..24].copy_from_slice(&own.0);
    prefix[24..].copy_from_slice(&random);
    prefix
}

pub(super) fn join(prefix: &[u8; PREFIX_LEN], share: &[u8; SHARE_LEN]) -> [u8; HELLO_LEN] {
    let mut message = [0; HELLO_LEN];
    message[..PREFIX_LEN].copy_from_slice(prefix);
    message[PREFIX_LEN..].copy_from_slice(share);
    message
}
