//! CPace, suite CPACE-RISTR255-SHA512, initiator-responder mode (draft-irtf-cfrg-cpace-21;
//! protocol.md section 3.3).
//!
//! The group is ristretto255. It has prime order and one encoding for each point, so there is no
//! cofactor and no small subgroup. Password and channel determine the generator; the two points on
//! the wire are uniformly distributed.

use curve25519_dalek::{
    RistrettoPoint, Scalar, ristretto::CompressedRistretto, traits::IsIdentity,
};
use rand::TryCryptoRng;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// Length of a public share in bytes.
pub(super) const SHARE_LEN: usize = 32;

/// The intermediate session key, CPace's output.
pub(super) type Isk = Zeroizing<[u8; 64]>;

/// Domain separation, draft section "CPACE-RISTR255-SHA512".
const DSI: &[u8] = b"CPaceRistretto255";
const DSI_ISK: &[u8] = b"CPaceRistretto255_ISK";

/// SHA-512's input block, `H.s_in_bytes` in the draft.
const HASH_BLOCK: usize = 128;

/// Why CPace fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PakeError {
    /// The peer's share is not a point, or the shared point is the identity (the draft's
    /// `scalar_mult_vfy` returns I).
    BadShare,
    /// The random generator failed.
    Rng,
}

/// The inputs of both sides: password-related string, channel identifier and session id.
pub(super) struct Inputs<'a> {
    pub prs: &'a [u8],
    pub ci: &'a [u8],
    pub sid: &'a [u8],
}

/// The initiator that waits for the responder's share. `finish` consumes it.
pub(super) struct PakeInitiator {
    scalar: Zeroizing<Scalar>,
    share: [u8; SHARE_LEN],
}

impl PakeInitiator {
    /// Draws the secret scalar and computes the share Ya.
    pub(super) fn start<R: TryCryptoRng + ?Sized>(
        inputs: &Inputs<'_>,
        rng: &mut R,
    ) -> Result<Self, PakeError> {
        let scalar = sample_scalar(rng)?;
        let share = share_of(&scalar, inputs);
        Ok(Self { scalar, share })
    }

    /// The public share Ya.
    pub(super) fn share(&self) -> [u8; SHARE_LEN] {
        self.share
    }

    /// Takes the responder's share Yb and both sides' associated data.
    pub(super) fn finish(
        self,
        sid: &[u8],
        ad_a: &[u8],
        yb: &[u8; SHARE_LEN],
        ad_b: &[u8],
    ) -> Result<Isk, PakeError> {
        let k = scalar_mult_vfy(&self.scalar, yb)?;
        Ok(isk(sid, &k, &transcript_ir(&self.share, ad_a, yb, ad_b)))
    }
}

/// The responder's part: from Ya to its own share Yb and the key.
pub(super) fn respond<R: TryCryptoRng + ?Sized>(
    inputs: &Inputs<'_>,
    ya: &[u8; SHARE_LEN],
    ad_a: &[u8],
    ad_b: &[u8],
    rng: &mut R,
) -> Result<([u8; SHARE_LEN], Isk), PakeError> {
    let scalar = sample_scalar(rng)?;
    // The peer's point is decoded first, so an invalid one costs no hash-to-group.
    let k = scalar_mult_vfy(&scalar, ya)?;
    let yb = share_of(&scalar, inputs);
    let isk = isk(inputs.sid, &k, &transcript_ir(ya, ad_a, &yb, ad_b));
    Ok((yb, isk))
}

/// 64 random bytes reduced modulo the group's order: the bias is below 2^-250.
fn sample_scalar<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Zeroizing<Scalar>, PakeError> {
    let mut wide = Zeroizing::new([0; 64]);
    rng.try_fill_bytes(&mut wide[..]).map_err(|_| PakeError::Rng)?;
    Ok(Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide)))
}

fn share_of(scalar: &Scalar, inputs: &Inputs<'_>) -> [u8; SHARE_LEN] {
    let mut generator = calculate_generator(inputs);
    let share = (generator * scalar).compress().to_bytes();
    generator.zeroize();
    share
}

/// The draft's `calculate_generator`: hash of the generator string, mapped to the group
/// (`element_derivation`).
fn calculate_generator(inputs: &Inputs<'_>) -> RistrettoPoint {
    let text = generator_string(inputs);
    let mut hash = Zeroizing::new([0; 64]);
    hash.copy_from_slice(&Sha512::digest(&text[..]));
    RistrettoPoint::from_uniform_bytes(&hash)
}

/// The draft's `generator_string`, padded so that the password is within the hash's first block.
fn generator_string(inputs: &Inputs<'_>) -> Zeroizing<Vec<u8>> {
    let before = lv_len(DSI) + lv_len(inputs.prs);
    let zpad = [0; HASH_BLOCK];
    let zpad = zpad.get(..(HASH_BLOCK - 1).saturating_sub(before)).unwrap_or_default();
    lv_cat(&[DSI, inputs.prs, zpad, inputs.ci, inputs.sid])
}

/// The draft's `scalar_mult_vfy`: refuses an encoding that is not canonical, and the identity as
/// result.
fn scalar_mult_vfy(
    scalar: &Scalar,
    share: &[u8; SHARE_LEN],
) -> Result<Zeroizing<[u8; 32]>, PakeError> {
    let point = CompressedRistretto(*share).decompress().ok_or(PakeError::BadShare)?;
    let mut shared = point * scalar;
    if shared.is_identity() {
        return Err(PakeError::BadShare);
    }
    let k = Zeroizing::new(shared.compress().to_bytes());
    shared.zeroize();
    Ok(k)
}

fn isk(sid: &[u8], k: &[u8; 32], transcript: &[u8]) -> Isk {
    let mut hash = Sha512::new();
    hash.update(&lv_cat(&[DSI_ISK, sid, k])[..]);
    hash.update(transcript);
    let mut isk = Zeroizing::new([0; 64]);
    isk.copy_from_slice(&hash.finalize());
    isk
}

/// The draft's `transcript_ir`.
fn transcript_ir(ya: &[u8], ad_a: &[u8], yb: &[u8], ad_b: &[u8]) -> Zeroizing<Vec<u8>> {
    lv_cat(&[ya, ad_a, yb, ad_b])
}

/// The draft's `lv_cat`: each part, preceded by its length. The buffer never grows, so no copy of a
/// secret part is left in memory.
fn lv_cat(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| lv_len(part)).sum()));
    for part in parts {
        let mut rest = part.len();
        // LEB128: seven bits a byte, the least significant first.
        while rest >= 0x80 {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out.extend_from_slice(part);
    }
    out
}

/// Length of `lv_cat(&[part])`.
fn lv_len(part: &[u8]) -> usize {
    let bits = (usize::BITS - part.len().leading_zeros()).max(1) as usize;
    bits.div_ceil(7) + part.len()
}

#[cfg(test)]
mod tests;
