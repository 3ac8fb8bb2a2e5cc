//! CUBIC's window (RFC 9438) for competitive mode: loss-based senders get an equal share beside it.

use std::time::Instant;

/// Packets per cubed second (RFC 9438, section 4.1).
const C: f64 = 0.4;
/// A loss multiplies the window by this (RFC 9438, section 4.6).
const BETA: f64 = 0.7;

/// Growth a round trip until the first loss shows the competitors' share.
const SEEK: f64 = 0.06;

/// CUBIC's window, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Cubic {
    window: f64,
    before_loss: f64,
    epoch: Instant,
    cut_at: Instant,
    reno_window: f64,
    before_first_loss: bool,
    mtu: f64,
}

impl Cubic {
    /// Starts at `window` bytes.
    pub(super) fn new(now: Instant, window: f64, mtu: f64) -> Self {
        Self {
            window,
            before_loss: window,
            epoch: now,
            cut_at: now,
            reno_window: window,
            before_first_loss: true,
            mtu,
        }
    }

    /// The window, bytes.
    pub(super) fn window(&self) -> f64 {
        self.window
    }

    /// `bytes` were acknowledged after `rtt` seconds.
    pub(super) fn on_ack(&mut self, now: Instant, bytes: f64, rtt: f64) {
        if self.before_first_loss {
            self.window += SEEK * bytes;
            return;
        }
        let age = now.saturating_duration_since(self.epoch).as_secs_f64();
        let k = ((self.before_loss - self.before_loss * BETA).max(0.0) / self.mtu / C).cbrt();
        let target = self.before_loss + C * (age + rtt - k).powi(3) * self.mtu;
        // RFC 9438, section 4.3: Reno's window is the minimum.
        let alpha = 3.0 * (1.0 - BETA) / (1.0 + BETA);
        self.reno_window += alpha * self.mtu * bytes / self.window;
        let target = target.clamp(self.window, 1.5 * self.window);
        self.window += (target - self.window) * bytes / self.window;
        self.window = self.window.max(self.reno_window);
    }

    /// Packets were lost; the newest was sent at `sent`. Cuts the window at most once a round trip,
    /// and returns whether it did.
    pub(super) fn on_lost(&mut self, now: Instant, sent: Instant) -> bool {
        if sent < self.cut_at {
            return false;
        }
        // RFC 9438, section 4.7: fast convergence.
        let shrinking = self.window < self.before_loss;
        self.before_loss = if shrinking { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window *= BETA;
        self.before_first_loss = false;
        self.reno_window = self.window;
        self.epoch = now;
        self.cut_at = now;
        true
    }
}
