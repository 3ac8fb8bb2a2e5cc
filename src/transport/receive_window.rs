//! How much the peer may have under way to us: enough for the link, little enough that what waits
//! here is still in the processor's cache when it is opened. Pure.
//!
//! On a path of a millisecond everything that the window allows beyond a few megabytes is not under
//! way but waits: the sender is ahead of us, data fall out of the cache, and quinn copies what it
//! holds once more to bound it.

use std::time::{Duration, Instant};

/// Bytes for each second of a round trip: three times what 10 Gbit/s carry, as start-up and lost
/// packets need more than one product of rate and round trip.
const RATE: f64 = 4e9;
/// Least window, bytes.
const MIN_WINDOW: u64 = 16 << 20;
/// The shortest round trip of so long counts: others are longer by what waits at either end.
const MEMORY: Duration = Duration::from_secs(10);

/// Follows the round trip of a path.
#[derive(Debug)]
pub struct ReceiveWindow {
    most: u64,
    /// The shortest round trips of this half of [`MEMORY`] and of the one before.
    shortest: [Duration; 2],
    turned: Instant,
}

impl ReceiveWindow {
    /// At most `most` bytes.
    pub fn new(most: u64, rtt: Duration, now: Instant) -> Self {
        Self { most, shortest: [rtt; 2], turned: now }
    }

    /// The window, bytes, now that a round trip takes `rtt`.
    pub fn next(&mut self, rtt: Duration, now: Instant) -> u64 {
        if now.saturating_duration_since(self.turned) >= MEMORY / 2 {
            self.turned = now;
            self.shortest = [rtt, self.shortest[0]];
        }
        self.shortest[0] = self.shortest[0].min(rtt);
        let window = self.shortest[0].min(self.shortest[1]).as_secs_f64() * RATE;
        (window as u64).max(MIN_WINDOW).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WINDOW: u64 = 128 << 20;

    #[test]
    fn a_long_path_gets_all_and_a_short_one_little() {
        let now = Instant::now();
        let window = |rtt| ReceiveWindow::new(MAX_WINDOW, Duration::from_micros(rtt), now);
        let next = |rtt| window(rtt).next(Duration::from_micros(rtt), now);
        assert_eq!((next(300), next(100_000)), (MIN_WINDOW, MAX_WINDOW));
        assert_eq!(next(10_000), 40_000_000);
        let small = ReceiveWindow::new(8 << 20, Duration::ZERO, now).next(Duration::ZERO, now);
        assert_eq!(small, 8 << 20, "never more than the memory");
    }

    #[test]
    fn what_waits_does_not_count_and_a_longer_path_soon_does() {
        let (mut now, long) = (Instant::now(), Duration::from_millis(100));
        let mut window = ReceiveWindow::new(MAX_WINDOW, Duration::from_micros(300), now);
        let mut widened = None;
        for tick in 0..400 {
            now += Duration::from_millis(50);
            if window.next(long, now) == MAX_WINDOW {
                widened = Some(tick * 50);
                break;
            }
        }
        assert!(widened.is_some_and(|after| (5_000..=10_000).contains(&after)), "{widened:?}");
        assert_eq!(
            window.next(Duration::from_micros(300), now),
            MIN_WINDOW,
            "a shorter one does at once"
        );
    }
}
