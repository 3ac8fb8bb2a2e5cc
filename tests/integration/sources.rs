//! Files that change while they are sent, and special files in Outgoing: the program itself, two
//! processes on loopback.

mod odd_entries;
mod waits;
#[cfg(target_os = "linux")]
mod watch;

use crate::harness::events::{of_path, of_transfer, with_message};
use crate::harness::files::{hash_of, plant_big};
use crate::harness::peer::{Host, PASSWORD, Pair, Running};
use crate::harness::until;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
