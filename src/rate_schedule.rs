//! Pure: a rate limit that depends on the local time (`--limit-rate 'Mon-Fri 08:00-18:00 2M'`).
//!
//! A schedule is a list of windows, each with days, times of day and a rate, and a rate outside of
//! all of them. Times are those of the wall clock, so a window of a night with a change to or from
//! daylight saving time is an hour longer or shorter, and a time that occurs twice counts twice.

mod window;

pub use window::{Days, RateWindow, TimeOfDay, WindowError};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU64;
use std::time::SystemTime;

/// Maximum number of windows.
pub const MAX_WINDOWS: usize = 50;
/// Days in which the next change is looked for. The windows repeat each week, and a change of the
/// clock may leave one out.
const HORIZON: i32 = 15;

/// A limit of the rate, in bytes per second, for each time of the week.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct RateSchedule {
    /// Outside of all windows; `None` for no limit.
    rate: Option<NonZeroU64>,
    /// The first that applies counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    windows: Vec<RateWindow>,
}

/// A schedule as it is read.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    rate: Option<NonZeroU64>,
    #[serde(default)]
    windows: Vec<RateWindow>,
}

/// More than [`MAX_WINDOWS`] windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a schedule has at most {MAX_WINDOWS} windows")]
pub struct TooManyWindows;

impl TryFrom<Parts> for RateSchedule {
    type Error = TooManyWindows;

    fn try_from(parts: Parts) -> Result<Self, TooManyWindows> {
        Self::new(parts.rate, parts.windows)
    }
}

/// The limit at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateInForce {
    /// Bytes per second; `None` for no limit.
    pub rate: Option<NonZeroU64>,
    /// When it changes next; `None` if it does not.
    pub until: Option<SystemTime>,
}

impl RateSchedule {
    /// The first of the windows that applies counts; `rate` counts outside of all of them, `None`
    /// for no limit.
    ///
    /// # Errors
    /// [`TooManyWindows`].
    pub fn new(rate: Option<NonZeroU64>, windows: Vec<RateWindow>) -> Result<Self, TooManyWindows> {
        if windows.len() > MAX_WINDOWS {
            return Err(TooManyWindows);
        }
        Ok(Self { rate, windows })
    }

    /// The same limit at all times.
    pub fn constant(rate: Option<NonZeroU64>) -> Self {
        Self { rate, windows: Vec::new() }
    }

    /// Whether the limit depends on the time.
    pub fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// The limit at a local time; `None` for none.
    pub fn rate_at(&self, local: DateTime) -> Option<NonZeroU64> {
        let window = self.windows.iter().find(|window| window.contains(local));
        window.map_or(self.rate, |window| window.rate)
    }

    /// The limit now, by the clock and the time zone of the system.
    pub fn in_force_now(&self) -> RateInForce {
        if !self.has_windows() {
            return RateInForce { rate: self.rate, until: None };
        }
        // jiff knows the years -9999 to 9999; a clock outside of them counts as 1970.
        let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        self.in_force(now, &TimeZone::system())
    }

    /// The limit at a moment, and when it changes.
    pub fn in_force(&self, now: Timestamp, zone: &TimeZone) -> RateInForce {
        let rate_at = |at: Timestamp| self.rate_at(zone.to_datetime(at));
        let rate = rate_at(now);
        let next = self.edges(now, zone).into_iter().find(|edge| rate_at(*edge) != rate);
        RateInForce { rate, until: next.and_then(|at| SystemTime::try_from(at).ok()) }
    }

    /// The moments after `now` at which the limit may change, in order: the windows' ends, and the
    /// changes of the clock, which may lead out of a window or back into one.
    fn edges(&self, now: Timestamp, zone: &TimeZone) -> Vec<Timestamp> {
        let today = zone.to_datetime(now).date();
        let mut edges = Vec::new();
        for days in -1..=HORIZON {
            let Ok(day) = today.checked_add(Span::new().days(days)) else { continue };
            let times = self.windows.iter().flat_map(|window| [window.from, window.to]);
            for local in times.filter_map(|time| time.on(day)) {
                // A time that occurs twice is two moments; one that is skipped is a moment too.
                let moments = zone.to_ambiguous_timestamp(local);
                edges.extend(moments.earlier().into_iter().chain(moments.later()));
            }
        }
        let last = edges.iter().max().copied().unwrap_or(now);
        let changes = zone.following(now).map(|change| change.timestamp());
        edges.extend(changes.take_while(|change| *change <= last));
        edges.retain(|edge| *edge > now);
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

/// In the form in which it is typed, with rates such as `2M`.
impl fmt::Display for RateSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for window in &self.windows {
            write!(f, "{window}, ")?;
        }
        write!(f, "{}", Rate(self.rate))
    }
}

/// A rate as it is typed.
struct Rate(Option<NonZeroU64>);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rate) = self.0 else { return f.write_str("off") };
        let units = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "K")];
        let whole = units.into_iter().find(|(unit, _)| rate.get().is_multiple_of(*unit));
        let (unit, letter) = whole.unwrap_or((1, ""));
        write!(f, "{}{letter}", rate.get() / unit)
    }
}

#[cfg(test)]
mod tests;
