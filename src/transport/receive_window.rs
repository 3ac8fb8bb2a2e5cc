//! The connection's receive window: large enough for the path, and small enough that received data
//! is still in the processor's cache when it is decrypted. Pure.
//!
//! On a path of 1 ms RTT a window of more than a few megabytes only fills buffers: the sender is
//! ahead of the receiver, data leaves the cache, and quinn copies buffered data once more to limit
//! its memory.

use std::time::{Duration, Instant};

/// The window for each second of RTT, bytes: three times the BDP at 10 Gbit/s, because Startup and
/// lost packets need more than one BDP.
const RATE: f64 = 4e9;
/// Minimum window, bytes.
const MIN_WINDOW: u64 = 16 << 20;
/// The minimum RTT of this time counts: buffers at both ends make others longer.
const MEMORY: Duration = Duration::from_secs(10);

/// Derives the window from the RTT.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    max: u64,
    /// The minimum RTT of this half of [`MEMORY`] and of the one before.
    min_rtt: [Duration; 2],
    half_began: Instant,
}

impl ReceiveWindow {
    /// A window of at most `max` bytes.
    pub(crate) fn new(max: u64, rtt: Duration, now: Instant) -> Self {
        Self { max, min_rtt: [rtt; 2], half_began: now }
    }

    /// The window in bytes for the current `rtt`.
    pub(crate) fn next(&mut self, rtt: Duration, now: Instant) -> u64 {
        if now.saturating_duration_since(self.half_began) >= MEMORY / 2 {
            self.half_began = now;
            self.min_rtt = [rtt, self.min_rtt[0]];
        }
        self.min_rtt[0] = self.min_rtt[0].min(rtt);
        let window = self.min_rtt[0].min(self.min_rtt[1]).as_secs_f64() * RATE;
        (window as u64).max(MIN_WINDOW).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WINDOW: u64 = 128 << 20;

    #[test]
    fn a_long_path_gets_the_maximum_and_a_short_one_the_minimum() {
        let now = Instant::now();
        let window = |rtt| ReceiveWindow::new(MAX_WINDOW, Duration::from_micros(rtt), now);
        let next = |rtt| window(rtt).next(Duration::from_micros(rtt), now);
        assert_eq!((next(300), next(100_000)), (MIN_WINDOW, MAX_WINDOW));
        assert_eq!(next(10_000), 40_000_000);
        let small = ReceiveWindow::new(8 << 20, Duration::ZERO, now).next(Duration::ZERO, now);
        assert_eq!(small, 8 << 20, "never more than the memory");
    }

    #[test]
    fn the_window_follows_a_longer_path_within_seconds() {
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
            "and a shorter one at once"
        );
    }
}
