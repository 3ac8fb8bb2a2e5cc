//! `rft send` and `rft receive` of the real program.

mod faults;

use crate::harness::files::{hash_of, names, plant_big};
use crate::harness::peer::{PASSWORD, Running, free_port};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Two users of this machine, each on an address of its own.
pub struct Rig {
    base: TempDir,
    port: String,
}

impl Rig {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        for folder in ["from", "to", "state-a", "state-b"] {
            fs::create_dir(base.path().join(folder)).unwrap();
        }
        Self { base, port: free_port().to_string() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn command(&self, state: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
        command.args(words).current_dir(self.path("from"));
        command.env("XDG_STATE_HOME", self.path(state)).env_remove("RFT_PASSWORD");
        command.stdin(Stdio::null());
        command
    }

    fn send(&self, words: &[&str]) -> Command {
        let own = ["send", "--bind", "127.0.0.1"];
        self.command("state-a", &[&own, words, &["127.0.0.2", &self.port]].concat())
    }

    /// The same with the password that both know.
    fn send_known(&self, words: &[&str]) -> Command {
        let mut command = self.send(words);
        command.env("RFT_PASSWORD", PASSWORD);
        command
    }

    fn receive(&self, password: &str) -> Command {
        self.receive_into("to", password)
    }

    fn receive_into(&self, folder: &str, password: &str) -> Command {
        let to = self.path(folder);
        let words = ["receive", "--json", "--bind", "127.0.0.2", "--into", to.to_str().unwrap()];
        let mut command = self.command("state-b", &[&words[..], &[&self.port]].concat());
        command.env("RFT_PASSWORD", password);
        command
    }

    /// Nothing but the files is left.
    fn left_nothing_over(&self, received: &[&str]) {
        assert_eq!(names(&self.path("to")), received);
        for state in ["state-a", "state-b"] {
            let rft = self.path(state).join("rft");
            let rft = rft.join("once");
            let left = if rft.exists() { names(&rft) } else { Vec::new() };
            assert_eq!(left.into_iter().filter(|name| name != "lock").collect::<Vec<_>>(), [""; 0]);
        }
    }
}

/// Waits for its end.
fn ends(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Starts a command whose events are read.
fn start(command: Command) -> Running {
    Running::spawn(command).with_timeout(TIMEOUT)
}

#[test]
fn files_and_folders_cross_once_and_stay_where_they_are() {
    let rig = Rig::new();
    let from = rig.path("from");
    fs::create_dir(from.join("photos")).unwrap();
    for (name, content) in [("photos/1", "one"), ("a.txt", "four"), ("other", "stays here")] {
        fs::write(from.join(name), content).unwrap();
    }
    // The password is made for the exchange, and printed.
    let mut sender = rig.send(&["a.txt", "photos"]);
    let mut sender =
        sender.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = Vec::new();
    let mut reader = std::io::BufReader::new(sender.stderr.take().unwrap());
    let phrase = loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut reader, &mut line).unwrap() > 0, "{lines:?}");
        let phrase = line.split_once("and there the password").map(|(_, p)| p.trim().to_owned());
        lines.push(line);
        if let Some(phrase) = phrase {
            break phrase;
        }
    };
    let rest = std::thread::spawn(move || std::io::read_to_string(reader).unwrap());
    let received = ends(&mut rig.receive(&phrase));
    assert!(received.status.success(), "{received:?}");
    let (status, shown) = (sender.wait().unwrap(), rest.join().unwrap());
    assert!(status.success() && shown.contains("sent 2 files (7 B), 1 folder"), "{shown}");
    let command = format!("rft receive {}", rig.port);
    assert!(lines.iter().any(|line| line.contains(&command)), "{lines:?}");
    rig.left_nothing_over(&["a.txt", "photos"]);
    assert_eq!(fs::read(rig.path("to").join("photos/1")).unwrap(), b"one");
    assert_eq!(names(&from), ["a.txt", "other", "photos"]);
}

