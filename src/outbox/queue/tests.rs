//! The life of entries, in simulated time.

use super::changes::Observed;
use super::model::{ModelStep, OutboxModel, WAITS, at, file, folder, name, table};
use super::open_files::OpenNotice;
use super::table::{Now, Table};
use super::timers::DueEntry;
use crate::outbox::item::{Backlog, CleanupOutcome, Item, Retry};
use crate::outbox::watch::settle::Activity;
use crate::proto::message::EntryKind;
use crate::store::{Meta, Writers};
use std::time::Duration;

fn see(table: &mut Table, path: &str, meta: Meta, now: Now) -> Observed {
    table.observe(&name(path), meta, None, Activity::Seen, now, 1)
}

/// The state's name, without its time; "none" if there is no entry.
fn state(table: &Table, path: &str) -> String {
    let state = table.state(&name(path)).map(|state| format!("{state:?}"));
    state.and_then(|text| Some(text.split(' ').next()?.to_owned())).unwrap_or("none".into())
}

fn pop(table: &mut Table, path: &str) -> Item {
    let item = table.pop().unwrap_or_else(|| panic!("nothing is ready, not {path}"));
    assert_eq!(item.name, name(path));
    item
}

fn finish(table: &mut Table, item: Item, outcome: CleanupOutcome, now: Now) {
    let item = table.delivered(item).unwrap();
    table.cleaned_up(&item, outcome, now);
}

/// Looks at whatever is due, as `metas` has it.
fn look(table: &mut Table, metas: &[(&str, Meta)], now: Now) {
    for due in table.expire(now.mono, 100) {
        let DueEntry::Settled(due) = due else { panic!("nothing is open: {due:?}") };
        match metas.iter().find(|(path, _)| name(path) == due) {
            Some((_, meta)) => table.checked(&due, *meta, now),
            None => table.gone(&due),
        }
    }
    for ripe in table.maybe_complete() {
        let meta = metas.iter().find(|(path, _)| name(path) == ripe).unwrap().1;
        table.folder_checked(&ripe, meta, now);
    }
}

#[test]
fn a_file_settles_goes_out_and_is_gone() {
    let mut table = table();
    let meta = file(1, 5, 1000);
    assert_eq!(see(&mut table, "a", meta, at(0)), Observed::New);
    assert_eq!(table.backlog(), Backlog { files: 1, bytes: 5 });
    assert!(table.pop().is_none());
    assert_eq!(table.next_due(), Some(at(1000).mono));
    look(&mut table, &[("a", meta)], at(999));
    assert!(table.pop().is_none());
    look(&mut table, &[("a", meta)], at(1000));
    let item = pop(&mut table, "a");
    assert_eq!((item.kind.clone(), item.attempt), (EntryKind::File { size: 5 }, 0));
    assert!(table.pop().is_none(), "it is in flight");
    let id = item.id;
    finish(&mut table, item, CleanupOutcome::Gone, at(1100));
    assert_eq!(table.forgotten, [id]);
    assert!(table.backlog().is_empty() && table.entries.is_empty());
}

#[test]
fn a_change_is_seen_at_the_second_look() {
    let mut table = table();
    see(&mut table, "a", file(1, 5, 1000), at(0));
    look(&mut table, &[("a", file(1, 6, 1000))], at(1000));
    assert!(table.pop().is_none());
    assert_eq!(table.backlog().bytes, 6);
    look(&mut table, &[("a", file(1, 6, 1000))], at(2000));
    assert_eq!(pop(&mut table, "a").kind, EntryKind::File { size: 6 });
    // And one that is gone by then is dropped.
    see(&mut table, "b", file(2, 5, 1002), at(2000));
    look(&mut table, &[], at(3000));
    assert_eq!(state(&table, "b"), "none");
}

