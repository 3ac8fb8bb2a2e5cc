//! The limit on password guesses (protocol.md section 3.6). Pure: time is passed in.

use std::time::{Duration, Instant};

/// Capacity of a bucket, in guesses.
const BURST: u32 = 5;
/// How fast a bucket refills, by the kind of source and the number of consecutive failures. Once
/// their buckets are empty, all kinds together get at most ten guesses a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefillRate {
    /// Unknown addresses: two a minute; after 20 failures one a minute; after 100 one in five
    /// minutes.
    Unknown,
    /// Other ports of the address that the user named: two a minute; after 20 failures one.
    SameAddress,
    /// The address and port that the user named: six a minute; after 20 failures one a minute, and
    /// never less, so that an attacker who forges that address cannot lock the peer out.
    NamedPeer,
}

impl RefillRate {
    fn refill(self, failures: u32) -> Duration {
        Duration::from_secs(match (self, failures) {
            (Self::Unknown, HOPELESS..) => 300,
            (_, SLOW..) => 60,
            (Self::Unknown | Self::SameAddress, _) => 30,
            (Self::NamedPeer, _) => 10,
        })
    }
}

/// Number of consecutive failures that cannot be typing errors.
const SLOW: u32 = 20;
/// Number of consecutive failures that means a lasting attack.
pub const HOPELESS: u32 = 100;

/// A token bucket for password guesses, by initiators and by responders. A token is taken before
/// each message that lets the other side test a password, and returned when that side proves that
/// it knows the password. A connection that ends before that has used its token.
#[derive(Debug)]
pub struct GuessLimit {
    rate: RefillRate,
    tokens: u32,
    refilled: Instant,
    failures: u32,
}

impl GuessLimit {
    /// A full bucket.
    pub fn new(rate: RefillRate, now: Instant) -> Self {
        Self { rate, tokens: BURST, refilled: now, failures: 0 }
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

    /// Returns the token of a correct guess, and resets the number of failures.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1).min(BURST);
        self.failures = 0;
    }

    /// Time until a token is available.
    pub fn wait(&mut self, now: Instant) -> Duration {
        self.refill(now);
        match self.tokens {
            0 => (self.refilled + self.rate.refill(self.failures)).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// Number of consecutive guesses without a success; guesses in progress count.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn refill(&mut self, now: Instant) {
        let rate = self.rate.refill(self.failures);
        let since = now.saturating_duration_since(self.refilled);
        #[allow(clippy::cast_possible_truncation)] // bounded by BURST
        let back = (since.as_nanos() / rate.as_nanos()).min(u128::from(BURST)) as u32;
        if back > 0 {
            self.tokens = (self.tokens + back).min(BURST);
            self.refilled = if self.tokens == BURST { now } else { self.refilled + rate * back };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of guesses allowed in each of the next `minutes`, with one try every second.
    fn tried(limits: &mut [GuessLimit], start: Instant, minutes: u64) -> Vec<usize> {
        let second = |n| start + Duration::from_secs(n);
        let mut one = |at| limits.iter_mut().filter_map(|t| t.take(at).then_some(())).count();
        (0..minutes)
            .map(|minute| (minute * 60..minute * 60 + 60).map(|n| one(second(n))).sum())
            .collect()
    }

    #[test]
    fn a_burst_then_no_more_than_ten_a_minute_from_all_together() {
        let start = Instant::now();
        let mut all = [RefillRate::Unknown, RefillRate::SameAddress, RefillRate::NamedPeer]
            .map(|rate| GuessLimit::new(rate, start));
        let tried = tried(&mut all, start, 10);
        assert!(tried[0] <= 3 * BURST as usize + 10, "{tried:?}");
        assert!(tried[1..].iter().all(|&n| n <= 10), "{tried:?}");
    }

    #[test]
    fn repeated_failures_slow_the_refill() {
        let start = Instant::now();
        let hours = |rate| {
            let tried = tried(&mut [GuessLimit::new(rate, start)], start, 24 * 60);
            tried.chunks(60).map(|hour| hour.iter().sum()).collect::<Vec<usize>>()
        };
        let [unknown, same_address, peer] =
            [RefillRate::Unknown, RefillRate::SameAddress, RefillRate::NamedPeer].map(hours);
        for first in [unknown[0], same_address[0], peer[0]] {
            assert!((60..=80).contains(&first), "{first} in the first hour");
        }
        assert!(unknown[2..].iter().all(|&n| n <= 12), "{unknown:?}");
        // The named peer is never locked out for more than a minute.
        assert!(
            same_address[2..].iter().chain(&peer[2..]).all(|&n| n == 60),
            "{same_address:?} {peer:?}"
        );
    }

    #[test]
    fn a_token_is_available_after_the_announced_wait() {
        let mut now = Instant::now();
        let mut guesses = GuessLimit::new(RefillRate::NamedPeer, now);
        for n in 0..40 {
            let wait = guesses.wait(now);
            assert_eq!(wait.is_zero(), n < 5, "{n}: {wait:?}");
            if !wait.is_zero() {
                now += wait - Duration::from_nanos(1);
                assert!(!guesses.take(now), "{n}");
                now += Duration::from_nanos(1);
            }
            assert!(guesses.take(now), "{n}");
        }
    }

    #[test]
    fn a_correct_guess_costs_no_token() {
        let now = Instant::now();
        let mut guesses = GuessLimit::new(RefillRate::Unknown, now);
        for _ in 0..100 {
            assert!(guesses.take(now));
            guesses.give_back();
        }
        assert_eq!(guesses.failures(), 0);
    }

    #[test]
    fn parallel_guesses_do_not_multiply() {
        let now = Instant::now();
        let mut guesses = GuessLimit::new(RefillRate::NamedPeer, now);
        assert_eq!((0..1000).filter(|_| guesses.take(now)).count(), 5);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        let now = Instant::now();
        let mut guesses = GuessLimit::new(RefillRate::NamedPeer, now + Duration::from_secs(5));
        while guesses.take(now + Duration::from_secs(5)) {}
        assert!(!guesses.take(now));
    }
}