#[test]
fn an_interrupted_exchange_is_resumed_by_the_same_commands() {
    let rig = Rig::new();
    let big = rig.path("from").join("big");
    plant_big(&big, 6 << 20, 1);
    let send = |rate: &str| start(rig.send_known(&["--json", "--limit-rate", rate, "big"]));
    let sender = send("1M");
    let mut receiver = start(rig.receive(PASSWORD));
    receiver.waits_for("file_progress", |event| event["bytes"].as_u64() > Some(3 << 20));
    sender.kill();
    receiver.terminate();
    receiver.ends_with(143);
    let (mut sender, receiver) = (send("100M"), start(rig.receive(PASSWORD)));
    let begun = sender.waits_for("file_started", |_| true).event;
    assert!(begun["offset"].as_u64() > Some(1 << 20), "{begun}");
    sender.ends(0);
    receiver.ends(0);
    rig.left_nothing_over(&["big"]);
    assert_eq!(hash_of(&rig.path("to").join("big")), hash_of(&big));
}

#[test]
fn the_standard_input_and_files_of_several_folders_are_copied_first() {
    let rig = Rig::new();
    let from = rig.path("from");
    fs::create_dir(from.join("d")).unwrap();
    fs::write(from.join("d/x"), "x").unwrap();
    fs::write(from.join("y"), "y").unwrap();
    std::os::unix::fs::symlink("d/x", from.join("link")).unwrap();
    let send = |words: &[&str], input: &[u8]| {
        let mut receiver = rig.receive(PASSWORD);
        let receiver = std::thread::spawn(move || ends(&mut receiver));
        let mut sender = rig.send(words);
        sender.env("RFT_PASSWORD", PASSWORD).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut sender = sender.spawn().unwrap();
        sender.stdin.take().unwrap().write_all(input).unwrap();
        let sent = sender.wait_with_output().unwrap();
        let received = receiver.join().unwrap();
        assert!(sent.status.success() && received.status.success(), "{sent:?} {received:?}");
    };
    let read = |name: &str| fs::read(rig.path("to").join(name)).unwrap();
    send(&["-", "--as", "s/in.bin"], b"some input");
    assert_eq!(read("s/in.bin"), b"some input");
    send(&["d/x", "y", "link"], b"");
    assert_eq!((read("x"), read("y"), read("link")), (b"x".into(), b"y".into(), b"x".into()));
    send(&["y", "--as", "z"], b"");
    assert_eq!(read("z"), b"y");
    rig.left_nothing_over(&["link", "s", "x", "y", "z"]);
    assert_eq!(names(&from), ["d", "link", "y"]);
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let rig = Rig::new();
    let to = rig.path("to");
    let refused = |command: &mut Command, code: i32, text: &str| {
        let output = ends(command.env("RFT_PASSWORD", PASSWORD));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && errors.contains(text), "{output:?}");
    };
    refused(&mut rig.command("state-a", &["send"]), 2, "type: rft send FILE... PEER PORT");
    refused(
        &mut rig.command("state-a", &["send", "bob", "4000"]),
        2,
        "a FILE or the PEER is missing",
    );
    refused(&mut rig.send(&["missing"]), 1, "missing: there is no such file");
    refused(&mut rig.send(&["-"]), 2, "rft send - --as NAME");
    refused(&mut rig.command("state-a", &["receive", "nine"]), 4, "not a UDP port");
    refused(&mut rig.send(&["listen"]), 1, "listen: ");
    refused(
        &mut rig.send(&["-", "--as", "x", "--password-file", "-"]),
        2,
        "cannot be both the password and the file",
    );
    fs::create_dir(to.join("a")).unwrap();
    fs::write(to.join("a/x"), "").unwrap();
    fs::write(to.join("x"), "").unwrap();
    let twice = ["../to/a/x", "../to/x"];
    refused(&mut rig.send(&twice), 2, "two of the files have the name x");
    let pipe = rig.path("from").join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    refused(&mut rig.send(&["pipe"]), 1, "pipe is neither a file nor a folder");
    // Nothing was created for any of them.
    assert_eq!(names(&rig.path("state-a")), [""; 0]);
    fs::write(to.join(".rft-receive"), "").unwrap();
    refused(&mut rig.receive(PASSWORD), 16, ".rft-receive cannot be used: it is no folder");
}
