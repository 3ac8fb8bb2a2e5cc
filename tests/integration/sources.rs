//! Files that change while they are sent, and special files in Outgoing: the program itself, two
//! processes on loopback.

mod waits;

use crate::harness::events::{of_path, of_transfer, with_message};
use crate::harness::files::{hash_of, plant_big};
use crate::harness::peer::{Host, PASSWORD, Pair, Running};
use crate::harness::until;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A file that takes a few seconds at [`SLOW`].
const BIG: u64 = 6_000_000;
const SLOW: [&str; 2] = ["--limit-rate", "3M"];

/// The contents of all files of a folder, by name.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect()
}

/// Starts a dialling peer through another command, which gets the program's arguments after its
/// own.
fn start_by(host: &Host, mut command: Command, options: &[&str]) -> Running {
    let port = host.port.to_string();
    let waits = ["--settle", "100ms", "--folder-wait", "100ms"];
    let common = [&["--bind", &host.bind][..], &waits, &[&host.peer, &port]].concat();
    command.args(host.command(PASSWORD, &[options, &common].concat()).get_args());
    command.env("RFT_PASSWORD", PASSWORD);
    Running::spawn(command)
}

/// A file changes while it is sent: the receiver never stores a mixture, but once the last content.
#[test]
fn a_file_that_changes_while_it_is_sent_is_never_stored_mixed() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &str); 4] = [
        (
            "truncated",
            |file| File::options().write(true).open(file).unwrap().set_len(1_000_000).unwrap(),
            "f",
        ),
        ("overwritten", |file| fs::write(file, vec![b'n'; BIG as usize]).unwrap(), "f"),
        (
            "replaced",
            |file| {
                let aside = file.parent().unwrap().with_file_name("aside");
                fs::write(&aside, vec![b'r'; 2_000_000]).unwrap();
                fs::rename(aside, file).unwrap();
            },
            "f",
        ),
        ("renamed", |file| fs::rename(file, file.with_file_name("g")).unwrap(), "g"),
    ];
    for (how, change, name) in changes {
        let pair = Pair::new();
        let file = pair.a.outgoing().join("f");
        plant_big(&file, BIG, 1);
        let (mut a, b) =
            (pair.a.start(&[&["--drain"], &SLOW[..]].concat()), pair.b.start(&["--drain"]));
        a.waits_for("file_progress", of_path("f"));
        change(&file);
        let new = fs::read(file.with_file_name(name)).unwrap();
        a.ends(0);
        b.ends(0);
        let arrived = contents(&pair.b.incoming());
        assert_eq!(arrived.get(name), Some(&new), "{how}: {:?}", arrived.keys());
        // A renamed file is not sent under its first name.
        assert_eq!(arrived.len(), 1, "{how}: {:?}", arrived.keys());
        assert_eq!(contents(&pair.a.outgoing()).len(), 0, "{how}");
        pair.b.left_nothing_over();
    }
}

#[test]
fn a_file_deleted_while_it_is_sent_is_reported_and_delays_nothing() {
    let pair = Pair::new();
    plant_big(&pair.a.outgoing().join("f"), BIG, 1);
    let (mut a, b) =
        (pair.a.start(&[&["--drain"], &SLOW[..]].concat()), pair.b.start(&["--drain"]));
    a.waits_for("file_progress", of_path("f"));
    fs::remove_file(pair.a.outgoing().join("f")).unwrap();
    let events = a.ends(0);
    b.ends(0);
    assert!(
        events.iter().any(|event| event["event"] == "file_failed" && event["path"] == "f"),
        "{events:?}"
    );
    assert_eq!(contents(&pair.b.incoming()).len(), 0);
    pair.b.left_nothing_over();
}

/// Runs the program as a user who, unlike root, cannot read everything.
fn as_nobody(host: &Host) -> Command {
    const NOBODY: u32 = 65_534;
    let program = Path::new(env!("CARGO_BIN_EXE_rft"));
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    // Other users may be unable to reach the program itself, but they can reach a copy.
    let base = host.dir.parent().unwrap();
    let copy = base.join("rft");
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(base, Permissions::from_mode(0o755)).unwrap();
    for path in [host.dir.clone(), host.outgoing()] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    for entry in fs::read_dir(host.outgoing()).unwrap() {
        std::os::unix::fs::lchown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY);
    command
}

