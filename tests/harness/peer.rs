//! A host with its folders, and the program running on it.

use super::relay::Relay;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest wait unless a test sets another one.
const TIMEOUT: Duration = Duration::from_secs(40);
/// The password of both peers.
pub const PASSWORD: &str = "correct horse battery staple";

/// A port that is free on both addresses. No other test of this process gets the same one.
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

/// A base folder and the addresses of the program that runs on it.
#[derive(Clone)]
pub struct Host {
    pub dir: PathBuf,
    /// `ADDR` or `ADDR:PORT`.
    pub bind: String,
    pub peer: String,
    pub port: u16,
    /// Rules for the failpoints of the program (`src/failpoint.rs`).
    pub failpoints: String,
    /// A command that starts the program, with its own arguments; empty to start it directly.
    pub wrapper: Vec<String>,
}

/// Two hosts that dial each other.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    _base: tempfile::TempDir,
}

impl Pair {
    /// Without a relay between them.
    pub fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let port = free_port();
        let a = Host::new(base.path().join("a"), "127.0.0.1", "127.0.0.2", port);
        let b = Host::new(base.path().join("b"), "127.0.0.2", "127.0.0.1", port);
        Self { a, b, _base: base }
    }

    /// With a relay between them: each host dials the relay's address on its side.
    pub fn linked(seed: u64) -> (Self, Relay) {
        let base = tempfile::tempdir().unwrap();
        let at_a = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let at_b = SocketAddr::from(([127, 0, 0, 2], free_port()));
        let relay = Relay::start(seed, at_a, at_b);
        let host = |name: &str, own: SocketAddr, peer: SocketAddr| {
            Host::new(base.path().join(name), &own.to_string(), &peer.ip().to_string(), peer.port())
        };
        let (a, b) = (host("a", at_a, relay.facing_a()), host("b", at_b, relay.facing_b()));
        (Self { a, b, _base: base }, relay)
    }

    /// Starts both peers with these options and waits until both are connected.
    pub fn connected(&self, a: &[&str], b: &[&str]) -> (Running, Running) {
        let (mut a, mut b) = (self.a.start(a), self.b.start(b));
        for peer in [&mut a, &mut b] {
            peer.waits_for("connected", |_| true);
        }
        (a, b)
    }

    /// Runs both peers with `--drain` and these options until both exit with code 0. Returns the
    /// events of both.
    pub fn drain(&self, a: &[&str], b: &[&str]) -> (Vec<Value>, Vec<Value>) {
        let a = self.a.start(&[&["--drain"], a].concat());
        let b = self.b.start(&[&["--drain"], b].concat());
        (a.ends(0), b.ends(0))
    }
}

impl Host {
    pub fn new(dir: PathBuf, bind: &str, peer: &str, port: u16) -> Self {
        fs::create_dir_all(dir.join("Outgoing")).unwrap();
        let (bind, peer) = (bind.to_owned(), peer.to_owned());
        Self { dir, bind, peer, port, failpoints: String::new(), wrapper: Vec::new() }
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

    /// Asserts that the stage and the removal folder of the state folder are empty.
    pub fn left_nothing_over(&self) {
        for folder in ["stage", "removing"] {
            let left: Vec<_> = fs::read_dir(self.state().join(folder)).unwrap().collect();
            assert!(left.is_empty(), "{folder} of {}: {left:?}", self.dir.display());
        }
    }

    /// Starts a peer that dials.
    pub fn start(&self, options: &[&str]) -> Running {
        self.start_with_password(PASSWORD, options)
    }

    pub fn start_with_password(&self, password: &str, options: &[&str]) -> Running {
        let port = self.port.to_string();
        let common = [
            "--bind",
            &self.bind,
            "--settle",
            "100ms",
            "--folder-wait",
            "100ms",
            &self.peer,
            &port,
        ];
        Running::spawn(self.command(password, &[options, &common].concat()))
    }

    /// Starts a peer that only listens. It binds [`Host::port`] unless [`Host::bind`] has a port.
    pub fn listen(&self, options: &[&str]) -> Running {
        let port = self.port.to_string();
        let common =
            ["--bind", &self.bind, "--settle", "100ms", "--folder-wait", "100ms", "listen", &port];
        Running::spawn(self.command(PASSWORD, &[options, &common].concat()))
    }

    /// Starts the program with exactly these arguments.
    pub fn start_raw(&self, arguments: &[&str]) -> Running {
        Running::spawn(self.command(PASSWORD, arguments))
    }

    /// The command that runs the program on this host, for [`Running::spawn`].
    pub fn command(&self, password: &str, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_rft").to_owned();
        let mut words = self.wrapper.iter().chain([&program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env("RFT_FAILPOINTS", &self.failpoints);
        command
            .arg("--json")
            .arg("--dir")
            .arg(&self.dir)
            .args(arguments)
            .env("RFT_PASSWORD", password);
        command
    }
}

/// An event, and when the program printed it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub event: Value,
}

/// The running program. It is killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<Seen>,
    events: Vec<Seen>,
    errors: Option<JoinHandle<String>>,
    timeout: Duration,
}

impl Running {
    /// Starts the program and reads its events from its standard output.
    pub fn spawn(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(Seen { at: Instant::now(), event }).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self { child, lines, events: Vec::new(), errors: Some(errors), timeout: TIMEOUT }
    }

