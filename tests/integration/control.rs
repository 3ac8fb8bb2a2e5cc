//! The control socket: its users, the answers to hostile and stalled clients, and its remains after
//! a kill.

use crate::harness::files::{drop_content, has_python};
use crate::harness::peer::{Host, Pair};
use crate::harness::status;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Clients that the process serves at once.
const MAX_CLIENTS: usize = 16;
/// The longest that a test waits for a reply.
const TIMEOUT: Duration = Duration::from_secs(20);
const STATUS: &[u8] = b"{\"version\":1,\"request\":\"status\"}\n";

fn connect(host: &Host) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(host.state().join("control")).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    BufReader::new(stream)
}

/// The next reply; `None` at the end of the connection.
fn reply(client: &mut BufReader<UnixStream>) -> Option<Value> {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
}

fn ask(client: &mut BufReader<UnixStream>, request: &[u8]) -> Option<Value> {
    client.get_mut().write_all(request).unwrap();
    reply(client)
}

/// Whether `rft status` says that no peer runs, with its own exit code.
fn says_that_none_runs(host: &Host) {
    let output = status::run(host, &["--json"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(18), "{output:?}");
    assert!(errors.contains("no rft runs in ") && errors.contains("PEER PORT"), "{errors}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_reaches_the_socket() {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |_| true);
    assert_eq!((mode(&pair.a.state()), mode(&pair.a.state().join("control"))), (0o700, 0o600));
}

/// Even if the rights of the folders let it connect. Only root can become another user.
#[test]
fn another_user_gets_no_answer() {
    if !rustix::process::geteuid().is_root() || !has_python() {
        println!("not run: only root can become another user, and needs python3");
        return;
    }
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |_| true);
    let socket = pair.a.state().join("control");
    for path in [pair.a.dir.parent().unwrap(), &pair.a.dir, &pair.a.state(), &socket] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    const CLIENT: &str = "import os, socket, sys
os.setgroups([]); os.setuid(int(sys.argv[2]))
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])
try:
    s.sendall(b'{\"version\":1,\"request\":\"status\"}\\n')
    print(len(s.recv(100)))
except (BrokenPipeError, ConnectionResetError):
    print(0)";
    let answer = |uid: &str| {
        let output =
            Command::new("python3").args(["-c", CLIENT]).arg(&socket).arg(uid).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(answer("65534"), "0", "another user got an answer");
    assert_eq!(answer("0"), "100", "the owner got none");
}

