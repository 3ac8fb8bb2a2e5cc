//! Counts of what arrived and of what was lost.

/// Loss beyond this is not made up for: what delivers two packets of three is broken.
pub(crate) const MAX_LOSS: f64 = 0.33;
/// Share of the counts of loss that is forgotten each cycle.
const FORGET: f64 = 0.25;
/// So few packets may lose a third and more by chance.
const FEW_PACKETS: f64 = 32.0;

/// Acknowledged and lost bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub acked: f64,
    pub lost: f64,
}

impl Tally {
    pub fn share(self) -> f64 {
        self.lost / (self.acked + self.lost).max(1.0)
    }

    /// The path itself may have lost so much, as far as this round's packets tell: few may all be
    /// lost by chance.
    pub fn is_plausible(self, mtu: f64) -> bool {
        self.share() <= MAX_LOSS || self.acked + self.lost < FEW_PACKETS * mtu
    }

    pub fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.lost += other.lost;
    }

    pub fn forget(&mut self) {
        self.acked *= 1.0 - FORGET;
        self.lost *= 1.0 - FORGET;
    }
}