/// An unreadable file is reported with its name and the reason and delays no other file. It is sent
/// once it becomes readable, although nothing about the file itself changes.
#[test]
fn an_unreadable_file_is_reported_and_sent_once_readable() {
    let pair = Pair::new();
    let shut = pair.a.outgoing().join("shut");
    fs::write(pair.a.outgoing().join("open"), "open").unwrap();
    fs::write(&shut, "shut").unwrap();
    fs::set_permissions(&shut, Permissions::from_mode(0o000)).unwrap();
    let mut b = pair.b.start(&[]);
    let mut a = start_by(&pair.a, as_nobody(&pair.a), &[]);
    a.waits_for("file_failed", |event| {
        let error = event["error"].as_str().unwrap();
        event["path"] == "shut" && event["retry"] == true && error.contains("permission denied")
    });
    b.waits_for("file_done", of_path("open"));
    // The second attempt comes later than the first: the sender backs off.
    a.waits_for("file_failed", of_path("shut"));
    fs::set_permissions(&shut, Permissions::from_mode(0o600)).unwrap();
    b.waits_for("file_done", of_path("shut"));
    until("it is removed", || !shut.exists());
    a.stop();
}

/// `--drain` does not wait for an unreadable file and reports that it is left behind.
#[test]
fn a_drain_leaves_an_unreadable_file_behind() {
    let pair = Pair::new();
    for name in ["open", "shut"] {
        fs::write(pair.a.outgoing().join(name), name).unwrap();
    }
    fs::set_permissions(pair.a.outgoing().join("shut"), Permissions::from_mode(0o000)).unwrap();
    let b = pair.b.start(&["--drain"]);
    start_by(&pair.a, as_nobody(&pair.a), &["--drain"]).ends(1);
    b.ends(0);
    assert_eq!(contents(&pair.b.incoming()).len(), 1);
    assert!(pair.a.outgoing().join("shut").exists());
}

/// A log that grows all the time is not sent before it rests, and delays no other file.
#[test]
fn a_growing_file_waits_and_delays_nothing() {
    let pair = Pair::new();
    let port = pair.a.port.to_string();
    let mut b = pair.b.start(&[]);
    // A long settle time, in case the machine stalls between two lines.
    let mut a = pair.a.start_raw(&["--settle", "4s", "--bind", &pair.a.bind, &pair.a.peer, &port]);
    a.waits_for("connected", |_| true);
    let log = pair.a.outgoing().join("log");
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (log, done) = (log.clone(), done.clone());
        move || {
            let mut text = String::new();
            let mut file = File::create(log).unwrap();
            while !done.load(Ordering::Relaxed) {
                let line = format!("line {}\n", text.len());
                file.write_all(line.as_bytes()).unwrap();
                text.push_str(&line);
                std::thread::sleep(Duration::from_millis(20));
            }
            text
        }
    });
    for name in ["one", "two", "three"] {
        let aside = pair.a.dir.join("aside");
        fs::write(&aside, name).unwrap();
        fs::rename(aside, pair.a.outgoing().join(name)).unwrap();
        b.waits_for("file_done", move |event| {
            assert_ne!(event["path"], "log", "it was not at rest");
            event["path"] == name
        });
        std::thread::sleep(Duration::from_millis(700));
    }
    assert!(!pair.b.incoming().join("log").exists());
    done.store(true, Ordering::Relaxed);
    let text = writer.join().unwrap();
    b.waits_for("file_done", of_path("log"));
    assert_eq!(fs::read_to_string(pair.b.incoming().join("log")).unwrap(), text);
    until("it is removed", || !log.exists());
}