#[test]
fn hostile_requests_are_refused_and_others_are_served() {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |_| true);
    let mut client = connect(&pair.a);
    let deep = [&b"["[..]; 4000].concat();
    let window = r#"{"days":["Mon"],"from":"08:00","to":"18:00","rate":1}"#;
    let many =
        format!(r#"{{"version":1,"request":"limit","windows":[{}]}}"#, vec![window; 51].join(","));
    let requests: &[(&[u8], &str)] = &[
        (many.as_bytes(), "malformed"),
        (br#"{"version":1,"request":"limit","rate":0}"#, "malformed"),
        (br#"{"version":1,"request":"limit","rate":-1}"#, "malformed"),
        (br#"{"version":1,"request":"limit","windows":[{"days":[],"from":"08:00","to":"18:00"}]}"#, "malformed"),
        (br#"{"version":1,"request":"limit","windows":[{"days":["Mon"],"from":"8","to":"18:00"}]}"#, "malformed"),
        (br#"{"version":1,"request":"cancel"}"#, "malformed"),
        (br#"{"version":1,"request":"cancel","path":"../x"}"#, "malformed"),
        (br#"{"version":1,"request":"cancel","path":"/etc/passwd"}"#, "malformed"),
        (br#"{"version":1,"request":"cancel","path":".rft/ledger.redb"}"#, "malformed"),
        (br#"{"version":1,"request":"cancel","path":"\u001b[2J"}"#, "failed"),
        (br#"{"version":1,"request":"urgent","path":""}"#, "malformed"),
        (br#"{"version":1,"request":"urgent","path":"x","urgent":7}"#, "malformed"),
        (b"", "malformed"),
        (b"status", "malformed"),
        (b"\xff\xfe\0\x1b[2J", "malformed"),
        (&deep, "malformed"),
        (b"{\"version\":1}", "malformed"),
        (b"{\"version\":-1,\"request\":\"status\"}", "malformed"),
        (b"{\"version\":4000000000,\"request\":\"status\"}", "version"),
        (b"{\"version\":1,\"request\":\"\\u001b[2J\\u009b\\u202e\"}", "unknown_request"),
    ];
    for (request, code) in requests {
        let answer = ask(&mut client, &[request, &b"\n"[..]].concat()).unwrap();
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(answer["error"]["code"], *code, "{answer}");
        assert!(!message.contains(|c: char| c.is_control()) && message.len() < 300, "{answer}");
    }
    // The names may be as long as the protocol allows, and need no entry.
    let long = vec!["x".repeat(200); 20].join("/");
    for i in 0..3 {
        let request = format!("{{\"version\":1,\"request\":\"urgent\",\"path\":\"{i}/{long}\"}}\n");
        assert_eq!(ask(&mut client, request.as_bytes()).unwrap()["urgent"], 0);
    }
    // Several in one write, and the last one without the end of its line.
    client.get_mut().write_all(&[STATUS, STATUS, STATUS.trim_ascii_end()].concat()).unwrap();
    client.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..3 {
        assert!(reply(&mut client).unwrap()["status"]["peers"].is_array());
    }
    assert_eq!(reply(&mut client), None);

    // A line that is too long gets one reply, and its connection ends.
    let mut client = connect(&pair.a);
    let answer = ask(&mut client, &[&[b'x'; 40_000], &b"\n"[..], STATUS].concat()).unwrap();
    assert_eq!(answer["error"]["code"], "malformed");
    client.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(reply(&mut client), None);
    status::of(&pair.a);
    a.stop();
}

#[test]
fn clients_are_bounded_and_stalled_ones_delay_nobody() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&[], &[]);
    // One asks and never reads.
    let mut deaf = connect(&pair.a);
    deaf.get_mut().write_all(&STATUS.repeat(3000)).unwrap();
    // Others begin a request, and never end it.
    let stalled: Vec<_> = (1..MAX_CLIENTS)
        .map(|_| {
            let mut client = connect(&pair.a);
            client.get_mut().write_all(b"{\"version\"").unwrap();
            client
        })
        .collect();
    // The places are taken as soon as the process has accepted them all.
    let mut refused = connect(&pair.a);
    let answer = reply(&mut refused).unwrap();
    assert_eq!(answer["error"]["code"], "busy", "{answer}");
    assert_eq!(reply(&mut refused), None);
    let output = status::run(&pair.a, &[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(errors.contains("too many commands"), "{errors}");
    // Files cross meanwhile.
    drop_content(&pair.a, "x", "x");
    b.waits_for("file_done", |event| event["path"] == "x");
    drop(stalled);
    status::wait(&pair.a, TIMEOUT, |status| {
        (status["peers"][0]["send"]["in_all"]["files"] == 1).then_some(())
    });
    // The one that does not read is disconnected when its reply has waited for five seconds.
    std::thread::sleep(Duration::from_secs(12));
    let mut count = 0;
    loop {
        let mut line = String::new();
        // The end, or a reset, since requests are left that the process has not read.
        match deaf.read_line(&mut line) {
            Ok(0) => break,
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("after {count} replies: {error}"),
        }
    }
    assert!((1..1000).contains(&count), "{count} replies");
    a.stop();
}

#[test]
fn without_a_running_peer_status_says_so() {
    let pair = Pair::new();
    says_that_none_runs(&pair.a);
    let a = pair.a.start(&[]);
    wait_for_socket(&pair.a);
    a.kill();
    // No process serves the socket that is left.
    assert!(pair.a.state().join("control").exists());
    says_that_none_runs(&pair.a);
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |_| true);
    status::of(&pair.a);
    // The default folder is the present one.
    let output = Command::new(env!("CARGO_BIN_EXE_rft"))
        .arg("status")
        .current_dir(&pair.a.dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    a.stop();
    says_that_none_runs(&pair.a);
}

fn wait_for_socket(host: &Host) {
    crate::harness::until("there is no socket", || host.state().join("control").exists());
}

/// The address of a Unix socket has at most 108 bytes.
#[cfg(target_os = "linux")]
#[test]
fn a_long_path_has_a_socket_too() {
    let pair = Pair::new();
    let dir = pair.a.dir.join("long-".repeat(40)).join("日本語".repeat(20));
    let host = Host::new(dir, &pair.a.bind, &pair.a.peer, pair.a.port);
    let mut a = host.start(&[]);
    a.waits_for("waiting", |_| true);
    let of = status::of(&host);
    assert!(of["peers"][0]["outgoing"].as_str().unwrap().contains("日本語"), "{of}");
    a.stop();
    says_that_none_runs(&host);
}

#[test]
fn something_else_in_its_place_is_a_warning() {
    let pair = Pair::new();
    fs::create_dir_all(pair.a.state()).unwrap();
    fs::write(pair.a.state().join("control"), "mine").unwrap();
    let mut a = pair.a.start(&[]);
    let of_socket = |event: &Value| {
        event["message"].as_str().is_some_and(|text| text.contains("no control socket"))
    };
    a.waits_for("warning", of_socket);
    assert_eq!(fs::read(pair.a.state().join("control")).unwrap(), b"mine");
    a.stop();
}
