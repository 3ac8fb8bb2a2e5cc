//! Black-box tests of the program: two real processes on two loopback addresses, against the
//! documented command line, events and exit codes (operation.md).

#[cfg(unix)]
mod log;
mod manual;
#[cfg(unix)]
mod operator;
#[cfg(unix)]
mod password_input;
mod refusals;
#[cfg(unix)]
mod settings;
mod wrong_lines;

use crate::harness::events::sent_paths;
use crate::harness::files::{hash_of, names, plant_big};
use crate::harness::peer::{Host, Pair, free_port};
#[cfg(unix)]
use crate::harness::tree;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Writes `content` into a file of Outgoing.
fn put(host: &Host, name: &str, content: &str) {
    let path = host.outgoing().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[cfg(unix)]
#[test]
fn a_tree_of_everything_arrives_both_ways() {
    let pair = Pair::new();
    let mut expected = Vec::new();
    for host in [&pair.a, &pair.b] {
        tree::plant(&host.outgoing());
        expected.push(tree::snapshot(&host.outgoing()));
    }
    assert_eq!(expected[0].len(), expected[1].len());
    // It points out of the tree: rft warns about it and leaves it in place.
    std::os::unix::fs::symlink("/etc/passwd", pair.a.outgoing().join("outside")).unwrap();
    let (at_a, _) = pair.drain(&[], &[]);
    assert_eq!(tree::snapshot(&pair.b.incoming()), expected[0]);
    assert_eq!(tree::snapshot(&pair.a.incoming()), expected[1]);
    assert_eq!(names(&pair.a.outgoing()), ["outside"]);
    assert_eq!(names(&pair.b.outgoing()), [""; 0]);
    for host in [&pair.a, &pair.b] {
        host.left_nothing_over();
    }
    assert!(
        at_a.iter().any(|event| event["event"] == "warning" && event["path"] == "outside"),
        "{at_a:?}"
    );
    assert!(sent_paths(&at_a).len() >= expected[0].len() - 2, "{at_a:?}");
}

#[test]
fn wrong_arguments_have_their_exit_codes() {
    let base = tempfile::tempdir().unwrap();
    let host = Host::new(base.path().join("a"), "127.0.0.1", "127.0.0.2", free_port());
    for (arguments, code) in [
        (&["--nope", "127.0.0.2", "4000"][..], 2),
        (&["127.0.0.2"], 2),
        (&["--bind", "eth0", "127.0.0.2", "4000"], 2),
        (&["256.1.1.1", "4000"], 3),
        (&["no..host", "4000"], 3),
        (&["127.0.0.2", "0"], 4),
        (&["127.0.0.2", "65536"], 4),
        (&["listen", "http"], 4),
        (&["--limit-rate", "fast", "127.0.0.2", "4000"], 14),
        (&["--settle", "soon", "127.0.0.2", "4000"], 14),
        (&["--in-flight", "0", "127.0.0.2", "4000"], 14),
    ] {
        host.start_raw(arguments).ends_with(code);
    }
}

#[test]
fn a_taken_port_and_a_folder_in_use_have_their_exit_codes() {
    let base = tempfile::tempdir().unwrap();
    let port = free_port();
    let host = Host::new(base.path().join("a"), "127.0.0.1", "127.0.0.2", port);
    let taken = std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
    host.listen(&[]).ends(5);
    drop(taken);
    let mut first = host.listen(&[]);
    first.waits_for("listening", |_| true);
    let second = Host { port: free_port(), ..host.clone() };
    second.listen(&[]).ends(16);
    // The program needs a folder here and finds a file.
    let file = base.path().join("file");
    fs::write(&file, "").unwrap();
    let other = Host::new(base.path().join("b"), "127.0.0.1", "127.0.0.2", free_port());
    other.listen(&["--incoming", file.to_str().unwrap()]).ends(16);
}

#[test]
fn a_wrong_password_ends_the_initiator_and_not_the_responder() {
    let pair = Pair::new();
    put(&pair.b, "secret.txt", "never sent");
    let mut host = pair.a.listen(&[]);
    host.waits_for("listening", |_| true);
    let events = pair.b.start_with_password("another one", &[]).ends(6);
    assert!(events.iter().any(|event| event["event"] == "auth_failed"), "{events:?}");
    assert!(!events.iter().any(|event| event["event"] == "connected"), "{events:?}");
    host.waits_for("auth_failed", |_| true);
    assert!(pair.b.outgoing().join("secret.txt").exists());
    // The correct password still connects.
    let initiator = pair.b.start(&["--drain"]);
    host.waits_for("file_done", |event| event["path"] == "secret.txt");
    initiator.ends(0);
}

#[test]
fn a_file_with_a_taken_name_is_renamed_replaces_it_or_is_skipped() {
    for (how, old_after, beside, kept) in [
        ("rename", "old", Some("the new one"), false),
        ("overwrite", "the new one", None, false),
        ("skip", "old", None, true),
    ] {
        let pair = Pair::new();
        fs::create_dir_all(pair.b.incoming()).unwrap();
        fs::write(pair.b.incoming().join("name.txt"), "old").unwrap();
        fs::write(pair.b.incoming().join("same.txt"), "the same").unwrap();
        put(&pair.a, "name.txt", "the new one");
        put(&pair.a, "same.txt", "the same");
        let (at_a, _) = pair.drain(&[], &["--on-conflict", how]);
        let arrived = |name: &str| fs::read_to_string(pair.b.incoming().join(name)).ok();
        assert_eq!(arrived("name.txt").as_deref(), Some(old_after), "{how}");
        assert_eq!(arrived("name (1).txt").as_deref(), beside, "{how}");
        assert_eq!(arrived("same.txt").as_deref(), Some("the same"), "{how}");
        assert_eq!(arrived("same (1).txt"), None, "{how}: the same content is done, not doubled");
        assert_eq!(pair.a.outgoing().join("name.txt").exists(), kept, "{how}");
        assert!(!pair.a.outgoing().join("same.txt").exists(), "{how}");
        let told =
            at_a.iter().any(|event| event["event"] == "file_failed" && event["path"] == "name.txt");
        assert_eq!(told, kept, "{how}: {at_a:?}");
        pair.b.left_nothing_over();
    }
}

/// Both sides are killed during the transfer, and the file is removed before the rest arrives.
#[test]
fn a_folder_where_a_file_stands_lands_beside_it_as_one() {
    let pair = Pair::new();
    fs::create_dir_all(pair.b.incoming()).unwrap();
    fs::write(pair.b.incoming().join("d"), "a file where a folder wants to be").unwrap();
    for n in 0..40 {
        put(&pair.a, &format!("d/{n}"), &"content".repeat(10_000));
    }
    put(&pair.a, "d/deep/er/file", "content");
    let slow = ["--limit-rate", "500K", "--compress", "never"];
    let (a, mut b) = (pair.a.start(&slow), pair.b.start(&[]));
    let first = b.waits_for("file_done", |event| event["direction"] == "receive").event;
    assert!(first["saved_as"].as_str().unwrap().starts_with("d (1)/"), "{first}");
    a.kill();
    b.kill();
    let (a, mut b) = (pair.a.start(&slow), pair.b.start(&[]));
    b.waits_for("file_done", |event| event["direction"] == "receive");
    fs::remove_file(pair.b.incoming().join("d")).unwrap();
    b.kill();
    a.kill();
    let (at_a, _) = pair.drain(&[], &[]);
    assert!(!at_a.iter().any(|event| event["event"] == "file_failed"), "{at_a:#?}");
    assert_eq!(names(&pair.b.incoming()), ["d (1)"]);
    assert_eq!(names(&pair.b.incoming().join("d (1)")).len(), 41);
    assert_eq!(
        fs::read_to_string(pair.b.incoming().join("d (1)/deep/er/file")).unwrap(),
        "content"
    );
    assert_eq!(names(&pair.a.outgoing()), [""; 0]);
    pair.b.left_nothing_over();

    put(&pair.a, "d/of another folder", "content");
    pair.drain(&[], &[]);
    assert_eq!(names(&pair.b.incoming()), ["d", "d (1)"]);
}

/// Slow: the sender asks again every 20 s.
#[test]
fn a_refused_file_follows_when_its_name_is_free() {
    let pair = Pair::new();
    fs::create_dir_all(pair.b.incoming()).unwrap();
    fs::write(pair.b.incoming().join("d"), "a file where a folder wants to be").unwrap();
    fs::write(pair.b.incoming().join("kept"), "an older one").unwrap();
    put(&pair.a, "kept", "the newer");
    for n in 0..20 {
        put(&pair.a, &format!("d/{n}"), "content");
    }
    let (mut a, b) = (pair.a.start(&[]), pair.b.start(&["--on-conflict", "skip"]));
    let of_d =
        |event: &Value| event["event"] == "file_failed" && event["path"].as_str() != Some("kept");
    a.waits_for("file_failed", |event| event["path"] != "kept");
    a.has_or_waits_for("file_failed", |event| event["path"] == "kept");
    // The new peer is another process, so it refuses each file once more.
    b.kill();
    let mut b = pair.b.start(&["--on-conflict", "skip"]);
    b.waits_for("file_failed", |event| event["path"] == "kept");
    b.has_or_waits_for("file_failed", of_d);
    fs::remove_file(pair.b.incoming().join("d")).unwrap();
    fs::remove_file(pair.b.incoming().join("kept")).unwrap();
    let mut b = b.with_timeout(Duration::from_secs(50));
    b.waits_for("file_done", |event| event["path"] == "kept");
    for n in 0..20 {
        b.has_or_waits_for("file_done", |event| event["path"] == format!("d/{n}"));
    }
    assert_eq!(fs::read_to_string(pair.b.incoming().join("kept")).unwrap(), "the newer");
    for side in [&mut a, &mut b] {
        let mut paths: Vec<String> = side
            .events()
            .iter()
            .filter(|s| of_d(&s.event))
            .map(|s| s.event["path"].to_string())
            .collect();
        let all = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all, "a refusal is told once, however often it is repeated");
    }
}