#[test]
fn what_is_moved_in_is_ready_at_once_and_what_is_written_on_is_not() {
    let mut table = table();
    let meta = file(1, 5, 1000);
    table.observe(&name("a"), meta, None, Activity::Moved, at(0), 0);
    assert_eq!(state(&table, "a"), "Ready");
    table.observe(&name("a"), file(1, 6, 1001), None, Activity::Written, at(1), 0);
    assert_eq!(state(&table, "a"), "Settling");
    assert!(
        !table.note(&name("a"), Activity::Closed, at(500).mono),
        "its last bytes are not known yet"
    );
    table.observe(&name("a"), file(1, 9, 1001), None, Activity::Closed, at(500), 0);
    look(&mut table, &[("a", file(1, 9, 1001))], at(600));
    assert_eq!(pop(&mut table, "a").meta.size, 9);
}

#[test]
fn a_file_that_is_replaced_in_flight_is_sent_again() {
    let mut table = table();
    table.observe(&name("a"), file(1, 5, 10), None, Activity::Moved, at(0), 0);
    let item = pop(&mut table, "a");
    let old = item.id;
    // Renamed over meanwhile: nobody else gets the name before the first one is done.
    table.observe(&name("a"), file(2, 7, 11), None, Activity::Moved, at(5), 0);
    assert!(table.pop().is_none());
    finish(&mut table, item, CleanupOutcome::Changed(Some(file(2, 7, 11))), at(10));
    assert_eq!(table.forgotten, [old]);
    let again = {
        look(&mut table, &[("a", file(2, 7, 11))], at(2000));
        pop(&mut table, "a")
    };
    assert!(again.id != old && again.meta.size == 7 && again.attempt == 0);
}

#[test]
fn what_vanishes_in_flight_is_dropped_when_it_comes_back() {
    let mut table = table();
    table.observe(&name("a"), file(1, 5, 10), None, Activity::Moved, at(0), 0);
    let item = pop(&mut table, "a");
    table.gone(&name("a"));
    assert_eq!(state(&table, "a"), "InFlight");
    table.failed(&item, Retry::Changed, None, at(5));
    assert_eq!(state(&table, "a"), "none");
    assert_eq!(table.forgotten, [item.id]);
    assert!(table.backlog().is_empty());
}

#[test]
fn failures_come_back_as_they_should() {
    let mut table = table();
    let meta = file(1, 5, 10);
    table.observe(&name("a"), meta, None, Activity::Moved, at(0), 0);
    let item = pop(&mut table, "a");
    table.failed(&item, Retry::Now, Some(meta), at(1));
    let item = pop(&mut table, "a");
    assert_eq!(item.attempt, 1);
    table.failed(&item, Retry::After, Some(meta), at(2));
    assert!(table.pop().is_none());
    assert_eq!(table.backlog().files, 1);
    let due = table.next_due().unwrap();
    assert!(due >= at(700).mono && due <= at(1300).mono, "{due:?}");
    table.expire(due, 10);
    let item = pop(&mut table, "a");
    table.failed(&item, Retry::WhenReadable, Some(meta), at(2000));
    assert!(table.backlog().is_empty(), "nobody waits for it");
    assert!(table.pop().is_none());
    let due = table.next_due().unwrap();
    table.expire(due, 10);
    assert_eq!(table.backlog().files, 1);
    let item = pop(&mut table, "a");
    table.failed(&item, Retry::WhenChanged, Some(meta), at(9000));
    assert!(table.backlog().is_empty() && table.next_due().is_none());
    see(&mut table, "a", meta, at(10_000));
    assert_eq!(state(&table, "a"), "Refused");
    table.reconsider();
    let item = pop(&mut table, "a");
    table.failed(&item, Retry::WhenChanged, Some(meta), at(10_000));
    see(&mut table, "a", file(1, 5, 11), at(11_000));
    assert_eq!(state(&table, "a"), "Settling");
    assert_eq!(table.forgotten, [item.id]);
}

