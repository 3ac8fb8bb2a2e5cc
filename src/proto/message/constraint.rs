//! What limits the speed of one direction at one side.

use crate::proto::codec::Malformed;

/// The part of a side that limits the speed of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Constraint {
    /// Nothing at this side: it waits for the other side, or there is nothing to do.
    #[default]
    Nothing,
    /// The network path.
    Path,
    /// The disk.
    Disk,
    /// The processor.
    Processor,
    /// The rate limit that the user has set.
    RateLimit,
    /// The program that checks received files (`--quarantine`).
    Check,
}

impl Constraint {
    /// Every value, in the order of the numbers on the wire.
    pub const ALL: [Self; 6] =
        [Self::Nothing, Self::Path, Self::Disk, Self::Processor, Self::RateLimit, Self::Check];

    /// The number on the wire.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// The value with this number.
    ///
    /// # Errors
    /// [`Malformed`] if there is none.
    pub(super) fn from_number(number: u8) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(number)).copied().ok_or(Malformed)
    }
}