/// The same content under another transfer ID is not stored twice. A folder is private while it
/// fills.
#[cfg(unix)]
#[test]
fn a_folder_is_private_while_it_fills_and_the_same_content_is_not_duplicated() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let pair = Pair::new();
    let (folder, arrived) = (pair.a.outgoing().join("private"), pair.b.incoming().join("private"));
    put(&pair.a, "private/first", "small");
    plant_big(&folder.join("second"), 6_000_000, 1);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    let (a, mut b) = (pair.a.start(&["--limit-rate", "3M"]), pair.b.start(&[]));
    b.waits_for("file_done", |event| event["path"] == "private/first");
    assert_eq!(arrived.metadata().unwrap().mode() & 0o777, 0o700);
    // The folder stays private when the sender dies.
    a.kill();
    assert_eq!(arrived.metadata().unwrap().mode() & 0o777, 0o700);
    let _a = pair.a.start(&[]);
    b.waits_for("file_done", |event| event["path"] == "private");
    assert_eq!(arrived.metadata().unwrap().mode() & 0o777, 0o750);

    fs::write(pair.b.incoming().join("same"), "older").unwrap();
    for _ in 0..2 {
        put(&pair.a, "same", "newer");
        b.waits_for("file_done", |event| {
            event["path"] == "same" && event["saved_as"] == "same (1)"
        });
    }
    assert!(!pair.b.incoming().join("same (2)").exists());
}

