//! The token bucket, without clock and lock.

use std::time::{Duration, Instant};

/// Time that a late sender may catch up, and so the largest burst after a pause. Timers are 1 to 2
/// ms late, and much later on a busy machine; without credit each delay would lower the rate.
pub(super) const CREDIT: Duration = Duration::from_millis(20);
/// Debt up to which datagrams leave that cannot wait: stateless responses and repair packets.
const MAX_DEBT: Duration = Duration::from_millis(50);
/// Share of the rate for these: 1 / this. A flood of strangers leaves the rest to the connections.
const URGENT_SHARE: u32 = 2;
/// Largest batch of datagrams that may leave in one call.
const MAX_BATCH: Duration = Duration::from_millis(10);

/// A token bucket that counts time instead of bytes (a virtual scheduling algorithm, as in ITU-T
/// I.371): each datagram takes its size divided by the rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// Bytes per second.
    rate: u64,
    /// When all datagrams so far have had their time: the next one may leave then.
    opens: Instant,
    /// The same for datagrams that cannot wait, by their share of the rate.
    opens_for_urgent: Instant,
}

impl Bucket {
    /// A bucket of `rate` bytes per second, at least one, without debt.
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        Self { rate: rate.max(1), opens: now, opens_for_urgent: now }
    }

    /// Bytes per second.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// When the next datagram may leave.
    pub(super) fn opens(&self) -> Instant {
        self.opens
    }

    /// Whether a datagram may leave that cannot wait.
    pub(super) fn admits_urgent(&self, now: Instant) -> bool {
        self.opens.max(self.opens_for_urgent) <= now + MAX_DEBT
    }

    /// `bytes` have left that could not wait.
    pub(super) fn charge_urgent(&mut self, bytes: usize, now: Instant) {
        self.charge(bytes, now);
        let time = self.time(bytes as u128) * URGENT_SHARE;
        self.opens_for_urgent = self.opens_for_urgent.max(now) + time;
    }

    /// `bytes` have left.
    pub(super) fn charge(&mut self, bytes: usize, now: Instant) {
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        self.opens = self.opens.max(earliest) + self.time(bytes as u128);
    }

    /// Changes the rate. The debt in bytes stays the same.
    pub(super) fn set_rate(&mut self, rate: u64, now: Instant) {
        let debt = self.opens.saturating_duration_since(now).as_nanos();
        let bytes = debt * u128::from(self.rate) / 1_000_000_000;
        self.rate = rate.max(1);
        self.opens = now + self.time(bytes);
    }

    /// Number of datagrams of `size` bytes that may leave in one call.
    pub(super) fn batch(&self, size: usize) -> usize {
        let bytes = u128::from(self.rate) * MAX_BATCH.as_nanos() / 1_000_000_000;
        (bytes / size.max(1) as u128).clamp(1, 1 << 16) as usize
    }

    /// The time that `bytes` take at this rate.
    fn time(&self, bytes: u128) -> Duration {
        let nanos = bytes * 1_000_000_000 / u128::from(self.rate);
        // A year: a sum of an instant and a longer time can overflow.
        Duration::from_nanos(nanos.min(31_536_000_000_000_000) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that `rate` carries in `time`.
    fn carried(rate: u64, time: Duration) -> f64 {
        rate as f64 * time.as_secs_f64()
    }

    /// Runs a sender that always has datagrams and wakes up late, by these times in turn. Returns
    /// the departures.
    fn departures(rate: u64, sizes: &[usize], late: &[u64]) -> Vec<(Duration, usize)> {
        let begin = Instant::now();
        let (mut bucket, mut now) = (Bucket::new(rate, begin), begin);
        let mut left = Vec::new();
        for n in 0..400 {
            let size = sizes[n % sizes.len()];
            if bucket.opens() > now {
                now = bucket.opens() + Duration::from_micros(late[n % late.len()]);
            }
            bucket.charge(size, now);
            left.push((now - begin, size));
        }
        left
    }

    proptest! {
        /// In every interval no more leaves than the rate, the credit and one datagram allow.
        #[test]
        fn no_interval_exceeds_the_rate(
            rate in 1_000u64..1_000_000_000,
            sizes in prop::collection::vec(1usize..15_000, 1..8),
            late in prop::collection::vec(0u64..200_000, 1..8),
        ) {
            let left = departures(rate, &sizes, &late);
            for from in 0..left.len() {
                let mut bytes = 0;
                for (at, size) in &left[from..] {
                    bytes += size;
                    let allowed = carried(rate, *at - left[from].0 + CREDIT) + 15_000.0;
                    prop_assert!(bytes as f64 <= allowed + 1.0, "{bytes} in place of {allowed}");
                }
            }
        }

        /// A sender that is late by less than the credit loses nothing.
        #[test]
        fn a_late_sender_catches_up(
            rate in 1_000u64..1_000_000_000,
            sizes in prop::collection::vec(1usize..15_000, 1..8),
            late in prop::collection::vec(0u64..19_000, 1..8),
        ) {
            let left = departures(rate, &sizes, &late);
            let bytes: usize = left.iter().map(|(_, size)| size).sum();
            let time = left[left.len() - 1].0;
            prop_assert!(bytes as f64 >= carried(rate, time.saturating_sub(CREDIT)) - 1.0);
        }
    }

    #[test]
    fn a_pause_earns_a_short_burst_only() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(1_000_000, begin);
        let later = begin + Duration::from_secs(60);
        let mut burst = 0;
        while bucket.opens() <= later {
            bucket.charge(1_000, later);
            burst += 1_000;
        }
        assert_eq!(burst, 21_000, "20 ms and one datagram");
    }

    #[test]
    fn urgent_datagrams_wait_when_the_debt_is_large() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(1_000_000, begin);
        let mut burst = 0;
        while bucket.admits_urgent(begin) {
            bucket.charge_urgent(1_000, begin);
            burst += 1_000;
        }
        assert_eq!(burst, 26_000, "25 ms and one datagram");
    }

    #[test]
    fn a_flood_of_urgent_datagrams_leaves_half_of_the_rate() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(1_000_000, begin);
        let (mut urgent, mut other) = (0, 0);
        for n in 0..100_000 {
            let now = begin + Duration::from_micros(10 * n);
            while bucket.admits_urgent(now) {
                bucket.charge_urgent(50, now);
                urgent += 50;
            }
            // A connection wakes up each millisecond.
            while n % 100 == 0 && bucket.opens() <= now {
                bucket.charge(1_000, now);
                other += 1_000;
            }
        }
        let around = |half| (470_000..570_000).contains(&half);
        assert!(around(urgent) && around(other), "{urgent} and {other}");
    }

    #[test]
    fn a_change_of_the_rate_keeps_the_debt() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(1_000, begin);
        bucket.charge(1_000, begin);
        assert_eq!(bucket.opens(), begin + Duration::from_secs(1));
        bucket.set_rate(10_000, begin);
        assert_eq!(bucket.opens(), begin + Duration::from_millis(100));
        bucket.set_rate(100, begin);
        assert_eq!(bucket.opens(), begin + Duration::from_secs(10));
    }

    #[test]
    fn a_batch_lasts_ten_milliseconds_or_is_one_datagram() {
        let batch = |rate| Bucket::new(rate, Instant::now()).batch(1_452);
        assert_eq!((batch(0), batch(50_000), batch(1_000_000)), (1, 1, 6));
        assert_eq!(batch(100_000_000), 688);
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        for rate in [0, 1, u64::MAX] {
            let begin = Instant::now();
            let mut bucket = Bucket::new(rate, begin);
            bucket.charge(usize::MAX, begin);
            bucket.set_rate(u64::MAX, begin);
            assert!(bucket.batch(1) >= 1);
        }
    }
}