/// The disk cannot read the middle of a file: both users are told, other files go on, and once the
/// disk works again the file resumes from the received part.
#[test]
fn a_read_error_is_reported_and_the_file_resumes_there() {
    let mut pair = Pair::new();
    let flag = pair.a.dir.join("fault");
    pair.a.failpoints = format!("send.read=EIO@{}", flag.display());
    let (mut a, mut b) = (pair.a.start(&SLOW), pair.b.start(&[]));
    let hash = plant_big(&pair.a.dir.join("aside"), BIG, 1);
    fs::rename(pair.a.dir.join("aside"), pair.a.outgoing().join("big")).unwrap();
    a.waits_for("file_progress", |event| {
        event["path"] == "big" && event["bytes"].as_u64() > Some(1_000_000)
    });
    fs::write(&flag, "").unwrap();
    a.has_or_waits_for("file_failed", |event| {
        of_transfer("big", "send")(event)
            && event["retry"] == true
            && event["error"].as_str().unwrap().contains("could not read")
    });
    b.has_or_waits_for("file_failed", |event| {
        event["path"] == "big" && event["direction"] == "receive"
    });
    fs::write(pair.b.outgoing().join("back"), "from the other side").unwrap();
    a.has_or_waits_for("file_done", of_path("back"));
    fs::remove_file(&flag).unwrap();
    let resumed = b.waits_for("file_started", |event| {
        event["path"] == "big" && event["offset"].as_u64() > Some(0)
    });
    assert!(resumed.event["offset"].as_u64() < Some(BIG));
    b.has_or_waits_for("file_done", of_path("big"));
    a.has_or_waits_for("file_done", of_transfer("big", "send"));
    assert_eq!(hash_of(&pair.b.incoming().join("big")), hash);
    assert_eq!(fs::read_dir(pair.b.incoming()).unwrap().count(), 1);
    until("it is removed", || !pair.a.outgoing().join("big").exists());
    for one in [a, b] {
        one.stop();
    }
}

/// The disk for the log is full, already when the program starts.
#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_log_stops_nothing() {
    let pair = Pair::new();
    let log = pair.a.dir.join("full.log");
    symlink("/dev/full", &log).unwrap();
    let options = ["--no-sandbox", "--drain", "--log-file", log.to_str().unwrap()];
    let hash = plant_big(&pair.a.outgoing().join("big"), 1_000_000, 1);
    fs::write(pair.b.outgoing().join("back"), "from the other side").unwrap();
    let (a, b) = (pair.a.start(&options), pair.b.start(&["--drain"]));
    a.ends(0);
    b.ends(0);
    assert_eq!(hash_of(&pair.b.incoming().join("big")), hash);
    assert_eq!(fs::read_to_string(pair.a.incoming().join("back")).unwrap(), "from the other side");
}

#[test]
fn hard_links_arrive_under_every_name() {
    let pair = Pair::new();
    let first = pair.a.outgoing().join("0");
    let hash = plant_big(&first, 600_000, 1);
    for link in 1..12 {
        fs::hard_link(&first, pair.a.outgoing().join(link.to_string())).unwrap();
    }
    let (a, b) = (pair.a.start(&["--drain"]), pair.b.start(&["--drain"]));
    a.ends(0);
    b.ends(0);
    for link in 0..12 {
        assert_eq!(hash_of(&pair.b.incoming().join(link.to_string())), hash);
    }
    assert_eq!(fs::read_dir(pair.b.incoming()).unwrap().count(), 12);
    assert_eq!(fs::read_dir(pair.a.outgoing()).unwrap().count(), 0);
}

/// A folder is renamed while its files are sent: everything arrives under the new name, and nothing
/// remains.
#[test]
fn a_folder_that_is_renamed_in_flight_arrives_under_its_new_name() {
    let pair = Pair::new();
    let (old, new) = (pair.a.outgoing().join("old/deep"), pair.a.outgoing().join("new"));
    fs::create_dir_all(&old).unwrap();
    let hash = plant_big(&old.join("f"), BIG, 1);
    let (mut a, b) =
        (pair.a.start(&[&["--drain"], &SLOW[..]].concat()), pair.b.start(&["--drain"]));
    a.waits_for("file_progress", of_path("old/deep/f"));
    fs::rename(pair.a.outgoing().join("old"), new).unwrap();
    a.ends(0);
    b.ends(0);
    assert_eq!(hash_of(&pair.b.incoming().join("new/deep/f")), hash);
    assert_eq!(fs::read_dir(pair.a.outgoing()).unwrap().count(), 0);
}

