//! The life of entries, in simulated time.

mod folders;
mod open_files;

use super::changes::Observed;
use super::model::{ModelStep, OutboxModel, WAITS, at, file, folder, name, table};
use super::open_files::OpenNotice;
use super::table::{Now, Table};
use super::timers::DueEntry;
use crate::outbox::item::{CleanupOutcome, Item, Retry};
use crate::outbox::watch::settle::Activity;
use crate::proto::message::EntryKind;
use crate::status::Backlog;
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

/// Examines all due entries, which have the metadata in `metas`.
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
fn a_file_renamed_into_place_is_ready_at_once_unless_it_is_written_again() {
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
    // Another file is renamed over it. It is not handed out before the first delivery has ended.
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
fn a_file_that_vanishes_in_flight_is_dropped_when_its_delivery_ends() {
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
fn each_failure_is_retried_by_its_rule() {
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
fn when_the_peer_has_space_again_all_files_follow_within_seconds() {
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
    fn any_sequence_sends_every_file_and_none_twice_at_once_or_early(
        steps in proptest::collection::vec(ModelStep::any(), 0..120),
    ) {
        OutboxModel::live(steps);
    }
}

#[test]
fn a_touched_file_keeps_its_id() {
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
