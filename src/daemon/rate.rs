//! The rate of the last seconds. Pure: time is passed in.

use std::time::{Duration, Instant};

/// Length of a slot.
const SLOT: Duration = Duration::from_millis(500);
/// Slots that a rate covers, the present one included: 2.5 to 3 s.
const SLOTS: usize = 6;
/// A rate covers at least this time, so that the first bytes of a transfer are no peak.
const MIN_SPAN: Duration = Duration::from_millis(500);

/// The bytes of the last seconds.
#[derive(Debug, Clone)]
pub(super) struct RecentBytes {
    /// When slot 0 begins.
    base: Instant,
    /// By the number of the slot, modulo [`SLOTS`].
    slots: [u64; SLOTS],
    /// Number of the newest slot with bytes.
    newest: u64,
    /// When the bytes without a longer pause between them began.
    begun: Instant,
}

impl RecentBytes {
    pub(super) fn new(now: Instant) -> Self {
        Self { base: now, slots: [0; SLOTS], newest: 0, begun: now }
    }

    fn slot(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.base).as_millis() / SLOT.as_millis()) as u64
    }

    /// Adds bytes that have just crossed.
    pub(super) fn add(&mut self, bytes: u64, now: Instant) {
        let slot = self.slot(now).max(self.newest);
        if slot - self.newest >= SLOTS as u64 {
            (self.slots, self.begun) = ([0; SLOTS], now);
        } else {
            for passed in self.newest + 1..=slot {
                self.slots[passed as usize % SLOTS] = 0;
            }
        }
        self.newest = slot;
        self.slots[slot as usize % SLOTS] += bytes;
    }

    /// Bytes per second.
    pub(super) fn rate(&self, now: Instant) -> u64 {
        let slot = self.slot(now).max(self.newest);
        let first = slot.saturating_sub(SLOTS as u64 - 1);
        let bytes: u64 = (first..=self.newest).map(|slot| self.slots[slot as usize % SLOTS]).sum();
        let start = (self.base + SLOT * u32::try_from(first).unwrap_or(u32::MAX)).max(self.begun);
        let span = now.saturating_duration_since(start).max(MIN_SPAN);
        (bytes as f64 / span.as_secs_f64()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds bytes at a steady rate, every 100 ms.
    fn steady(recent: &mut RecentBytes, from: Instant, seconds: u32, per_second: u64) -> Instant {
        let mut now = from;
        for _ in 0..seconds * 10 {
            now += Duration::from_millis(100);
            recent.add(per_second / 10, now);
        }
        now
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut recent = RecentBytes::new(start);
        let close = |rate: u64, expected: u64| rate.abs_diff(expected) <= expected / 8;
        let now = steady(&mut recent, start, 1, 1_000_000);
        assert!(close(recent.rate(now), 1_000_000), "{}", recent.rate(now));
        let now = steady(&mut recent, now, 60, 1_000_000);
        assert!(close(recent.rate(now), 1_000_000), "{}", recent.rate(now));
        // Ten times slower: three seconds later nothing of the old rate is left.
        let now = steady(&mut recent, now, 3, 100_000);
        assert!(close(recent.rate(now), 100_000), "{}", recent.rate(now));
        assert_eq!(recent.rate(now + Duration::from_secs(3)), 0);
        // After a pause the rate is not diluted by it.
        let now = steady(&mut recent, now + Duration::from_secs(3600), 1, 1_000_000);
        assert!(close(recent.rate(now), 1_000_000), "{}", recent.rate(now));
    }
}
