//! The steps of the model, and their encoding for the fuzz target.

use crate::outbox::item::Retry;
use crate::proto::codec::Reader;

/// The files of the model. The last one is the name of an unfinished file.
pub(super) const PATHS: [&str; 7] = ["a", "b", "A", "d/a", "d/b", "d/e/a", "d/e/x.part"];

/// One thing that happens to Outgoing, to the outbox, or to an item in flight.
#[derive(Debug, Clone)]
pub(crate) enum ModelStep {
    /// A program writes file `.0`. If `.1`, an event reports it, otherwise only a scan.
    Write(usize, bool),
    Close(usize),
    Rename(usize, usize),
    Delete(usize, bool),
    Scan,
    Lose,
    Pop,
    Deliver(usize),
    Fail(usize, Retry),
    /// Milliseconds pass.
    Sleep(u64),
    /// The wall clock is stepped by that many hours.
    Clock(i64),
}

const RETRIES: [Retry; 6] = [
    Retry::Now,
    Retry::After,
    Retry::Changed,
    Retry::WhenChanged,
    Retry::WhenReadable,
    Retry::WhenFree,
];

impl ModelStep {
    /// Decodes the next step; `None` at the end of the bytes.
    pub(crate) fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let (kind, byte) = (bytes.u8().ok()?, bytes.u8().ok()?);
        let (path, other) = (usize::from(byte) % PATHS.len(), usize::from(byte >> 4) % PATHS.len());
        let (item, reported) = (usize::from(byte) % 8, byte & 0x80 != 0);
        Some(match kind % 16 {
            0..=2 => Self::Write(path, reported),
            3 => Self::Close(path),
            4 => Self::Rename(path, other),
            5 => Self::Delete(path, reported),
            6 | 7 => Self::Scan,
            8 => Self::Lose,
            9 | 10 => Self::Pop,
            11 => Self::Deliver(item),
            12 => Self::Fail(item, RETRIES[usize::from(byte >> 4) % RETRIES.len()]),
            13 | 14 => Self::Sleep(u64::from(byte) * 12),
            _ => Self::Clock(i64::from(byte) - 128),
        })
    }

    /// Any step.
    #[cfg(test)]
    pub(crate) fn any() -> impl proptest::strategy::Strategy<Value = Self> {
        use proptest::prelude::*;
        prop_oneof![
            3 => (0..PATHS.len(), any::<bool>()).prop_map(|(i, reported)| Self::Write(i, reported)),
            1 => (0..PATHS.len()).prop_map(Self::Close),
            1 => (0..PATHS.len(), 0..PATHS.len()).prop_map(|(a, b)| Self::Rename(a, b)),
            1 => (0..PATHS.len(), any::<bool>()).prop_map(|(i, reported)| Self::Delete(i, reported)),
            2 => Just(Self::Scan),
            1 => Just(Self::Lose),
            4 => Just(Self::Pop),
            3 => (0..8usize).prop_map(Self::Deliver),
            2 => (0..8usize, 0..RETRIES.len()).prop_map(|(i, r)| Self::Fail(i, RETRIES[r])),
            3 => (0..3000u64).prop_map(Self::Sleep),
            1 => (-72..72i64).prop_map(Self::Clock),
        ]
    }
}
