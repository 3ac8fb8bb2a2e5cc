//! `rft history` and `rft receipt` of the real program: beside a running peer, at rest, after a
//! kill, and in a full volume.

use crate::harness::command::run;
use crate::harness::files::drop_content;
use crate::harness::peer::{Host, Pair};
use crate::harness::until;
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

/// Runs a command about the peer of this host.
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The entries, as `--json` prints them.
fn entries(host: &Host, arguments: &[&str]) -> Vec<Value> {
    let output = run(host, "history", &[&["--json"], arguments].concat());
    text(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Kind and path of each.
fn facts(host: &Host, arguments: &[&str]) -> Vec<String> {
    let fact = |entry: &Value| {
        format!("{} {}", entry["kind"].as_str().unwrap(), entry["path"].as_str().unwrap())
    };
    entries(host, arguments).iter().map(fact).collect()
}

#[test]
fn it_lists_what_crossed_running_and_at_rest() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&[], &["--max-file-size", "1000"]);
    fs::create_dir(pair.a.dir.join("d")).unwrap();
    fs::write(pair.a.dir.join("d/f.txt"), "four").unwrap();
    fs::rename(pair.a.dir.join("d"), pair.a.outgoing().join("d")).unwrap();
    b.waits_for("file_done", |event| event["path"] == "d/f.txt");
    drop_content(&pair.a, "large", vec![b'x'; 2000]);
    b.waits_for("file_failed", |event| event["path"] == "large");
    drop_content(&pair.b, "back", "123456");
    until("the file does not cross", || pair.a.incoming().join("back").exists());
    let has = |host: &Host, fact: &str| facts(host, &[]).iter().any(|known| known == fact);
    for fact in ["sent d/f.txt", "removed d/f.txt", "refused large", "received back"] {
        until(fact, || has(&pair.a, fact));
    }
    for fact in ["received d/f.txt", "refused large", "sent back", "removed back"] {
        until(fact, || has(&pair.b, fact));
    }
    let running = entries(&pair.a, &[]);
    let sent = running.iter().find(|entry| entry["kind"] == "sent").unwrap();
    let hash = blake3::hash(b"four").to_hex().to_string();
    assert_eq!((&sent["size"], &sent["blake3"]), (&4.into(), &hash.as_str().into()));
    assert_eq!((&sent["peer"], &sent["direction"]), (&"127.0.0.2".into(), &"send".into()));
    let refused = running.iter().find(|entry| entry["kind"] == "refused").unwrap();
    assert!(refused["error"].as_str().unwrap().contains("1000 bytes"), "{refused}");
    a.stop();
    b.stop();

    // The same without a process, in both orders, and for one file.
    assert_eq!(entries(&pair.a, &[]), running);
    let last = facts(&pair.a, &["-n", "2"]);
    assert_eq!(last, facts(&pair.a, &[])[running.len() - 2..]);
    let path = pair.a.outgoing().join("d/f.txt");
    let of_file = facts(&pair.a, &[path.to_str().unwrap()]);
    assert_eq!(of_file, ["sent d/f.txt", "removed d/f.txt"]);
    assert_eq!(facts(&pair.a, &["--until", "yesterday"]), [""; 0]);
    assert_eq!(entries(&pair.a, &["--since", "1h"]), running);
    let shown = text(&run(&pair.a, "history", &["--since", "today"]));
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "↑ sent d/f.txt 4 B, to 127.0.0.2, ",
        "! refused large 2.00 kB, to 127.0.0.2: ",
        "↓ received back 6 B, from 127.0.0.2, ",
        "1 file sent, 4 B; 1 file received, 6 B;",
    ] {
        assert!(words.contains(part), "{part} is missing:\n{shown}");
    }
    assert_eq!(run(&pair.a, "history", &["--since", "soon"]).status.code(), Some(14));
}

