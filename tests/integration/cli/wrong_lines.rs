//! Wrong command lines: each prints one sentence and the line to type instead, in rft's own words.

use crate::harness::peer::{Host, free_port};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the program in this folder, with the words of `line`.
fn run(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(line.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command.env_remove("RFT_PASSWORD").output().unwrap()
}

/// The words after `rft`, the exit code, and the whole text after `rft: `.
const LINES: &[(&str, i32, &str)] = &[
    (
        "",
        2,
        "the other host and the port are missing; type: rft PEER PORT, for example: rft bob.example.org 4000 (rft -h shows more)",
    ),
    ("bob", 2, "the port is missing; type the same one on both hosts, for example: rft bob 4000"),
    (
        "4000",
        2,
        "the other host is missing; type: rft PEER 4000, or to accept any peer that knows the password: rft listen 4000",
    ),
    (
        ":4000",
        2,
        "the other host is missing; type: rft PEER 4000, or to accept any peer that knows the password: rft listen 4000",
    ),
    (
        "listen:4000",
        2,
        "listen:4000 is no host: listen is a word of its own; type: rft listen 4000",
    ),
    (
        "listen bob 4000",
        2,
        "listen accepts any peer that knows the password and takes nothing but the port; type: rft listen 4000, or for bob alone: rft bob 4000",
    ),
    ("bob 4000 extra", 2, "extra is one word too many after PEER and PORT; type: rft bob 4000"),
    (
        "bob 4000 ./Outgoing",
        2,
        "./Outgoing is one word too many: the folder of files to send is an option; type: rft --outgoing ./Outgoing bob 4000",
    ),
    ("bob:4000 -p 4001", 2, "there are two ports, 4000 and 4001; type one of them: rft bob 4000"),
    (
        "bob 99999",
        4,
        "port \"99999\": it is not a UDP port; give the same number from 1 to 65535 on both hosts, for example: rft bob 4000",
    ),
    (
        "bob:99999",
        4,
        "port \"99999\": it is not a UDP port; give the same number from 1 to 65535 on both hosts, for example: rft bob 4000",
    ),
    (
        "-p secret bob 4000",
        4,
        "-p is the port, a number from 1 to 65535, and never the password; type: rft -p 4000 PEER",
    ),
    (
        "http://bob:4000",
        3,
        "http://bob:4000 is a URL, and PEER is only the host's name or IP address; type: rft bob 4000",
    ),
    (
        "alice@bob 4001",
        3,
        "alice@bob is a user with a host, and PEER is only the host's name or IP address; type: rft bob 4001",
    ),
    ("4000 bob", 3, "PEER comes before PORT; type: rft bob 4000"),
    (
        "300.1.1.1 4000",
        3,
        "peer \"300.1.1.1\": it is neither an IP address nor a host name; give the other host's IP address or name, for example: rft bob.example.org 4000",
    ),
    ("help status", 2, "rft has no command help: it is an option; type: rft status --help"),
    (
        "statsu",
        2,
        "rft has no command statsu; type: rft status, or for a host of this name: rft statsu 4000",
    ),
    ("statsu --watch", 2, "rft has no command statsu; type: rft status --watch"),
    ("-v status", 2, "a command comes first, and its own options after it; type: rft status"),
    (
        "--dir d status --watch",
        2,
        "a command comes first, and its own options after it; type: rft status --dir d --watch",
    ),
    ("--watch", 2, "--watch is an option of a command; type: rft status --watch"),
    (
        "--password x bob 4000",
        2,
        "the password is never an argument, since other users can read those; type: rft --password-file FILE PEER PORT, or set the variable RFT_PASSWORD, or give neither and type it at the prompt",
    ),
    ("--darin bob 4000", 2, "rft has no option --darin; type: rft --drain bob 4000"),
    (
        "bob 4000 --nope",
        2,
        "rft has no option --nope; type: rft bob 4000 (rft --help lists the options)",
    ),
    ("bob 4000 --dir", 2, "--dir needs a value after it; type: --dir DIR"),
    (
        "bob 4000 --after-send burn",
        2,
        "--after-send burn: not one of delete, keep, archive; type: --after-send delete|keep|archive",
    ),
    ("bob 4000 --drain=yes", 2, "--drain takes no value; type: rft bob 4000 --drain"),
    ("bob 4000 -q -v", 2, "--quiet and --verbose exclude each other; type one of them"),
    ("bob 4000 --dir a --dir b", 2, "--dir is given twice; type it once"),
    ("bob 4000 --settle soon", 14, "--settle soon: not a duration such as 250ms, 1s or 2m"),
    ("history -n many", 14, "--last many: not a whole number; type, for example: --last 20"),
    ("status bob 4000", 2, "rft status takes no word bob there; type: rft status"),
    ("receipt", 2, "rft receipt needs FILE; type: rft receipt FILE"),
    ("completions", 2, "rft completions needs SHELL; type, for example: rft completions bash"),
    (
        "check bob",
        2,
        "the port is missing; type the same one on both hosts, for example: rft check bob 4000",
    ),
];

#[test]
fn a_wrong_line_gets_one_sentence_with_the_right_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for &(line, code, text) in LINES {
        let output = run(folder.path(), line);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(code) || printed != format!("rft: {text}\n") {
            wrong.push(format!("rft {line}: {:?} {printed}", output.status.code()));
        }
        assert!(output.stdout.is_empty(), "rft {line}: {:?}", output.stdout);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is created");
}

/// Unless rft has them, these are words of other programs.
#[test]
fn commands_of_other_programs_get_the_way_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), "--help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for (words, way) in [
        (&["push", "upload", "send", "put"], "type: rft send FILE... PEER PORT"),
        (&["pull", "download", "receive", "get"], "type: rft receive PORT"),
    ] {
        for word in words.iter().filter(|word| !help.contains(&format!("\n  {word} "))) {
            let output = run(folder.path(), word);
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{printed}");
            assert!(printed.starts_with(&format!("rft: rft has no command {word}: ")), "{printed}");
            assert!(printed.contains(way) && printed.lines().count() == 1, "{printed}");
        }
    }
}

