//! The life of folders.

use super::*;

#[test]
fn folders_are_sent_after_their_contents() {
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
fn a_ready_folder_with_a_new_entry_waits_again() {
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
fn a_folders_times_do_not_count_while_its_files_are_removed() {
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
fn a_folder_that_stays_is_sent_once_and_removed_when_it_is_empty() {
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
fn an_unlistable_folder_delays_no_other() {
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
fn a_file_with_the_name_of_an_unlistable_folder_is_sent() {
    let mut table = table();
    see(&mut table, "d", folder(1, 10), at(0));
    table.observe(&name("d"), file(2, 5, 10), None, Activity::Moved, at(1), 0);
    table.unlistable(&name("d"));
    assert_eq!(pop(&mut table, "d").size(), 5);
    table.unlistable(&name("d"));
    assert_eq!(state(&table, "d"), "InFlight");
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
fn a_sweep_drops_entries_that_the_listing_did_not_see() {
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
