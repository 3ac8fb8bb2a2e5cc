//! Two connected hosts on which the commands of the documents run.

use crate::harness::files::drop_content;
use crate::harness::peer::{PASSWORD, Pair, Running, free_port};
use crate::harness::until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The longest time that a command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `bob` of the documents runs, and a host whose folder is the current one of the commands.
pub struct World {
    pair: Pair,
    _running: (Running, Running),
}

impl World {
    pub fn new() -> Self {
        let pair = Pair::new();
        let running = pair.connected(&[], &[]);
        drop_content(&pair.a, "report.odt", "x");
        until("a file is sent", || pair.b.incoming().join("report.odt").exists());
        prepare(&pair.a.dir);
        Self { pair, _running: running }
    }

    /// Runs a command in the folder of the running peer, and expects exit code 0.
    pub fn run(&self, words: &[String]) -> Result<(), String> {
        let words: Vec<_> = words.iter().map(|word| self.replaced(word)).collect();
        let piped =
            rft(&self.pair.a.dir, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = piped.unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().unwrap();
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    }

    /// Runs a peer in a new folder, with a listening peer at its other end, until both are
    /// connected or it has ended by itself, with exit code 0.
    pub fn run_peer(&self, words: &[String]) -> Result<(), String> {
        let mut other = Pair::new();
        prepare(&other.a.dir);
        // The documents give both hosts the same port; a host name of theirs is this address.
        let port = other.b.port;
        let listens = words[0] == "listen";
        if listens {
            other.b.peer = "127.0.0.1".into();
        }
        let far = if listens { other.b.start(&[]) } else { other.b.listen(&[]) };
        if !listens {
            let bound = || fs::read_to_string(other.b.state().join("rft.log")).is_ok();
            until("it listens", bound);
        }
        let mut replaced = Vec::new();
        for word in words {
            replaced.push(match word.as_str() {
                "4000" => port.to_string(),
                "9100" => free_port().to_string(),
                "bob" | "alice" | "bob.example.org" | "alice.example.org" => "127.0.0.2".into(),
                "bob:4000" => format!("127.0.0.2:{port}"),
                "/usr/local/bin/unpack" => "unpack".into(),
                "/srv/rft" => other.a.dir.display().to_string(),
                _ => word.clone(),
            });
        }
        let mut near = Ends(
            rft(&other.a.dir, &replaced)
                // For `--password-file -`.
                .stdin(fs::File::open(other.a.dir.join("pw")).unwrap())
                .stdout(Stdio::null())
                .stderr(fs::File::create(other.a.dir.join("said")).unwrap())
                .spawn()
                .unwrap(),
        );
        let said = || fs::read_to_string(other.a.dir.join("said")).unwrap();
        let connected = || {
            let log = fs::read_to_string(other.a.state().join("rft.log")).unwrap_or_default();
            log.contains("connected")
        };
        let deadline = Instant::now() + TIMEOUT;
        let mut stopped = false;
        loop {
            if let Some(status) = near.0.try_wait().unwrap() {
                drop(far);
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!("{status}: {}", said()))
                };
            }
            if Instant::now() > deadline {
                return Err(format!("it does not connect, or does not end: {}", said()));
            }
            let drains = words.iter().any(|word| word == "--drain");
            if !stopped && !drains && connected() {
                kill_process(Pid::from_child(&near.0), Signal::INT).unwrap();
                stopped = true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn replaced(&self, word: &str) -> String {
        match word {
            "/srv/rft" | "/srv/rft/bob" => self.pair.a.dir.display().to_string(),
            "bob" => self.pair.a.peer.clone(),
            // A port that is free: the one of the running peer is not.
            "4000" => self.pair.b.port.to_string(),
            _ => word.to_owned(),
        }
    }
}

/// Files that the commands name, and programs that need not be installed.
fn prepare(dir: &Path) {
    fs::write(dir.join("pw"), PASSWORD).unwrap();
    fs::set_permissions(dir.join("pw"), fs::Permissions::from_mode(0o600)).unwrap();
    for file in ["report.pdf", "notes.txt", "fix.tar"] {
        fs::write(dir.join(file), file).unwrap();
    }
    fs::create_dir_all(dir.join("photos")).unwrap();
    fs::write(dir.join("photos/one.jpg"), "x").unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    for program in ["clamdscan", "curl", "unpack"] {
        let program = dir.join("bin").join(program);
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn rft(dir: &Path, words: &[String]) -> Command {
    let mut rft = Command::new(env!("CARGO_BIN_EXE_rft"));
    let path = std::env::join_paths(
        [dir.join("bin")]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    rft.env("PATH", path.unwrap());
    rft.args(words).current_dir(dir).stdin(Stdio::null()).env("RFT_PASSWORD", PASSWORD);
    rft
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A process that is killed when dropped.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
