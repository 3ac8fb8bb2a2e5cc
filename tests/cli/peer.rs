//! A host with its folders, and the program running there.

use serde_json::Value;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No wait is longer.
const PATIENCE: Duration = Duration::from_secs(40);
const PASSWORD: &str = "correct horse battery staple";

/// A port that is free on both addresses, and given to no other test of this process.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    for _ in 0..1000 {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.2", port)).is_ok() && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
    panic!("no port is free on both addresses");
}

/// A base folder, and where the program runs on it.
#[derive(Clone)]
pub struct Host {
    pub dir: PathBuf,
    pub bind: &'static str,
    pub peer: &'static str,
    pub port: u16,
}

/// Two hosts that name each other.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    _base: tempfile::TempDir,
}

impl Pair {
    pub fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let port = free_port();
        let a = Host::new(base.path().join("a"), "127.0.0.1", "127.0.0.2", port);
        let b = Host::new(base.path().join("b"), "127.0.0.2", "127.0.0.1", port);
        Self { a, b, _base: base }
    }
}

impl Host {
    pub fn new(dir: PathBuf, bind: &'static str, peer: &'static str, port: u16) -> Self {
        fs::create_dir_all(dir.join("Outgoing")).unwrap();
        Self { dir, bind, peer, port }
    }

    pub fn outgoing(&self) -> PathBuf {
        self.dir.join("Outgoing")
    }

    pub fn incoming(&self) -> PathBuf {
        self.dir.join("Incoming")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join(".rft")
    }

    /// Nothing half done is left in the state folder.
    pub fn left_nothing_over(&self) {
        for folder in ["stage", "removing"] {
            let left: Vec<_> = fs::read_dir(self.state().join(folder)).unwrap().collect();
            assert!(left.is_empty(), "{folder} of {}: {left:?}", self.dir.display());
        }
    }

    /// A peer that dials.
    pub fn start(&self, options: &[&str]) -> Running {
        self.start_with_password(PASSWORD, options)
    }

    pub fn start_with_password(&self, password: &str, options: &[&str]) -> Running {
        let port = self.port.to_string();
        let common = ["--bind", self.bind, "--settle", "100ms", self.peer, &port];
        self.spawn(password, &[options, &common].concat())
    }

    /// A peer that only waits.
    pub fn listen(&self, options: &[&str]) -> Running {
        let port = self.port.to_string();
        let common = ["--bind", self.bind, "--settle", "100ms", "listen", &port];
        self.spawn(PASSWORD, &[options, &common].concat())
    }

    /// Just these arguments.
    pub fn start_raw(&self, arguments: &[&str]) -> Running {
        self.spawn(PASSWORD, arguments)
    }

    fn spawn(&self, password: &str, arguments: &[&str]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rft"))
            .arg("--json")
            .arg("--dir")
            .arg(&self.dir)
            .args(arguments)
            .env("RFT_PASSWORD", password)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(event).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Running { child, lines, events: Vec::new(), errors: Some(errors) }
    }
}

/// The program at work; killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<Value>,
    events: Vec<Value>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    /// Reads events until this one.
    pub fn waits_for(&mut self, name: &str, and: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.lines.recv_timeout(left) else {
                panic!("no event {name} came; these did: {:#?}", self.events);
            };
            let found = event["event"] == name && and(&event);
            self.events.push(event);
            if found {
                return;
            }
        }
    }

    /// Waits for its end: this code, also in its last event. Gives all events.
    pub fn ends(mut self, code: i32) -> Vec<Value> {
        let (actual, errors) = self.wait();
        let events = &self.events;
        assert_eq!(actual, Some(code), "events: {events:#?}, on stderr: {errors}");
        let last = events.last().expect("a last event");
        assert_eq!((&last["event"], &last["code"]), (&"exit".into(), &code.into()), "{events:#?}");
        std::mem::take(&mut self.events)
    }

    /// Waits for its end: this code, and something for a person to read.
    pub fn ends_with(mut self, code: i32) {
        let (actual, errors) = self.wait();
        assert_eq!(actual, Some(code), "on stderr: {errors}");
        assert!(!errors.trim().is_empty(), "code {code} without a word");
    }

    fn wait(&mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        // The output ends with the process.
        while let Ok(event) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.events.push(event);
        }
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                let errors = self.errors.take().map(|errors| errors.join().unwrap());
                return (status.code(), errors.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end; events: {:#?}", self.events);
    }

    /// At once and without a word to it (SIGKILL).
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[cfg(unix)]
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file that does not compress or repeat, and gives its hash.
pub fn plant_big(path: &Path, size: u64) -> blake3::Hash {
    let mut content = blake3::Hasher::new_derive_key("rft tests/cli big file").finalize_xof();
    let (mut file, mut hasher) = (File::create(path).unwrap(), blake3::Hasher::new());
    let mut chunk = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left.min(chunk.len() as u64)).unwrap();
        content.fill(&mut chunk[..length]);
        hasher.update(&chunk[..length]);
        file.write_all(&chunk[..length]).unwrap();
        left -= length as u64;
    }
    hasher.finalize()
}

pub fn hash_of(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finalize()
}
