//! How variable the path's rate is. A mobile link halves and doubles its rate within a second, and
//! a window of one BDP leaves it idle at each rise.

use std::time::Instant;

/// Changes of the rate by a smaller factor do not count: loss, jitter, and most competing senders
/// cause those.
const MIN_SWING: f64 = 2.0;
/// A swing's logarithm counts as at most this, a factor of three. A competing sender that starts or
/// leaves causes a few large swings; a variable path causes many.
const MAX_SWING: f64 = 1.1;
/// Time after which a swing counts 1/e, seconds.
const MEMORY: f64 = 10.0;
/// Rounds whose rate still shows an earlier, smaller window.
const SKIPPED_ROUNDS: u32 = 2;
/// A path becomes variable above the first level, because a competing sender can cause a lower one,
/// and steady again below the second.
const VARIABLE_LEVEL: f64 = 2.5;
const STEADY_LEVEL: f64 = 0.5;
/// Seconds' worth of data at the peak rate, beyond the BDP, for each unit of the level, and their
/// maximum: on any path, and in minimum RTTs, because on a fast path near by the same time is
/// megabytes.
const SLACK: f64 = 0.03;
const MAX_SLACK: f64 = 0.12;
const MAX_SLACK_RTTS: f64 = 3.0;
/// The peak counts as at most this many times the present rate, which limits the queueing delay.
const MAX_PEAK: f64 = 5.0;

/// The variability of a path's rate: recent rises and falls of its logarithm. Rises alone or falls
/// alone are a path that has changed once, for example because a competing sender left or came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variability {
    rises: f64,
    falls: f64,
    /// The rate after the last swing, bytes per second.
    reference: Option<f64>,
    /// The highest rate of recent rounds, bytes per second: it fades as the swings do.
    peak: f64,
    updated: Option<Instant>,
    to_skip: u32,
    is_variable: bool,
}

impl Variability {
    /// A round ended with this delivery rate in bytes per second; `None` if the sender's own window
    /// or the application limited it.
    pub(crate) fn on_round(&mut self, now: Instant, rate: Option<f64>) {
        self.fade(now);
        let Some(rate) = rate else {
            (self.reference, self.to_skip) = (None, SKIPPED_ROUNDS);
            return;
        };
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        self.peak = self.peak.max(rate);
        let swing = (rate / *self.reference.get_or_insert(rate)).ln();
        if swing.abs() > MIN_SWING.ln() {
            let swing = swing.clamp(-MAX_SWING, MAX_SWING);
            self.reference = Some(rate);
            self.rises += swing.max(0.0);
            self.falls -= swing.min(0.0);
        }
    }

    /// Time passes: earlier swings count less.
    fn fade(&mut self, now: Instant) {
        if let Some(before) = self.updated.replace(now) {
            let seconds = now.saturating_duration_since(before).as_secs_f64();
            let kept = (-seconds / MEMORY).exp();
            (self.rises, self.falls) = (self.rises * kept, self.falls * kept);
            self.peak *= kept;
        }
        let limit = if self.is_variable { STEADY_LEVEL } else { VARIABLE_LEVEL };
        self.is_variable = self.level() > limit;
    }

    /// Recent rises and falls that belong together; 0 on a steady path. A rate that doubles and
    /// halves again once a second has 14.
    fn level(&self) -> f64 {
        2.0 * self.rises.min(self.falls)
    }

    /// Seconds' worth of data beyond the BDP that keep a path of this minimum RTT full when its
    /// rate, now `rate` bytes per second, rises to its recent peak.
    pub(crate) fn slack(&self, min_rtt: f64, rate: f64) -> f64 {
        if !self.is_variable {
            return 0.0;
        }
        let at_peak = (SLACK * self.level()).min(MAX_SLACK).min(MAX_SLACK_RTTS * min_rtt);
        at_peak * (self.peak / rate.max(1.0)).clamp(1.0, MAX_PEAK)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The slack in milliseconds at the last rate, after rounds of 100 ms with these rates; 0 is a
    /// round that the sender limited.
    fn slack_after(rates: &[f64]) -> f64 {
        let start = Instant::now();
        let mut variability = Variability::default();
        for (n, rate) in (0..).zip(rates) {
            let rate = Some(1e6 * rate).filter(|rate| *rate > 0.0);
            variability.on_round(start + Duration::from_millis(100 * n), rate);
        }
        let last = rates.last().copied().unwrap_or(0.0);
        (1e3 * variability.slack(0.05, 1e6 * last)).round()
    }

    #[test]
    fn rises_and_falls_call_for_slack() {
        assert_eq!(slack_after(&[8.0, 3.0, 8.0]), 0.0, "once");
        let twice = slack_after(&[8.0, 3.0, 8.0, 3.0, 8.0, 8.0]);
        assert!((100.0..120.0).contains(&twice), "{twice}");
        assert_eq!(slack_after(&[8.0, 3.0, 8.0].repeat(4)), 120.0, "the maximum");
    }

    #[test]
    fn slow_changes_count_and_small_ones_do_not() {
        assert!(slack_after(&[8.0, 6.0, 4.5, 3.3, 4.5, 6.0, 8.0].repeat(3)) > 40.0);
        assert_eq!(slack_after(&[8.0, 5.0].repeat(10)), 0.0);
    }

    #[test]
    fn a_rate_that_fell_keeps_the_slack_of_its_peak() {
        let swings = [8.0, 3.0].repeat(6);
        let slack = |last| slack_after(&[&swings[..], &[8.0, last]].concat());
        assert_eq!(slack(8.0), 120.0);
        assert!((230.0..=240.0).contains(&slack(4.0)), "{}", slack(4.0));
        assert_eq!(slack(0.5), 600.0, "the maximum");
    }

    #[test]
    fn a_path_that_changes_once_is_steady() {
        assert_eq!(slack_after(&[8.0, 8.0, 2.0, 2.0]), 0.0);
        assert_eq!(slack_after(&[2.0, 2.0, 16.0, 16.0]), 0.0);
    }

    #[test]
    fn one_deep_dip_is_no_variable_path() {
        assert_eq!(slack_after(&[16.0, 0.5, 16.0, 16.0]), 0.0);
    }

    #[test]
    fn rates_that_the_sender_limits_do_not_count() {
        assert_eq!(slack_after(&[8.0, 0.0, 2.0, 4.0, 8.0].repeat(4)), 0.0);
    }

    #[test]
    fn slack_decays_and_follows_the_minimum_rtt() {
        let swings = [8.0, 3.0, 8.0, 3.0, 8.0];
        let later = slack_after(&[&swings[..], &[8.0; 100]].concat());
        assert!((20.0..60.0).contains(&later), "{later}");
        assert_eq!(slack_after(&[&swings[..], &[8.0; 400]].concat()), 0.0);
        let level =
            Variability { rises: 9.0, falls: 9.0, is_variable: true, ..Variability::default() };
        assert_eq!(level.slack(0.002, 1e6), 0.006);
    }
}
