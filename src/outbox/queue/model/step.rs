//! The steps of the model, and their encoding for the fuzz target.

use super::{OutboxModel, name};
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
    /// The user makes file `.0` urgent, or usual again.
    Urgent(usize, bool),
    /// The user cancels file `.0`. If `.1`, it can be moved away.
    Cancel(usize, bool),
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
        Some(match kind % 18 {
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
            15 => Self::Clock(i64::from(byte) - 128),
            16 => Self::Urgent(path, reported),
            _ => Self::Cancel(path, reported),
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
            1 => (0..PATHS.len(), any::<bool>()).prop_map(|(i, on)| Self::Urgent(i, on)),
            1 => (0..PATHS.len(), any::<bool>()).prop_map(|(i, on)| Self::Cancel(i, on)),
        ]
    }
}

impl OutboxModel {
    /// The user cancels a file: nothing of it is in flight then. It is moved away, if that succeeds.
    pub(super) fn cancel(&mut self, path: &'static str, can_move: bool) {
        let cancelled = name(path);
        if self.table.pending(&cancelled).is_err() {
            return;
        }
        self.table.hold_back(&cancelled);
        while let Some(at) = self.flight.iter().position(|item| item.name == cancelled) {
            let item = self.flight.remove(at);
            let (present, now) = (self.present(&item), self.now());
            self.table.failed(&item, Retry::Cancelled, present, now);
        }
        while let Some(item) = self.table.pop() {
            assert!(item.name != cancelled, "{path} is held back");
            self.flight.push(item);
        }
        if can_move && self.table.pending(&cancelled).is_ok_and(|pending| pending.in_flight == 0) {
            self.disk.remove(path);
            self.open.remove(path);
            self.table.gone(&cancelled);
        }
        self.table.release_held();
    }
}