    /// Sets the longest wait.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Reads events until one matches, and returns it. Fails after the longest wait.
    pub fn waits_for(&mut self, name: &str, and: impl Fn(&Value) -> bool) -> Seen {
        let found = self.sees_within(self.timeout, |event| event["event"] == name && and(event));
        found.unwrap_or_else(|| panic!("no event {name} came; these did: {:#?}", self.events()))
    }

    /// The same, but an event that was read earlier counts too.
    pub fn has_or_waits_for(&mut self, name: &str, and: impl Fn(&Value) -> bool) {
        let is = |event: &Value| event["event"] == name && and(event);
        if !self.events.iter().any(|seen| is(&seen.event)) {
            self.waits_for(name, and);
        }
    }

    /// Reads events until one matches. Returns `None` after `time`, or when the program has ended.
    pub fn sees_within(&mut self, time: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Seen> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let seen = self.lines.recv_timeout(left).ok()?;
            self.events.push(seen.clone());
            if wanted(&seen.event) {
                return Some(seen);
            }
        }
    }

    /// All events so far.
    pub fn events(&mut self) -> &[Seen] {
        self.events.extend(self.lines.try_iter());
        &self.events
    }

    /// Waits for the end and asserts this exit code, also in the last event. Returns all events.
    pub fn ends(mut self, code: i32) -> Vec<Value> {
        let (actual, errors) = self.wait();
        let events: Vec<_> =
            std::mem::take(&mut self.events).into_iter().map(|seen| seen.event).collect();
        assert_eq!(actual, Some(code), "events: {events:#?}, on stderr: {errors}");
        assert!(!errors.contains("panicked"), "on stderr: {errors}");
        let last = events.last().expect("a last event");
        assert_eq!((&last["event"], &last["code"]), (&"exit".into(), &code.into()), "{events:#?}");
        events
    }

    /// Waits for the end; asserts this exit code and a message on stderr.
    pub fn ends_with(mut self, code: i32) {
        let (actual, errors) = self.wait();
        assert_eq!(actual, Some(code), "on stderr: {errors}");
        assert!(!errors.trim().is_empty(), "code {code} without a word");
    }

    /// Waits for the end. Returns the exit code (`None` after a signal) and the text on stderr.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + self.timeout;
        // The output closes when the process ends.
        while let Ok(seen) =
            self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.events.push(seen);
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

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same. Returns the exit code if the program had ended before, and the text on stderr.
    pub fn killed(mut self) -> (Option<i32>, String) {
        let _ = self.child.kill();
        self.wait()
    }

    /// Asks it to stop (SIGTERM).
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Asks it to stop, waits for exit code 0 and returns all events.
    #[cfg(unix)]
    pub fn stop(self) -> Vec<Value> {
        self.terminate();
        self.ends(0)
    }

    /// Suspends it (SIGSTOP), as a host that goes to sleep does.
    #[cfg(unix)]
    pub fn suspend(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Resumes it (SIGCONT).
    #[cfg(unix)]
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// Total time for which threads of a process were ready to run but had no processor: all threads
/// whose name `counts`.
#[cfg(unix)]
pub fn waited_for_processor(process: &str, counts: impl Fn(&str) -> bool) -> Duration {
    // Empty if the system does not report it. The second number of each line is in nanoseconds.
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let waited = threads.filter_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        counts(name.trim_end()).then_some(())?;
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}

#[cfg(target_os = "linux")]
impl Running {
    /// Resident memory in bytes. Restarts the count of [`Running::peak`]: deriving the key from the
    /// password takes 64 MiB for a moment at the start.
    pub fn memory(&self) -> u64 {
        fs::write(format!("/proc/{}/clear_refs", self.id()), "5").unwrap();
        self.status("VmRSS:")
    }

    /// The highest resident memory since the last call of [`Running::memory`], in bytes.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
