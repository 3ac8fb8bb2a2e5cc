//! Failing disks: both users are told, all other transfers go on, and once the disk works again the
//! file follows without a restart. Faults are injected (`src/failpoint.rs`); where the system
//! permits mounts, real volumes fail too.

mod mounts;
mod volumes;

use crate::harness::events::of_transfer;
use crate::harness::files::{drop_in, hash_of};
use crate::harness::peer::{Host, Pair, Running};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Larger than a chunk, so that the file is staged and the receiver answers its offer.
const BIG: u64 = 700_000;

fn failed<'a>(name: &'a str, way: &'a str, text: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| {
        let error = event["error"].as_str().unwrap_or_default();
        of_transfer(name, way)(event) && event["retry"] == true && error.contains(text)
    }
}

/// One direction, from one host to the other.
struct Way<'a> {
    from: &'a Host,
    sender: &'a mut Running,
    to: PathBuf,
    receiver: &'a mut Running,
}

impl Way<'_> {
    /// A big and a small file are refused with this text on both sides. Returns their names and
    /// hashes.
    fn is_refused(&mut self, name: &str, text: &str) -> [(String, blake3::Hash); 2] {
        let files = [(format!("{name} big"), BIG), (format!("{name} small"), 100)];
        let files = files.map(|(name, size)| (name.clone(), drop_in(self.from, &name, size)));
        for (name, _) in &files {
            self.sender.has_or_waits_for("file_failed", failed(name, "send", text));
            self.receiver.has_or_waits_for("file_failed", failed(name, "receive", text));
            assert!(!self.to.join(name).exists(), "{name} is there, and was refused");
        }
        files
    }

    /// The files arrive without a further action.
    fn follows(&mut self, files: &[(String, blake3::Hash)]) {
        for (name, hash) in files {
            self.sender.has_or_waits_for("file_done", of_transfer(name, "send"));
            self.receiver.has_or_waits_for("file_done", of_transfer(name, "receive"));
            assert_eq!(hash_of(&self.to.join(name)), *hash, "{name}");
        }
    }
}

#[test]
fn incoming_never_exceeds_its_limit() {
    let pair = Pair::new();
    let (mut a, mut b) = pair.connected(&[], &["--max-incoming-bytes", "1M"]);
    let to = pair.b.incoming();
    drop_in(&pair.a, "first", 400_000);
    b.waits_for("file_done", of_transfer("first", "receive"));
    // It can never fit.
    drop_in(&pair.a, "too large", 1_000_001);
    a.waits_for("file_failed", |event| event["path"] == "too large" && event["retry"] == false);
    let hash = drop_in(&pair.a, "second", 700_000);
    a.waits_for("file_failed", failed("second", "send", "--max-incoming-bytes"));
    b.waits_for("file_failed", failed("second", "receive", "remove files from it"));
    // A smaller file fits and is received.
    drop_in(&pair.a, "third", 100_000);
    b.has_or_waits_for("file_done", of_transfer("third", "receive"));
    fs::remove_file(to.join("first")).unwrap();
    b.has_or_waits_for("file_done", of_transfer("second", "receive"));
    assert_eq!(hash_of(&to.join("second")), hash);
    stop([a, b]);
}

fn stop(running: [Running; 2]) {
    for one in running {
        one.stop();
    }
}

#[test]
fn a_failing_call_is_reported_to_both_sides_and_the_file_follows() {
    let mut pair = Pair::new();
    let base = pair.b.dir.clone();
    let faults = [
        ("os.write=ENOSPC", "no space"),
        ("os.write=EDQUOT", "no space"),
        ("os.create=ENOSPC", "no inode"),
        ("os.create=EROFS", "read-only"),
        ("os.free_space=EIO", "could not measure"),
        ("os.set_meta=EACCES", "permission denied"),
        ("os.sync_file=EIO", "could not sync"),
        ("os.sync_dir=EIO", "could not sync"),
        ("os.rename=EIO", "could not write"),
        ("ledger.write=ENOSPC", "no space"),
        ("ledger.sync=EIO", "ledger.redb: could not"),
    ];
    let flag = |number: usize| base.join(format!("fault-{number}"));
    let rule =
        |(number, (rule, _)): (usize, &(&str, &str))| format!("{rule}@{}", flag(number).display());
    pair.b.failpoints = faults.iter().enumerate().map(rule).collect::<Vec<_>>().join(";");
    let (mut a, mut b) = pair.connected(&[], &[]);
    for (number, (rule, text)) in faults.iter().enumerate() {
        eprintln!("{rule}");
        if rule.starts_with("os.free_space") {
            // With ample space it is measured every 100 ms.
            std::thread::sleep(Duration::from_millis(150));
        }
        fs::write(flag(number), "").unwrap();
        let to = pair.b.incoming();
        let mut way = Way { from: &pair.a, sender: &mut a, to, receiver: &mut b };
        let files = way.is_refused(&number.to_string(), text);
        // Transfers that do not need the failing call go on.
        if !["os.rename", "os.sync_dir", "os.set_meta"].iter().any(|call| rule.starts_with(call)) {
            drop_in(&pair.b, &format!("back {number}"), 10);
            way.receiver
                .has_or_waits_for("file_done", of_transfer(&format!("back {number}"), "send"));
        }
        fs::remove_file(flag(number)).unwrap();
        way.follows(&files);
    }
    stop([a, b]);
    pair.b.left_nothing_over();
}

