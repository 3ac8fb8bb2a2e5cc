//! `rft top` on a terminal of its own.

use crate::harness::peer::{PASSWORD, free_port};
use crate::harness::terminal::OnTerminal;
use crate::harness::until;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A peer that only listens, with its control socket.
fn listening(dir: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    command.arg("--dir").arg(dir).args(["--bind", "127.0.0.1", "listen"]);
    command.arg(free_port().to_string()).env("RFT_PASSWORD", PASSWORD);
    let peer = Running(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the control socket is there", || dir.join(".rft/control").exists());
    peer
}

fn top(dir: &Path) -> OnTerminal {
    OnTerminal::start(&["top", "--dir", dir.to_str().unwrap()])
}

#[test]
fn it_shows_the_state_and_leaves_the_terminal_as_it_was() {
    let base = tempfile::tempdir().unwrap();
    let _peer = listening(base.path());
    let mut top = top(base.path());
    top.shows("not connected yet");
    top.types(b"q");
    let ended = top.ends();
    assert!(ended.code == Some(0) && ended.restored, "{}", ended.shown);
    // The terminal is told to skip the spaces between words; the alternate screen is left.
    for words in ["sending", "receiving", "nothing", "\u{1b}[?1049h", "\u{1b}[?1049l"] {
        assert!(ended.shown.contains(words), "{words}: {}", ended.shown);
    }
}

#[test]
fn it_ends_with_its_terminal() {
    let base = tempfile::tempdir().unwrap();
    let _peer = listening(base.path());
    let top = top(base.path());
    top.shows("not connected yet");
    top.hangs_up();
}

#[test]
fn without_an_rft_or_a_terminal_it_says_what_to_do() {
    let base = tempfile::tempdir().unwrap();
    let ended = top(base.path()).ends();
    assert_eq!(ended.code, Some(18), "{}", ended.shown);
    assert!(ended.shown.contains("no rft runs in"), "{}", ended.shown);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rft"));
    let output = command.args(["top", "--dir"]).arg(base.path()).stdin(Stdio::null());
    let output = output.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("rft status --watch"), "{errors}");
}

#[test]
fn keys_steer_the_running_rft() {
    let base = tempfile::tempdir().unwrap();
    let peer = listening(base.path());
    std::fs::write(base.path().join("Outgoing/film.mkv"), "x").unwrap();
    let mut top = top(base.path());
    top.shows("film.mkv");
    top.types(b"p");
    top.shows("paused: no further file is sent");
    top.types(b"l2M\r");
    top.shows("it sends at most 2.00 MB/s from now on");
    top.types(b"lfast\r");
    top.shows("not a number of bytes");
    // Escape leaves the line, and selects none.
    top.types(b"\x1b");
    top.shows("the limit stays");
    top.types(b"c");
    top.shows("no file is selected");
    top.types(b"\x1b[B");
    top.types(b"u");
    top.shows("film.mkv is sent before all that is not urgent");
    top.types(b"c");
    top.shows("(y/n)");
    let (here, there) =
        (base.path().join("Outgoing/film.mkv"), base.path().join(".rft/cancelled/film.mkv"));
    assert!(here.exists());
    top.types(b"y");
    until("it is not cancelled", || there.exists() && !here.exists());
    top.types(b"?");
    top.shows("select a file; Esc selects none");
    top.types(b"x");
    drop(peer);
    top.shows("no rft runs in");
    top.types(b"p");
    top.shows("no rft answers; nothing was done");
    top.types(b"q");
    assert_eq!(top.ends().code, Some(0));
}
