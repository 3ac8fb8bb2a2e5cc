//! The times of periodic checks. Checks with the same epoch and multiples of one period fall on the
//! same moments, and wake an idle process once.

use std::time::{Duration, Instant};

/// The epoch of periodic checks.
#[derive(Debug, Clone, Copy)]
pub struct Ticks(Instant);

impl Ticks {
    /// Counts from `epoch`.
    pub fn since(epoch: Instant) -> Self {
        Self(epoch)
    }

    /// The first multiple of `period`, in milliseconds, that is later than `now`.
    pub fn next(self, period: Duration, now: Instant) -> Instant {
        let past = now.saturating_duration_since(self.0);
        let periods = past.as_millis() / period.as_millis().max(1) + 1;
        self.0 + period * u32::try_from(periods).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_of_a_period_fall_on_its_ticks() {
        let epoch = Instant::now();
        let after = |ms| epoch + Duration::from_millis(ms);
        let next = |period, ms| Ticks::since(epoch).next(Duration::from_millis(period), after(ms));
        assert_eq!(
            [next(1000, 0), next(1000, 999), next(1000, 1000)],
            [1000, 1000, 2000].map(after)
        );
        assert_eq!(
            [next(2000, 0), next(2000, 1999), next(2000, 2500)],
            [2000, 2000, 4000].map(after)
        );
    }
}
