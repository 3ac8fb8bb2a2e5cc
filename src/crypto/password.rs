//! From the password to the PAKE's input: normalised, and stretched once with Argon2id (protocol.md
//! section 3.1).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use super::schedule::label;

/// Argon2id memory in KiB, passes and lanes: RFC 9106 section 4, second recommended option.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;

/// Why a password cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The password has no characters.
    #[error("the password is empty")]
    EmptyPassword,
    /// Argon2id failed, because its memory (64 MiB) could not be allocated.
    #[error("the password could not be stretched")]
    KeyDerivation,
}

/// A normalised password, wiped when dropped. It cannot be printed or cloned.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Normalises a password as typed, so that the same characters give the same bytes on every
    /// keyboard and system.
    ///
    /// The mapping is a part of OpaqueString (RFC 8265 section 4.2.2): every non-ASCII space
    /// becomes U+0020, then NFC. The caller removes a line end that a file or a prompt adds.
    ///
    /// # Errors
    /// [`CryptoError::EmptyPassword`] if `typed` is empty.
    pub fn new(typed: &str) -> Result<Self, CryptoError> {
        if typed.is_empty() {
            return Err(CryptoError::EmptyPassword);
        }
        // NFC grows UTF-8 at most threefold (UAX #15 section 9.1). With this capacity the buffer
        // never moves, so no copy is left in memory.
        let mut normal = Zeroizing::new(String::with_capacity(3 * typed.len()));
        normal.extend(typed.chars().map(space_to_ascii).nfc());
        Ok(Self(normal))
    }

    /// Number of characters (Unicode scalar values) of the normal form, for a warning about short
    /// passwords.
    pub fn chars(&self) -> usize {
        self.0.chars().count()
    }
}

/// Maps the Unicode general category Zs to the ASCII space.
fn space_to_ascii(c: char) -> char {
    match c {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            ' '
        }
        other => other,
    }
}

/// The password-related string of the PAKE (PRS): 32 secret bytes, wiped when dropped.
///
/// It is never sent and never stored. With it a program can take part in sessions as well as with
/// the password.
pub struct PasswordKey(Zeroizing<[u8; 32]>);

impl PasswordKey {
    /// Stretches the password: Argon2id (RFC 9106), version 0x13, 64 MiB, 3 passes, 4 lanes, 32
    /// bytes.
    ///
    /// The salt is fixed, because both peers need the same key before their first message. The key
    /// never leaves the process, so a table of stretched passwords helps only an online guesser. It
    /// takes about 0.2 s and 64 MiB; call it once in a process, never for an unauthenticated
    /// connection.
    ///
    /// # Errors
    /// [`CryptoError::KeyDerivation`] if Argon2id's memory cannot be allocated.
    pub fn derive(password: &Password) -> Result<Self, CryptoError> {
        let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(32))
            .map_err(|_| CryptoError::KeyDerivation)?;
        let digest = Sha256::digest(label::ARGON2_SALT);
        let (salt, _) = digest.split_at(16);
        let mut memory = Vec::new();
        memory.try_reserve_exact(params.block_count()).map_err(|_| CryptoError::KeyDerivation)?;
        memory.resize(params.block_count(), Block::default());
        let mut key = Zeroizing::new([0; 32]);
        let stretched = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                password.0.as_bytes(),
                salt,
                &mut key[..],
                &mut memory[..],
            );
        // The last blocks determine the key.
        memory.iter_mut().for_each(Zeroize::zeroize);
        stretched.map_err(|_| CryptoError::KeyDerivation)?;
        Ok(Self(key))
    }

    /// Takes 32 bytes that are already a strong secret, for a program that embeds this library and
    /// has its own key.
    ///
    /// The bytes are not stretched: if they can be guessed, so can every session. Both peers must
    /// use the same constructor.
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::Vectors;

    fn normal(typed: &str) -> String {
        Password::new(typed).unwrap().0.as_str().to_owned()
    }

    #[test]
    fn composed_and_decomposed_characters_are_one_password() {
        assert_eq!(normal("caf\u{e9}"), normal("cafe\u{301}"));
        assert_eq!(normal("\u{212b}ngstr\u{f6}m"), "\u{c5}ngstr\u{f6}m");
    }

    #[test]
    fn every_unicode_space_is_the_ascii_space() {
        for space in [
            '\u{a0}', '\u{1680}', '\u{2000}', '\u{2009}', '\u{200a}', '\u{202f}', '\u{205f}',
            '\u{3000}',
        ] {
            assert_eq!(
                normal(&format!("two{space}words")),
                "two words",
                "U+{:04X}",
                u32::from(space)
            );
        }
        // Zero-width space is not a space separator, and a tab is left alone.
        assert_eq!(normal("a\u{200b}\tb"), "a\u{200b}\tb");
    }

    #[test]
    fn compatibility_characters_stay_distinct() {
        assert_ne!(normal("\u{fb01}sh"), normal("fish"));
    }

    #[test]
    fn the_buffer_never_grows() {
        // Characters with the greatest growth under NFC stay within the capacity.
        let typed = "\u{1d160}\u{fb2c}\u{0344}".repeat(50);
        let password = Password::new(&typed).unwrap();
        assert!(password.0.len() <= 3 * typed.len());
        assert!(password.0.capacity() == 3 * typed.len());
    }

    #[test]
    fn empty_is_refused() {
        assert_eq!(Password::new("").err(), Some(CryptoError::EmptyPassword));
        assert_eq!(Password::new(" ").unwrap().chars(), 1);
    }

    #[test]
    fn derive_matches_the_vector() {
        let vectors = Vectors::rft1();
        let password = Password::new(&vectors.text("password")).unwrap();
        let key = PasswordKey::derive(&password).unwrap();
        assert_eq!(key.as_bytes()[..], vectors.bytes("prs")[..]);
    }
}
