//! How many passwords strangers may try (protocol.md section 3.6). Pure: time is passed in.

use std::time::{Duration, Instant};

/// Guesses that a bucket holds when it is full.
const BURST: u32 = 5;
/// Who guesses: how soon a guess comes back after how many failures in a row. Both kinds together get no
/// more than ten guesses a minute once their buckets are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Anybody: four a minute; after 20 failures one a minute; after 100 one in five minutes.
    Strangers,
    /// The address that the user named: six a minute; after 20 failures one a minute, and never less, so
    /// that the honest peer gets in whatever came from there before.
    Named,
}

impl Pace {
    fn refill(self, failures: u32) -> Duration {
        Duration::from_secs(match (self, failures) {
            (Self::Strangers, HOPELESS..) => 300,
            (_, SLOW..) => 60,
            (Self::Strangers, _) => 15,
            (Self::Named, _) => 10,
        })
    }
}

/// So many failures in a row are no slip of a finger any more.
const SLOW: u32 = 20;
/// So many are an attack that goes on.
pub const HOPELESS: u32 = 100;

/// A token bucket for password guesses. A token is taken before anything that depends on the
/// password is sent, and given back when the other side proves that it knows it; whoever hangs up
/// has used it.
#[derive(Debug)]
pub struct Throttle {
    pace: Pace,
    tokens: u32,
    refilled: Instant,
    failures: u32,
}

impl Throttle {
    /// A full bucket.
    pub fn new(pace: Pace, now: Instant) -> Self {
        Self { pace, tokens: BURST, refilled: now, failures: 0 }
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
        let pace = self.pace.refill(self.failures);
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

    /// Guesses in each of the next `minutes` when somebody tries every second.
    fn tried(throttles: &mut [Throttle], start: Instant, minutes: u64) -> Vec<usize> {
        let second = |n| start + Duration::from_secs(n);
        let mut one = |at| throttles.iter_mut().filter_map(|t| t.take(at).then_some(())).count();
        (0..minutes).map(|minute| (minute * 60..minute * 60 + 60).map(|n| one(second(n))).sum()).collect()
    }

    #[test]
    fn a_burst_then_no_more_than_ten_a_minute_from_all_together() {
        let start = Instant::now();
        let mut both = [Throttle::new(Pace::Strangers, start), Throttle::new(Pace::Named, start)];
        let tried = tried(&mut both, start, 10);
        assert!(tried[0] <= 2 * BURST as usize + 10, "{tried:?}");
        assert!(tried[1..].iter().all(|&n| n <= 10), "{tried:?}");
    }

    #[test]
    fn who_goes_on_guessing_gets_less_and_less() {
        let start = Instant::now();
        let hours = |pace| {
            let tried = tried(&mut [Throttle::new(pace, start)], start, 24 * 60);
            tried.chunks(60).map(|hour| hour.iter().sum()).collect::<Vec<usize>>()
        };
        let (strangers, named) = (hours(Pace::Strangers), hours(Pace::Named));
        assert!(
            (60..=80).contains(&strangers[0]) && (60..=80).contains(&named[0]),
            "{strangers:?} {named:?}"
        );
        assert!(strangers[2..].iter().all(|&n| n <= 12), "{strangers:?}");
        // Whoever the user named is never locked out for more than a minute.
        assert!(named[2..].iter().all(|&n| n == 60), "{named:?}");
    }

    #[test]
    fn who_knows_the_password_uses_nothing_up() {
        let now = Instant::now();
        let mut throttle = Throttle::new(Pace::Strangers, now);
        for _ in 0..100 {
            assert!(throttle.take(now));
            throttle.give_back();
        }
        assert_eq!(throttle.failures(), 0);
    }

    #[test]
    fn parallel_guesses_do_not_multiply() {
        let now = Instant::now();
        let mut throttle = Throttle::new(Pace::Named, now);
        assert_eq!((0..1000).filter(|_| throttle.take(now)).count(), 5);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        let now = Instant::now();
        let mut throttle = Throttle::new(Pace::Named, now + Duration::from_secs(5));
        while throttle.take(now + Duration::from_secs(5)) {}
        assert!(!throttle.take(now));
    }
}
