//! `rft put` of the real program: with and without a running peer, killed, refused, and waited for.

use crate::harness::files::names;
use crate::harness::peer::{Host, Pair};
use crate::harness::{status, until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The command `rft put` in the folder of this host.
fn command(host: &Host, arguments: &[&str], files: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(["put", "--dir"]).arg(&host.dir).args(arguments).args(files);
    command.stdin(Stdio::null()).env("RFT_FAILPOINTS", &host.failpoints);
    command
}

fn put(host: &Host, arguments: &[&str], files: &[&Path]) -> Output {
    command(host, arguments, files).output().unwrap()
}

/// Asserts the exit code and a part of the error, and returns the standard output.
fn says(output: &Output, code: i32, error: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && errors.contains(error), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A file outside of the host's folders.
fn source(host: &Host, name: &str, content: &[u8]) -> PathBuf {
    let folder = host.dir.join("work");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), content).unwrap();
    folder.join(name)
}

#[test]
fn it_waits_until_the_peer_has_a_file_and_a_folder() {
    let pair = Pair::new();
    let (_a, _b) = pair.connected(&[], &[]);
    let file = source(&pair.a, "f.txt", b"four");
    let shown = says(&put(&pair.a, &["--wait"], &[&file]), 0, "");
    assert_eq!(fs::read(pair.b.incoming().join("f.txt")).unwrap(), b"four");
    assert!(shown.contains("f.txt (4 B) is in Outgoing") && shown.contains("127.0.0.2 has it"));
    let folder = pair.a.dir.join("work/photos");
    fs::create_dir_all(folder.join("2026")).unwrap();
    for i in 0..20 {
        fs::write(folder.join(format!("2026/{i}")), vec![b'x'; 5000]).unwrap();
    }
    let output = put(&pair.a, &["--wait", "--json"], &[&folder, &file]);
    let lines: Vec<Value> =
        says(&output, 0, "").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["put", "put", "sent", "sent"]);
    assert_eq!((&lines[0]["files"], &lines[0]["bytes"]), (&20.into(), &100_000.into()));
    assert_eq!(lines[2]["receipt"]["kind"], "sent");
    assert_eq!(lines[3]["receipt"]["saved_as"], "f.txt", "it has the same content");
    assert_eq!(names(&pair.b.incoming().join("photos/2026")).len(), 20);
    assert!(file.exists() && folder.join("2026/7").exists(), "the sources stay");
    until("Outgoing is empty", || names(&pair.a.outgoing()).is_empty());
}

#[test]
fn without_a_peer_the_file_waits_and_its_name_is_taken() {
    let pair = Pair::new();
    let file = source(&pair.a, "f.txt", b"four");
    let shown = says(&put(&pair.a, &[], &[&file]), 0, "");
    assert!(shown.contains("no rft runs in this folder"), "{shown}");
    assert_eq!(names(&pair.a.outgoing()), ["f.txt"]);
    says(&put(&pair.a, &[], &[&file]), 1, "Outgoing has f.txt already; wait until it is sent");
    says(&put(&pair.a, &["--as", "d/g.txt"], &[&file]), 0, "");
    says(&put(&pair.a, &["--wait", "--as", "h"], &[&file]), 18, "nothing was put");
    says(&put(&pair.a, &["--as", "../h"], &[&file]), 2, "--as NAME");
    says(&put(&pair.a, &["--as", "h"], &[&file, &file]), 2, "--as names one FILE");
    says(&put(&pair.a, &[], &[&pair.a.dir]), 1, "contains Outgoing");
    says(&put(&pair.a, &[], &[&pair.a.dir.join("missing")]), 1, "there is no such file");
    let base = tempfile::tempdir().unwrap();
    let elsewhere = Host::new(base.path().join("a"), "", "", 1);
    fs::remove_dir(elsewhere.outgoing()).unwrap();
    says(&put(&elsewhere, &[], &[&file]), 1, "has no Outgoing");
    assert_eq!(names(&pair.a.outgoing()), ["d", "f.txt"]);
    pair.drain(&[], &[]);
    assert_eq!(names(&pair.b.incoming()), ["d", "f.txt"]);
}

#[cfg(unix)]
#[test]
fn a_kill_before_the_rename_sends_nothing_and_is_cleaned_up() {
    let pair = Pair::new();
    let (a, _b) = pair.connected(&[], &[]);
    let file = source(&pair.a, "f.txt", b"four");
    let killed = Host { failpoints: "test.put_copied=kill".to_owned(), ..pair.a.clone() };
    assert_eq!(put(&killed, &[], &[&file]).status.code(), None);
    assert_eq!(names(&pair.a.outgoing()), [".rft-put"]);
    let status = status::of(&pair.a);
    assert_eq!(status["peers"][0]["waiting"].as_array().unwrap().len(), 0, "{status}");
    a.stop();
    let _a = pair.a.start(&[]);
    until("it is not cleaned up", || names(&pair.a.outgoing()).is_empty());
    assert!(!pair.b.incoming().join("f.txt").exists());
    assert_eq!(put(&killed, &[], &[&file]).status.code(), None);
    says(&put(&pair.a, &["--wait"], &[&file]), 0, "");
    until("it is not cleaned up", || names(&pair.a.outgoing()).is_empty());
}

#[test]
fn what_the_peer_refuses_and_what_rft_ignores_is_told() {
    let pair = Pair::new();
    fs::write(pair.a.outgoing().join(".rftignore"), "*.tmp\n").unwrap();
    let (_a, _b) = pair.connected(&[], &["--max-file-size", "1000"]);
    let large = source(&pair.a, "large", &[b'x'; 2000]);
    let output = put(&pair.a, &["--wait", "--json"], &[&large]);
    let shown = says(&output, 1, "large: refused: ");
    let last: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["path"]), (&"failed".into(), &"large".into()));
    assert!(pair.a.outgoing().join("large").exists());
    let folder = pair.a.dir.join("work/d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("small"), "x").unwrap();
    fs::write(folder.join("film.part"), "x").unwrap();
    says(&put(&pair.a, &["--wait"], &[&folder]), 1, "d/film.part in it: left alone");
    until("the rest is not sent", || pair.b.incoming().join("d/small").exists());
    let ignored = source(&pair.a, "x.tmp", b"x");
    says(&put(&pair.a, &["--wait"], &[&ignored]), 1, ".rftignore");
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_the_end_of_the_peer_end_the_wait() {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |_| true);
    let file = source(&pair.a, "f.txt", b"four");
    let waiting = |name: &str| {
        let mut command = command(&pair.a, &["--wait", "--as", name], &[&file]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("it is not put", || pair.a.outgoing().join(name).exists());
        // Until it asks for the file.
        std::thread::sleep(Duration::from_millis(500));
        child
    };
    let interrupted = waiting("g");
    let pid = rustix::process::Pid::from_child(&interrupted);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = interrupted.wait_with_output().unwrap();
    says(&output, 130, "stays in Outgoing, and is sent as usual");
    let left = waiting("h");
    a.stop();
    says(&left.wait_with_output().unwrap(), 18, "has ended; what is not sent yet stays");
    assert_eq!(names(&pair.a.outgoing()), ["g", "h"]);
}
