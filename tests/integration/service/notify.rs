//! What a service tells systemd, and the password that it gets from it.

use super::User;
use crate::harness::peer::{Host, PASSWORD, Pair, Running};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(40);

/// The end of systemd.
struct Listener(UnixDatagram);

impl Listener {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self(socket)
    }

    /// The lines of the messages, up to the first that is wanted.
    #[track_caller]
    fn until(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let (mut lines, deadline) = (Vec::new(), Instant::now() + TIMEOUT);
        while Instant::now() < deadline {
            let mut message = [0; 4096];
            let Ok(len) = self.0.recv(&mut message) else { continue };
            let text = String::from_utf8(message[..len].to_vec()).unwrap();
            lines.extend(text.lines().map(str::to_owned));
            if lines.iter().any(|line| wanted(line)) {
                return lines;
            }
        }
        panic!("the message does not come; these did: {lines:#?}");
    }

    /// No message comes for this long.
    fn is_silent(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.0.recv(&mut [0; 4096]).is_ok() {
                return false;
            }
        }
        true
    }
}

/// Starts the program as systemd would, sandboxed.
fn start(host: &Host, socket: &Path, watchdog: Option<&str>) -> Running {
    let port = host.port.to_string();
    let mut command = host.command(PASSWORD, &["--bind", &host.bind, &host.peer, &port]);
    command.env("NOTIFY_SOCKET", socket);
    watchdog.map(|time| command.env("WATCHDOG_USEC", time));
    Running::spawn(command)
}

#[test]
fn systemd_hears_of_the_start_the_state_and_the_end() {
    let pair = Pair::new();
    let socket = pair.a.dir.with_file_name("notify");
    let listener = Listener::at(&socket);
    let mut a = start(&pair.a, &socket, None);
    let lines = listener.until(|line| line == "READY=1");
    assert_eq!(lines[..1], ["READY=1"], "it is the first message");
    a.has_or_waits_for("listening", |_| true);
    listener.until(|line| {
        line.starts_with("STATUS=waiting for 127.0.0.2: ") && line.contains("nothing listens")
    });
    let mut b = pair.b.start(&[]);
    b.waits_for("connected", |_| true);
    listener.until(|line| {
        line.starts_with("STATUS=127.0.0.2: connected to 127.0.0.2:") && line.ends_with("; idle")
    });
    // Nothing happens, so nothing is told, and without a watchdog there are no signs of life.
    assert!(listener.is_silent(Duration::from_secs(5)));
    a.stop();
    let lines = listener.until(|line| line == "STATUS=stopped");
    assert_eq!(lines[0], "STOPPING=1");
    b.stop();
}

#[test]
fn signs_of_life_come_from_a_process_that_moves_on() {
    let pair = Pair::new();
    let socket = pair.a.dir.with_file_name("notify");
    let listener = Listener::at(&socket);
    let a = start(&pair.a, &socket, Some("900000"));
    let begun = Instant::now();
    for _ in 0..5 {
        listener.until(|line| line == "WATCHDOG=1");
    }
    assert!(begun.elapsed() > Duration::from_millis(1000), "{:?}", begun.elapsed());
    a.suspend();
    while listener.0.recv(&mut [0; 4096]).is_ok() {}
    assert!(listener.is_silent(Duration::from_secs(2)));
    a.resume();
    listener.until(|line| line == "WATCHDOG=1");
    a.stop();
}

#[test]
fn an_end_with_an_error_is_told_with_its_code() {
    let pair = Pair::new();
    let socket = pair.a.dir.with_file_name("notify");
    let listener = Listener::at(&socket);
    let taken = std::net::UdpSocket::bind((pair.a.bind.as_str(), pair.a.port)).unwrap();
    let port = pair.a.port.to_string();
    let mut command = pair.a.command(PASSWORD, &["--bind", &pair.a.bind, "listen", &port]);
    command.env("NOTIFY_SOCKET", &socket);
    Running::spawn(command).ends(5);
    drop(taken);
    let lines = listener.until(|line| line.starts_with("STATUS="));
    assert!(lines[0].starts_with("STATUS=exit code 5: ") && lines[0].contains(&port), "{lines:?}");
    // A socket that nobody has bound changes nothing.
    drop(listener);
    let mut a = start(&pair.a, Path::new("/nonexistent/notify"), Some("300000"));
    a.waits_for("listening", |_| true);
    a.stop();
}

#[test]
fn the_credential_is_the_password() {
    let mut pair = Pair::new();
    let credentials = pair.a.dir.with_file_name("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("password"), format!("{PASSWORD}\n")).unwrap();
    // systemd's access list looks like a right of the group.
    fs::set_permissions(credentials.join("password"), Permissions::from_mode(0o440)).unwrap();
    pair.a.wrapper = vec!["env".into(), format!("CREDENTIALS_DIRECTORY={}", credentials.display())];
    let mut a = pair.a.start_with_password("another one", &[]);
    let mut b = pair.b.start(&[]);
    a.waits_for("connected", |_| true);
    b.has_or_waits_for("connected", |_| true);
    let events = a.stop();
    assert!(!events.iter().any(|event| event["event"] == "warning"), "{events:#?}");
    // A file on the command line wins, and a folder without the credential does not count.
    let empty = pair.a.dir.with_file_name("empty");
    fs::write(&empty, "").unwrap();
    fs::set_permissions(&empty, Permissions::from_mode(0o600)).unwrap();
    pair.a.start(&["--password-file", empty.to_str().unwrap()]).ends(2);
    fs::remove_file(credentials.join("password")).unwrap();
    let mut a = pair.a.start(&[]);
    a.waits_for("connected", |_| true);
    a.stop();
    b.stop();
}

/// The command of an installed unit runs in any folder, and its password is the credential.
#[test]
fn the_command_of_a_unit_runs() {
    let user = User::new();
    let password = user.write_password("bob", 0o600);
    let pair = Pair::new();
    let port = pair.a.port.to_string();
    user.service(&[
        "install",
        "--name",
        "bob",
        "--",
        "--bind",
        "127.0.0.1",
        "127.0.0.2",
        &port,
        "--json",
    ])
    .says(&["is ready"]);
    let text = fs::read_to_string(user.unit("bob")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let credentials = user.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(password, credentials.join("password")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {line}")]).current_dir("/");
    command.env("CREDENTIALS_DIRECTORY", &credentials).stdin(Stdio::null());
    let mut a = Running::spawn(command);
    let mut b = pair.b.start(&[]);
    a.waits_for("connected", |_| true);
    b.has_or_waits_for("connected", |_| true);
    // The log tells the next status how this run ends.
    let file = user.unit("bob");
    let show = |state: &str| {
        user.prepare("show", &format!("ActiveState={state}\nFragmentPath={}\n", file.display()));
        user.service(&["status"])
    };
    show("active").says(&["127.0.0.2: connected to 127.0.0.2:", "version  0.1.0\n"]);
    a.stop();
    let stopped = show("inactive");
    assert!(
        stopped.text.contains("last end  ") && stopped.text.contains("Z: stopped\n"),
        "{}",
        stopped.text
    );
    b.stop();
}
