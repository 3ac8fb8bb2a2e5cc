//! Pure: how old something is that was kept over restarts, by a wall clock that may be wrong.
//!
//! A host may start with its clock years ahead, or at 1970 until the network sets it. Neither may
//! drop what a transfer under way still needs. So age is reckoned only up to when the program last
//! ran, and a time before there was such a program is no time.

/// 2024-01-01: whatever says that it was kept before was kept by a clock that was not set.
const FIRST: u64 = 1_704_067_200;

/// What is now, as far as ages are concerned: seconds since 1970, by the clock, but not later than
/// the program was `last` at work.
pub(crate) fn as_of(now: u64, last: Option<u64>) -> u64 {
    last.map_or(now, |last| now.min(last))
}

/// Whether what was kept at `when` is older than `keep` seconds.
pub(crate) fn is_older(when: u64, as_of: u64, keep: u64) -> bool {
    when >= FIRST && when < as_of.saturating_sub(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 86_400;
    const NOW: u64 = FIRST + YEAR;
    const MONTH: u64 = 30 * 86_400;

    #[test]
    fn an_entry_above_the_maximum_age_is_old() {
        assert!(is_older(NOW - MONTH - 1, as_of(NOW, Some(NOW)), MONTH));
        assert!(!is_older(NOW - MONTH, as_of(NOW, Some(NOW)), MONTH));
        assert!(is_older(NOW - MONTH - 1, as_of(NOW, None), MONTH));
    }

    #[test]
    fn a_clock_that_jumped_makes_nothing_old() {
        for wrong in [0, 5, NOW - YEAR, NOW + 70 * YEAR, u64::MAX] {
            // In use until a moment ago, then started with a wrong clock.
            assert!(!is_older(NOW - 60, as_of(wrong, Some(NOW - 60)), MONTH), "{wrong}");
            // Kept with a wrong clock, then started with the right one.
            assert!(!is_older(wrong, as_of(NOW, Some(wrong)), MONTH), "{wrong}");
        }
        // Nor does a long rest: the peer has its chance to resume first.
        assert!(!is_older(NOW - YEAR, as_of(NOW, Some(NOW - YEAR)), MONTH));
    }
}
