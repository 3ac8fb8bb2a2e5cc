//! The whole outbox over real folders.

#[cfg(target_os = "linux")]
mod measure;
mod selection;

use super::*;
use crate::config::{Folders, TempNames, Waits};
use crate::event::Event;
use crate::store::{CancelledFiles, Folder, Ledger, StateDir, UrgentMarks};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use std::time::{Duration, Instant};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(60);
/// A settle time that is longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// The path and the message of a warning.
type Warning = (Option<Name>, String);

/// The folders of one test, a ledger, and the warnings so far.
struct TestDirs {
    dir: tempfile::TempDir,
    state: StateDir,
    ledger: Arc<Ledger>,
    warnings: Arc<Mutex<Vec<Warning>>>,
}

impl TestDirs {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let state = StateDir::open(&Folders::in_dir(dir.path())).unwrap();
        let ledger = Arc::new(Ledger::open(&state).unwrap());
        Self { dir, state, ledger, warnings: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("Outgoing").join(name)
    }

    fn start_with(&self, settle: Duration, after_send: AfterSend, watch: bool) -> Outbox {
        let outgoing = Arc::new(Folder::open(&self.path(""), true).unwrap());
        let remover = Remover::open(Arc::clone(&outgoing), &self.state).unwrap();
        let ledger = Arc::clone(&self.ledger);
        let cancelled = Arc::clone(&outgoing);
        let warnings = Arc::clone(&self.warnings);
        let events = EventSink::new(move |event| {
            if let Event::Warning { path, message } = event {
                warnings.lock().unwrap().push((path, message));
            }
        });
        let drain = true;
        let brief = SHORT.min(settle);
        let after_close = Waits::DEFAULT.after_close.min(settle);
        let config = OutboxConfig {
            only: None,
            once: false,
            outgoing,
            remover: Some(remover),
            cancelled: Some(CancelledFiles::of(cancelled, &self.state)),
            urgent: Arc::new(UrgentMarks::of(&self.state)),
            ledger,
            after_send,
            waits: Waits { settle, after_close, empty_folder: brief, emptied_folder: brief },
            temp_names: TempNames::LeaveAlone,
            send_open: None,
            grace: Duration::from_millis(300),
            watch,
            drain,
        };
        Outbox::start(config, events).unwrap()
    }

    fn start(&self, settle: Duration) -> Outbox {
        self.start_with(settle, AfterSend::Delete, true)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Creates a file elsewhere on the volume and renames it into place.
    fn move_in(&self, name: &str, text: &str) {
        let aside = self.dir.path().join("aside");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.path(name)).unwrap();
    }
}

async fn next(outbox: &Outbox) -> Item {
    timeout(LONG, outbox.next()).await.expect("an item in time")
}

async fn next_named(outbox: &Outbox, name: &str) -> Item {
    let item = next(outbox).await;
    assert_eq!(item.name.to_string(), name);
    item
}

async fn drained(outbox: &Outbox) {
    let mut backlog = outbox.backlog();
    timeout(LONG, backlog.wait_for(Backlog::is_empty))
        .await
        .expect("an empty backlog in time")
        .unwrap();
}

/// Takes and delivers everything until the backlog is empty; the names in order.
async fn take_all(outbox: &Outbox) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        tokio::select! {
            biased;
            item = outbox.next() => {
                names.push(item.name.to_string());
                outbox.delivered(item);
            }
            () = drained(outbox) => return names,
        }
    }
}

