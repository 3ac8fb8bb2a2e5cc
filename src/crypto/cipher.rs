//! AES-256-GCM of records and of the wrapped session keys, by ring.
//!
//! ring encrypts and authenticates in one pass, with VAES and VPCLMULQDQ where the processor has
//! them, so it is faster than the `aes-gcm` crate, which takes two passes. TLS needs ring in any
//! case. `aes-gcm` is the reference of the tests here: both give the same bytes.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

/// Length of a tag in bytes.
pub(super) const TAG_LEN: usize = 16;
/// Length of a nonce in bytes.
pub(super) const NONCE_LEN: usize = 12;

/// ring refused to open data with a wrong tag, or to seal more than 64 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CipherError;

impl From<ring::error::Unspecified> for CipherError {
    fn from(_: ring::error::Unspecified) -> Self {
        Self
    }
}

/// An expanded key of AES-256-GCM. Overwritten when dropped.
///
/// It accepts any nonce; the caller ensures that none is used twice (see [`super::Sealer`]).
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    /// Expands a key.
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, CipherError> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?)))
    }

    /// Encrypts `data` in place, and returns the tag over it and `aad`.
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), data)?;
        tag.as_ref().try_into().map_err(|_| CipherError)
    }

    /// Decrypts `data` in place if the tag over it and `aad` is right; otherwise fills it with
    /// zeros.
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: [u8; TAG_LEN],
    ) -> Result<(), CipherError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(tag), data, 0..)?;
        Ok(())
    }

    /// Overwrites the key with a key of zeros. ring itself cannot wipe keys.
    fn wipe(&mut self) {
        if let Ok(zero) = UnboundKey::new(&AES_256_GCM, &[0; 32]) {
            self.0 = LessSafeKey::new(zero);
            // Otherwise the compiler could leave out the write, since the key is not read again.
            std::hint::black_box(&mut self.0);
        }
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
    use proptest::prelude::*;

    /// Ciphertext and tag of the reference implementation.
    fn reference(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], data: &[u8]) -> (Vec<u8>, [u8; 16]) {
        let mut data = data.to_vec();
        let cipher = Aes256Gcm::new(key.into());
        let tag =
            cipher.encrypt_inout_detached(&nonce.into(), aad, (&mut data[..]).into()).unwrap();
        (data, tag.into())
    }

    fn same(key: [u8; 32], nonce: [u8; 12], aad: &[u8], data: &[u8]) {
        let cipher = Cipher::new(&key).unwrap();
        let mut sealed = data.to_vec();
        let tag = cipher.seal(nonce, aad, &mut sealed).unwrap();
        assert_eq!((sealed.clone(), tag), reference(&key, nonce, aad, data));

        // Each implementation opens the bytes of the other.
        let mut opened = sealed.clone();
        cipher.open(nonce, aad, &mut opened, tag).unwrap();
        assert_eq!(opened, data);
        let mut opened = sealed.clone();
        Aes256Gcm::new((&key).into())
            .decrypt_inout_detached(&nonce.into(), aad, (&mut opened[..]).into(), &tag.into())
            .unwrap();
        assert_eq!(opened, data);
    }

    proptest! {
        #[test]
        fn both_libraries_give_the_same_bytes(
            key: [u8; 32], nonce: [u8; 12],
            aad in proptest::collection::vec(any::<u8>(), 0..40),
            data in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            same(key, nonce, &aad, &data);
        }

        #[test]
        fn a_changed_record_is_refused_and_wiped(
            key: [u8; 32], nonce: [u8; 12], data in proptest::collection::vec(any::<u8>(), 1..500),
            at: prop::sample::Index, flip in 1u8..,
        ) {
            let cipher = Cipher::new(&key).unwrap();
            let mut sealed = data.clone();
            let tag = cipher.seal(nonce, b"header", &mut sealed).unwrap();
            let mut changed = [&b"header"[..], &tag, &sealed].concat();
            let at = at.index(changed.len());
            changed[at] ^= flip;
            let (header, rest) = changed.split_at_mut(6);
            let (tag, data) = rest.split_first_chunk_mut().unwrap();
            prop_assert_eq!(cipher.open(nonce, header, data, *tag), Err(CipherError));
            prop_assert!(data.iter().all(|&byte| byte == 0));
        }
    }

    /// Lengths at which implementations change their code path, up to more than a chunk.
    #[test]
    fn both_libraries_agree_on_records_of_any_length() {
        let data: Vec<u8> = (0..262_144 + 300u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let around = |middle: usize| middle.saturating_sub(2)..middle + 3;
        for len in
            [0, 16, 32, 64, 96, 128, 256, 512, 4096, 65_536, 262_144].into_iter().flat_map(around)
        {
            same([len as u8; 32], [7; 12], &[1; 16], &data[..len]);
        }
    }

    #[test]
    fn a_wiped_key_is_the_key_of_zeros() {
        let mut cipher = Cipher::new(&[7; 32]).unwrap();
        let sealed = |cipher: &Cipher| cipher.seal([1; 12], b"", &mut [0; 64]).unwrap();
        let before = sealed(&cipher);
        cipher.wipe();
        assert_ne!(sealed(&cipher), before);
        assert_eq!(sealed(&cipher), sealed(&Cipher::new(&[0; 32]).unwrap()));
    }
}
