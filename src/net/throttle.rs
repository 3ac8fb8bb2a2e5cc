//! How many passwords strangers may try (protocol.md section 3.6). Pure: time is passed in.

use std::time::{Duration, Instant};

/// Guesses that a bucket holds when it is full.
const BURST: u32 = 5;
/// One guess comes back in this time.
const REFILL: Duration = Duration::from_secs(10);
/// After this many failures in a row a guess comes back only in [`SLOW_REFILL`].
const SLOW_AFTER: u32 = 20;
/// The slow pace.
const SLOW_REFILL: Duration = Duration::from_secs(60);

/// A token bucket for password guesses. A token is taken before anything that depends on the
/// password is sent, and given back when the other side proves that it knows it; whoever hangs up
/// has used it.
#[derive(Debug)]
pub struct Throttle {
    tokens: u32,
    refilled: Instant,
    failures: u32,
}

impl Throttle {
    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self { tokens: BURST, refilled: now, failures: 0 }
    }

    /// Takes a token for one guess, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let taken = self.tokens > 0;
        if taken {
            self.tokens -= 1;
            self.failures = self.failures.saturating_add(1);
        }
        taken
    }

    /// The guess was right: it cost nothing, and the count of failures starts anew.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1).min(BURST);
        self.failures = 0;
    }

    /// Guesses in a row that were not right, those still under way included.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn refill(&mut self, now: Instant) {
        let pace = if self.failures >= SLOW_AFTER { SLOW_REFILL } else { REFILL };
        let since = now.saturating_duration_since(self.refilled);
        #[allow(clippy::cast_possible_truncation)] // bounded by BURST
        let back = (since.as_nanos() / pace.as_nanos()).min(u128::from(BURST)) as u32;
        if back > 0 {
            self.tokens = (self.tokens + back).min(BURST);
            self.refilled = if self.tokens == BURST { now } else { self.refilled + pace * back };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_six_a_minute_then_one() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        let mut tried = 0;
        for second in 0..60 {
            tried += u32::from(throttle.take(start + Duration::from_secs(second)));
        }
        assert_eq!(tried, 5 + 5);
        let mut later = 0;
        for second in 60..3660 {
            later += u32::from(throttle.take(start + Duration::from_secs(second)));
        }
        assert!((60..=75).contains(&later), "{later} guesses in an hour");
    }

    #[test]
    fn who_knows_the_password_uses_nothing_up() {
        let now = Instant::now();
        let mut throttle = Throttle::new(now);
        for _ in 0..100 {
            assert!(throttle.take(now));
            throttle.give_back();
        }
        assert_eq!(throttle.failures(), 0);
    }

    #[test]
    fn parallel_guesses_do_not_multiply() {
        let now = Instant::now();
        let mut throttle = Throttle::new(now);
        assert_eq!((0..1000).filter(|_| throttle.take(now)).count(), 5);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        let now = Instant::now();
        let mut throttle = Throttle::new(now + Duration::from_secs(5));
        while throttle.take(now + Duration::from_secs(5)) {}
        assert!(!throttle.take(now));
    }
}
