//! How much may be handed to QUIC ahead of the link.

use std::time::Duration;

/// How often the send window follows the congestion window.
pub const UPDATE_INTERVAL: Duration = Duration::from_millis(50);
/// Least send window, bytes: what start-up grows into between two looks.
const MIN_WINDOW: u64 = 4 << 20;
/// One packet in so many may be lost so often in a row that the sender has to wait for it.
const RARE: f64 = 1e5;
/// Loss that is always reckoned with: it may begin at any time.
const MIN_LOSS: f64 = 1e-3;

/// The send window, bytes, at most `most`: enough that the link never waits for the application, so
/// little that what is cancelled or overtaken is not long on its way.
///
/// quinn keeps what is acknowledged behind a gap until the gap is filled, and counts it. A packet
/// that is lost `k` times in a row holds the window for `k + 1` round trips, so the window is that
/// many congestion windows, and one for what waits to be sent. `sent` and `lost` count packets.
pub fn send_window(congestion_window: u64, sent: u64, lost: u64, most: u64) -> u64 {
    let loss = (lost as f64 / (sent as f64).max(1000.0)).clamp(MIN_LOSS, 0.33);
    let in_a_row = RARE.ln() / (1.0 / loss).ln();
    let window = congestion_window as f64 * (2.0 + in_a_row);
    (window as u64).max(MIN_WINDOW).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_needs_more_windows() {
        let windows =
            |lost| send_window(10 << 20, 100_000, lost, u64::MAX) as f64 / f64::from(10 << 20);
        assert!((3.6..3.8).contains(&windows(0)));
        assert!((6.9..7.1).contains(&windows(10_000)));
        assert!((12.0..13.0).contains(&windows(100_000)));
    }

    #[test]
    fn it_has_bounds() {
        assert_eq!(send_window(10_000, 0, 0, 64 << 20), 4 << 20);
        assert_eq!(send_window(100 << 20, 1000, 10, 64 << 20), 64 << 20);
        // A handful of packets says nothing of the path's loss.
        assert!(send_window(10 << 20, 10, 9, u64::MAX) < 50 << 20);
    }
}
