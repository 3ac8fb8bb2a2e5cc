//! Pure: the age of records that outlive a restart, by a wall clock that may be wrong.
//!
//! A host may start with its clock years ahead, or at 1970 until the network sets it. In neither
//! case may a record be dropped that an unfinished transfer needs. Therefore age counts only up to
//! the program's last run, and a time before the program existed is ignored.

/// 2024-01-01. An earlier time comes from a clock that was not set.
const FIRST: u64 = 1_704_067_200;

/// The time by which ages are measured, in seconds since 1970: the clock's, but not later than the
/// program's `last` run.
pub(crate) fn as_of(now: u64, last: Option<u64>) -> u64 {
    last.map_or(now, |last| now.min(last))
}

/// Whether a record of the time `when` is older than `keep` seconds.
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
        // Nor does a long pause of the program: the peer can resume first.
        assert!(!is_older(NOW - YEAR, as_of(NOW, Some(NOW - YEAR)), MONTH));
    }
}