/// A folder is repeatedly swapped for a link to another folder with files of the same names, while
/// its files are read, sent and removed. None of the other folder's files is opened, sent or
/// removed.
#[test]
fn a_link_in_the_place_of_a_parent_leads_nowhere() {
    const FILES: usize = 300;
    let pair = Pair::new();
    let (base, folder) = (pair.a.dir.clone(), pair.a.outgoing().join("d"));
    let outside = base.join("outside");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir(&outside).unwrap();
    for n in 0..FILES {
        fs::write(folder.join(n.to_string()), format!("inside {n}")).unwrap();
        fs::write(outside.join(n.to_string()), format!("outside {n}")).unwrap();
    }
    let opened = Arc::new(Mutex::new(Vec::new()));
    let heard = opened.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        heard.lock().unwrap().extend(event.unwrap().paths);
    })
    .unwrap();
    notify::Watcher::watch(&mut watcher, &outside, notify::RecursiveMode::NonRecursive).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (done, folder, outside, aside) =
            (done.clone(), folder.clone(), outside.clone(), base.join("aside"));
        move || {
            while !done.load(Ordering::Relaxed) {
                fs::rename(&folder, &aside).unwrap();
                symlink(&outside, &folder).unwrap();
                std::thread::sleep(Duration::from_millis(1));
                fs::remove_file(&folder).unwrap();
                fs::rename(&aside, &folder).unwrap();
                std::thread::sleep(Duration::from_millis(9));
            }
        }
    });
    let (mut a, _b) = (pair.a.start(&[]), pair.b.start(&[]));
    let mut sent = 0;
    while sent < FILES {
        a.waits_for("file_done", |event| event["direction"] == "send" && event["path"] != "d");
        sent += 1;
        if sent == FILES / 2 {
            // The remaining files go undisturbed; otherwise an unlucky one might never be sent.
            done.store(true, Ordering::Relaxed);
        }
    }
    swapper.join().unwrap();
    until("all are removed", || !folder.exists());
    // Its event comes after all earlier ones.
    let last = outside.join("last");
    fs::write(&last, "").unwrap();
    until("the last event comes", || opened.lock().unwrap().contains(&last));
    let others: Vec<_> =
        opened.lock().unwrap().iter().filter(|path| **path != last).cloned().collect();
    let beneath: Vec<_> = others.iter().filter(|path| **path != outside).collect();
    assert!(beneath.is_empty(), "opened or changed outside: {beneath:?}");
    drop(watcher);
    for n in 0..FILES {
        assert_eq!(
            fs::read_to_string(outside.join(n.to_string())).unwrap(),
            format!("outside {n}")
        );
        let arrived = fs::read_to_string(pair.b.incoming().join("d").join(n.to_string())).unwrap();
        assert_eq!(arrived, format!("inside {n}"));
    }
}

