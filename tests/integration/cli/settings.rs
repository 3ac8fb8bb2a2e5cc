//! The configuration file `rft.toml`, and `rft config`.

use crate::harness::peer::{Host, Running, free_port};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Writes `rft.toml` so that only the user can change it.
fn write(folder: &Path, text: &str) {
    let file = folder.join("rft.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs the program in this folder.
fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(words).current_dir(folder).stdin(Stdio::null());
    command.env_remove("RFT_PASSWORD").output().unwrap()
}

/// The text of the file, the exit code, and the message after the file's name.
const WRONG: &[(&str, i32, &str)] = &[
    (
        "# one\nsettle = \"soon\"",
        14,
        "line 2: --settle soon: not a duration such as 250ms, 1s or 2m",
    ),
    ("after-send = \"burn\"", 2, "line 1: after-send: burn is not one of delete, keep, archive"),
    (
        "drain = true\nafter_send = \"keep\"",
        2,
        "line 2: there is no option after_send; write after-send",
    ),
    (
        "nope = 1",
        2,
        "line 1: there is no option nope; rft --help lists them, each with its long name",
    ),
    (
        "password = \"x\"",
        2,
        "line 1: the password is never in this file; write password-file = \"FILE\"",
    ),
    ("\n\ndrain = \"yes\"", 2, "line 3: drain needs true or false, without quotes"),
    ("[peer]\ndrain = true", 2, "line 1: there are no sections; write all options without one"),
    (
        "dir = \"x\"",
        2,
        "line 1: dir is the folder of this file; give --dir on the command line, or this file with --config",
    ),
    ("verbose = 7", 2, "line 1: verbose needs 0, 1 or 2"),
    ("in-flight = 0", 14, "line 1: --in-flight 0: not a whole number from 1 to 1024"),
    ("drain = true\ndrain = true", 2, "line 2: not TOML: duplicate key"),
    ("wait = \"1m\"\nsettle = [1]", 2, "line 2: settle needs a text in double quotes, or a number"),
];

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for &(text, code, expected) in WRONG {
        write(folder.path(), text);
        let output = run(folder.path(), &["127.0.0.2", "4000"]);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!("rft: ./rft.toml, {expected}\n");
        if output.status.code() != Some(code) || printed != expected {
            wrong.push(format!("{text}: {:?} {printed}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is created");
    // The end of a peer is an event.
    let output = run(folder.path(), &["--json", "127.0.0.2", "4000"]);
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&event["event"], &event["code"]), (&"exit".into(), &2.into()), "{event}");
}

#[test]
fn the_file_sets_what_the_command_line_does_not() {
    let base = tempfile::tempdir().unwrap();
    let host = Host::new(base.path().join("a"), "127.0.0.1", "127.0.0.2", free_port());
    fs::create_dir_all(&host.dir).unwrap();
    let text = format!("port = {}\nbind = \"127.0.0.1\"\noutgoing = \"out\"\n", host.port);
    write(&host.dir, &text);
    let mut peer = host.start_raw(&["127.0.0.2"]);
    let local = peer.waits_for("listening", |_| true).event["local"].clone();
    assert_eq!(local, format!("127.0.0.1:{}", host.port));
    // A path is relative to the file.
    assert!(host.dir.join("out").is_dir());
    peer.stop();
    let other = free_port();
    let mut peer = host.start_raw(&["--bind", "127.0.0.2", &format!("127.0.0.1:{other}")]);
    let local = peer.waits_for("listening", |_| true).event["local"].clone();
    assert_eq!(local, format!("127.0.0.2:{other}"));
    peer.stop();
    // Another file, which may name the folder.
    let named = base.path().join("named.toml");
    let text = format!("bind = \"127.0.0.1\"\ndir = \"b\"\nport = {other}\njson = true\n");
    fs::write(&named, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.arg("--config").arg(&named).arg("listen").env("RFT_PASSWORD", "long enough");
    let mut peer = Running::spawn(command);
    peer.waits_for("listening", |event| event["local"] == format!("127.0.0.1:{other}"));
    peer.stop();
    assert!(base.path().join("b/Outgoing").is_dir());
    let output = run(base.path(), &["--config", "none.toml", "127.0.0.2", "4000"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_file_that_others_control_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "drain = true");
    let file = folder.path().join("rft.toml");
    let refused = |words: &[&str], why: &str| {
        let output = run(folder.path(), words);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(why), "{printed}");
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
    refused(&["127.0.0.2", "4000"], "other users can change it");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    // The peer could have sent this one.
    let elsewhere = tempfile::tempdir().unwrap();
    let outgoing = elsewhere.path().to_str().unwrap();
    refused(
        &["--incoming", ".", "--outgoing", outgoing, "127.0.0.2", "4000"],
        "is in Incoming, where the peer writes",
    );
    fs::remove_file(&file).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, mode).unwrap();
    refused(&["127.0.0.2", "4000"], "it is a FIFO");
    let output = run(folder.path(), &["config", "--config", "/dev/null"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn rft_config_prints_what_is_in_force_and_from_where() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "# mine\nlimit-rate = \"20M\"\nafter-send = \"keep\"\nverbose = 1\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(["config", "--after-send", "archive", "--drain", "bob", "4000"]);
    command.current_dir(folder.path()).env("RFT_PASSWORD", "never shown").env_remove("RFT_LOG");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for expected in [
        "configuration file ./rft.toml",
        "limit-rate 20M ./rft.toml, line 2",
        "after-send archive command line",
        "verbose 1 ./rft.toml, line 4",
        "drain true command line",
        "grace 10s default",
        "outgoing ./Outgoing default",
        "RFT_PASSWORD set environment",
    ] {
        assert!(rows.iter().any(|row| row == expected), "no {expected}: {text}");
    }
    assert!(!text.contains("never shown"), "{text}");
    for name in ["bind", "settle", "port", "metrics", "json", "no-sandbox", "password-file"] {
        assert!(rows.iter().any(|row| row.starts_with(&format!("{name} "))), "{name}: {text}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is created");
    let wrong = run(folder.path(), &["config", "--settle", "soon"]);
    assert_eq!(wrong.status.code(), Some(14), "{wrong:?}");
}