#[test]
fn no_word_of_a_password_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    for line in [
        "--password hunter2 bob 4000",
        "--password=hunter2 bob 4000",
        "--pass hunter2",
        "bob 4000 --passwd hunter2",
        "-p hunter2 bob 4000",
        "-phunter2 bob:4000",
        "-p hunter2 --darin bob 4000",
    ] {
        let output = run(folder.path(), line);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!printed.contains("hunter2"), "rft {line}: {printed}");
        assert!(matches!(output.status.code(), Some(2 | 4)), "rft {line}: {printed}");
    }
}

#[test]
fn a_missing_port_is_an_exit_event_with_json() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "--json bob");
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&event["event"], &event["code"]), (&"exit".into(), &2.into()), "{event}");
    assert!(event["reason"].as_str().unwrap().ends_with("rft bob 4000"), "{event}");
}

#[cfg(unix)]
#[test]
fn the_port_may_stand_beside_the_peer_or_be_an_option() {
    let base = tempfile::tempdir().unwrap();
    for (form, words) in
        [("attached", &["127.0.0.2:PORT"][..]), ("option", &["-p", "PORT", "127.0.0.2"])]
    {
        let host = Host::new(base.path().join(form), "127.0.0.1", "127.0.0.2", free_port());
        let port = host.port.to_string();
        let words: Vec<String> = words.iter().map(|word| word.replace("PORT", &port)).collect();
        let words: Vec<&str> =
            ["--bind", "127.0.0.1"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let mut peer = host.start_raw(&words);
        let event = peer.waits_for("listening", |_| true);
        assert_eq!(event.event["local"], format!("127.0.0.1:{port}"), "{form}");
        peer.stop();
    }
}
