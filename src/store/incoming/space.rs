//! The space of the transfers under way.

use super::quota::Quota;
use super::stage::leaf_of;
use crate::proto::message::TransferId;
use crate::store::state::WorkDir;
use crate::store::tree::os;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For files below this size, in bytes, the staged part is not subtracted from the reservation.
const MIN_MEASURED: u64 = 4 << 20;
/// How long a measurement of the free space is used where space is ample.
const MAX_AGE: Duration = Duration::from_millis(100);
/// Space is ample with this many bytes more than wanted: more than any disk takes in [`MAX_AGE`].
const AMPLE: u64 = 1 << 30;

/// The size, in bytes, of each transfer under way, and the free space when it was last measured.
#[derive(Debug, Default)]
pub(super) struct Promised {
    transfers: HashMap<TransferId, u64>,
    total: u64,
    measured: Option<(Instant, u64)>,
}

impl Promised {
    /// The bytes of all transfers under way.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The transfers under way.
    pub(super) fn ids(&self) -> impl Iterator<Item = TransferId> + '_ {
        self.transfers.keys().copied()
    }

    pub(super) fn insert(&mut self, id: TransferId, bytes: u64) {
        self.remove(id);
        self.total = self.total.saturating_add(bytes);
        self.transfers.insert(id, bytes);
    }

    fn remove(&mut self, id: TransferId) -> Option<u64> {
        let bytes = self.transfers.remove(&id)?;
        self.total = self.total.saturating_sub(bytes);
        Some(bytes)
    }

    /// The bytes that the transfers under way have not written yet.
    pub(super) fn missing(&self, stage: &WorkDir) -> u64 {
        let missing = self.transfers.iter().map(|(&id, &bytes)| missing(stage, id, bytes));
        missing.fold(0, u64::saturating_add)
    }

    /// The free space was measured.
    pub(super) fn measured(&mut self, free: u64) {
        self.measured = Some((Instant::now(), free));
    }

    /// Whether a recent measurement shows that there is room for `wanted` bytes by far.
    pub(super) fn is_ample(&self, wanted: u64) -> bool {
        self.measured.is_some_and(|(when, free)| {
            wanted.saturating_add(AMPLE) <= free && when.elapsed() <= MAX_AGE
        })
    }
}

/// The bytes that a transfer has not written yet.
pub(super) fn missing(stage: &WorkDir, id: TransferId, bytes: u64) -> u64 {
    if bytes < MIN_MEASURED {
        return bytes;
    }
    let staged = os::stat(&stage.dir, &leaf_of(id)).map_or(0, |staged| staged.size);
    bytes.saturating_sub(staged)
}

/// Reserved space, which is released when this value is dropped.
#[derive(Debug)]
pub struct Reservation {
    promised: Arc<Mutex<Promised>>,
    id: TransferId,
    /// The quota, which counts the bytes that remain.
    quota: Option<(Arc<Quota>, WorkDir)>,
}

impl Reservation {
    pub(super) fn new(
        promised: Arc<Mutex<Promised>>,
        id: TransferId,
        quota: Option<(Arc<Quota>, WorkDir)>,
    ) -> Self {
        Self { promised, id, quota }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
        if let Some((quota, stage)) = &self.quota {
            // The file is in Incoming, or a part of it in the stage. If it is in neither, the next
            // walk corrects the count.
            let staged = os::stat(&stage.dir, &leaf_of(self.id)).map(|staged| staged.size);
            quota.grew(staged.ok().or(promised).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_that_of_the_transfers_under_way() {
        let id = |n| TransferId([n; 16]);
        let mut promised = Promised::default();
        promised.insert(id(1), 100);
        promised.insert(id(2), 20);
        promised.insert(id(1), 3);
        assert_eq!(promised.total(), 23);
        assert_eq!((promised.remove(id(1)), promised.remove(id(1))), (Some(3), None));
        assert_eq!(promised.total(), 20);
    }

    #[test]
    fn space_is_ample_only_by_far_and_only_for_a_while() {
        let mut promised = Promised::default();
        assert!(!promised.is_ample(0), "not measured yet");
        promised.measured(AMPLE + 10);
        assert!(promised.is_ample(10) && !promised.is_ample(11));
        promised.measured = promised.measured.map(|(when, free)| (when - 2 * MAX_AGE, free));
        assert!(!promised.is_ample(10));
    }
}
