//! One window of a schedule: days, times of day, and a rate.

use super::Rate;
use jiff::civil::{Date, DateTime, Weekday};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Minutes of a day.
const MINUTES: u16 = 24 * 60;

/// The days on which a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<&'static str>")]
pub struct Days(u8);

/// The days of the week as they are typed, from Monday on.
const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Days {
    /// Each day.
    pub const ALL: Self = Self(0x7f);

    /// The days from one to another, both included: `Fri-Mon` has four.
    pub fn range(first: u8, last: u8) -> Self {
        let count = (last + 7 - first) % 7 + 1;
        Self((0..count).map(|n| 1 << ((first + n) % 7)).sum())
    }

    /// The days of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The number of a day by its name, 0 for Monday; case does not matter.
    pub fn number_of(name: &str) -> Option<u8> {
        let is_name = |day: &&str| day.eq_ignore_ascii_case(name);
        NAMES.iter().position(is_name).and_then(|day| u8::try_from(day).ok())
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().enumerate().filter(move |(day, _)| self.0 & (1 << day) != 0).map(|d| d.1)
    }
}

impl From<Days> for Vec<&'static str> {
    fn from(days: Days) -> Self {
        days.names().collect()
    }
}

impl TryFrom<Vec<String>> for Days {
    type Error = WindowError;

    fn try_from(names: Vec<String>) -> Result<Self, WindowError> {
        let number = |name: &String| Self::number_of(name).ok_or(WindowError::Day);
        let mut days = names.iter().map(|name| Ok(1 << number(name)?));
        let days = days.try_fold(0, |all, day: Result<u8, _>| Ok(all | day?))?;
        if days == 0 { Err(WindowError::Day) } else { Ok(Self(days)) }
    }
}

/// A time of day to the minute; 24:00 is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// This time of a day; `None` beyond the years that jiff knows.
    pub(super) fn on(self, day: Date) -> Option<DateTime> {
        let day = if self.0 == MINUTES { day.tomorrow().ok()? } else { day };
        let minute = self.0 % MINUTES;
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        Some(day.at(hour, minute, 0, 0))
    }
}

impl FromStr for TimeOfDay {
    type Err = WindowError;

    /// `8:00`, `08:00`, `24:00`.
    fn from_str(text: &str) -> Result<Self, WindowError> {
        let number = |digits: &str, lengths: std::ops::RangeInclusive<usize>| {
            let plain = lengths.contains(&digits.len());
            let plain = plain && digits.bytes().all(|digit| digit.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| plain)
        };
        let (hour, minute) = text.split_once(':').ok_or(WindowError::Time)?;
        let time = number(hour, 1..=2).zip(number(minute, 2..=2));
        let time = time.filter(|(hour, minute)| *hour <= 24 && *minute < 60);
        let minutes = time.map(|(hour, minute)| hour * 60 + minute);
        minutes.filter(|minutes| *minutes <= MINUTES).map(Self).ok_or(WindowError::Time)
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Why something is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// Not a day of the week.
    #[error("not a day of the week, Mon to Sun")]
    Day,
    /// Not a time of day.
    #[error("not a time of day from 00:00 to 24:00")]
    Time,
    /// It ends when it begins.
    #[error("a window ends at another time than it begins; 00:00-24:00 is a whole day")]
    Empty,
}

/// A part of the week and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WindowParts")]
pub struct RateWindow {
    days: Days,
    /// Included.
    pub(super) from: TimeOfDay,
    /// Not included; on the next day if it is not later than `from`.
    pub(super) to: TimeOfDay,
    /// Bytes per second; `None` for no limit.
    pub(super) rate: Option<NonZeroU64>,
}

/// A window as it is read.
#[derive(Deserialize)]
struct WindowParts {
    days: Days,
    from: TimeOfDay,
    to: TimeOfDay,
    #[serde(default)]
    rate: Option<NonZeroU64>,
}

impl TryFrom<WindowParts> for RateWindow {
    type Error = WindowError;

    fn try_from(parts: WindowParts) -> Result<Self, WindowError> {
        Self::new(parts.days, parts.from, parts.to, parts.rate)
    }
}

impl RateWindow {
    /// Begins on each of the days at `from` and ends at `to`, on the next day if that is earlier.
    ///
    /// # Errors
    /// [`WindowError::Empty`].
    pub fn new(
        days: Days,
        from: TimeOfDay,
        to: TimeOfDay,
        rate: Option<NonZeroU64>,
    ) -> Result<Self, WindowError> {
        // 24:00 as the begin is 00:00 of the next day.
        if from.0 % MINUTES == to.0 % MINUTES && (from.0, to.0) != (0, MINUTES) {
            return Err(WindowError::Empty);
        }
        if from.0 == MINUTES {
            return Err(WindowError::Time);
        }
        Ok(Self { days, from, to, rate })
    }

    /// Whether a local time is in it.
    pub(super) fn contains(&self, local: DateTime) -> bool {
        let minute = local.hour().unsigned_abs() as u16 * 60 + local.minute().unsigned_abs() as u16;
        let (from, to) = (self.from.0, self.to.0);
        let today = self.days.has(local.weekday());
        if from < to {
            return today && (from..to).contains(&minute);
        }
        let yesterday = self.days.has(local.weekday().previous());
        today && minute >= from || yesterday && minute < to
    }
}

impl fmt::Display for RateWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != Days::ALL {
            for name in self.days.names() {
                write!(f, "{name} ")?;
            }
        }
        write!(f, "{}-{} {}", self.from, self.to, Rate(self.rate))
    }
}