#[test]
fn kept_and_archived_files_are_not_sent_again() {
    for (way, stays, archived) in [("keep", true, false), ("archive", false, true)] {
        let pair = Pair::new();
        put(&pair.a, "d/one.txt", "one");
        put(&pair.a, "two.txt", "two");
        let (first, _) = pair.drain(&["--after-send", way], &[]);
        assert!(
            sent_paths(&first).contains(&"d/one.txt") && sent_paths(&first).contains(&"two.txt"),
            "{first:?}"
        );
        for name in ["d/one.txt", "two.txt"] {
            assert_eq!(pair.a.outgoing().join(name).exists(), stays, "{way}: {name}");
            assert_eq!(pair.a.state().join("sent").join(name).exists(), archived, "{way}: {name}");
        }
        let (again, received) = pair.drain(&["--after-send", way], &[]);
        assert_eq!(sent_paths(&again), [""; 0], "{way}");
        assert!(
            !received.iter().any(|event| event["event"] == "file_started"),
            "{way}: {received:?}"
        );
        assert_eq!(fs::read_dir(pair.b.incoming()).unwrap().count(), 2, "{way}");
    }
}

/// Slow: 200 MB at 20 MB/s.
#[test]
fn a_killed_receiver_resumes() {
    const SIZE: u64 = 200_000_000;
    let pair = Pair::new();
    let hash = plant_big(&pair.a.outgoing().join("big"), SIZE, 1);
    let sender = pair.a.start(&["--drain", "--limit-rate", "20M"]);
    let mut killed = pair.b.start(&["--drain"]);
    killed.waits_for("file_progress", |event| event["bytes"].as_u64() > Some(SIZE / 4));
    killed.kill();
    assert!(!pair.b.incoming().join("big").exists(), "half of a file is in Incoming");
    let events = pair.b.start(&["--drain"]).ends(0);
    sender.ends(0);
    let of = |name: &str| {
        events.iter().filter(|e| e["event"] == name && e["path"] == "big").collect::<Vec<_>>()
    };
    let (started, done) = (of("file_started"), of("file_done"));
    assert_eq!(done.len(), 1, "{events:?}");
    let offset = started.last().and_then(|event| event["offset"].as_u64());
    assert!(offset > Some(SIZE / 8), "it went on from {offset:?}");
    assert_eq!(done[0]["blake3"], hash.to_hex().as_str());
    assert_eq!(hash_of(&pair.b.incoming().join("big")), hash);
    assert_eq!(fs::read_dir(pair.b.incoming()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(pair.a.outgoing()).unwrap().count(), 0);
    pair.b.left_nothing_over();
}

#[cfg(unix)]
#[test]
fn sigterm_stops_the_program_in_order() {
    let pair = Pair::new();
    let (mut a, mut b) = (pair.a.start(&[]), pair.b.start(&[]));
    for peer in [&mut a, &mut b] {
        let connected = peer.waits_for("connected", |_| true).event;
        assert_eq!(connected["kx"], "X25519MLKEM768", "{connected}");
    }
    let events = a.stop();
    assert_eq!(events.last().unwrap()["reason"], "stopped");
    b.waits_for("disconnected", |_| true);
    // The other peer waits and accepts the first one again.
    let mut back = pair.a.start(&[]);
    back.waits_for("connected", |_| true);
    put(&pair.a, "late.txt", "late");
    b.waits_for("file_done", |event| event["path"] == "late.txt");
    let begun = std::time::Instant::now();
    b.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?} to stop", begun.elapsed());
}