/// rft opens neither a FIFO nor a device, and warns about both.
#[test]
fn a_fifo_and_a_device_are_reported_and_not_opened() {
    let pair = Pair::new();
    let fifo = pair.a.outgoing().join("fifo");
    let make = |path: &Path, kind, device| {
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(0o666), device)
    };
    make(&fifo, rustix::fs::FileType::Fifo, 0).unwrap();
    // Only root may make a device.
    let device = make(
        &pair.a.outgoing().join("null"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::makedev(1, 3),
    );
    fs::write(pair.a.outgoing().join("file"), "file").unwrap();
    let (a, b) = (pair.a.start(&["--drain"]), pair.b.start(&["--drain"]));
    // Opening it for writing without blocking fails while no process has it open for reading.
    let writer = rustix::fs::open(&fifo, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
    assert_eq!(writer.unwrap_err(), rustix::io::Errno::NXIO);
    let events = a.ends(0);
    b.ends(0);
    let told = |path: &str| {
        events.iter().any(|event| event["event"] == "warning" && event["path"] == path)
    };
    assert!(told("fifo"), "{events:?}");
    assert!(device.is_err() || told("null"), "{events:?}");
    assert_eq!(contents(&pair.b.incoming()).len(), 1);
}

/// Makes nested folders and a file at the bottom, by handle: the path would be too long for a call.
fn plant_deep(root: &Path, folders: &[Vec<u8>], leaf: &[u8], content: &[u8]) {
    let mut dir = open_dir(rustix::fs::CWD, root.as_os_str().as_bytes()).unwrap();
    for folder in folders {
        rustix::fs::mkdirat(&dir, &folder[..], Mode::from_raw_mode(0o755)).unwrap();
        dir = open_dir(&dir, folder).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&dir, leaf, flags, Mode::from_raw_mode(0o644)).unwrap();
    File::from(file).write_all(content).unwrap();
}

fn open_dir(at: impl std::os::fd::AsFd, leaf: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, leaf, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// The size of the file at the bottom.
fn look_deep(root: &Path, folders: &[Vec<u8>], leaf: &[u8]) -> rustix::io::Result<u64> {
    let mut dir = open_dir(rustix::fs::CWD, root.as_os_str().as_bytes())?;
    for folder in folders {
        dir = open_dir(&dir, folder)?;
    }
    Ok(rustix::fs::statat(&dir, leaf, AtFlags::SYMLINK_NOFOLLOW)?.st_size as u64)
}

/// A name of 4,095 bytes, and folders nested 200 deep. Both are sent in both directions and
/// removed.
#[test]
fn the_longest_names_cross_both_ways() {
    let pair = Pair::new();
    let long: Vec<_> = (0..15).map(|n| vec![b'a' + n; 255]).collect();
    let many: Vec<_> = (0..200).map(|_| b"x".to_vec()).collect();
    let (leaf, deepest) = (vec![b'z'; 256 - 1], b"y".to_vec());
    assert_eq!(long.iter().map(|part| part.len() + 1).sum::<usize>() + leaf.len(), 4095);
    for host in [&pair.a, &pair.b] {
        plant_deep(&host.outgoing(), &long, &leaf, &[7; 300_000]);
        plant_deep(&host.outgoing(), &many, &deepest, b"deep");
    }
    let (a, b) = (pair.a.start(&["--drain"]), pair.b.start(&["--drain"]));
    a.ends(0);
    b.ends(0);
    for host in [&pair.a, &pair.b] {
        assert_eq!(look_deep(&host.incoming(), &long, &leaf), Ok(300_000));
        assert_eq!(look_deep(&host.incoming(), &many, &deepest), Ok(4));
        assert_eq!(fs::read_dir(host.outgoing()).unwrap().count(), 0);
        host.left_nothing_over();
    }
}

/// A name that is one byte longer is reported and delays no other file.
#[test]
fn a_too_long_name_is_reported() {
    let pair = Pair::new();
    let long: Vec<_> = (0..16).map(|n| vec![b'a' + n; 255]).collect();
    plant_deep(&pair.a.outgoing(), &long, b"xx", b"");
    fs::write(pair.a.outgoing().join("file"), "file").unwrap();
    let (a, b) = (pair.a.start(&["--drain"]), pair.b.start(&["--drain"]));
    let events = a.ends(0);
    b.ends(0);
    assert!(events.iter().any(|event| with_message("too long")(event)), "{events:?}");
    assert_eq!(contents(&pair.b.incoming()).len(), 1);
    assert_eq!(look_deep(&pair.a.outgoing(), &long, b"xx"), Ok(0));
}

/// A taken name of 255 bytes is shortened to make room for its number. Names that differ only in
/// case are different files where the file system says so.
#[test]
fn long_taken_names_are_shortened_and_case_distinguishes_files() {
    let pair = Pair::new();
    let long = format!("{}.txt", "\u{e4}".repeat(125) + "x");
    assert_eq!(long.len(), 255);
    fs::create_dir_all(pair.b.incoming()).unwrap();
    fs::write(pair.b.incoming().join(&long), "old").unwrap();
    fs::write(pair.a.outgoing().join(&long), "new").unwrap();
    for (path, content) in
        [("Readme", "1"), ("README", "2"), ("readme", "3"), ("D/f", "4"), ("d/f", "5")]
    {
        let path = pair.a.outgoing().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let sensitive = fs::read_dir(pair.a.outgoing()).unwrap().count() == 6;
    let (a, b) = (pair.a.start(&["--drain"]), pair.b.start(&["--drain"]));
    a.ends(0);
    b.ends(0);
    let arrived = contents(&pair.b.incoming());
    let numbered = format!("{} (1).txt", "\u{e4}".repeat(123));
    assert_eq!(arrived[&long], b"old");
    assert_eq!(
        arrived.get(&numbered).map(Vec::as_slice),
        Some(&b"new"[..]),
        "{:?}",
        arrived.keys()
    );
    if sensitive {
        for (name, content) in [("Readme", "1"), ("README", "2"), ("readme", "3")] {
            assert_eq!(arrived[name], content.as_bytes());
        }
        for (name, content) in [("D/f", "4"), ("d/f", "5")] {
            assert_eq!(fs::read_to_string(pair.b.incoming().join(name)).unwrap(), content);
        }
    }
}

/// rft does not read the ignore file through a link, and sends nothing while it cannot read it.
#[test]
fn an_ignore_file_that_is_a_link_stops_all_sending() {
    let pair = Pair::new();
    let rules = pair.a.dir.join("rules");
    fs::write(&rules, "secret\n").unwrap();
    symlink(&rules, pair.a.outgoing().join(".rftignore")).unwrap();
    for name in ["secret", "other"] {
        fs::write(pair.a.outgoing().join(name), name).unwrap();
    }
    let (mut a, mut b) = (pair.a.start(&[]), pair.b.start(&[]));
    a.waits_for("warning", with_message("nothing is sent"));
    a.waits_for("connected", |_| true);
    assert_eq!(contents(&pair.b.incoming()).len(), 0);
    // A regular file takes its place.
    fs::rename(rules, pair.a.outgoing().join(".rftignore")).unwrap();
    b.waits_for("file_done", of_path("other"));
    a.waits_for("file_done", of_transfer("other", "send"));
    assert!(
        pair.a.outgoing().join("secret").exists() && !pair.b.incoming().join("secret").exists()
    );
}

/// More events than the system queues while the program is stopped.
#[cfg(target_os = "linux")]
#[test]
fn an_event_queue_overflow_is_reported_and_loses_nothing() {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    if most > 100_000 {
        println!("SKIPPED: the queue of events takes {most}");
        return;
    }
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("listening", |_| true);
    // The first scan is over and the watch works.
    fs::write(pair.a.outgoing().join("first"), "").unwrap();
    let mut b = pair.b.start(&[]);
    b.waits_for("file_done", of_path("first"));
    a.suspend();
    // Each file is created, opened and closed: three events.
    let files = most / 3 + 100;
    for n in 0..files {
        drop(File::create(pair.a.outgoing().join(format!("f{n}"))).unwrap());
    }
    a.resume();
    a.waits_for("warning", with_message("max_queued_events"));
    until("all are sent", || fs::read_dir(pair.a.outgoing()).unwrap().count() == 0);
    assert_eq!(fs::read_dir(pair.b.incoming()).unwrap().count(), files + 1);
}

/// Fewer watches than Outgoing has folders, in a user namespace with a low limit.
#[cfg(target_os = "linux")]
#[test]
fn too_few_watches_are_reported_and_lose_nothing() {
    const LIMIT: &str = "echo 4 > /proc/sys/user/max_inotify_watches";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Ur", "sh", "-c", script]);
        command
    };
    if !unshare(LIMIT).output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no namespace of users to be had here");
        return;
    }
    let pair = Pair::new();
    for n in 0..10 {
        fs::create_dir_all(pair.a.outgoing().join(format!("d{n}/keep"))).unwrap();
        fs::write(pair.a.outgoing().join(format!("d{n}/keep/f")), "x").unwrap();
    }
    let mut limited = unshare(&format!("{LIMIT} && exec \"$0\" \"$@\""));
    limited.arg(env!("CARGO_BIN_EXE_rft"));
    // With `keep`, the folders stay and so do their watches.
    let mut a = start_by(&pair.a, limited, &["--after-send", "keep"]);
    a.waits_for("warning", with_message("max_user_watches"));
    let mut b = pair.b.start(&[]);
    b.waits_for("file_done", of_path("d9"));
    fs::write(pair.a.outgoing().join("d9/keep/later"), "no event tells of it").unwrap();
    b.waits_for("file_done", of_path("d9/keep/later"));
}
