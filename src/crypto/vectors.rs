//! The known answers under tests/vectors, and random generators for tests.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use rand::rngs::StdRng;
use rand::{SeedableRng, TryCryptoRng, TryRng};
use serde_json::Value;

/// An object of hexadecimal strings.
pub(super) struct Vectors(Value);

impl Vectors {
    /// The output of tests/vectors/make_rft1.py, a second implementation of the protocol that
    /// shares no code with this one.
    pub(super) fn rft1() -> Self {
        Self(serde_json::from_str(include_str!("../../tests/vectors/rft1.json")).unwrap())
    }

    /// A part of the draft's vectors (appendix B.3).
    pub(super) fn cpace(part: &str) -> Self {
        let all: Value =
            serde_json::from_str(include_str!("../../tests/vectors/cpace_draft21.json")).unwrap();
        Self(all[part].clone())
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.0[name].as_str().unwrap_or_else(|| panic!("no vector {name}")).to_owned()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        HEXLOWER_PERMISSIVE.decode(self.text(name).as_bytes()).unwrap()
    }

    pub(super) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    pub(super) fn list(&self, name: &str) -> Vec<Self> {
        self.0[name].as_array().unwrap().iter().cloned().map(Self).collect()
    }
}

/// A generator with a fixed seed, so that every run of a test is the same.
pub(super) fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A generator that returns the bytes of a vector and then fails.
pub(super) struct Script(Vec<u8>);

impl Script {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct UsedUp;

impl fmt::Display for UsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("used up")
    }
}

impl std::error::Error for UsedUp {}

impl TryRng for Script {
    type Error = UsedUp;

    fn try_next_u32(&mut self) -> Result<u32, UsedUp> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, UsedUp> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), UsedUp> {
        if self.0.len() < out.len() {
            return Err(UsedUp);
        }
        out.copy_from_slice(&self.0[..out.len()]);
        self.0.drain(..out.len());
        Ok(())
    }
}

impl TryCryptoRng for Script {}
