//! Links in place of folders, FIFOs and devices, and names of extreme length.

use super::contents;
use crate::harness::events::with_message;
use crate::harness::peer::Pair;
use crate::harness::until;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
