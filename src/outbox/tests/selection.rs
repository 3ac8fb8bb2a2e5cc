//! Which entries are sent, over restarts too.

use super::*;

#[tokio::test]
async fn kept_files_are_sent_once_over_restarts() {
    let dirs = TestDirs::new();
    dirs.write("d/a", "x");
    let outbox = dirs.start_with(SHORT, AfterSend::Keep, true);
    assert_eq!(take_all(&outbox).await, ["d/a", "d"]);
    assert!(!timeout(LONG, outbox.forgotten()).await.unwrap().is_empty());
    drop(outbox);
    let outbox = dirs.start_with(SHORT, AfterSend::Keep, true);
    drained(&outbox).await;
    assert!(outbox.try_next().is_none());
    dirs.move_in("d/a", "changed");
    let item = next_named(&outbox, "d/a").await;
    outbox.delivered(item);
    assert_eq!(fs::read(dirs.path("d/a")).unwrap(), b"changed");
}

#[tokio::test]
async fn ids_are_the_same_after_a_restart() {
    let dirs = TestDirs::new();
    dirs.write("a", "x");
    let outbox = dirs.start(SHORT);
    let first = next_named(&outbox, "a").await;
    drop(outbox);
    let outbox = dirs.start(SHORT);
    let second = next_named(&outbox, "a").await;
    assert_eq!(second.id, first.id);
    // The peer may hold some of it from before.
    assert!(!second.first_offer);
    outbox.failed(second, Retry::Now);
    assert!(!next_named(&outbox, "a").await.first_offer);
}

#[tokio::test]
async fn a_second_attempt_is_no_first_offer() {
    let dirs = TestDirs::new();
    let outbox = dirs.start(SHORT);
    drained(&outbox).await;
    dirs.write("a", "x");
    let first = next_named(&outbox, "a").await;
    assert!(first.first_offer);
    outbox.failed(first, Retry::Now);
    assert!(!next_named(&outbox, "a").await.first_offer);
}

#[tokio::test]
async fn ignored_entries_stay_and_the_rules_may_change() {
    let dirs = TestDirs::new();
    dirs.write(".rftignore", "*.tmp\nskip/\n");
    dirs.write(".rft-own", "x");
    for file in ["a.tmp", "skip/b", "c"] {
        dirs.write(file, "x");
    }
    let outbox = dirs.start(SHORT);
    assert_eq!(take_all(&outbox).await, ["c"]);
    dirs.write("skip/later", "x");
    dirs.write(".rftignore", "skip/\n");
    let item = next_named(&outbox, "a.tmp").await;
    outbox.delivered(item);
    // The backlog may follow a moment after the item is ready, so it may still be empty.
    let left = BTreeSet::from([".rft-own", ".rftignore", "skip"].map(String::from));
    until("a.tmp is removed, and nothing else", || names(&dirs.path("")) == left).await;
}

#[test]
fn no_ignored_file_is_sent_while_the_ignore_file_is_rewritten() {
    let dirs = TestDirs::new();
    dirs.write("a.tmp", "x");
    let folder = Arc::new(Folder::open(&dirs.path(""), true).unwrap());
    let mut scanner =
        watch::scan::Scanner::new(folder, TempNames::LeaveAlone, None, EventSink::none());
    let mut is_found = |rules| {
        dirs.write(".rftignore", rules);
        let top = scanner.list(None).unwrap();
        scanner.refresh_rules(&top);
        top.into_iter().any(|listed| {
            listed.leaf.as_ref().is_ok_and(|leaf| leaf == b"a.tmp")
                && scanner.sift(None, listed).is_some()
        })
    };
    assert!(!is_found("*.tmp"));
    assert!(!is_found(""), "its writer may have emptied it to write it anew");
    assert!(!is_found("*.tmp\n"));
    assert!(is_found("*.other"));
}

#[tokio::test]
#[cfg(unix)]
async fn entries_that_cannot_be_sent_are_warned_about_once_and_delay_nothing() {
    use std::os::unix::ffi::OsStrExt;
    let dirs = TestDirs::new();
    dirs.write("d/file", "x");
    let socket = std::os::unix::net::UnixListener::bind(dirs.path("socket")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dirs.path("outside")).unwrap();
    std::os::unix::fs::symlink("d/file", dirs.path("inside")).unwrap();
    fs::write(dirs.path("").join(std::ffi::OsStr::from_bytes(b"\xff\x1b")), "x").unwrap();
    fs::write(dirs.path(&"n".repeat(255)), "x").unwrap();
    fs::write(dirs.path("D"), "x").unwrap();
    let outbox = dirs.start_with(SHORT, AfterSend::Delete, false);
    let mut sent = take_all(&outbox).await;
    sent.sort();
    assert_eq!(sent, ["D", "\\xff\\x1b", "d", "d/file", "inside", &"n".repeat(255)]);
    dirs.write("again", "x");
    assert_eq!(next(&outbox).await.name.to_string(), "again");
    let warned: Vec<_> =
        dirs.warnings.lock().unwrap().iter().filter_map(|(path, _)| path.clone()).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    drop(socket);
}

#[tokio::test]
async fn times_of_the_future_and_of_long_ago_are_sent() {
    let dirs = TestDirs::new();
    for (file, seconds) in [("future", 40_000_000_000_i64), ("past", -1_000_000_000)] {
        dirs.write(file, "x");
        let wait = Duration::from_secs(seconds.unsigned_abs());
        let epoch = std::time::UNIX_EPOCH;
        let time = if seconds < 0 { epoch - wait } else { epoch + wait };
        fs::File::options().write(true).open(dirs.path(file)).unwrap().set_modified(time).unwrap();
    }
    let outbox = dirs.start(SHORT);
    assert_eq!(take_all(&outbox).await.len(), 2);
}
