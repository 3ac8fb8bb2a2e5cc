//! ML-KEM-768 (FIPS 203): the post-quantum half of the TLS key exchange (`transport::tls`).
//!
//! RustCrypto's `ml-kem` does the arithmetic. This module draws the randomness before each
//! operation, because that crate's functions that draw it panic when the generator fails.

use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{Decapsulate, Key, KeyExport};
use rand::TryCryptoRng;
use zeroize::Zeroizing;

/// Length of an encapsulation key (the public key) in bytes.
pub const ENCAPSULATION_KEY_LEN: usize = 1184;
/// Length of a ciphertext in bytes.
pub const CIPHERTEXT_LEN: usize = 1088;
/// Length of the shared secret in bytes.
pub const SHARED_LEN: usize = 32;

/// d || z, from which FIPS 203 derives the key pair.
const SEED_LEN: usize = 64;

/// A shared secret, wiped when dropped.
pub type SharedSecret = Zeroizing<[u8; SHARED_LEN]>;

/// Why an encapsulation or a key generation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KemError {
    /// The peer's encapsulation key has another length, or a coefficient that is not below the
    /// modulus (FIPS 203 section 7.2).
    #[error("the peer's ML-KEM key is not valid")]
    InvalidKey,
    /// The random generator failed.
    #[error("the system gives no random numbers")]
    Rng,
}

/// A decapsulation key (the private key), for one exchange. Wiped when dropped.
pub struct KemKey(DecapsulationKey);

impl KemKey {
    /// Generates a key pair.
    ///
    /// # Errors
    /// [`KemError::Rng`].
    pub fn generate<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, KemError> {
        let seed = draw::<SEED_LEN, _>(rng)?;
        Ok(Self(DecapsulationKey::from_seed((*seed).into())))
    }

    /// The public half, as it is sent.
    pub fn encapsulation_key(&self) -> [u8; ENCAPSULATION_KEY_LEN] {
        self.0.encapsulation_key().to_bytes().into()
    }

    /// The secret in a ciphertext. A ciphertext for another key gives a secret that only this key
    /// can compute (implicit rejection, FIPS 203 section 6.3).
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> SharedSecret {
        let ciphertext: &Ciphertext = ciphertext.into();
        Zeroizing::new(self.0.decapsulate(ciphertext).into())
    }
}

/// Creates a secret and its ciphertext for the owner of `encapsulation_key`.
///
/// # Errors
/// [`KemError`].
pub fn encapsulate<R: TryCryptoRng + ?Sized>(
    encapsulation_key: &[u8],
    rng: &mut R,
) -> Result<([u8; CIPHERTEXT_LEN], SharedSecret), KemError> {
    let encoded =
        Key::<EncapsulationKey>::try_from(encapsulation_key).map_err(|_| KemError::InvalidKey)?;
    let key = EncapsulationKey::new(&encoded).map_err(|_| KemError::InvalidKey)?;
    let message = draw::<SHARED_LEN, _>(rng)?;
    let (ciphertext, shared) = key.encapsulate_deterministic((&*message).into());
    Ok((ciphertext.into(), Zeroizing::new(shared.into())))
}

