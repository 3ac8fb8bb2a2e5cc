//! Files that change, are touched, removed or renamed while they are sent.

use super::{BIG, PAUSE, SLOW, Work, appended};
use crate::harness::events::{of_path, sent_paths};
use crate::harness::files::{hash_of, names, plant_big};
use crate::harness::peer::Pair;
use crate::harness::until;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

/// A touch changes nothing: content, size and modification time stay the same.
#[test]
fn a_file_touched_while_it_is_sent_is_sent_once() {
    type Touch = fn(&Path);
    let touches: [(&str, Touch); 3] = [
        ("chmod", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap()),
        ("another hard link goes", |path| fs::remove_file(path.with_file_name("../link")).unwrap()),
        ("an attribute", |path| {
            rustix::fs::setxattr(path, "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        }),
    ];
    for (how, touch) in touches {
        let mut work = Work::start(&SLOW);
        let aside = work.pair.a.dir.join("aside");
        plant_big(&aside, BIG, 1);
        fs::hard_link(&aside, work.pair.a.dir.join("link")).unwrap();
        fs::rename(&aside, work.outgoing("f")).unwrap();
        work.a.waits_for("file_progress", |event| event["bytes"].as_u64() > Some(BIG / 2));
        touch(&work.outgoing("f"));
        work.b.waits_for("file_done", of_path("f"));
        assert_eq!(names(&work.pair.b.incoming()), ["f"], "{how}");
        let events: Vec<_> = work.a.events().iter().map(|seen| seen.event.clone()).collect();
        let begun = events.iter().filter(|event| event["event"] == "file_started").count();
        assert_eq!(begun, 1, "{how}: {events:#?}");
        until("it is removed", || !work.outgoing("f").exists());
    }
}

/// A change behind a restored modification time is found by the change time, while the file is sent
/// and when it is kept.
#[test]
fn a_change_with_a_restored_modification_time_is_sent() {
    let change = |path: &Path, at: u64, byte: u8| {
        let file = File::options().write(true).open(path).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[byte], at).unwrap();
        file.set_modified(time).unwrap();
        drop(file);
        hash_of(path)
    };
    let mut work = Work::start(&[&SLOW[..], &["--after-send", "keep"]].concat());
    plant_big(&work.outgoing("f"), BIG, 1);
    work.a.waits_for("file_progress", of_path("f"));
    let changed = change(&work.outgoing("f"), 5, b'!');
    let done = work.b.waits_for("file_done", of_path("f")).event;
    assert_eq!(
        (done["blake3"].as_str(), done["saved_as"].as_str()),
        (Some(&*changed.to_string()), Some("f"))
    );
    work.a.waits_for("file_done", of_path("f"));
    // Touched, therefore verified, and not sent.
    let inode = fs::metadata(work.outgoing("f")).unwrap().ino();
    fs::hard_link(work.outgoing("f"), work.pair.a.dir.join("link")).unwrap();
    std::thread::sleep(PAUSE);
    let changed = change(&work.outgoing("f"), 7, b'?');
    assert_eq!(fs::metadata(work.outgoing("f")).unwrap().ino(), inode);
    let done = work.b.waits_for("file_done", of_path("f")).event;
    assert_eq!(done["blake3"], changed.to_string());
    work.a.waits_for("file_done", of_path("f"));
    // A restart comes to the same result.
    let Work { pair, a, b: _b } = work;
    a.stop();
    let changed = change(&pair.a.outgoing().join("f"), 9, b'#');
    let a = pair.a.start(&["--after-send", "keep", "--drain"]);
    assert_eq!(sent_paths(&a.ends(0)), ["f"]);
    assert_eq!(hash_of(&pair.b.incoming().join("f (2)")), changed);
    fs::remove_file(pair.a.dir.join("link")).unwrap();
    let a = pair.a.start(&["--after-send", "keep", "--drain"]);
    assert_eq!(
        sent_paths(&a.ends(0)),
        [""; 0],
        "a removed hard link is no reason to send it again"
    );
}

/// The user takes a folder back while its files are being sent.
#[test]
fn files_removed_or_renamed_in_flight_do_not_arrive_under_the_old_name() {
    for renamed in [false, true] {
        let mut work = Work::start(&SLOW);
        let aside = work.pair.a.dir.join("aside");
        fs::create_dir(&aside).unwrap();
        for n in 0..2 {
            plant_big(&aside.join(format!("f{n}")), BIG / 2, n);
        }
        fs::rename(&aside, work.outgoing("d")).unwrap();
        work.a.waits_for("file_progress", |_| true);
        let target = if renamed { work.outgoing("e") } else { work.pair.a.dir.join("back") };
        fs::rename(work.outgoing("d"), &target).unwrap();
        if renamed {
            work.b.has_or_waits_for("file_done", of_path("e/f0"));
            work.b.has_or_waits_for("file_done", of_path("e/f1"));
        }
        let stage = work.pair.b.state().join("stage");
        until("the peer drops its partial files", || names(&stage).is_empty());
        let (pair, _) = work.drains();
        let arrived =
            |folder: &str| fs::read_dir(pair.b.incoming().join(folder)).map_or(0, Iterator::count);
        let expected = if renamed { 2 } else { 0 };
        assert_eq!((arrived("d"), arrived("e")), (0, expected), "renamed: {renamed}");
        assert!(renamed || fs::read_dir(&target).unwrap().count() == 2);
    }
}

/// QUIC buffers some seconds of a slow path. Files whose end is still there when the user takes
/// their folder back do not arrive: neither those of one chunk nor larger ones.
#[test]
fn buffered_files_that_are_taken_back_do_not_arrive() {
    const FILES: u64 = 24;
    for size in [200_000, 300_000] {
        let mut work = Work::start(&["--limit-rate", "500K", "--compress", "never"]);
        let aside = work.pair.a.dir.join("aside");
        fs::create_dir(&aside).unwrap();
        for n in 0..FILES {
            plant_big(&aside.join(format!("f{n}")), size, n);
        }
        fs::rename(&aside, work.outgoing("d")).unwrap();
        // By then QUIC has taken many of the others.
        for _ in 0..3 {
            work.b.waits_for("file_done", |event| event["direction"] == "receive");
        }
        let arrived = || fs::read_dir(work.pair.b.incoming().join("d")).unwrap().count();
        let before = arrived();
        fs::rename(work.outgoing("d"), work.pair.a.dir.join("back")).unwrap();
        let stage = work.pair.b.state().join("stage");
        std::thread::sleep(Duration::from_secs(3));
        until("the peer drops its partial files", || names(&stage).is_empty());
        // At this rate a file takes half a second, and the sender looks four times a second.
        let late = arrived() - before;
        assert!(late <= 4, "{size} bytes: {late} files arrived after they were taken back");
    }
}

/// Between the receipt and the removal a program opens the file by its name, and writes to it
/// during and after the removal's attempt. rft sleeps there, so the program always comes in time.
#[test]
fn lines_appended_between_the_receipt_and_the_removal_arrive() {
    let mut pair = Pair::new();
    pair.a.failpoints = "remove.taking=sleep1500".into();
    let (a, b) = pair.connected(&[], &[]);
    let mut work = Work { pair, a, b };
    let aside = work.pair.a.dir.join("aside");
    fs::write(&aside, "sent\n").unwrap();
    fs::rename(&aside, work.outgoing("f")).unwrap();
    work.b.waits_for("file_done", of_path("f"));
    let mut file = File::options().append(true).open(work.outgoing("f")).unwrap();
    file.write_all(b"before the removal\n").unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(work.outgoing("f").exists(), "it was put back");
    file.write_all(b"after it\n").unwrap();
    drop(file);
    let done = work.b.waits_for("file_done", of_path("f")).event;
    assert_eq!(done["saved_as"], "f (1)");
    let whole = "sent\nbefore the removal\nafter it\n";
    assert_eq!(fs::read_to_string(work.incoming("f (1)")).unwrap(), whole);
    until("it is removed", || !work.outgoing("f").exists());
    // A new file of that name while the sent one is being removed is another file.
    writeln!(appended(&work.outgoing("f")), "new").unwrap();
    let done = work.b.waits_for("file_done", of_path("f")).event;
    assert_eq!(done["saved_as"], "f (2)");
}
