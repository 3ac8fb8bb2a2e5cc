//! Parses the times of `--since` and `--until`.

use crate::cli::exit::{self, Failure};
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::friendly::SpanParser;
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use std::time::SystemTime;

/// Parses a time in the past: `today`, `yesterday`, an age (`2h`, `3d`, `1w`), a time of today
/// (`13:30`), a local date with or without a time (`2026-11-20 13:30`), or RFC 3339.
///
/// # Errors
/// Exit code 14, naming the option.
pub(super) fn parse(option: &str, text: &str, now: &ZonedDateTime) -> Result<SystemTime, Failure> {
    let time = try_parse(text.trim(), now);
    time.and_then(|time| SystemTime::try_from(time).ok()).ok_or_else(|| {
        let text = rft::escape(text.as_bytes());
        let wanted = "not a time such as yesterday, 2h, 13:30, 2026-11-20 or \"2026-11-20 13:30\"";
        Failure::new(exit::NUMBER, format!("{option} {text}: {wanted}"))
    })
}

fn try_parse(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    let zone = now.time_zone();
    let local =
        |time: DateTime| time.to_zoned_datetime(zone.clone()).ok().map(|time| time.timestamp());
    match text {
        "now" => return Some(now.timestamp()),
        "today" => return now.start_of_day().ok().map(|day| day.timestamp()),
        "yesterday" => {
            let day = now.checked_sub(1.day()).ok()?;
            return day.start_of_day().ok().map(|day| day.timestamp());
        }
        _ => {}
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(date) = text.parse::<Date>()
        && !text.contains([':', 'T'])
    {
        return local(date.to_datetime(Time::midnight()));
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return local(time);
    }
    if let Ok(time) = text.parse::<Time>()
        && text.contains(':')
    {
        return local(now.date().to_datetime(time));
    }
    let age = SpanParser::new().parse_span(text.strip_suffix(" ago").unwrap_or(text)).ok()?;
    if age.is_negative() {
        return None;
    }
    now.checked_sub(age).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_in_the_local_zone() {
        let now: ZonedDateTime = "2026-03-30T01:15:00+02:00[Europe/Berlin]".parse().unwrap();
        for (text, wanted) in [
            ("now", "2026-03-29T23:15:00Z"),
            ("today", "2026-03-29T22:00:00Z"),
            // The day on which the clocks were set forward begins an hour before.
            ("yesterday", "2026-03-28T23:00:00Z"),
            ("2h", "2026-03-29T21:15:00Z"),
            ("90m", "2026-03-29T21:45:00Z"),
            ("1d", "2026-03-29T00:15:00Z"),
            ("1w", "2026-03-23T00:15:00Z"),
            ("3 days ago", "2026-03-27T00:15:00Z"),
            ("00:30", "2026-03-29T22:30:00Z"),
            ("2026-01-02", "2026-01-01T23:00:00Z"),
            ("2026-07-02 13:30", "2026-07-02T11:30:00Z"),
            ("2026-07-02T13:30:05", "2026-07-02T11:30:05Z"),
            ("2026-07-02T13:30:05Z", "2026-07-02T13:30:05Z"),
        ] {
            let parsed = try_parse(text, &now).map(|time| time.to_string());
            assert_eq!(parsed.as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "soon", "5", "-2h", "2026-13-01", "25:00", "yesterday 5"] {
            assert_eq!(try_parse(text, &now), None, "{text}");
        }
        assert_eq!(parse("--since", "so\non", &now).unwrap_err().code, exit::NUMBER);
    }
}
