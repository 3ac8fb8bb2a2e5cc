//! `--limit-rate`: how long a record waits before it is sent. Pure apart from its lock: time is
//! passed in.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After a pause, the bytes of this time may be sent at once.
const MAX_BURST: Duration = Duration::from_millis(200);

/// A cap on the bytes per second of all files together.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Bytes per second; `None` for no cap.
    rate: Option<u64>,
    /// When the bytes so far would have been sent at exactly the rate.
    paid: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// At most `rate` bytes per second.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), paid: Mutex::new(None) }
    }

    /// Admits `bytes`, after the wait that is returned.
    pub(crate) fn take(&self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(MAX_BURST).unwrap_or(now);
        let start = paid.map_or(earliest, |paid| paid.max(earliest));
        let end = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *paid = Some(end);
        end.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cap_no_wait() {
        assert_eq!(RateLimit::new(None).take(usize::MAX, Instant::now()), Duration::ZERO);
    }

    #[test]
    fn the_average_rate_is_the_limit() {
        let rate_limit = RateLimit::new(Some(1_000_000));
        let start = Instant::now();
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(10) {
            now += rate_limit.take(10_000, now);
            sent += 10_000;
        }
        let rate = f64::from(sent) / 10.0;
        assert!((0.98e6..1.05e6).contains(&rate), "{rate}");
    }

    #[test]
    fn a_pause_allows_only_a_short_burst() {
        let rate_limit = RateLimit::new(Some(1_000_000));
        let start = Instant::now();
        rate_limit.take(1, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(rate_limit.take(200_000, later), Duration::ZERO);
        assert!(rate_limit.take(100_000, later) >= Duration::from_millis(99));
    }
}