async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn names(path: &Path) -> BTreeSet<String> {
    fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_file_renamed_into_place_is_sent_at_once_and_removed_after_its_delivery() {
    let dirs = TestDirs::new();
    let outbox = dirs.start(NEVER);
    drained(&outbox).await;
    dirs.move_in("a", "hello");
    let item = next_named(&outbox, "a").await;
    assert_eq!((item.size(), item.attempt, item.first_offer), (5, 0, true));
    // The backlog may follow a moment after the item is ready.
    let one = Backlog { files: 1, bytes: 5 };
    timeout(LONG, outbox.backlog().wait_for(|backlog| *backlog == one)).await.unwrap().unwrap();
    let id = item.id;
    outbox.delivered(item);
    assert_eq!(timeout(LONG, outbox.forgotten()).await.unwrap(), [id]);
    drained(&outbox).await;
    assert!(!dirs.path("a").exists());
    assert!(!outbox.removal_failed());
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_closed_file_waits_briefly_and_an_open_one_until_it_is_closed() {
    use std::io::Write;
    let dirs = TestDirs::new();
    let outbox = dirs.start(Duration::from_millis(1500));
    drained(&outbox).await;
    let begin = Instant::now();
    let mut slow = fs::File::create(dirs.path("slow")).unwrap();
    slow.write_all(b"half").unwrap();
    dirs.write("quick", "whole");
    let quick = next_named(&outbox, "quick").await;
    assert!(
        begin.elapsed() >= Waits::DEFAULT.after_close
            && begin.elapsed() < Duration::from_millis(1400)
    );
    outbox.delivered(quick);
    assert!(timeout(Duration::from_millis(2500), outbox.next()).await.is_err(), "it is still open");
    drop(slow);
    let item = next_named(&outbox, "slow").await;
    // The peer holds it, and a program opens it again before its removal.
    let mut slow = fs::OpenOptions::new().append(true).open(dirs.path("slow")).unwrap();
    outbox.delivered(item);
    drained(&outbox).await;
    assert!(dirs.path("slow").exists());
    slow.write_all(b", and the other half").unwrap();
    drop(slow);
    let item = next_named(&outbox, "slow").await;
    assert_eq!(item.size(), 24);
    outbox.delivered(item);
    until("it is removed", || !dirs.path("slow").exists()).await;
}

#[tokio::test]
async fn a_tree_is_sent_with_folders_last_and_leaves_nothing() {
    let dirs = TestDirs::new();
    for file in ["d/e/f/1", "d/e/2", "d/3", "top"] {
        dirs.write(file, file);
    }
    fs::create_dir(dirs.path("empty")).unwrap();
    let outbox = dirs.start(SHORT);
    let order = take_all(&outbox).await;
    let at = |name: &str| {
        order.iter().position(|n| n == name).unwrap_or_else(|| panic!("{name}: {order:?}"))
    };
    assert_eq!(order.len(), 8, "{order:?}");
    assert!(at("d/e/f/1") < at("d/e/f") && at("d/e/f") < at("d/e") && at("d/e/2") < at("d/e"));
    assert!(at("d/e") < at("d") && at("d/3") < at("d"));
    at("empty");
    assert_eq!(names(&dirs.path("")), BTreeSet::new());
}

#[tokio::test]
async fn without_events_scans_find_everything() {
    let dirs = TestDirs::new();
    let outbox = dirs.start_with(SHORT, AfterSend::Delete, false);
    drained(&outbox).await;
    dirs.write("d/a", "x");
    let item = next_named(&outbox, "d/a").await;
    outbox.delivered(item);
    let item = next_named(&outbox, "d").await;
    outbox.delivered(item);
    drained(&outbox).await;
    assert_eq!(names(&dirs.path("")), BTreeSet::new());
}

#[tokio::test]
async fn a_burst_of_events_loses_nothing() {
    let dirs = TestDirs::new();
    let outbox = dirs.start(SHORT);
    drained(&outbox).await;
    for i in 0..3000 {
        fs::write(dirs.path(&format!("file{i}")), b"x").unwrap();
    }
    let mut got = BTreeSet::new();
    while got.len() < 3000 {
        let item = next(&outbox).await;
        assert!(got.insert(item.name.to_string()), "{} twice", item.name);
        outbox.delivered(item);
    }
    drained(&outbox).await;
    assert_eq!(names(&dirs.path("")), BTreeSet::new());
}

#[tokio::test]
async fn a_tree_that_is_copied_in_is_complete() {
    let dirs = TestDirs::new();
    let outbox = dirs.start(Duration::from_millis(300));
    drained(&outbox).await;
    let mut expected = BTreeSet::new();
    for d in 0..20 {
        for f in 0..10 {
            dirs.write(&format!("tree/{d}/sub/{f}"), "x");
            expected.insert(format!("tree/{d}/sub/{f}"));
        }
        expected.extend([format!("tree/{d}/sub"), format!("tree/{d}")]);
    }
    expected.insert("tree".into());
    let mut got = BTreeSet::new();
    while got.len() < expected.len() {
        let item = next(&outbox).await;
        got.insert(item.name.to_string());
        outbox.delivered(item);
    }
    drained(&outbox).await;
    assert_eq!(got, expected);
    assert_eq!(names(&dirs.path("")), BTreeSet::new());
}

#[tokio::test]
async fn a_file_that_is_replaced_in_flight_is_not_removed_but_sent_again() {
    let dirs = TestDirs::new();
    dirs.write("a", "old");
    let outbox = dirs.start(SHORT);
    let item = next_named(&outbox, "a").await;
    let id = item.id;
    dirs.move_in("a", "new one");
    outbox.delivered(item);
    let again = next_named(&outbox, "a").await;
    assert!(again.id != id && again.size() == 7);
    outbox.delivered(again);
    drained(&outbox).await;
    assert!(!dirs.path("a").exists());
}

#[tokio::test]
async fn a_file_that_vanishes_in_flight_is_dropped_without_a_warning() {
    let dirs = TestDirs::new();
    dirs.write("a", "old");
    let outbox = dirs.start(SHORT);
    let item = next_named(&outbox, "a").await;
    fs::remove_file(dirs.path("a")).unwrap();
    let id = item.id;
    outbox.failed(item, Retry::Changed);
    drained(&outbox).await;
    assert_eq!(timeout(LONG, outbox.forgotten()).await.unwrap(), [id]);
    // The session reports that its user took it away.
    let warnings = dirs.warnings.lock().unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[tokio::test]
async fn a_folder_that_is_renamed_while_its_file_is_in_flight_goes_under_its_new_name() {
    let dirs = TestDirs::new();
    dirs.write("old/a", "x");
    let outbox = dirs.start(SHORT);
    let item = next_named(&outbox, "old/a").await;
    fs::rename(dirs.path("old"), dirs.path("new")).unwrap();
    outbox.delivered(item);
    let order = take_all(&outbox).await;
    assert_eq!(order, ["new/a", "new"]);
    assert_eq!(names(&dirs.path("")), BTreeSet::new());
}

#[tokio::test]
async fn changes_without_an_event_are_found_before_the_backlog_is_empty() {
    let dirs = TestDirs::new();
    dirs.write("old/a", "x");
    let outbox = dirs.start_with(SHORT, AfterSend::Delete, false);
    let item = next_named(&outbox, "old/a").await;
    fs::rename(dirs.path("old"), dirs.path("new")).unwrap();
    outbox.delivered(item);
    assert_eq!(take_all(&outbox).await, ["new/a", "new"]);
}

/// The inodes of the files and folders that this process watches.
#[cfg(target_os = "linux")]
fn watched() -> Vec<u64> {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts: Vec<_> = infos.filter_map(|info| fs::read_to_string(info.path()).ok()).collect();
    let lines =
        texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("inotify "));
    let numbers = lines.filter_map(|line| line.split(" ino:").nth(1)?.split(' ').next());
    numbers.map(|number| u64::from_str_radix(number, 16).unwrap()).collect()
}

/// At once, without waiting for a scan that finds an entry without an event.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_folder_that_took_the_place_of_outgoing_is_watched() {
    use std::os::unix::fs::MetadataExt;
    let dirs = TestDirs::new();
    let outbox = dirs.start(NEVER);
    drained(&outbox).await;
    for way in ["moved away", "removed"] {
        let number = dirs.path("").metadata().unwrap().ino();
        match way {
            "removed" => fs::remove_dir(dirs.path("")).unwrap(),
            _ => fs::rename(dirs.path(""), dirs.dir.path().join("older")).unwrap(),
        }
        fs::create_dir(dirs.path("")).unwrap();
        let new = dirs.path("").metadata().unwrap().ino();
        until(way, || watched().contains(&new) && !watched().contains(&number)).await;
        // Only an event can report this file as complete: after a scan it would settle for an hour.
        dirs.move_in(way, "hello");
        let item = next_named(&outbox, way).await;
        outbox.delivered(item);
        until("it is removed", || !dirs.path(way).exists()).await;
    }
    let told = dirs.warnings.lock().unwrap().iter().map(|one| one.1.clone()).collect::<Vec<_>>();
    assert!(told.iter().all(|text| text.contains("nothing is sent")), "{told:?}");
}

#[tokio::test]
async fn a_refused_file_waits_for_a_change() {
    let dirs = TestDirs::new();
    dirs.write("a", "x");
    let outbox = dirs.start(SHORT);
    let item = next_named(&outbox, "a").await;
    outbox.failed(item, Retry::WhenChanged);
    drained(&outbox).await;
    assert!(outbox.try_next().is_none());
    dirs.move_in("a", "other");
    let item = next_named(&outbox, "a").await;
    outbox.failed(item, Retry::Now);
    let item = next_named(&outbox, "a").await;
    assert_eq!(item.attempt, 1);
    // Another process of the peer may take it.
    outbox.failed(item, Retry::WhenChanged);
    drained(&outbox).await;
    outbox.peer_is_new();
    next_named(&outbox, "a").await;
}
