//! Exchanges that other programs, users and peers get in the way of.

use super::{Rig, TIMEOUT, ends, start};
use crate::harness::files::{hash_of, names, plant_big};
use crate::harness::peer::{Host, PASSWORD, Running};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};

/// The exit code of an exchange in which not everything crossed.
const INCOMPLETE: i32 = 21;

/// A permanent peer in the place of the receiver.
fn permanent(rig: &Rig) -> Host {
    Host::new(rig.path("host"), "127.0.0.2", "127.0.0.1", rig.port.parse().unwrap())
}

/// Sends to a receiver, and waits for both.
fn cross(rig: &Rig, words: &[&str]) -> (Output, Output) {
    let mut receiver = rig.receive(PASSWORD);
    let receiver = std::thread::spawn(move || ends(&mut receiver));
    let sent = ends(&mut rig.send_known(words));
    (sent, receiver.join().unwrap())
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a slow exchange of `words`, and returns both sides when half of `big` has arrived.
fn halfway(rig: &Rig, words: &[&str]) -> (Running, Running) {
    let own = ["--json", "--limit-rate", "1500K"];
    let sender = start(rig.send_known(&[&own, words].concat()));
    let mut receiver = start(rig.receive(PASSWORD));
    receiver.waits_for("file_progress", |event| event["bytes"].as_u64() > Some(2 << 20));
    (sender, receiver)
}

#[test]
fn a_sender_takes_nothing_from_a_permanent_peer() {
    let rig = Rig::new();
    fs::write(rig.path("from").join("a"), "a").unwrap();
    let host = permanent(&rig);
    fs::write(host.outgoing().join("theirs"), "stays").unwrap();
    let mut listening = host.listen(&[]);
    plant_big(&rig.path("from").join("big"), 4 << 20, 1);
    let own = ["--json", "--wait", "30s", "--limit-rate", "2M", "a", "big"];
    let sender = start(rig.send_known(&own));
    listening.waits_for("file_started", |event| event["path"] == "big");
    let status = Command::new(env!("CARGO_BIN_EXE_rft"))
        .args(["status", "--dir"])
        .arg(&host.dir)
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(
        status.split_whitespace().collect::<Vec<_>>().join(" ").contains("it only sends"),
        "{status}"
    );
    sender.ends(0);
    listening.has_or_waits_for("warning", |event| {
        event["message"].as_str().is_some_and(|text| text.contains("only sends"))
    });
    // Another session follows, and takes it.
    assert_eq!(names(&host.outgoing()), ["theirs"]);
    assert_eq!(fs::read(host.incoming().join("a")).unwrap(), b"a");
    let other = Host::new(rig.path("other"), "127.0.0.1", "127.0.0.2", host.port);
    let mut other = other.start(&["--drain"]);
    other.waits_for("file_done", |event| event["path"] == "theirs");
    other.ends(0);
    listening.stop();
}

#[test]
fn two_senders_and_two_receivers_are_told() {
    let rig = Rig::new();
    fs::write(rig.path("from").join("a"), "a").unwrap();
    let own = ["send", "--bind", "127.0.0.2", "a", "127.0.0.1", &rig.port];
    let mut other = rig.command("state-b", &own);
    other.env("RFT_PASSWORD", PASSWORD);
    let other = std::thread::spawn(move || ends(&mut other));
    let (one, other) = (ends(&mut rig.send_known(&["a"])), other.join().unwrap());
    // One of them may be told before the other one knows of the session.
    let told = [&one, &other].map(|output| errors(output).contains("it runs `rft send` too"));
    assert!(told.contains(&true) && code(&one) != Some(0), "{one:?} {other:?}");
    let peer = permanent(&rig);
    let host = Host::new(peer.dir.clone(), "127.0.0.1", "127.0.0.2", peer.port);
    let _idle = host.start(&[]);
    let received = ends(&mut rig.receive(PASSWORD));
    assert_eq!(code(&received), Some(INCOMPLETE), "{received:?}");
    assert_eq!(names(&rig.path("to")), [""; 0]);
}

#[test]
fn a_receiver_leaves_the_state_of_a_permanent_peer_alone() {
    let rig = Rig::new();
    let to = rig.path("to");
    let own = to.join(".rft/sent");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("archived"), "x").unwrap();
    fs::write(to.join("rft.toml"), "max-file-size = \"1\"\n").unwrap();
    fs::write(rig.path("from").join("rft.toml"), "after-send = \"delete\"\n").unwrap();
    fs::write(rig.path("from").join("a"), "four").unwrap();
    let (sent, received) = cross(&rig, &["a"]);
    assert!(code(&sent) == Some(0) && code(&received) == Some(0), "{sent:?} {received:?}");
    assert_eq!(fs::read(own.join("archived")).unwrap(), b"x");
    assert_eq!(names(&to), [".rft", "a", "rft.toml"]);
    assert_eq!(names(&rig.path("from")), ["a", "rft.toml"]);
}

