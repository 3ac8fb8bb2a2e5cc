//! The handshake: four messages of fixed length on the connection's first stream, as state machines
//! without I/O (protocol.md section 3.2).
//!
//! | # | direction | bytes | fields |
//! |---|---|---|---|
//! | M1 | initiator to responder | 72 | "RFT1", role 'I', suite, flags (2, zero), peer id 16, random 16, Ya 32 |
//! | M2 | responder to initiator | 72 | the same with role 'R' and Yb |
//! | M3 | initiator to responder | 32 | Ta |
//! | M4 | responder to initiator | 112 | Tb 32, wrapped session key 64, its GCM tag 16 |
//!
//! The initiator proves itself first, so a client that dials learns nothing from the responder
//! before it has shown that it knows the password. Each step consumes its state, so no scalar and
//! no key is used twice.

use std::fmt;

use hmac::Mac;
use rand::TryCryptoRng;
use zeroize::Zeroizing;

use super::cipher::{Cipher, CipherError, NONCE_LEN};
use super::pake::{self, PakeError};
use super::password::PasswordKey;
use super::schedule::{Confirmation, SessionSecret, channel_identifier};
use super::seal::SessionKeys;

mod hello;

pub use super::channel_binding::ChannelBinding;
pub use super::message_lengths::{M1_LEN, M2_LEN, M3_LEN, M4_LEN};
use super::message_lengths::{PROOF_LEN, SESSION_KEY_LEN, WRAP_LEN};
pub use super::role::Role;
use hello::Hello;
pub use hello::SUITE;

/// Why a handshake fails. On the wire all cases look alike; the local log and the exit code
/// distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The message does not begin with the magic of this protocol.
    #[error("the peer does not speak this protocol")]
    NotRft,
    /// This side does not know the suite or the flags.
    #[error("the peer speaks no common version")]
    UnsupportedVersion,
    /// The message claims the role that this side has.
    #[error("the peer claims the wrong role")]
    WrongRole,
    /// The peer is this process: its own packets were led back to it. The connection is dropped
    /// silently.
    #[error("the peer is this process itself")]
    SelfConnection,
    /// The peer's share is not a group element, or is this side's own share.
    #[error("the peer's key share is not valid")]
    BadShare,
    /// The peer's proof is wrong: it has another password, or an attacker terminates TLS between
    /// the peers.
    #[error("the password was not accepted")]
    WrongPassword,
    /// The initiator's proof is right, but the session keys could not be wrapped.
    #[error("the session keys could not be wrapped")]
    WrapFailed,
    /// The responder's proof is right, but the session keys do not unwrap.
    #[error("the session keys could not be unwrapped")]
    UnwrapFailed,
    /// The random generator failed.
    #[error("the system gives no random numbers")]
    Rng,
}

impl From<PakeError> for HandshakeError {
    fn from(error: PakeError) -> Self {
        match error {
            PakeError::BadShare => Self::BadShare,
            PakeError::Rng => Self::Rng,
        }
    }
}

/// 16 random bytes that identify a process for its lifetime. Public; authenticated by the
/// handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 16]);

impl PeerId {
    /// Draws a new id.
    ///
    /// # Errors
    /// [`HandshakeError::Rng`] if the generator fails.
    pub fn random<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, HandshakeError> {
        random(rng).map(Self)
    }
}

/// Lower-case hexadecimal.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A finished handshake: both sides have proved on this TLS connection that they know the password.
pub struct Established {
    /// The peer's id, authenticated.
    pub peer: PeerId,
    /// This side's role.
    pub role: Role,
    /// The keys of every record of the session.
    pub keys: SessionKeys,
    /// A public name of the session, the same on both sides. It reveals nothing about the keys.
    pub session_id: [u8; 16],
    /// Short authentication string, the same on both sides, for people who compare it by voice.
    pub sas: [u8; 4],
}

impl Established {
    fn new(peer: PeerId, role: Role, secret: SessionSecret) -> Self {
        let (session_id, sas) = (secret.session_id(), secret.sas());
        Self { peer, role, keys: SessionKeys::new(secret), session_id, sas }
    }
}

/// The initiator (QUIC client) before its first message.
pub struct Initiator;