#[test]
fn a_file_whose_sync_failed_is_sent_again() {
    // At the end of the file, and while it is received.
    ["os.sync_file", "os.sync_data"].into_iter().for_each(is_sent_anew_without);
}

fn is_sent_anew_without(call: &str) {
    let mut pair = Pair::new();
    let flag = pair.b.dir.join("fault");
    pair.b.failpoints = format!("{call}=EIO@{}", flag.display());
    let (mut a, mut b) = pair.connected(&[], &[]);
    fs::write(&flag, "").unwrap();
    // Large enough for checkpoints.
    let hash = drop_in(&pair.a, "big", 20_000_000);
    b.waits_for("file_failed", failed("big", "receive", "could not sync"));
    fs::remove_file(&flag).unwrap();
    // The system may have dropped any byte, so the transfer begins at offset 0.
    b.waits_for("file_started", |event| event["path"] == "big" && event["offset"] == 0);
    b.waits_for("file_done", of_transfer("big", "receive"));
    assert_eq!(hash_of(&pair.b.incoming().join("big")), hash);
    a.waits_for("file_done", of_transfer("big", "send"));
    stop([a, b]);
}

/// A sent file leaves the folder a moment after its receipt.
fn remove_once_empty(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = fs::remove_dir(folder) {
        assert!(Instant::now() < deadline, "{}: {error}", folder.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_removed_folder_is_used_again_when_it_is_back() {
    let pair = Pair::new();
    let (mut a, mut b) = pair.connected(&[], &[]);
    let to = pair.b.incoming();
    fs::remove_dir(&to).unwrap();
    let mut way = Way { from: &pair.a, sender: &mut a, to: to.clone(), receiver: &mut b };
    let files = way.is_refused("incoming", "the folder is gone");
    assert!(!to.exists(), "it was made by itself: it may be where a disk is to be mounted");
    fs::create_dir(&to).unwrap();
    way.follows(&files);
    // The folder is moved away and a new one takes its place.
    fs::rename(&to, pair.b.dir.join("older")).unwrap();
    fs::create_dir(&to).unwrap();
    drop_in(&pair.a, "into the new one", 10);
    b.has_or_waits_for("file_done", of_transfer("into the new one", "receive"));
    assert!(to.join("into the new one").exists());
    // A link takes its place. It is not followed.
    fs::rename(&to, pair.b.dir.join("old")).unwrap();
    fs::create_dir(pair.b.dir.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &to).unwrap();
    let mut way = Way { from: &pair.a, sender: &mut a, to: to.clone(), receiver: &mut b };
    let files = way.is_refused("through a link", "the folder is gone");
    assert_eq!(fs::read_dir(pair.b.dir.join("elsewhere")).unwrap().count(), 0);
    fs::remove_file(&to).unwrap();
    fs::rename(pair.b.dir.join("old"), &to).unwrap();
    way.follows(&files);
    // On the other side, files dropped into the new folder are seen.
    remove_once_empty(&pair.a.outgoing());
    a.has_or_waits_for("warning", |event| {
        event["message"].as_str().unwrap().contains("the folder is gone")
    });
    fs::create_dir(pair.a.outgoing()).unwrap();
    drop_in(&pair.a, "out of the new one", 10);
    b.has_or_waits_for("file_done", of_transfer("out of the new one", "receive"));
    stop([a, b]);
}

/// A sandbox covers a folder, not its replacement, unless it covers the folder above.
#[test]
fn a_sandboxed_program_ends_when_a_folder_is_replaced() {
    let pair = Pair::new();
    fs::write(pair.b.dir.join("notes"), "not rft's").unwrap();
    let (a, b) = pair.connected(&[], &[]);
    if !fs::read_to_string(pair.b.state().join("rft.log"))
        .unwrap()
        .contains("sandboxed: the process writes only")
    {
        eprintln!("SKIPPED: this kernel has no sandbox");
        return;
    }
    fs::remove_dir(pair.b.incoming()).unwrap();
    fs::create_dir(pair.b.incoming()).unwrap();
    let events = b.ends(16);
    let reason = events.last().unwrap()["reason"].as_str().unwrap();
    assert!(reason.contains("the folder was replaced"), "{reason}");
    drop_in(&pair.a, "later", 10);
    let mut b = pair.b.start(&[]);
    b.waits_for("file_done", of_transfer("later", "receive"));
    stop([a, b]);
}

/// Starts the program without root's right to write everywhere. Returns `false`, with a note, if
/// that is impossible.
fn as_nobody_special(host: &mut Host) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    host.wrapper =
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search"].map(str::to_owned).to_vec();
    let may = Command::new(&host.wrapper[0]).args(&host.wrapper[1..]).arg("true").status();
    let can = may.is_ok_and(|status| status.success());
    if !can {
        eprintln!("NOT TESTED: root may write everywhere, and cannot be hindered here");
    }
    can
}

#[test]
fn an_unwritable_replacement_folder_is_reported_and_does_not_end_the_program() {
    use std::os::unix::fs::PermissionsExt;
    let mut pair = Pair::new();
    if !as_nobody_special(&mut pair.b) {
        return;
    }
    let (mut a, mut b) = pair.connected(&[], &[]);
    let to = pair.b.incoming();
    let mode = |mode| fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&to, pair.b.dir.join("older")).unwrap();
    let other = pair.b.dir.join("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o555)).unwrap();
    fs::rename(&other, &to).unwrap();
    let mut way = Way { from: &pair.a, sender: &mut a, to: to.clone(), receiver: &mut b };
    let files = way.is_refused("locked", "permission denied");
    mode(0o755);
    way.follows(&files);
    stop([a, b]);
}

#[test]
fn without_its_state_folder_the_program_stops_and_says_so() {
    let pair = Pair::new();
    let (a, b) = pair.connected(&[], &[]);
    fs::rename(pair.b.state(), pair.b.dir.join("moved")).unwrap();
    let events = b.ends(16);
    let reason = events.last().unwrap()["reason"].as_str().unwrap();
    assert!(reason.contains("was removed or replaced while rft ran"), "{reason}");
    // Nothing is lost: when the folder is brought back, the transfers go on.
    fs::rename(pair.b.dir.join("moved"), pair.b.state()).unwrap();
    let b = pair.b.start(&[]);
    drop_in(&pair.a, "later", 10);
    let mut b = b;
    b.waits_for("file_done", of_transfer("later", "receive"));
    stop([a, b]);
}

#[test]
fn damage_in_the_state_folder_is_reported_and_loses_no_file() {
    let pair = Pair::new();
    drop_in(&pair.a, "one", BIG);
    let drain = |pair: &Pair| {
        let (a, b) = (pair.a.start(&["--drain"]), pair.b.start(&["--drain"]));
        (a.ends(0), b.ends(0))
    };
    drain(&pair);
    let ledger = pair.b.state().join("ledger.redb");
    let whole = fs::read(&ledger).unwrap();
    let damages: [(&str, Vec<u8>); 3] = [
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("garbage", vec![0x5a; 100_000]),
        (
            "flipped",
            whole
                .iter()
                .enumerate()
                .map(|(at, b)| if at % 97 == 64 { b ^ 1 } else { *b })
                .collect(),
        ),
    ];
    for (what, bytes) in damages {
        fs::write(&ledger, &bytes).unwrap();
        fs::write(pair.b.state().join("lock"), "garbage").unwrap();
        for folder in ["stage", "removing"] {
            fs::write(pair.b.state().join(folder).join("foreign file"), "x").unwrap();
        }
        drop_in(&pair.a, what, BIG);
        let (_, events) = drain(&pair);
        let told = |event: &Value| {
            event["message"].as_str().is_some_and(|text| text.contains("the ledger was damaged"))
        };
        assert!(events.iter().any(told), "{what}: {events:?}");
        assert!(
            events.iter().any(|e| e["event"] == "file_done" && e["path"] == what),
            "{what}: {events:?}"
        );
        assert_eq!(
            fs::read(pair.b.state().join("removing/foreign file")).unwrap(),
            b"x",
            "it is not ours"
        );
    }
    assert_eq!(fs::read_dir(pair.b.incoming()).unwrap().count(), 4);
}

#[test]
fn a_damaged_partial_file_is_sent_again() {
    let pair = Pair::new();
    let hash = drop_in(&pair.a, "big", 30_000_000);
    let a = pair.a.start(&["--drain", "--limit-rate", "15M"]);
    let mut b = pair.b.start(&["--drain"]);
    b.waits_for("file_progress", |event| event["bytes"].as_u64() > Some(12_000_000));
    b.kill();
    let stage = pair.b.state().join("stage");
    for entry in fs::read_dir(&stage).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none() {
            let mut bytes = fs::read(&path).unwrap();
            bytes[1_000_000] ^= 1;
            fs::write(&path, bytes).unwrap();
        } else {
            // More records than there are.
            fs::write(&path, u64::MAX.to_be_bytes()).unwrap();
        }
    }
    let events = pair.b.start(&["--drain"]).ends(0);
    a.ends(0);
    let begun = events.iter().find(|event| event["event"] == "file_started").unwrap();
    assert_eq!(begun["offset"], 0, "{begun}");
    assert_eq!(hash_of(&pair.b.incoming().join("big")), hash);
}