/// The sandbox must set the flag that the kernel reports (no new privileges) on every thread.
#[cfg(target_os = "linux")]
#[test]
fn every_thread_is_confined_to_the_folders() {
    let flag = |status: &str| {
        status.lines().find(|line| line.starts_with("NoNewPrivs:")).unwrap().ends_with('1')
    };
    let here = flag(&fs::read_to_string("/proc/self/status").unwrap());
    for (options, confined) in [(&[][..], true), (&["--no-sandbox"][..], false)] {
        let pair = Pair::new();
        let (mut a, b) = (pair.a.start(options), pair.b.start(options));
        a.waits_for("connected", |_| true);
        let log = fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
        let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", a.id()))
            .unwrap()
            .map(|task| flag(&fs::read_to_string(task.unwrap().path().join("status")).unwrap()))
            .collect();
        assert!(threads.len() > 3, "{threads:?}");
        if log.contains("not sandboxed: this system") {
            // In CI a skipped test would look like a passed one.
            assert!(
                std::env::var_os("CI").is_none(),
                "this kernel has no Landlock, which CI must have"
            );
            eprintln!("this kernel has no Landlock: nothing was tested");
        } else if confined {
            assert!(log.contains(" sandboxed: "), "{log}");
            assert!(threads.iter().all(|&flag| flag), "{threads:?}");
        } else {
            assert!(log.contains("not sandboxed: --no-sandbox"), "{log}");
            assert!(threads.iter().all(|&flag| flag == here), "{threads:?}");
        }
        put(&pair.a, "d/x", "x");
        a.waits_for("file_done", |event| event["path"] == "d/x");
        assert_eq!(fs::read(pair.b.incoming().join("d/x")).unwrap(), b"x");
        drop((a, b));
    }
}

/// A panic in the task of one connection, session or file ends only that task. Both peers stay up.
#[cfg(feature = "failpoints")]
#[cfg(unix)]
#[test]
fn a_panic_in_one_task_leaves_the_peers_up() {
    // The second peer dials the first and sends to it.
    let places = [
        ("handshake.responder_sure=panic@1", ""),
        ("session.begun=panic@1", ""),
        ("receive.offer=panic@1", ""),
        ("", "handshake.initiator_done=panic@1"),
        ("", "session.begun=panic@1"),
        ("", "send.handed_out=panic@1"),
        ("", "send.forgetting=panic@1"),
    ];
    std::thread::scope(|scope| {
        for (at_a, at_b) in places {
            scope.spawn(move || {
                let mut pair = Pair::new();
                (pair.a.failpoints, pair.b.failpoints) = (at_a.into(), at_b.into());
                let (mut a, mut b) = (pair.a.listen(&[]), pair.b.start(&[]));
                for name in ["one", "two"] {
                    put(&pair.b, name, name);
                    a.waits_for("file_done", |event| event["path"] == name);
                    assert_eq!(fs::read_to_string(pair.a.incoming().join(name)).unwrap(), name);
                    // The receiver learns in the same session which transfer IDs it may forget.
                    b.waits_for("file_done", |event| event["path"] == name);
                }
                for (mut peer, place) in [(a, at_a), (b, at_b)] {
                    peer.terminate();
                    let (code, errors) = peer.wait();
                    assert_eq!(code, Some(0), "{place}: {errors}");
                    assert_eq!(
                        errors.matches("panicked at").count(),
                        usize::from(!place.is_empty()),
                        "{errors}"
                    );
                }
            });
        }
    });
}
