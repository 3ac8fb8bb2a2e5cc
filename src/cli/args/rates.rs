//! Parses a limit of the rate that may depend on the time: `20M`, `off`,
//! `Mon-Fri 08:00-18:00 2M, 22:00-06:00 off, 10M`.

use super::units;
use crate::cli::exit::{self, Failure};
use rft::rate_schedule::{Days, MAX_WINDOWS, RateSchedule, RateWindow, TimeOfDay, WindowError};
use std::num::NonZeroU64;

/// A window as an example in a message.
const EXAMPLE: &str = "type, for example: 'Mon-Fri 08:00-18:00 2M, 22:00-06:00 off'";

/// Parses a schedule: windows with commas between them, each with days (all without them), two
/// times of day and a rate, and a rate for all other times (no limit without it).
///
/// # Errors
/// Exit code 14, naming the option.
pub(crate) fn schedule(option: &str, text: &str) -> Result<RateSchedule, Failure> {
    let (mut windows, mut other) = (Vec::new(), None);
    let is_simple = !text.contains(',');
    for item in text.split(',').map(str::trim) {
        let wrong = |problem: String| wrong(option, item, &problem);
        let has_time = |word: &str| word.contains(':');
        if item.is_empty() && !is_simple {
            return Err(wrong("there is nothing at one side of a comma".into()));
        }
        if item.split_whitespace().any(has_time) || begins_with_day(item) {
            windows.push(window(option, item)?);
        } else if other.replace(rate(option, item)?).is_some() {
            return Err(wrong("a second rate without times; one counts outside of them".into()));
        }
    }
    RateSchedule::new(other.flatten(), windows).map_err(|_| {
        let reason = format!("{option}: more than {MAX_WINDOWS} windows of time; give fewer");
        Failure::new(exit::NUMBER, reason)
    })
}

fn begins_with_day(item: &str) -> bool {
    let first = item.split([' ', '-']).next().unwrap_or_default();
    Days::number_of(first).is_some()
}

/// `20M` or `off`.
fn rate(option: &str, text: &str) -> Result<Option<NonZeroU64>, Failure> {
    if text == "off" {
        return Ok(None);
    }
    Ok(NonZeroU64::new(units::rate(option, text)?))
}

/// `Mon-Fri 08:00-18:00 2M`.
fn window(option: &str, item: &str) -> Result<RateWindow, Failure> {
    let wrong = |problem: String| wrong(option, item, &problem);
    let words: Vec<&str> = item.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| word.contains(':')) else {
        return Err(wrong("a window has two times, such as 08:00-18:00".into()));
    };
    let mut days = None::<Days>;
    for word in &words[..at] {
        let found =
            days_of(word).ok_or_else(|| wrong(format!("{} is no day, Mon to Sun", shown(word))))?;
        days = Some(days.map_or(found, |days| days.and(found)));
    }
    let Some((from, to)) = words[at].split_once('-') else {
        let problem = "is one time, and a window has two with a - between them";
        return Err(wrong(format!("{} {problem}", words[at])));
    };
    let time = |text: &str| {
        let problem = || wrong(format!("{} is no time from 00:00 to 24:00", shown(text)));
        text.parse::<TimeOfDay>().map_err(|_| problem())
    };
    let (from, to) = (time(from)?, time(to)?);
    let rate = match &words[at + 1..] {
        [] => return Err(wrong("there is no rate after the times, such as 2M or off".into())),
        words => rate(option, &words.join(" "))?,
    };
    RateWindow::new(days.unwrap_or(Days::ALL), from, to, rate).map_err(|error| {
        wrong(match error {
            WindowError::Empty => "it ends when it begins; the whole day is 00:00-24:00".to_owned(),
            _ => "a window begins at 23:59 or before".to_owned(),
        })
    })
}

/// `Mon` or `Mon-Fri`.
fn days_of(word: &str) -> Option<Days> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(Days::range(Days::number_of(first)?, Days::number_of(last)?))
}