fn draw<const N: usize, R: TryCryptoRng + ?Sized>(
    rng: &mut R,
) -> Result<Zeroizing<[u8; N]>, KemError> {
    let mut bytes = Zeroizing::new([0; N]);
    rng.try_fill_bytes(&mut *bytes).map_err(|_| KemError::Rng)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{Script, seeded};
    use super::*;
    use data_encoding::HEXLOWER;
    use shake::Shake128;
    use shake::digest::{ExtendableOutput, Update, XofReader};

    /// The accumulated vectors of Go's crypto/mlkem (`TestAccumulated`): seeds, messages and random
    /// ciphertexts from SHAKE-128 of nothing; keys, ciphertexts, secrets and the secrets of the
    /// random ciphertexts hashed together.
    #[test]
    fn a_second_implementation_gives_the_same_bytes() {
        const AFTER_100: &str = "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415";
        let mut stream = Shake128::default().finalize_xof();
        let mut all = Shake128::default();
        let mut take = |length: usize| {
            let mut bytes = vec![0; length];
            stream.read(&mut bytes);
            bytes
        };
        for _ in 0..100 {
            let key = KemKey::generate(&mut Script::new(take(SEED_LEN))).unwrap();
            let public = key.encapsulation_key();
            all.update(&public);
            let (ciphertext, shared) =
                encapsulate(&public, &mut Script::new(take(SHARED_LEN))).unwrap();
            all.update(&ciphertext);
            all.update(&*shared);
            assert_eq!(key.decapsulate(&ciphertext), shared);
            let random = take(CIPHERTEXT_LEN).try_into().unwrap();
            all.update(&*key.decapsulate(&random));
        }
        let mut digest = [0; 32];
        all.finalize_xof().read(&mut digest);
        assert_eq!(HEXLOWER.encode(&digest), AFTER_100);
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let public = KemKey::generate(&mut seeded(1)).unwrap().encapsulation_key();
        for length in
            (0..ENCAPSULATION_KEY_LEN).chain(ENCAPSULATION_KEY_LEN + 1..2 * ENCAPSULATION_KEY_LEN)
        {
            let key: Vec<u8> = public.iter().copied().cycle().take(length).collect();
            assert_eq!(
                encapsulate(&key, &mut seeded(2)).unwrap_err(),
                KemError::InvalidKey,
                "{length}"
            );
        }
    }

    /// The first 1,152 bytes are 768 coefficients of 12 bits, two in three bytes, low half first.
    #[test]
    fn a_coefficient_that_is_not_reduced_is_refused() {
        const COEFFICIENTS: usize = 768;
        const MODULUS: u16 = 3329;
        let public = KemKey::generate(&mut seeded(1)).unwrap().encapsulation_key();
        let with = |at: usize, value: u16| {
            let mut key = public;
            let three = &mut key[at / 2 * 3..][..3];
            let [low, high] = value.to_le_bytes();
            if at.is_multiple_of(2) {
                three[0] = low;
                three[1] = three[1] & 0xf0 | high;
            } else {
                three[1] = three[1] & 0x0f | low << 4;
                three[2] = low >> 4 | high << 4;
            }
            encapsulate(&key, &mut seeded(2)).map(|_| ())
        };
        for at in 0..COEFFICIENTS {
            assert_eq!(with(at, MODULUS - 1), Ok(()), "{at}");
            assert_eq!(with(at, MODULUS), Err(KemError::InvalidKey), "{at}");
            assert_eq!(with(at, 0xfff), Err(KemError::InvalidKey), "{at}");
        }
    }

    #[test]
    fn a_failing_generator_is_an_error() {
        for length in 0..SEED_LEN {
            let refused = KemKey::generate(&mut Script::new(vec![7; length]));
            assert_eq!(refused.map(|_| ()).unwrap_err(), KemError::Rng);
        }
        let public = KemKey::generate(&mut seeded(1)).unwrap().encapsulation_key();
        for length in 0..SHARED_LEN {
            let refused = encapsulate(&public, &mut Script::new(vec![7; length]));
            assert_eq!(refused.unwrap_err(), KemError::Rng);
        }
    }

    #[test]
    fn a_changed_ciphertext_gives_another_secret() {
        let key = KemKey::generate(&mut seeded(1)).unwrap();
        let (ciphertext, shared) = encapsulate(&key.encapsulation_key(), &mut seeded(2)).unwrap();
        for at in (0..CIPHERTEXT_LEN).step_by(17) {
            let mut changed = ciphertext;
            changed[at] ^= 1;
            assert_ne!(key.decapsulate(&changed), shared, "{at}");
        }
    }
}
