//! Files that a program has open for writing.

use super::*;

#[test]
fn an_open_file_is_sent_when_quiet_and_removed_after_its_close() {
    let mut table = table();
    let meta = file(1, 5, 1000);
    table.observe(&name("a"), meta, None, Activity::Written, at(0), 0);
    look(&mut table, &[("a", meta)], at(1000));
    let item = pop(&mut table, "a");
    assert!(table.delivered(item.clone()).is_none());
    assert!(table.backlog().is_empty(), "the peer holds it");
    let ask = |table: &mut Table, writers| {
        assert_eq!(table.expire(at(5000).mono, 10), [DueEntry::Open(name("a"))]);
        table.asked(&name("a"), meta, writers, at(5000).mono, at(6000).mono);
    };
    // rft's own rename out of Outgoing and back must not cause another one, without end.
    ask(&mut table, Writers::Some);
    table.gone(&name("a"));
    table.note(&name("a"), Activity::Moved, at(5000).mono);
    ask(&mut table, Writers::Some);
    assert!(table.to_clean_up.is_empty() && table.expire(at(5000).mono, 10).is_empty());
    assert!(table.note(&name("a"), Activity::Closed, at(5000).mono));
    ask(&mut table, Writers::None);
    assert_eq!(table.to_clean_up, std::slice::from_ref(&item));
    table.cleaned_up(&item, CleanupOutcome::Gone, at(5001));
    assert!(table.entries.is_empty());
}

#[test]
fn delivered_open_files_are_released_when_events_are_lost_and_when_they_change() {
    for lost in [true, false] {
        let mut table = table();
        let meta = file(1, 5, 1000);
        table.observe(&name("a"), meta, None, Activity::Written, at(0), 0);
        look(&mut table, &[("a", meta)], at(1000));
        let item = pop(&mut table, "a");
        table.delivered(item);
        see(&mut table, "a", meta, at(1500));
        assert!(table.to_clean_up.is_empty());
        if lost {
            table.events_lost();
            assert_eq!(table.expire(at(1500).mono, 10), [DueEntry::Open(name("a"))]);
            table.asked(&name("a"), meta, Writers::Unknown, at(1500).mono, at(2500).mono);
        } else {
            see(&mut table, "a", file(1, 9, 1001), at(2000));
        }
        assert_eq!(table.to_clean_up.len(), 1);
    }
}

#[test]
fn a_file_that_a_program_has_open_waits_until_the_last_close() {
    let mut table = table();
    let open = |table: &mut Table, ms: u64, meta: Meta, writers| {
        let due = table.expire(at(ms).mono, 10);
        assert_eq!(due, [DueEntry::Open(name("log"))]);
        table.asked(&name("log"), meta, writers, at(ms).mono, at(ms + 1000).mono)
    };
    table.observe(&name("log"), file(1, 5, 990), None, Activity::Written, at(0), 1);
    assert_eq!(table.expire(at(1000).mono, 10), [DueEntry::Settled(name("log"))]);
    assert!(table.must_ask(&name("log")));
    table.found_open(&name("log"), at(1000).mono, at(2000).mono);
    assert_eq!((&*state(&table, "log"), table.backlog().files, table.count_open()), ("Open", 1, 1));
    // It grows. The user is told once that it waits, and once that it stays.
    assert_eq!(open(&mut table, 2000, file(1, 6, 1001), Writers::Some), OpenNotice::Waits);
    table.note(&name("log"), Activity::Written, at(2500).mono);
    assert_eq!(open(&mut table, 3000, file(1, 6, 1001), Writers::Some), OpenNotice::Nothing);
    assert_eq!(open(&mut table, 61_000, file(1, 6, 1001), Writers::Some), OpenNotice::Stays);
    assert_eq!(open(&mut table, 62_000, file(1, 6, 1001), Writers::Some), OpenNotice::Nothing);
    // One of its writers closes it: the system is asked again.
    table.note(&name("log"), Activity::Closed, at(62_100).mono);
    assert_eq!(table.expire(at(62_180).mono, 10), [DueEntry::Settled(name("log"))]);
    assert!(table.must_ask(&name("log")));
    table.found_open(&name("log"), at(62_180).mono, at(63_180).mono);
    // The close of the last one was in no event.
    assert_eq!(open(&mut table, 63_180, file(1, 6, 1001), Writers::None), OpenNotice::Nothing);
    assert_eq!(table.expire(at(63_180).mono, 10), [DueEntry::Settled(name("log"))]);
    table.checked(&name("log"), file(1, 6, 1001), at(63_180));
    let item = pop(&mut table, "log");
    assert!(!item.snapshot && table.count_open() == 0);
    assert_eq!(table.delivered(item.clone()), Some(item));
}

#[test]
fn a_snapshot_is_sent_after_the_quiet_time_and_the_file_stays() {
    let mut table = table();
    table.send_open = Some(Duration::from_secs(5));
    table.observe(&name("log"), file(1, 5, 990), None, Activity::Closed, at(0), 1);
    table.expire(at(80).mono, 10);
    table.checked(&name("log"), file(1, 5, 990), at(80));
    let item = pop(&mut table, "log");
    table.failed(&item, Retry::Open, Some(item.meta), at(100));
    assert_eq!(state(&table, "log"), "Open");
    for ms in [100, 1100, 2100] {
        assert_eq!(table.expire(at(ms).mono, 10), [DueEntry::Open(name("log"))]);
        table.asked(&name("log"), file(1, 5, 990), Writers::Some, at(ms).mono, at(ms + 1000).mono);
    }
    // More is written: the quiet begins again.
    table.expire(at(3100).mono, 10);
    table.asked(&name("log"), file(1, 9, 1003), Writers::Some, at(3100).mono, at(8200).mono);
    assert!(table.expire(at(8000).mono, 10).is_empty());
    assert_eq!(table.expire(at(8100).mono, 10), [DueEntry::Open(name("log"))]);
    table.asked(&name("log"), file(1, 9, 1003), Writers::Some, at(8100).mono, at(9100).mono);
    let item = pop(&mut table, "log");
    assert!(item.snapshot && item.meta.size == 9);
    let item = table.delivered(item).unwrap();
    table.cleaned_up(&item, CleanupOutcome::InUse(Some(item.meta)), at(8200));
    assert_eq!((&*state(&table, "log"), table.backlog().files), ("DeliveredOpen", 0));
    // The next line makes it go through all that again.
    table.note(&name("log"), Activity::Written, at(9000).mono);
    assert_eq!(table.expire(at(9000).mono, 10), [DueEntry::Open(name("log"))]);
    table.asked(&name("log"), file(1, 12, 1009), Writers::Some, at(9000).mono, at(10_000).mono);
    let [released] = &std::mem::take(&mut table.to_clean_up)[..] else { panic!("it is released") };
    table.cleaned_up(released, CleanupOutcome::Changed(Some(file(1, 12, 1009))), at(9000));
    assert_eq!(state(&table, "log"), "Settling");
}