fn wrong(option: &str, item: &str, problem: &str) -> Failure {
    let item = if item.is_empty() { String::new() } else { format!(" {}", shown(item)) };
    Failure::new(exit::NUMBER, format!("{option}{item}: {problem}; {EXAMPLE}"))
}

fn shown(text: &str) -> String {
    rft::escape(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(text: &str) -> String {
        schedule("RATE", text).unwrap().to_string()
    }

    #[test]
    fn right_ones() {
        for (text, shown) in [
            ("20M", "20M"),
            ("10 K", "10K"),
            ("off", "off"),
            ("08:00-18:00 2M", "08:00-18:00 2M, off"),
            ("8:00-18:00 2M/s,10M", "08:00-18:00 2M, 10M"),
            ("10M, 08:00-18:00 2M", "08:00-18:00 2M, 10M"),
            ("08:00-18:00 2M, 22:00-06:00 off", "08:00-18:00 2M, 22:00-06:00 off, off"),
            ("mon-Wed 08:00-18:00 1.5M", "Mon Tue Wed 08:00-18:00 1500K, off"),
            ("Fri-Mon SAT 00:00-24:00 off", "Mon Fri Sat Sun 00:00-24:00 off, off"),
            ("  Mon   08:00-24:00   1500 ", "Mon 08:00-24:00 1500, off"),
        ] {
            assert_eq!(typed(text), shown, "{text:?}");
            // What is shown can be typed.
            assert_eq!(typed(shown), shown);
        }
    }

    #[test]
    fn each_wrong_one_has_its_sentence() {
        for (text, says) in [
            ("", "not a number of bytes per second"),
            ("fast", "fast: not a number of bytes per second above 0"),
            ("0", "0: not a number of bytes per second above 0"),
            ("2M,", "there is nothing at one side of a comma"),
            ("2M, 5M", "5M: a second rate without times"),
            ("08:00 2M", "08:00 is one time, and a window has two"),
            ("08:00-18:00", "there is no rate after the times"),
            ("08:00-18:00 fast", "fast: not a number of bytes per second"),
            ("08:00-18:00 2M 3M", "2M 3M: not a number of bytes per second"),
            ("08:00 - 18:00 2M", "08:00 is one time"),
            ("8-18 2M", "8-18 2M: not a number of bytes per second"),
            ("08:00-25:00 2M", "25:00 is no time from 00:00 to 24:00"),
            ("08:00-8:00 2M", "it ends when it begins"),
            ("24:00-08:00 2M", "a window begins at 23:59 or before"),
            ("Monday 08:00-18:00 2M", "Monday is no day, Mon to Sun"),
            ("Mon,Tue 08:00-18:00 2M", "Mon: a window has two times"),
            ("\u{1b}[2J 08:00-18:00 2M", "\\x1b[2J is no day"),
        ] {
            let failure = schedule("--limit-rate", text).unwrap_err();
            assert_eq!(failure.code, exit::NUMBER, "{text:?}");
            assert!(failure.reason.starts_with("--limit-rate"), "{text:?}: {}", failure.reason);
            assert!(failure.reason.contains(says), "{text:?}: {}", failure.reason);
        }
        let many = vec!["08:00-18:00 2M"; MAX_WINDOWS + 1].join(",");
        assert!(schedule("RATE", &many).unwrap_err().reason.contains("more than 50 windows"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_schedule_that_can_be_typed_or_a_sentence(
            text in "(([Mm]on|Sun|Xyz|Tue-Fri|off|[0-9]{1,2}:[0-9]{2}|[0-9]{1,4}[KM]?|-|,) ?){0,9}|\\PC{0,30}"
        ) {
            match schedule("RATE", &text) {
                Ok(found) => prop_assert_eq!(schedule("RATE", &found.to_string()).unwrap(), found),
                Err(failure) => {
                    prop_assert_eq!(failure.code, exit::NUMBER);
                    prop_assert!(!failure.reason.chars().any(char::is_control));
                }
            }
        }
    }
}
