//! Parses the numbers of options: `20M`, `64Mi`, `250ms`.

use crate::cli::exit::{self, Failure};
use jiff::fmt::friendly::SpanParser;
use std::time::Duration;

/// Longest accepted duration: a year.
const MAX_DURATION: Duration = Duration::from_secs(365 * 86_400);

/// Parses a number of bytes: `4096`, `20M` (powers of 1000), `20Mi` (powers of 1024), `1.5G`. A `B`
/// may follow the unit, and case does not matter.
///
/// # Errors
/// Exit code 14, naming the option.
pub(crate) fn size(option: &str, text: &str) -> Result<u64, Failure> {
    parse_size(text).ok_or_else(|| {
        number(
            option,
            text,
            "a size such as 4096, 20M (20,000,000 bytes) or 64Mi (67,108,864 bytes)",
        )
    })
}

/// Parses a [`size`] of at least `min` bytes.
///
/// # Errors
/// Exit code 14, naming the option.
pub(crate) fn size_at_least(option: &str, text: &str, min: u64) -> Result<u64, Failure> {
    let bytes = size(option, text)?;
    if bytes < min {
        return Err(number(option, text, &format!("enough: give {}Mi or more", min >> 20)));
    }
    Ok(bytes)
}

/// Parses bytes per second: a size greater than 0, with or without `/s`.
///
/// # Errors
/// Exit code 14, naming the option.
pub(crate) fn rate(option: &str, text: &str) -> Result<u64, Failure> {
    let bytes = parse_size(text.strip_suffix("/s").unwrap_or(text));
    bytes.filter(|&rate| rate > 0).ok_or_else(|| {
        number(option, text, "a number of bytes per second above 0, such as 500K, 20M or 1Gi")
    })
}

/// Parses a duration: `250ms`, `1s`, `1.5s`, `2m`, `1h30m`, `90d`. A number without a unit is in
/// seconds, and a day has 24 hours.
///
/// # Errors
/// Exit code 14, naming the option.
pub(crate) fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    parse_duration(text).ok_or_else(|| number(option, text, "a duration such as 250ms, 1s or 2m"))
}

/// Parses a whole number from `min` to `max`.
///
/// # Errors
/// Exit code 14, naming the option.
pub(crate) fn count(option: &str, text: &str, min: usize, max: usize) -> Result<usize, Failure> {
    let parsed = text.parse().ok().filter(|n| (min..=max).contains(n));
    parsed.ok_or_else(|| number(option, text, &format!("a whole number from {min} to {max}")))
}

fn number(option: &str, text: &str, wanted: &str) -> Failure {
    let text = rft::escape(text.as_bytes());
    Failure::new(exit::NUMBER, format!("{option} {text}: not {wanted}"))
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = split_unit(text)?;
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (prefix, base) = match unit.strip_suffix('i') {
        Some(prefix) if !prefix.is_empty() => (prefix, 1024_u64),
        Some(_) => return None,
        None => (unit, 1000),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let factor = base.pow(power);
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let bytes = digits.parse::<f64>().ok()? * factor as f64;
    // From about 2^53 on an `f64` no longer holds every byte, and a larger one would saturate.
    (power > 0 && bytes < 9e15).then_some(bytes as u64)
}

fn parse_duration(text: &str) -> Option<Duration> {
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok()) {
        let duration = Duration::from_secs(86_400 * u64::from(days));
        return (duration <= MAX_DURATION).then_some(duration);
    }
    let without_unit = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let unit = if without_unit { "s" } else { "" };
    let duration = SpanParser::new().parse_unsigned_duration(format!("{text}{unit}")).ok()?;
    (duration <= MAX_DURATION).then_some(duration)
}

/// Splits a number, digits with at most one point between them, from the unit after it.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit());
    (plain && digits.matches('.').count() <= 1).then_some((digits, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("20M", Some(20_000_000)),
            ("20m", Some(20_000_000)),
            ("20MB", Some(20_000_000)),
            ("64Mi", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1.5G", Some(1_500_000_000)),
            ("2T", Some(2_000_000_000_000)),
            ("10 K", Some(10_000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999T", None),
            ("1.5", None),
            ("", None),
            ("M", None),
            ("-1", None),
            ("+1", None),
            ("1e9", None),
            ("1.2.3M", None),
            (".5M", None),
            ("5.M", None),
            ("20X", None),
            ("20i", None),
            ("20Mbit", None),
            ("inf", None),
            ("nan", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", Some(0)),
            ("250ms", Some(250)),
            ("1s", Some(1000)),
            ("1.5s", Some(1500)),
            ("3", Some(3000)),
            ("2m", Some(120_000)),
            ("1.5", Some(1500)),
            ("2min", Some(120_000)),
            ("10 ms", Some(10)),
            ("1h", Some(3_600_000)),
            ("1h30m", Some(5_400_000)),
            ("99999h", None),
            ("-1s", None),
            ("90d", Some(90 * 86_400_000)),
            ("366d", None),
            ("1.5d", None),
            ("s", None),
            (".5s", None),
            ("5.s", None),
            ("1.2.3", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn a_rate_of_zero_is_an_error() {
        assert_eq!(rate("--limit-rate", "0").unwrap_err().code, 14);
        assert_eq!(rate("--limit-rate", "20M/s").unwrap(), 20_000_000);
    }

    #[test]
    fn errors_name_the_option_and_escape_the_text() {
        let failure = size("--memory", "\u{1b}[2J").unwrap_err();
        assert_eq!(failure.code, 14);
        assert!(
            failure.reason.starts_with("--memory \\x1b[2J: not a size such as"),
            "{}",
            failure.reason
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_none(text in "[0-9.]{0,30} ?[a-zA-Z/ ]{0,4}|\\PC{0,20}") {
            let _ = (parse_size(&text), rate("--limit-rate", &text));
            if let Some(duration) = parse_duration(&text) {
                prop_assert!(duration <= MAX_DURATION);
            }
        }

        #[test]
        fn whole_numbers_mean_themselves(n in 0..u64::from(u32::MAX)) {
            prop_assert_eq!(parse_size(&n.to_string()), Some(n));
            prop_assert_eq!(parse_size(&format!("{n}KiB")), Some(n << 10));
            prop_assert_eq!(parse_size(&format!("{n} m")), Some(n * 1_000_000));
            prop_assert_eq!(parse_duration(&format!("{}ms", n % 1_000_000_000)), Some(Duration::from_millis(n % 1_000_000_000)));
        }
    }
}