impl Initiator {
    /// Makes M1. `binding` belongs to the connection on which M1 will be sent.
    ///
    /// # Errors
    /// [`HandshakeError::Rng`].
    pub fn start<R: TryCryptoRng + ?Sized>(
        key: &PasswordKey,
        binding: &ChannelBinding,
        own: PeerId,
        rng: &mut R,
    ) -> Result<(InitiatorAwaitingM2, [u8; M1_LEN]), HandshakeError> {
        let ad_a = hello::prefix(Role::Initiator, own, random(rng)?);
        let ci = channel_identifier(binding);
        let inputs = pake::Inputs { prs: key.as_bytes(), ci: &ci, sid: binding.sid() };
        let initiator = pake::PakeInitiator::start(&inputs, rng)?;
        let m1 = hello::join(&ad_a, &initiator.share());
        Ok((InitiatorAwaitingM2 { initiator, binding: binding.duplicate(), own, m1 }, m1))
    }
}

/// The initiator that has sent M1.
pub struct InitiatorAwaitingM2 {
    initiator: pake::PakeInitiator,
    binding: ChannelBinding,
    own: PeerId,
    m1: [u8; M1_LEN],
}

impl InitiatorAwaitingM2 {
    /// Takes M2 and makes M3. A responder that does not answer M3 has had one guess at the
    /// password.
    ///
    /// # Errors
    /// A [`HandshakeError`] about M2, but never [`HandshakeError::WrongPassword`].
    pub fn on_m2(
        self,
        m2: &[u8; M2_LEN],
    ) -> Result<(InitiatorAwaitingM4, [u8; M3_LEN]), HandshakeError> {
        let hello = Hello::parse(m2, Role::Responder, self.own)?;
        // A reflected share would lead to a proof that this side makes itself.
        if hello.share == self.initiator.share() {
            return Err(HandshakeError::BadShare);
        }
        let (ad_a, _) = hello::split(&self.m1);
        let isk = self.initiator.finish(self.binding.sid(), ad_a, &hello.share, hello.prefix)?;
        let confirmation = Confirmation::derive(&isk, &self.binding, &self.m1, m2);
        let ta = confirmation.initiator_proof().finalize().into_bytes().into();
        Ok((InitiatorAwaitingM4 { confirmation, ta, peer: hello.peer }, ta))
    }
}

/// The initiator that has proved itself and waits for the responder to do so.
pub struct InitiatorAwaitingM4 {
    confirmation: Confirmation,
    ta: [u8; PROOF_LEN],
    peer: PeerId,
}

impl InitiatorAwaitingM4 {
    /// Verifies the responder's proof, and then decrypts the session keys.
    ///
    /// # Errors
    /// [`HandshakeError::WrongPassword`] or [`HandshakeError::UnwrapFailed`].
    pub fn on_m4(self, m4: &[u8; M4_LEN]) -> Result<Established, HandshakeError> {
        let (tb, wrap) = m4.split_at(PROOF_LEN);
        let proof = self.confirmation.responder_proof(&self.ta, wrap);
        proof.verify_slice(tb).map_err(|_| HandshakeError::WrongPassword)?;
        let session_key = unwrap_keys(&self.confirmation, &self.ta, wrap)?;
        let secret = self.confirmation.session(m4, &session_key);
        Ok(Established::new(self.peer, Role::Initiator, secret))
    }
}

/// The responder (QUIC server) before its first message.
pub struct Responder;

impl Responder {
    /// Checks M1 as far as no key and no group operation is needed. Call it before a guess is taken
    /// from the budget (protocol.md section 3.6).
    ///
    /// # Errors
    /// [`HandshakeError::NotRft`], [`HandshakeError::UnsupportedVersion`],
    /// [`HandshakeError::WrongRole`] or [`HandshakeError::SelfConnection`].
    pub fn peek_m1(m1: &[u8; M1_LEN], own: PeerId) -> Result<(), HandshakeError> {
        Hello::parse(m1, Role::Initiator, own).map(|_| ())
    }

