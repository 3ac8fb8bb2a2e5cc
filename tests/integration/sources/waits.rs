//! How long rft leaves files and folders alone for the programs and people that work on them:
//! unfinished files under temporary names, a file that is opened again and again, a folder that is
//! being filled.

use super::contents;
use crate::harness::events::{of_path, of_transfer, with_message};
use crate::harness::peer::{Host, Pair, Running};
use crate::harness::until;
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A peer with the default waits and these options.
fn start_as_users_do(host: &Host, options: &[&str]) -> Running {
    let port = host.port.to_string();
    let mut running =
        host.start_raw(&[options, &["--bind", &host.bind, &host.peer, &port]].concat());
    running.waits_for("connected", |_| true);
    running
}

/// A pause between two steps of a program or a person.
fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn append(path: &Path, text: &str) {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// A scanner opens its file again for each page. The user has set how long it may pause.
#[test]
fn a_given_settle_time_holds_after_a_close() {
    let pair = Pair::new();
    let mut b = pair.b.start(&[]);
    let _a = start_as_users_do(&pair.a, &["--settle", "2s"]);
    let scan = pair.a.outgoing().join("scan.pdf");
    for page in ["one\n", "two\n", "three\n", "four\n"] {
        append(&scan, page);
        pause(500);
    }
    // A file that is moved in still goes at once.
    let moved = Instant::now();
    fs::write(pair.a.dir.join("aside"), "moved").unwrap();
    fs::rename(pair.a.dir.join("aside"), pair.a.outgoing().join("moved")).unwrap();
    b.waits_for("file_done", of_path("moved"));
    assert!(moved.elapsed() < Duration::from_millis(1400), "{:?}", moved.elapsed());
    b.waits_for("file_done", of_path("scan.pdf"));
    assert_eq!(
        fs::read_to_string(pair.b.incoming().join("scan.pdf")).unwrap(),
        "one\ntwo\nthree\nfour\n"
    );
    assert_eq!(contents(&pair.b.incoming()).len(), 2);
}

/// Each program as it works: WinSCP renames 300 ms after the close, Chrome after a second, rsync at
/// once, and rsync with `--delay-updates` when all files are there. All transfers finish, and only
/// whole files under their final names arrive.
#[test]
fn unfinished_files_arrive_under_their_final_names_only() {
    let pair = Pair::new();
    let out = pair.a.outgoing();
    let mut b = pair.b.start(&[]);
    let mut a = start_as_users_do(&pair.a, &[]);

    // WinSCP.
    fs::write(out.join("up.bin.filepart"), "uploaded").unwrap();
    pause(300);
    fs::rename(out.join("up.bin.filepart"), out.join("up.bin")).unwrap();
    b.waits_for("file_done", of_path("up.bin"));

    // Chrome. A download that stays for long is reported once.
    append(&out.join("a.zip.crdownload"), "first, ");
    append(&out.join("longer.part"), "other");
    pause(1000);
    append(&out.join("a.zip.crdownload"), "second");
    fs::rename(out.join("a.zip.crdownload"), out.join("a.zip")).unwrap();
    b.waits_for("file_done", of_path("a.zip"));
    a.waits_for("warning", |event| {
        with_message("left alone")(event) && event["path"] == "longer.part"
    });

    // rsync, into a folder that it makes: a temporary file beside the final name, its times and
    // permissions, a rename.
    let folder = out.join("t");
    fs::create_dir(&folder).unwrap();
    for name in ["f1", "f2"] {
        let temporary = folder.join(format!(".{name}.Xy7Kq2"));
        let mut file = File::create_new(&temporary).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        drop(file);
        pause(300);
        fs::set_permissions(&temporary, Permissions::from_mode(0o640)).unwrap();
        fs::rename(temporary, folder.join(name)).unwrap();
    }
    b.waits_for("file_done", of_path("t/f2"));

    // The same with `--delay-updates`.
    let delayed = folder.join(".~tmp~");
    fs::create_dir(&delayed).unwrap();
    for name in ["g1", "g2"] {
        let temporary = folder.join(format!(".{name}.q9TTab"));
        fs::write(&temporary, name).unwrap();
        fs::rename(temporary, delayed.join(name)).unwrap();
        pause(1200);
    }
    for name in ["g1", "g2"] {
        fs::rename(delayed.join(name), folder.join(name)).unwrap();
    }
    fs::remove_dir(delayed).unwrap();
    b.has_or_waits_for("file_done", of_path("t/g1"));
    b.has_or_waits_for("file_done", of_path("t/g2"));

    let arrived: Vec<_> = contents(&pair.b.incoming()).into_keys().collect();
    assert_eq!(arrived, ["a.zip", "up.bin"]);
    let arrived: Vec<_> = contents(&pair.b.incoming().join("t")).into_keys().collect();
    assert_eq!(arrived, ["f1", "f2", "g1", "g2"]);
    assert_eq!(fs::read_to_string(pair.b.incoming().join("a.zip")).unwrap(), "first, second");
    assert_eq!(
        fs::read_dir(pair.b.incoming().join("t")).unwrap().count(),
        4,
        "no folder of rsync's"
    );
    let told = |event: &Value| with_message("left alone")(event) && event["path"] == "longer.part";
    assert_eq!(a.events().iter().filter(|seen| told(&seen.event)).count(), 1);
    assert!(out.join("longer.part").exists());
}

/// Without the list, every name is sent.
#[test]
fn temp_names_none_sends_all_names() {
    let pair = Pair::new();
    for name in ["a.part", ".~lock.b#"] {
        fs::write(pair.a.outgoing().join(name), name).unwrap();
    }
    let b = pair.b.start(&["--drain"]);
    pair.a.start(&["--drain", "--temp-names", "none"]).ends(0);
    b.ends(0);
    assert_eq!(contents(&pair.b.incoming()).len(), 2);
}

/// The drain does not wait for them, their folder stays, and the last message reports it.
#[test]
fn a_drain_leaves_unfinished_files_and_says_so() {
    let pair = Pair::new();
    let folder = pair.a.outgoing().join("d");
    fs::create_dir(&folder).unwrap();
    for name in ["a", "b.crdownload", "image.iso", "image.iso.aria2", "c.pdf", "c.x1.pdf.part"] {
        let content = if name == "c.pdf" { "" } else { name };
        fs::write(folder.join(name), content).unwrap();
    }
    fs::write(folder.join("letter.txt~"), "a backup that somebody keeps").unwrap();
    let b = pair.b.start(&["--drain"]);
    let port = pair.a.port.to_string();
    let a = pair.a.start_raw(&["--drain", "--bind", &pair.a.bind, &pair.a.peer, &port]);
    let events = a.ends(0);
    b.ends(0);
    let arrived: Vec<_> = contents(&pair.b.incoming().join("d")).into_keys().collect();
    assert_eq!(arrived, ["a", "letter.txt~"]);
    assert_eq!(contents(&folder).len(), 5);
    assert!(events.iter().any(with_message("stay in Outgoing")), "{events:?}");
    let drained = events.iter().find(|event| event["event"] == "drained").unwrap();
    assert_eq!(drained["left_alone"], 5);
    assert!(
        events.last().unwrap()["reason"].as_str().unwrap().contains("unfinished"),
        "{events:?}"
    );
    assert!(
        !events.iter().any(|event| event["event"] == "file_done" && event["path"] == "d"),
        "{events:?}"
    );
}

/// A person names a new folder and puts something into it; a script adds a file now and then.
/// Neither finds the folder gone. A folder that was moved in is removed at once.
#[test]
fn a_folder_stays_while_it_is_being_filled() {
    let pair = Pair::new();
    let out = pair.a.outgoing();
    let mut b = pair.b.start(&[]);
    let _a = start_as_users_do(&pair.a, &[]);
    fs::create_dir_all(pair.a.dir.join("moved/deep/empty")).unwrap();
    fs::write(pair.a.dir.join("moved/deep/f"), "f").unwrap();

    fs::create_dir(out.join("New Folder")).unwrap();
    fs::create_dir(out.join("y")).unwrap();
    fs::write(out.join("y/0"), "0").unwrap();
    pause(800);
    fs::rename(out.join("New Folder"), out.join("x")).unwrap();
    pause(2500);
    fs::write(out.join("x/1"), "1").unwrap();
    fs::write(out.join("y/1"), "1").unwrap();
    b.has_or_waits_for("file_done", of_path("x/1"));
    // Only the removal of the folder takes time; the peer has it earlier.
    b.has_or_waits_for("file_done", of_path("y"));

    let moved = Instant::now();
    fs::rename(pair.a.dir.join("moved"), out.join("moved")).unwrap();
    until("the folder that was moved in is removed", || !out.join("moved").exists());
    assert!(moved.elapsed() < Duration::from_secs(6), "{:?}", moved.elapsed());
    assert!(pair.b.incoming().join("moved/deep/empty").is_dir());
    pause(2000);
    fs::write(out.join("y/2"), "2").unwrap();
    b.has_or_waits_for("file_done", of_path("y/2"));
    assert!(out.join("x").exists() && out.join("y").exists());
    let arrived: Vec<_> = contents(&pair.b.incoming().join("y")).into_keys().collect();
    assert_eq!(arrived, ["0", "1", "2"]);
}

/// Folders that are no longer filled go, with the last times that they had.
#[test]
fn folders_go_when_their_time_is_over() {
    let pair = Pair::new();
    let out = pair.a.outgoing();
    let mut b = pair.b.start(&[]);
    let mut a = start_as_users_do(&pair.a, &["--folder-wait", "1500ms"]);
    let begin = Instant::now();
    fs::create_dir_all(out.join("d/empty")).unwrap();
    fs::write(out.join("d/f"), "f").unwrap();
    b.waits_for("file_done", of_path("d/f"));
    until("all is removed", || !out.join("d").exists());
    assert!(begin.elapsed() >= Duration::from_millis(1500), "{:?}", begin.elapsed());
    b.has_or_waits_for("file_done", of_path("d/empty"));
    b.has_or_waits_for("file_done", of_path("d"));
    assert!(pair.b.incoming().join("d/empty").is_dir());
    a.has_or_waits_for("file_done", of_transfer("d", "send"));
}

/// `--drain` does not wait for folders that exist when it begins, with the default waits.
#[test]
fn a_drain_does_not_wait_for_folders() {
    let pair = Pair::new();
    fs::create_dir_all(pair.a.outgoing().join("empty")).unwrap();
    fs::create_dir_all(pair.a.outgoing().join("d/deep")).unwrap();
    fs::write(pair.a.outgoing().join("d/deep/f"), "f").unwrap();
    let b = pair.b.start(&["--drain"]);
    let port = pair.a.port.to_string();
    let begin = Instant::now();
    pair.a.start_raw(&["--drain", "--bind", &pair.a.bind, &pair.a.peer, &port]).ends(0);
    b.ends(0);
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    assert_eq!(fs::read_dir(pair.a.outgoing()).unwrap().count(), 0);
    assert!(
        pair.b.incoming().join("empty").is_dir() && pair.b.incoming().join("d/deep/f").exists()
    );
}
