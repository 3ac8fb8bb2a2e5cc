//! X25519MLKEM768, code point 0x11ec (draft-ietf-tls-ecdhe-mlkem): X25519 by ring and ML-KEM-768 in
//! one TLS group. The secret holds as long as one of the two does.
//!
//! In both shares and in the secret the ML-KEM part stands first.

use crate::crypto::kem;
use crate::crypto::kem::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, KemError, KemKey, SHARED_LEN};
use rand::TryCryptoRng;
use rand::rngs::SysRng;
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use std::fmt::Debug;

/// Length of an X25519 share in bytes.
const X25519_LEN: usize = 32;
/// Length of the client's share in bytes: the encapsulation key, then X25519.
pub(crate) const CLIENT_SHARE_LEN: usize = ENCAPSULATION_KEY_LEN + X25519_LEN;
/// Length of the server's share in bytes: the ciphertext, then X25519.
pub(crate) const SERVER_SHARE_LEN: usize = CIPHERTEXT_LEN + X25519_LEN;
/// Length of the shared secret in bytes.
pub(crate) const SECRET_LEN: usize = SHARED_LEN + X25519_LEN;

/// The group, on the system's random generator.
pub(crate) static X25519MLKEM768: Hybrid<SysRng> = Hybrid { rng: SysRng };

/// A generator that starts anew for each exchange.
pub(crate) trait RandomSource: TryCryptoRng + Copy + Debug + Send + Sync + 'static {}

impl<R: TryCryptoRng + Copy + Debug + Send + Sync + 'static> RandomSource for R {}

/// X25519MLKEM768 with ML-KEM's random bytes from `rng`; ring draws X25519's itself.
#[derive(Debug)]
pub(crate) struct Hybrid<R> {
    pub rng: R,
}

impl<R: RandomSource> SupportedKxGroup for Hybrid<R> {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let kem = KemKey::generate(&mut { self.rng }).map_err(refusal)?;
        let x25519 = X25519.start()?;
        let mut share = Vec::with_capacity(CLIENT_SHARE_LEN);
        share.extend_from_slice(&kem.encapsulation_key());
        share.extend_from_slice(x25519.pub_key());
        Ok(Box::new(Active { kem, x25519, share }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (key, x25519_share) = split::<CLIENT_SHARE_LEN>(client_share, ENCAPSULATION_KEY_LEN)?;
        let x25519 = X25519.start_and_complete(x25519_share)?;
        let (ciphertext, shared) = kem::encapsulate(key, &mut { self.rng }).map_err(refusal)?;
        let mut share = Vec::with_capacity(SERVER_SHARE_LEN);
        share.extend_from_slice(&ciphertext);
        share.extend_from_slice(&x25519.pub_key);
        let secret = join(&shared, &x25519.secret);
        Ok(CompletedKeyExchange { group: NamedGroup::X25519MLKEM768, pub_key: share, secret })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// The client's side, between its share and the server's.
struct Active {
    kem: KemKey,
    x25519: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Active {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, x25519_share) = split::<SERVER_SHARE_LEN>(server_share, CIPHERTEXT_LEN)?;
        let ciphertext = ciphertext.try_into().map_err(|_| INVALID_SHARE)?;
        let x25519 = self.x25519.complete(x25519_share)?;
        Ok(join(&self.kem.decapsulate(ciphertext), &x25519))
    }

    /// The same X25519 share by itself: a server without this group completes the handshake with
    /// it, without a HelloRetryRequest.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.x25519.group(), self.x25519.pub_key()))
    }

    fn complete_hybrid_component(
        self: Box<Self>,
        server_share: &[u8],
    ) -> Result<SharedSecret, Error> {
        self.x25519.complete(server_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

const INVALID_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// The ML-KEM part and the X25519 part of a share of `LENGTH` bytes.
fn split<const LENGTH: usize>(share: &[u8], kem_len: usize) -> Result<(&[u8], &[u8]), Error> {
    if share.len() != LENGTH {
        return Err(INVALID_SHARE);
    }
    share.split_at_checked(kem_len).ok_or(INVALID_SHARE)
}

/// The whole capacity is reserved at once, so that no copy stays behind when the vector grows.
fn join(kem: &kem::SharedSecret, x25519: &SharedSecret) -> SharedSecret {
    let mut secret = Vec::with_capacity(SECRET_LEN);
    secret.extend_from_slice(&**kem);
    secret.extend_from_slice(x25519.secret_bytes());
    secret.into()
}

fn refusal(error: KemError) -> Error {
    match error {
        KemError::InvalidKey => INVALID_SHARE,
        KemError::Rng => GetRandomFailed.into(),
    }
}