#[test]
fn a_second_command_changes_nothing_for_the_first() {
    let rig = Rig::new();
    let big = rig.path("from").join("big");
    let hash = plant_big(&big, 4 << 20, 1);
    let mut first = rig.send_known(&["--limit-rate", "1500K", "-", "--as", "big"]);
    let mut first = first.stdin(fs::File::open(&big).unwrap()).spawn().unwrap();
    let mut receiver = start(rig.receive(PASSWORD));
    receiver.waits_for("file_progress", |event| event["bytes"].as_u64() > Some(1 << 20));
    let mut second = rig.send_known(&["-", "--as", "big"]);
    let mut second = second.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The pipe may be closed before.
    let _ = second.stdin.take().unwrap().write_all(b"other bytes");
    let second = second.wait_with_output().unwrap();
    assert!(code(&second) == Some(16) && errors(&second).contains("runs already"), "{second:?}");
    let third = ends(&mut rig.receive(PASSWORD));
    assert!(code(&third) == Some(16) && third.status.code().is_some(), "{third:?}");
    assert!(first.wait().unwrap().success());
    receiver.ends(0);
    assert_eq!(hash_of(&rig.path("to").join("big")), hash);
    rig.left_nothing_over(&["big"]);
}

#[test]
fn files_that_changed_since_the_first_try_are_copied_again() {
    let rig = Rig::new();
    let from = rig.path("from");
    fs::create_dir(from.join("d")).unwrap();
    fs::write(from.join("d/small"), "old").unwrap();
    plant_big(&from.join("big"), 6 << 20, 1);
    let (sender, receiver) = halfway(&rig, &["d/small", "big"]);
    sender.kill();
    receiver.kill();
    let hash = plant_big(&from.join("big"), 6 << 20, 2);
    let (sent, received) = cross(&rig, &["d/small", "big"]);
    // The key has no options, so it is the same exchange.
    assert!(code(&sent) == Some(0) && code(&received) == Some(0), "{sent:?} {received:?}");
    assert_eq!(hash_of(&rig.path("to").join("big")), hash);
    rig.left_nothing_over(&["big", "small"]);
}

#[test]
fn another_receiver_gets_all_files() {
    let rig = Rig::new();
    let from = rig.path("from");
    fs::write(from.join("small"), "small").unwrap();
    let hash = plant_big(&from.join("big"), 6 << 20, 1);
    let (sender, mut receiver) = halfway(&rig, &["small", "big"]);
    receiver.has_or_waits_for("file_done", |event| event["path"] == "small");
    receiver.kill();
    // The sender goes on running.
    fs::create_dir(rig.path("elsewhere")).unwrap();
    let received = ends(&mut rig.receive_into("elsewhere", PASSWORD));
    assert_eq!(code(&received), Some(0), "{received:?}");
    sender.ends(0);
    assert_eq!(names(&rig.path("elsewhere")), ["big", "small"]);
    assert_eq!(hash_of(&rig.path("elsewhere").join("big")), hash);

    // The same when the sender starts again, too.
    let (sender, mut receiver) = halfway(&rig, &["small", "big"]);
    receiver.has_or_waits_for("file_done", |event| event["path"] == "small");
    sender.kill();
    receiver.kill();
    fs::create_dir(rig.path("third")).unwrap();
    let mut third = rig.receive_into("third", PASSWORD);
    let third = std::thread::spawn(move || ends(&mut third));
    assert_eq!(code(&ends(&mut rig.send_known(&["small", "big"]))), Some(0));
    assert_eq!(code(&third.join().unwrap()), Some(0));
    assert_eq!(names(&rig.path("third")), ["big", "small"]);
}

