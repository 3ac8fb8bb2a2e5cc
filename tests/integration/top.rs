//! `rft top` on a terminal of its own, created by script(1).

use crate::harness::peer::{PASSWORD, free_port};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listening(dir: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.arg("--dir").arg(dir).args(["--bind", "127.0.0.1", "listen"]);
    command.arg(free_port().to_string()).env("RFT_PASSWORD", PASSWORD);
    let peer = Running(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let socket = dir.join(".rft/control");
    let deadline = Instant::now() + Duration::from_secs(40);
    while !socket.exists() {
        assert!(Instant::now() < deadline, "no control socket");
        std::thread::sleep(Duration::from_millis(10));
    }
    peer
}

/// Runs `rft top` at this folder until it shows `wanted`, then types q. Returns everything that was
/// shown, and the settings of the terminal after it.
fn top(dir: &Path, wanted: &str) -> String {
    let rft = env!("CARGO_BIN_EXE_rft");
    let line =
        format!("stty cols 60 rows 30; {rft} top --dir {}; echo code=$?; stty -a", dir.display());
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm");
    let mut script = Running(script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let (mut keys, mut screen) = (script.0.stdin.take().unwrap(), script.0.stdout.take().unwrap());
    let (mut shown, mut buffer, mut asked) = (String::new(), [0; 4096], false);
    loop {
        match screen.read(&mut buffer) {
            Ok(0) | Err(_) => return shown,
            Ok(read) => shown.push_str(&String::from_utf8_lossy(&buffer[..read])),
        }
        if !asked && shown.contains(wanted) {
            keys.write_all(b"q").unwrap();
            asked = true;
        }
    }
}

#[test]
fn it_shows_the_state_and_leaves_the_terminal_as_it_was() {
    let base = tempfile::tempdir().unwrap();
    let _peer = listening(base.path());
    let shown = top(base.path(), "not connected yet");
    for words in ["sending", "receiving", "waiting for the peer", "code=0", " echo "] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    // The alternate screen is entered and left.
    assert!(shown.contains("\u{1b}[?1049h") && shown.contains("\u{1b}[?1049l"), "{shown}");
}

#[test]
fn without_an_rft_or_a_terminal_it_says_what_to_do() {
    let base = tempfile::tempdir().unwrap();
    let shown = top(base.path(), "code=");
    assert!(shown.contains("no rft runs in") && shown.contains("code=18"), "{shown}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    let output = command.args(["top", "--dir"]).arg(base.path()).stdin(Stdio::null());
    let output = output.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("rft status --watch"), "{errors}");
}