#[test]
fn a_receipt_names_hash_times_and_both_installations() {
    let pair = Pair::new();
    fs::create_dir_all(pair.b.incoming()).unwrap();
    fs::write(pair.b.incoming().join("f"), "another file").unwrap();
    let (a, mut b) = pair.connected(&["--after-send", "archive"], &[]);
    drop_content(&pair.a, "f", "four");
    b.waits_for("file_done", |event| event["path"] == "f");
    until("it is not archived", || facts(&pair.a, &["f"]).contains(&"archived f".to_owned()));
    let hash = blake3::hash(b"four").to_hex().to_string();
    let of = |host: &Host, file: &str| -> Value {
        serde_json::from_str(&text(&run(host, "receipt", &["--json", file]))).unwrap()
    };
    let (sent, received) = (of(&pair.a, "f"), of(&pair.b, "f (1)"));
    assert_eq!((&sent["kind"], &received["kind"]), (&"sent".into(), &"received".into()));
    for receipt in [&sent, &received] {
        assert_eq!(receipt["blake3"], hash.as_str());
        assert_eq!((&receipt["size"], &receipt["saved_as"]), (&4.into(), &"f (1)".into()));
    }
    assert_eq!(sent["transfer"], received["transfer"]);
    assert_eq!(sent["own_installation"], received["installation"]);
    assert_eq!(sent["installation"], received["own_installation"]);
    assert_eq!(sent["removed"]["kind"], "archived");
    a.stop();
    b.stop();
    let path = pair.b.incoming().join("f (1)");
    let path = path.to_str().unwrap();
    let shown = text(&run(&pair.b, "receipt", &["--verify", path]));
    let own = sent["installation"].as_str().unwrap();
    for part in ["received    20", "4 bytes", &hash, "saved as    f (1)", own, ": the same"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    // A file of that name elsewhere is another one.
    fs::write(pair.a.dir.join("f (1)"), "fore").unwrap();
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_rft"));
    elsewhere.args(["receipt", "--verify", "--dir"]).arg(&pair.b.dir).arg("f (1)");
    let output = elsewhere.current_dir(&pair.a.dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::write(path, "fore").unwrap();
    let output = run(&pair.b, "receipt", &["--verify", path]);
    assert_eq!(output.status.code(), Some(20), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("other content"), "{output:?}");
    assert_eq!(run(&pair.b, "receipt", &["unknown"]).status.code(), Some(20));
    assert_eq!(run(&pair.b, "receipt", &["../f"]).status.code(), Some(2));
}

#[test]
fn a_kill_loses_a_second_of_it_at_most_and_no_history_is_kept_if_none_is_wanted() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&[], &["--history", "0"]);
    drop_content(&pair.a, "f", "four");
    b.waits_for("file_done", |event| event["path"] == "f");
    let path = pair.a.state().join("history.redb");
    until("it is not written", || path.exists() && facts(&pair.a, &[]).len() == 2);
    a.kill();
    assert_eq!(facts(&pair.a, &[]), ["sent f", "removed f"]);
    // Asking changes nothing, and leaves no lock behind.
    let before = fs::read(&path).unwrap();
    assert_eq!(facts(&pair.a, &[]).len(), 2);
    assert_eq!(fs::read(&path).unwrap(), before);
    let mut a = pair.a.start(&[]);
    a.waits_for("connected", |_| true);
    assert_eq!(facts(&pair.a, &[]), ["sent f", "removed f"]);
    assert_eq!(facts(&pair.b, &[]), [""; 0]);
    assert!(!pair.b.state().join("history.redb").exists());
    a.stop();
    b.stop();
}

#[test]
fn a_history_that_cannot_be_written_delays_no_file() {
    let mut pair = Pair::new();
    pair.a.failpoints = "history.sync=EIO@1..2".into();
    let (mut a, mut b) = pair.connected(&[], &[]);
    for name in ["f", "g"] {
        drop_content(&pair.a, name, "four");
        b.waits_for("file_done", |event| event["path"] == name);
    }
    let log = || fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
    until("it is not told", || log().contains("the history cannot be written"));
    // Whoever asks makes it try again.
    until("nothing is written", || facts(&pair.a, &[]).len() == 4);
    drop_content(&pair.a, "h", "four");
    a.has_or_waits_for("file_done", |event| event["path"] == "h");
    a.stop();
    b.stop();
    assert_eq!(facts(&pair.a, &[]).len(), 6);
}
