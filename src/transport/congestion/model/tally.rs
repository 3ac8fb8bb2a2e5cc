//! Counts of acknowledged and lost bytes.

/// Maximum path loss: beyond it the path is broken and the window does not compensate.
pub(crate) const MAX_LOSS: f64 = 0.33;
/// Share of the counts that is forgotten each cycle.
const FORGET: f64 = 0.25;
/// Fewer packets than this may lose more than [`MAX_LOSS`] by chance.
const FEW_PACKETS: f64 = 32.0;

/// Acknowledged and lost bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub acked: f64,
    pub lost: f64,
}

impl Tally {
    /// The loss rate.
    pub(super) fn share(self) -> f64 {
        self.lost / (self.acked + self.lost).max(1.0)
    }

    /// Whether this can be path loss: it is at most [`MAX_LOSS`], or chance explains it among
    /// few packets.
    pub(super) fn is_plausible(self, mtu: f64) -> bool {
        self.share() <= MAX_LOSS || self.acked + self.lost < FEW_PACKETS * mtu
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.lost += other.lost;
    }

    pub(super) fn forget(&mut self) {
        self.acked *= 1.0 - FORGET;
        self.lost *= 1.0 - FORGET;
    }
}
