//! Times of day and ages, for people.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use std::time::{Duration, SystemTime};

/// The local time zone. It is read once: a service that runs for months follows a change of its
/// offset, not of its place.
#[derive(Debug, Clone)]
pub(crate) struct Clock(TimeZone);

impl Clock {
    /// That of the system; UTC if it has none.
    pub(crate) fn system() -> Self {
        Self(TimeZone::system())
    }

    #[cfg(test)]
    pub(crate) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    fn local(&self, time: SystemTime) -> ZonedDateTime {
        // jiff knows the years -9999 to 9999; a clock outside of them is shown as 1970.
        Timestamp::try_from(time).unwrap_or_default().to_zoned_datetime(self.0.clone())
    }

    /// `2026-03-01 23:14:05`.
    pub(crate) fn stamp(&self, time: SystemTime) -> String {
        self.local(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `23:14` on the day of `now`, `Mar 1 23:14` in its year, otherwise `2026-03-01`.
    pub(crate) fn short(&self, time: SystemTime, now: SystemTime) -> String {
        let (time, now) = (self.local(time), self.local(now));
        let format = match (time.year() == now.year(), time.date() == now.date()) {
            (_, true) => "%H:%M",
            (true, false) => "%b %-d %H:%M",
            (false, false) => "%Y-%m-%d",
        };
        time.strftime(format).to_string()
    }
}

/// The age of something in its largest unit: `7 s`, `41 min`, `5 h`, `3 d`.
pub(crate) fn age(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_short_as_they_can_be() {
        let clock = Clock::utc();
        let time = |text: &str| SystemTime::try_from(text.parse::<Timestamp>().unwrap()).unwrap();
        let now = time("2026-03-01T23:50:00Z");
        for (text, short) in [
            ("2026-03-01T23:14:05Z", "23:14"),
            ("2026-02-09T05:01:00Z", "Feb 9 05:01"),
            ("2025-12-31T23:59:59Z", "2025-12-31"),
        ] {
            assert_eq!(clock.short(time(text), now), short);
        }
        assert_eq!(clock.stamp(now), "2026-03-01 23:50:00");
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (300_000, "3 d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
