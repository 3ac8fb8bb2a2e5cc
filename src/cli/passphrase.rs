//! Pass phrases: random bits as pronounceable words.
//!
//! A word is a proquint (Wilkerson, "A Proposal for Proquints", arXiv:0901.4016): 16 bits as
//! consonant, vowel, consonant, vowel, consonant. The 16 consonants and 4 vowels are easy to
//! distinguish over a telephone.

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// Words in a phrase: 5 x 16 = 80 bits.
const WORDS: usize = 5;
const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";

/// A new pass phrase of 80 bits from the system's random generator, such as
/// `lusab-babad-gutih-tugad-mudof`.
///
/// # Errors
/// The system's random generator fails.
pub(crate) fn generate() -> Result<Zeroizing<String>, impl std::error::Error> {
    let mut bits = Zeroizing::new([0; 2 * WORDS]);
    SysRng.try_fill_bytes(&mut bits[..]).map(|()| phrase(&bits))
}

fn phrase(bits: &[u8; 2 * WORDS]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(6 * WORDS));
    for pair in bits.chunks_exact(2) {
        if !text.is_empty() {
            text.push('-');
        }
        push_word(u16::from_be_bytes([pair[0], pair[1]]), &mut text);
    }
    text
}

fn push_word(bits: u16, text: &mut String) {
    let bits = usize::from(bits);
    for letter in [
        CONSONANTS[bits >> 12],
        VOWELS[(bits >> 10) & 3],
        CONSONANTS[(bits >> 6) & 15],
        VOWELS[(bits >> 4) & 3],
        CONSONANTS[bits & 15],
    ] {
        text.push(char::from(letter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_match_the_examples_of_the_paper() {
        // The paper has 127.0.0.1 as lusab-babad and 63.84.220.193 as gutih-tugad.
        let phrase = phrase(&[127, 0, 0, 1, 63, 84, 220, 193, 0xff, 0xff]);
        assert_eq!(phrase.as_str(), "lusab-babad-gutih-tugad-zuzuz");
    }

    #[test]
    fn every_bit_counts() {
        let words: HashSet<String> = (0..=u16::MAX)
            .map(|bits| {
                let mut word = String::new();
                push_word(bits, &mut word);
                word
            })
            .collect();
        assert_eq!(words.len(), 1 << 16, "16 bits a word");
        assert_eq!(16 * WORDS, 80, "at least 64 are required");
    }

    #[test]
    fn phrases_differ() {
        let phrases: HashSet<String> = (0..100).map(|_| generate().unwrap().to_string()).collect();
        assert_eq!(phrases.len(), 100);
    }
}
