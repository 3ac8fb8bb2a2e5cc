//! QUIC's send window: the data that QUIC holds until it is acknowledged.

use std::time::Duration;

/// How often the send window follows the congestion window.
pub const UPDATE_INTERVAL: Duration = Duration::from_millis(50);
/// Minimum send window, bytes: Startup grows into it between two updates.
const MIN_WINDOW: u64 = 4 << 20;
/// The window suffices unless a packet is lost many times in a row; one in this many is.
const RARE: f64 = 1e5;
/// Loss rate that is always assumed, because loss may begin at any time.
const MIN_LOSS: f64 = 1e-3;

/// Congestion windows in the send window on a path that loses a third of its packets.
const MAX_IN_FLIGHT: f64 = 13.0;
/// Minimum send window under a rate limit, bytes: some dozens of packets.
const MIN_LIMITED_WINDOW: u64 = 64 << 10;

/// The send window in bytes, at most `max`: large enough that the path never waits for the
/// application, and small enough that cancelled data does not delay other data for long.
///
/// quinn counts acknowledged data behind a gap until the gap is filled. A packet that is lost `k`
/// times in a row holds the window for `k + 1` round trips, so the window is that many congestion
/// windows, and one more for data that waits to be sent. `sent` and `lost` count packets.
pub fn send_window(congestion_window: u64, sent: u64, lost: u64, max: u64) -> u64 {
    let loss = (lost as f64 / (sent as f64).max(1000.0)).clamp(MIN_LOSS, 0.33);
    let in_a_row = RARE.ln() / (1.0 / loss).ln();
    let window = congestion_window as f64 * (2.0 + in_a_row);
    (window as u64).max(MIN_WINDOW).min(max)
}

/// Maximum send window in bytes under a rate limit of `rate` bytes per second: a tenth of a second of
/// data besides that in flight. More would make progress look faster than it is, and a file that its
/// user takes back would arrive all the same.
pub fn limited_send_window(rate: u64, rtt: Duration) -> u64 {
    let time = 0.1 + MAX_IN_FLIGHT * rtt.as_secs_f64();
    ((rate as f64 * time) as u64).max(MIN_LIMITED_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_needs_a_larger_window() {
        let windows =
            |lost| send_window(10 << 20, 100_000, lost, u64::MAX) as f64 / f64::from(10 << 20);
        assert!((3.6..3.8).contains(&windows(0)));
        assert!((6.9..7.1).contains(&windows(10_000)));
        assert!((12.0..13.0).contains(&windows(100_000)));
    }

    #[test]
    fn the_window_has_bounds() {
        assert_eq!(send_window(10_000, 0, 0, 64 << 20), 4 << 20);
        assert_eq!(send_window(100 << 20, 1000, 10, 64 << 20), 64 << 20);
        // Ten packets say nothing about path loss.
        assert!(send_window(10 << 20, 10, 9, u64::MAX) < 50 << 20);
    }

    #[test]
    fn a_rate_limit_lowers_the_window() {
        let window = |rate, millis| limited_send_window(rate, Duration::from_millis(millis));
        assert_eq!((window(1_000, 0), window(1_000_000, 0)), (64 << 10, 100_000));
        // Even a path that loses a third of the packets carries the limit.
        let needed = send_window(10_000_000, 100_000, 33_000, u64::MAX);
        assert!(window(100_000_000, 100) > needed);
    }
}