#[test]
fn when_the_peers_disk_is_back_all_follow_within_seconds() {
    let mut table = table();
    let metas: Vec<_> = (1..=1000).map(|n| (format!("f{n}"), file(n, 5, 10))).collect();
    let refuse = |table: &mut Table, now: Now| {
        let mut offered = 0;
        while let Some(item) = table.pop() {
            let meta = metas.iter().find(|(path, _)| name(path) == item.name).unwrap().1;
            table.failed(&item, Retry::After, Some(meta), now);
            offered += 1;
        }
        offered
    };
    for (path, meta) in &metas {
        table.observe(&name(path), *meta, None, Activity::Moved, at(0), 0);
    }
    // It is full for ten minutes.
    let mut offered = 0;
    for second in 0..600 {
        table.expire(at(second * 1000).mono, 10_000);
        offered = if second < 300 { 0 } else { offered + refuse(&mut table, at(second * 1000)) };
        refuse(&mut table, at(second * 1000));
    }
    assert!(offered < 300 * 30, "{offered} offers in 5 minutes are too many");
    // It is back: something is tried within 5 s, and then all.
    let due = table.next_due().unwrap();
    assert!(due <= at(604_000).mono, "{due:?}");
    table.expire(at(604_000).mono, 10_000);
    let (mut rounds, mut arrived) = (0, 0);
    while arrived < metas.len() {
        rounds += 1;
        assert!(rounds < 20, "{arrived} arrived");
        let mut taken = Vec::new();
        while let Some(item) = table.pop() {
            taken.push(item);
        }
        arrived += taken.len();
        taken
            .into_iter()
            .for_each(|item| finish(&mut table, item, CleanupOutcome::Gone, at(604_000)));
        table.expire(at(604_000).mono, 10_000);
    }
}