#[test]
fn a_file_that_is_deleted_or_cannot_be_sent_is_named_at_the_end() {
    let rig = Rig::new();
    let from = rig.path("from");
    fs::create_dir(from.join("d")).unwrap();
    fs::write(from.join("d/x"), "x").unwrap();
    assert!(Command::new("mkfifo").arg(from.join("d/pipe")).status().unwrap().success());
    let (sent, received) = cross(&rig, &["d"]);
    assert!(code(&sent) == Some(INCOMPLETE) && errors(&sent).contains("d/pipe: "), "{sent:?}");
    assert_eq!(code(&received), Some(0), "{received:?}");

    fs::write(from.join("later"), "").unwrap();
    plant_big(&from.join("big"), 6 << 20, 1);
    let mut sender = start(rig.send_known(&["--json", "big", "later"]));
    sender.waits_for("listening", |_| true);
    fs::rename(from.join("later"), from.join("renamed")).unwrap();
    let received = ends(&mut rig.receive(PASSWORD));
    assert_eq!(code(&received), Some(0), "{received:?}");
    let (code, errors) = sender.wait();
    assert!(code == Some(INCOMPLETE) && errors.contains("later: it was deleted"), "{errors}");
}

#[test]
fn a_file_that_the_receiver_refuses_is_named_at_the_end() {
    let rig = Rig::new();
    fs::write(rig.path("from").join("a"), "new").unwrap();
    let host = permanent(&rig);
    fs::create_dir_all(host.incoming()).unwrap();
    fs::write(host.incoming().join("a"), "old").unwrap();
    for (options, reason) in [
        (["--on-conflict", "skip"], "another file has this name"),
        (["--max-file-size", "1"], "larger than"),
        (["--max-incoming-bytes", "5"], "limit"),
    ] {
        let listening = host.listen(&options);
        let sent = ends(&mut rig.send_known(&["--wait", "60s", "a"]));
        let text = errors(&sent);
        let is_named = text.contains("not sent (1 in all): a: ") && text.contains(reason);
        assert!(code(&sent) == Some(INCOMPLETE) && is_named, "{options:?}: {sent:?}");
        assert_eq!(fs::read(host.incoming().join("a")).unwrap(), b"old");
        listening.stop();
    }
}

#[test]
fn files_are_sent_from_the_folder_that_has_the_state_too() {
    let rig = Rig::new();
    let from = rig.path("from");
    fs::write(from.join("a"), "a").unwrap();
    // Names that rft reserves in an Outgoing of its own.
    fs::create_dir(from.join(".rft")).unwrap();
    fs::create_dir(from.join(".rft-put")).unwrap();
    let mut receiver = rig.receive(PASSWORD);
    let receiver = std::thread::spawn(move || ends(&mut receiver));
    let mut sender = rig.send_known(&["a"]);
    sender.env_remove("XDG_STATE_HOME").env("HOME", &from);
    let sent = ends(&mut sender);
    assert_eq!(code(&sent), Some(0), "{sent:?}");
    assert_eq!(code(&receiver.join().unwrap()), Some(0));
    assert_eq!(names(&from), [".local", ".rft", ".rft-put", "a"]);
    rig.left_nothing_over(&["a"]);
}

#[test]
fn a_name_that_is_not_utf_8_is_kept() {
    let rig = Rig::new();
    let name = OsStr::from_bytes(b"caf\xe9");
    let mut receiver = rig.receive(PASSWORD);
    let receiver = std::thread::spawn(move || ends(&mut receiver));
    let mut sender = rig.send_known(&["-"]);
    let sender = sender.arg("--as").arg(name).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut sender = sender.spawn().unwrap();
    sender.stdin.take().unwrap().write_all(b"x").unwrap();
    let sent = sender.wait_with_output().unwrap();
    assert_eq!(code(&sent), Some(0), "{sent:?}");
    assert_eq!(code(&receiver.join().unwrap()), Some(0));
    assert_eq!(fs::read(rig.path("to").join(name)).unwrap(), b"x");
}

#[test]
fn the_password_that_was_made_is_the_same_after_a_kill() {
    let rig = Rig::new();
    fs::write(rig.path("from").join("a"), "a").unwrap();
    let password = || {
        let mut sender = rig.send(&["--quiet", "a"]);
        let mut sender = sender.stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = std::io::BufReader::new(sender.stderr.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        std::thread::sleep(TIMEOUT / 60);
        sender.kill().unwrap();
        sender.wait().unwrap();
        line
    };
    let (first, second) = (password(), password());
    assert!(first.contains("and there the password") && first == second, "{first} {second}");
}