    /// Takes M1 and makes M2. A peer that gets M2 can test one password, so take a guess from the
    /// budget before M2 is sent.
    ///
    /// # Errors
    /// The errors of [`Responder::peek_m1`], [`HandshakeError::BadShare`] and
    /// [`HandshakeError::Rng`].
    pub fn on_m1<R: TryCryptoRng + ?Sized>(
        key: &PasswordKey,
        binding: &ChannelBinding,
        own: PeerId,
        m1: &[u8; M1_LEN],
        rng: &mut R,
    ) -> Result<(ResponderAwaitingM3, [u8; M2_LEN]), HandshakeError> {
        let hello_a = Hello::parse(m1, Role::Initiator, own)?;
        let ad_b = hello::prefix(Role::Responder, own, random(rng)?);
        let ci = channel_identifier(binding);
        let inputs = pake::Inputs { prs: key.as_bytes(), ci: &ci, sid: binding.sid() };
        let (yb, isk) = pake::respond(&inputs, &hello_a.share, hello_a.prefix, &ad_b, rng)?;
        let m2 = hello::join(&ad_b, &yb);
        let confirmation = Confirmation::derive(&isk, binding, m1, &m2);
        Ok((ResponderAwaitingM3 { confirmation, peer: hello_a.peer }, m2))
    }
}

/// The responder that has sent M2 and waits for the initiator's proof.
pub struct ResponderAwaitingM3 {
    confirmation: Confirmation,
    peer: PeerId,
}

impl ResponderAwaitingM3 {
    /// Verifies the initiator's proof, and then draws the session keys and makes M4.
    ///
    /// # Errors
    /// [`HandshakeError::WrongPassword`], [`HandshakeError::Rng`] or
    /// [`HandshakeError::WrapFailed`].
    pub fn on_m3<R: TryCryptoRng + ?Sized>(
        self,
        ta: &[u8; M3_LEN],
        rng: &mut R,
    ) -> Result<(Established, [u8; M4_LEN]), HandshakeError> {
        self.confirmation
            .initiator_proof()
            .verify_slice(ta)
            .map_err(|_| HandshakeError::WrongPassword)?;
        // Ks (protocol.md section 3.3).
        let session_key = Zeroizing::new(random(rng)?);
        let wrap = wrap_keys(&self.confirmation, ta, &session_key)?;
        let tb = self.confirmation.responder_proof(ta, &wrap).finalize().into_bytes();
        let mut m4 = [0; M4_LEN];
        m4[..PROOF_LEN].copy_from_slice(&tb);
        m4[PROOF_LEN..].copy_from_slice(&wrap);
        let secret = self.confirmation.session(&m4, &session_key);
        Ok((Established::new(self.peer, Role::Responder, secret), m4))
    }
}

/// Encrypts the session keys with AES-256-GCM under Kw. The nonce is zero, since no other message
/// uses this key.
fn wrap_keys(
    confirmation: &Confirmation,
    ta: &[u8; PROOF_LEN],
    session_key: &[u8; SESSION_KEY_LEN],
) -> Result<[u8; WRAP_LEN], HandshakeError> {
    let mut wrap = [0; WRAP_LEN];
    let (sealed, tag) = wrap.split_at_mut(SESSION_KEY_LEN);
    sealed.copy_from_slice(session_key);
    let computed = Cipher::new(&confirmation.wrap_key())
        .and_then(|cipher| cipher.seal([0; NONCE_LEN], &confirmation.wrap_aad(ta), sealed))
        .map_err(|CipherError| HandshakeError::WrapFailed)?;
    tag.copy_from_slice(&computed);
    Ok(wrap)
}

fn unwrap_keys(
    confirmation: &Confirmation,
    ta: &[u8; PROOF_LEN],
    wrap: &[u8],
) -> Result<Zeroizing<[u8; SESSION_KEY_LEN]>, HandshakeError> {
    let (sealed, tag) =
        wrap.split_at_checked(SESSION_KEY_LEN).ok_or(HandshakeError::UnwrapFailed)?;
    let tag = tag.try_into().map_err(|_| HandshakeError::UnwrapFailed)?;
    let mut session_key = Zeroizing::new([0; SESSION_KEY_LEN]);
    session_key.copy_from_slice(sealed);
    let aad = confirmation.wrap_aad(ta);
    Cipher::new(&confirmation.wrap_key())
        .and_then(|cipher| cipher.open([0; NONCE_LEN], &aad, &mut session_key[..], tag))
        .map_err(|CipherError| HandshakeError::UnwrapFailed)?;
    Ok(session_key)
}

fn random<const N: usize, R: TryCryptoRng + ?Sized>(
    rng: &mut R,
) -> Result<[u8; N], HandshakeError> {
    let mut bytes = [0; N];
    rng.try_fill_bytes(&mut bytes).map_err(|_| HandshakeError::Rng)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
