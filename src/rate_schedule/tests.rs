//! Schedules against the clock: edges, midnights and changes of daylight saving time.

use super::*;
use proptest::prelude::*;

/// Central European Time, by its rules: no files of the system are needed.
fn zone() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn time(text: &str) -> TimeOfDay {
    text.parse().unwrap()
}

fn window(days: Days, from: &str, to: &str, rate: u64) -> RateWindow {
    RateWindow::new(days, time(from), time(to), NonZeroU64::new(rate)).unwrap()
}

fn schedule(rate: u64, windows: &[RateWindow]) -> RateSchedule {
    RateSchedule::new(NonZeroU64::new(rate), windows.to_vec()).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The rate at a moment and the time of its change, both as numbers and text.
fn now(schedule: &RateSchedule, moment: &str) -> (u64, String) {
    let found = schedule.in_force(at(moment), &zone());
    let until = found.until.map(|until| Timestamp::try_from(until).unwrap().to_string());
    (found.rate.map_or(0, NonZeroU64::get), until.unwrap_or_default())
}

#[test]
fn windows_of_days_and_over_midnight() {
    let work = Days::range(0, 4);
    let schedule =
        schedule(9, &[window(work, "08:00", "18:00", 2), window(work, "22:00", "06:00", 0)]);
    // 2026-03-02 is a Monday; Berlin is an hour ahead of UTC then.
    assert_eq!(now(&schedule, "2026-03-02T07:00:00Z"), (2, "2026-03-02T17:00:00Z".into()));
    assert_eq!(now(&schedule, "2026-03-02T16:59:59Z"), (2, "2026-03-02T17:00:00Z".into()));
    assert_eq!(now(&schedule, "2026-03-02T17:00:00Z"), (9, "2026-03-02T21:00:00Z".into()));
    assert_eq!(now(&schedule, "2026-03-02T23:30:00Z"), (0, "2026-03-03T05:00:00Z".into()));
    // The night from Friday reaches into Saturday, whose own does not begin.
    assert_eq!(now(&schedule, "2026-03-07T04:00:00Z"), (0, "2026-03-07T05:00:00Z".into()));
    assert_eq!(now(&schedule, "2026-03-07T22:00:00Z"), (9, "2026-03-09T07:00:00Z".into()));
    // Monday before dawn belongs to Sunday.
    assert_eq!(now(&schedule, "2026-03-09T04:00:00Z").0, 9);
    assert_eq!(
        schedule.to_string(),
        "Mon Tue Wed Thu Fri 08:00-18:00 2, Mon Tue Wed Thu Fri 22:00-06:00 off, 9"
    );
}

#[test]
fn the_first_window_counts_and_a_constant_never_changes() {
    let weekend = window(Days::range(5, 6), "00:00", "24:00", 0);
    let schedule = schedule(9, &[weekend, window(Days::ALL, "08:00", "18:00", 2_000_000)]);
    assert_eq!(now(&schedule, "2026-03-07T10:00:00Z"), (0, "2026-03-08T23:00:00Z".into()));
    assert_eq!(now(&schedule, "2026-03-06T10:00:00Z").0, 2_000_000);
    assert_eq!(schedule.to_string(), "Sat Sun 00:00-24:00 off, 08:00-18:00 2M, 9");
    let always = RateSchedule::constant(NonZeroU64::new(5000));
    assert_eq!(now(&always, "2026-03-06T10:00:00Z"), (5000, String::new()));
    assert_eq!(
        (always.to_string(), RateSchedule::default().to_string()),
        ("5K".into(), "off".into())
    );
    // The rate of a window may be that of the time around it.
    let all = RateSchedule::new(NonZeroU64::new(7), vec![window(Days::ALL, "08:00", "18:00", 7)]);
    assert_eq!(now(&all.unwrap(), "2026-03-06T10:00:00Z"), (7, String::new()));
}

#[test]
fn daylight_saving_time_begins_and_ends() {
    let night = schedule(9, &[window(Days::ALL, "02:15", "02:45", 2)]);
    // On 2026-03-29 the clock goes from 02:00 to 03:00: there is no such time.
    assert_eq!(now(&night, "2026-03-29T00:59:00Z"), (9, "2026-03-30T00:15:00Z".into()));
    // On 2026-10-25 it goes from 03:00 to 02:00: the window comes twice.
    assert_eq!(now(&night, "2026-10-25T00:20:00Z"), (2, "2026-10-25T00:45:00Z".into()));
    assert_eq!(now(&night, "2026-10-25T00:50:00Z"), (9, "2026-10-25T01:15:00Z".into()));
    assert_eq!(now(&night, "2026-10-25T01:20:00Z"), (2, "2026-10-25T01:45:00Z".into()));
    // A window that ends in the hour that is left out ends with its begin.
    let early = schedule(9, &[window(Days::ALL, "01:00", "02:30", 2)]);
    assert_eq!(now(&early, "2026-03-29T00:30:00Z"), (2, "2026-03-29T01:00:00Z".into()));
}

#[test]
fn wrong_times_and_windows() {
    for text in
        ["", "8", "8:0", "08:60", "24:01", "25:00", "8:00pm", "008:00", "-1:00", "+8:00", "8:00 "]
    {
        assert_eq!(text.parse::<TimeOfDay>(), Err(WindowError::Time), "{text:?}");
    }
    assert_eq!((time("8:00"), time("24:00").to_string()), (time("08:00"), "24:00".into()));
    let new = |from, to| RateWindow::new(Days::ALL, time(from), time(to), None);
    assert_eq!(new("08:00", "08:00"), Err(WindowError::Empty));
    assert_eq!(new("24:00", "08:00"), Err(WindowError::Time));
    assert!(new("00:00", "24:00").is_ok() && new("00:00", "00:00").is_err());
    let many = vec![window(Days::ALL, "08:00", "18:00", 2); MAX_WINDOWS + 1];
    assert_eq!(RateSchedule::new(None, many), Err(TooManyWindows));
    for json in [
        r#"{"windows":[{"days":[],"from":"08:00","to":"18:00"}]}"#,
        r#"{"windows":[{"days":["Xyz"],"from":"08:00","to":"18:00"}]}"#,
        r#"{"windows":[{"days":["Mon"],"from":"08:00","to":"08:00"}]}"#,
        r#"{"windows":[{"days":["Mon"],"from":"99:00","to":"08:00"}]}"#,
        r#"{"rate":0}"#,
    ] {
        assert!(serde_json::from_str::<RateSchedule>(json).is_err(), "{json}");
    }
}

fn windows() -> impl Strategy<Value = RateWindow> {
    let days = (0u8..7, 0u8..7).prop_map(|(first, last)| Days::range(first, last));
    (days, 0u16..1440, 1u16..=1440, 0u64..4).prop_filter_map("empty", |(days, from, to, rate)| {
        let time = |minutes: u16| time(&format!("{:02}:{:02}", minutes / 60, minutes % 60));
        RateWindow::new(days, time(from), time(to), NonZeroU64::new(rate)).ok()
    })
}

proptest! {
    /// Minute by minute over two days around each change of the clock: the rate stays the same up
    /// to the moment that is told, and is another one there.
    #[test]
    fn the_next_change_is_the_first(
        windows in proptest::collection::vec(windows(), 0..4),
        rate in 0u64..4,
        change in 0usize..3,
        start in 0i64..2880,
    ) {
        let schedule = schedule(rate, &windows);
        let around = ["2026-03-28T00:00:00Z", "2026-10-24T00:00:00Z", "2026-06-06T00:00:00Z"][change];
        let minute = |n: i64| at(around).checked_add(Span::new().minutes(n)).unwrap();
        let zone = zone();
        let found = schedule.in_force(minute(start), &zone);
        let rate_at = |n: i64| schedule.rate_at(zone.to_datetime(minute(n)));
        prop_assert_eq!(found.rate, rate_at(start));
        let first = (start + 1..start + 15 * 1440).find(|n| rate_at(*n) != found.rate);
        let first = first.map(|n| SystemTime::try_from(minute(n)).unwrap());
        prop_assert_eq!(found.until, first);
    }

    #[test]
    fn a_schedule_survives_json(windows in proptest::collection::vec(windows(), 0..6), rate in 0u64..4) {
        let schedule = schedule(rate, &windows);
        let json = serde_json::to_string(&schedule).unwrap();
        prop_assert_eq!(serde_json::from_str::<RateSchedule>(&json).unwrap(), schedule);
    }
}