#[test]
fn a_file_that_its_writer_has_open_is_sent_and_removed_when_that_is_over() {
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
    // Our own rename and its way back is no reason to try that again, over and over.
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
fn held_files_are_released_when_events_are_lost_and_when_they_change() {
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
fn folders_go_after_all_that_they_hold() {
    let mut table = table();
    let dirs = [("d", folder(1, 10)), ("d/e", folder(2, 10)), ("d/x", folder(3, 10))];
    for (path, meta) in dirs {
        see(&mut table, path, meta, at(0));
    }
    see(&mut table, "d/e/f", file(4, 5, 10), at(0));
    see(&mut table, "d.txt", file(5, 5, 10), at(0));
    look(&mut table, &dirs, at(0));
    for folder in ["d", "d/e", "d/x"] {
        assert_eq!(state(&table, folder), "AwaitingContents", "{folder} is not listed yet");
        table.sweep(Some(&name(folder)), 1);
    }
    look(&mut table, &dirs, at(0));
    let items: Vec<Item> = std::iter::from_fn(|| table.pop()).collect();
    let names: Vec<_> = items.iter().map(|i| i.name.to_string()).collect();
    assert_eq!(names, ["d/e/f", "d.txt"], "d/x is empty, but d is not quiet yet");
    for item in items {
        finish(&mut table, item, CleanupOutcome::Gone, at(10));
    }
    look(&mut table, &dirs, at(10));
    let (e, x) = (pop(&mut table, "d/e"), pop(&mut table, "d/x"));
    assert!(table.pop().is_none());
    finish(&mut table, x, CleanupOutcome::Gone, at(20));
    look(&mut table, &dirs, at(20));
    assert!(table.pop().is_none(), "d/e is still there");
    finish(&mut table, e, CleanupOutcome::Gone, at(30));
    look(&mut table, &dirs, at(30));
    let d = pop(&mut table, "d");
    finish(&mut table, d, CleanupOutcome::Gone, at(40));
    assert!(
        table.entries.is_empty()
            && table.index.pending_in.is_empty()
            && table.index.busy_beneath.is_empty()
    );
}

#[test]
fn a_folder_that_gets_something_while_it_is_ready_waits_again() {
    let mut table = table();
    let dir = [("d", folder(1, 10))];
    see(&mut table, "d", dir[0].1, at(0));
    table.sweep(Some(&name("d")), 1);
    look(&mut table, &dir, at(0));
    assert_eq!(state(&table, "d"), "Ready");
    see(&mut table, "d/new", file(2, 1, 1000), at(1));
    assert!(table.pop().is_none());
    assert_eq!(state(&table, "d"), "AwaitingContents");
}

#[test]
fn a_folder_whose_time_changed_settles_again() {
    let mut table = table();
    see(&mut table, "d", folder(1, 10), at(0));
    table.sweep(Some(&name("d")), 1);
    look(&mut table, &[("d", folder(1, 1000))], at(0));
    assert_eq!(state(&table, "d"), "Settling");
    look(&mut table, &[("d", folder(1, 1000))], at(1000));
    assert_eq!(state(&table, "d"), "Ready");
}

#[test]
fn a_folders_time_while_its_files_are_removed_is_not_looked_at() {
    let mut table = table();
    see(&mut table, "d", folder(1, 10), at(0));
    table.observe(&name("d/a"), file(2, 1, 10), None, Activity::Moved, at(0), 1);
    table.sweep(Some(&name("d")), 1);
    let item = table.pop().unwrap();
    let item = table.delivered(item).unwrap();
    look(&mut table, &[], at(1));
    assert_eq!(see(&mut table, "d", folder(1, 1000), at(2)), Observed::Same);
    table.cleaned_up(&item, CleanupOutcome::Gone, at(3));
    look(&mut table, &[("d", folder(1, 10))], at(3));
    assert_eq!(pop(&mut table, "d").meta, folder(1, 10));
}

#[test]
fn a_folder_that_stays_is_sent_once_and_removed_when_it_is_bare() {
    let mut table = table();
    let dir = [("d", folder(1, 10))];
    see(&mut table, "d", dir[0].1, at(0));
    table.observe(&name("d/refused"), file(2, 1, 10), None, Activity::Moved, at(0), 1);
    table.sweep(Some(&name("d")), 1);
    let file_item = pop(&mut table, "d/refused");
    table.failed(&file_item, Retry::WhenChanged, Some(file(2, 1, 10)), at(1));
    look(&mut table, &dir, at(1));
    let item = pop(&mut table, "d");
    finish(&mut table, item.clone(), CleanupOutcome::Changed(Some(dir[0].1)), at(2));
    see(&mut table, "d", dir[0].1, at(3));
    assert_eq!(state(&table, "d"), "Delivered");
    assert!(table.forgotten.is_empty(), "after a restart it is offered again");
    // The file changes, crosses and is removed: the folder follows with no second sending.
    see(&mut table, "d/refused", file(2, 3, 11), at(4));
    look(&mut table, &[("d/refused", file(2, 3, 11))], at(2000));
    let file_item = pop(&mut table, "d/refused");
    finish(&mut table, file_item, CleanupOutcome::Gone, at(2001));
    let emptied = table.take_emptied();
    assert_eq!(emptied.len(), 1);
    assert_eq!(emptied[0].id, item.id);
    table.cleaned_up(&emptied[0], CleanupOutcome::Gone, at(2002));
    assert!(table.entries.is_empty());
}

#[test]
fn a_folder_that_cannot_be_listed_holds_nothing_up() {
    let mut table = table();
    see(&mut table, "d", folder(1, 10), at(0));
    see(&mut table, "d/e", folder(2, 10), at(0));
    table.sweep(Some(&name("d")), 1);
    table.unlistable(&name("d/e"));
    look(&mut table, &[("d", folder(1, 10))], at(0));
    assert_eq!(pop(&mut table, "d").kind, EntryKind::Folder);
    assert!(table.pop().is_none());
    table.sweep(Some(&name("d/e")), 2);
    look(&mut table, &[("d/e", folder(2, 10))], at(0));
    assert_eq!(pop(&mut table, "d/e").kind, EntryKind::Folder);
}

#[test]
fn a_file_may_become_a_folder_and_back() {
    let mut table = table();
    see(&mut table, "a", file(1, 5, 10), at(0));
    assert_eq!(see(&mut table, "a", folder(2, 10), at(1)), Observed::New);
    see(&mut table, "a/b", file(3, 5, 10), at(1));
    assert_eq!(table.backlog(), Backlog { files: 2, bytes: 5 });
    assert_eq!(see(&mut table, "a", file(4, 9, 10), at(2)), Observed::New);
    table.gone(&name("a"));
    assert!(
        table.entries.is_empty()
            && table.index.pending_in.is_empty()
            && table.index.busy_beneath.is_empty()
    );
    assert_eq!(table.backlog(), Backlog::default());
}

#[test]
fn a_sweep_drops_what_a_listing_did_not_see() {
    let mut table = table();
    for path in ["a", "d/x", "d/y/z", "d0"] {
        see(&mut table, path, file(1, 5, 1000), at(0));
    }
    for path in ["d", "d/y"] {
        see(&mut table, path, folder(1, 1000), at(0));
    }
    table.observe(&name("d/y"), folder(1, 1000), None, Activity::Seen, at(1), 2);
    table.sweep(Some(&name("d")), 2);
    let left: Vec<_> = table.entries.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["a", "d", "d/y", "d/y/z", "d0"]);
    table.observe(&name("a"), file(1, 5, 1000), None, Activity::Seen, at(1), 3);
    table.sweep(None, 3);
    assert_eq!(table.entries.len(), 1, "a folder takes along what is in it");
}

#[test]
fn kept_files_are_known_until_they_change() {
    let mut table = Table::new([1; 16], WAITS, true);
    table.observe(&name("a"), file(1, 5, 10), None, Activity::Moved, at(0), 0);
    let item = pop(&mut table, "a");
    finish(&mut table, item, CleanupOutcome::Kept(Some(file(1, 5, 10))), at(1));
    assert_eq!((&*state(&table, "a"), table.forgotten.len()), ("Delivered", 1));
    let mut linked = file(1, 5, 10);
    linked.identity.changed.seconds += 1;
    see(&mut table, "a", linked, at(2));
    assert_eq!(state(&table, "a"), "Delivered");
    see(&mut table, "a", file(1, 6, 10), at(3));
    assert_eq!(state(&table, "a"), "Settling");
    table.known_delivered(&name("a"));
    assert!(table.backlog().is_empty());
}

proptest::proptest! {
    #[test]
    fn whatever_happens_all_goes_out_and_nothing_twice_at_once_or_early(
        steps in proptest::collection::vec(ModelStep::any(), 0..120),
    ) {
        OutboxModel::live(steps);
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
    // It grows, and a person is told once that it waits, and once that it stays.
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
fn a_snapshot_goes_after_the_quiet_and_the_file_stays() {
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

#[test]
fn what_is_only_touched_keeps_its_id() {
    let mut table = table();
    let mut meta = file(1, 5, 990);
    table.observe(&name("a"), meta, None, Activity::Moved, at(0), 1);
    let item = pop(&mut table, "a");
    table.failed(&item, Retry::After, Some(meta), at(10));
    meta.identity.changed.seconds += 9;
    see(&mut table, "a", meta, at(20));
    assert_eq!(state(&table, "a"), "Backoff");
    assert!(table.forgotten.is_empty());
    table.expire(at(5000).mono, 10);
    let again = pop(&mut table, "a");
    assert_eq!((again.id, again.meta), (item.id, meta));
    // The peer holds another content under this id: it is told to forget that.
    table.failed(&again, Retry::Forget, Some(meta), at(6000));
    assert_eq!((&*state(&table, "a"), table.forgotten == [item.id]), ("Backoff", true));
}

#[test]
fn a_kept_file_that_is_touched_is_verified() {
    let mut table = Table::new([1; 16], WAITS, true);
    let mut meta = file(1, 5, 990);
    table.observe(&name("a"), meta, None, Activity::Moved, at(0), 1);
    table.known_delivered(&name("a"));
    assert!(!table.is_touched(&name("a"), &meta));
    meta.identity.changed.seconds += 9;
    see(&mut table, "a", meta, at(20));
    assert!(table.is_touched(&name("a"), &meta));
    let item = table.take_to_verify(&name("a"), meta, Some([7; 32])).unwrap();
    assert!(table.take_to_verify(&name("a"), meta, None).is_none());
    table.cleaned_up(&item, CleanupOutcome::Changed(Some(meta)), at(30));
    assert_eq!(state(&table, "a"), "Settling");
}
