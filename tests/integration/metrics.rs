//! `--metrics`: its numbers, who reaches it, and what hostile and stalled clients get.

use crate::harness::files::{drop_content, drop_in, hash_of};
use crate::harness::http::{address, connect, get, read_all, scrape, send};
use crate::harness::peer::{Host, PASSWORD, Pair, Running};
use crate::harness::{status, until};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Connections that the process serves at once.
const MAX_CONNECTIONS: usize = 32;
/// Time after which a connection without a whole request has ended: ten seconds, on a slow machine.
const LIMIT: Duration = Duration::from_secs(18);

/// The name of a sample of the host's only peer in one direction.
fn of(name: &str, host: &Host, direction: &str) -> String {
    format!("{name}{{peer=\"{}\",direction=\"{direction}\"}}", host.peer)
}

#[test]
fn a_transfer_is_counted_on_both_sides() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&["--metrics", "0"], &["--metrics", "0"]);
    drop_content(&pair.a, "x", [7; 1234]);
    b.waits_for("file_done", |event| event["path"] == "x");
    for (host, direction, other) in [(&pair.a, "send", "receive"), (&pair.b, "receive", "send")] {
        let at = address(host);
        until("the file is not counted", || {
            scrape(at)[&of("rft_files_total", host, direction)] == 1.0
        });
        let samples = scrape(at);
        for (name, value) in [
            (of("rft_bytes_total", host, direction), 1234.0),
            (of("rft_folders_total", host, direction), 0.0),
            (of("rft_lifetime_bytes", host, direction), 1234.0),
            (of("rft_files_total", host, other), 0.0),
            (of("rft_backlog_files", host, direction), 0.0),
            (format!("rft_connected{{peer=\"{}\"}}", host.peer), 1.0),
            (format!("rft_silent_seconds{{peer=\"{}\"}}", host.peer), 0.0),
            (format!("rft_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
        ] {
            assert_eq!(samples.get(&name), Some(&value), "{name} of {samples:#?}");
        }
        let last = samples[&of("rft_last_transfer_timestamp_seconds", host, direction)];
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!((now - 60.0..now + 60.0).contains(&last), "{last} {now}");
        assert!((now - 60.0..now + 60.0).contains(&samples["rft_start_time_seconds"]));
        assert!(samples[&format!("rft_rtt_seconds{{peer=\"{}\"}}", host.peer)] < 1.0);
        // The same object as that of the command, except for the times that pass.
        let answer = get(at, "/status.json");
        let state: Value = serde_json::from_str(&answer.body).unwrap();
        let shown = status::of(host);
        assert_eq!(state["peers"][0][direction]["in_all"], shown["peers"][0][direction]["in_all"]);
        assert_eq!(keys(&state), keys(&shown));
        assert_eq!(keys(&state["peers"][0]), keys(&shown["peers"][0]));
    }
    let at = address(&pair.a);
    a.stop();
    assert!(TcpStream::connect(at).is_err(), "it serves after its end");
    // A new process counts from zero, as Prometheus expects it; the lifetime goes on.
    let a = pair.a.start(&["--metrics", "0"]);
    let samples = scrape(address(&pair.a));
    assert_eq!(samples[&of("rft_files_total", &pair.a, "send")], 0.0);
    assert_eq!(samples[&of("rft_lifetime_files", &pair.a, "send")], 1.0);
    a.stop();
}

fn keys(object: &Value) -> Vec<&String> {
    object.as_object().unwrap().keys().collect()
}

#[test]
fn entries_that_wait_are_counted_by_their_reason() {
    let pair = Pair::new();
    let mut a = pair.a.start(&["--metrics", "0"]);
    for number in 0..30 {
        drop_content(&pair.a, &format!("{number}"), "x");
    }
    drop_content(&pair.a, "film.mp4.part", "x");
    a.waits_for("waiting", |_| true);
    let at = address(&pair.a);
    let reason =
        |word: &str| format!("rft_waiting_entries{{peer=\"127.0.0.2\",reason=\"{word}\"}}");
    until("they are not counted", || {
        let samples = scrape(at);
        samples[&reason("ready")] == 30.0 && samples[&reason("left_alone")] == 1.0
    });
    let samples = scrape(at);
    assert_eq!(samples[&of("rft_backlog_files", &pair.a, "send")], 30.0);
    let limit = "rft_bottleneck{peer=\"127.0.0.2\",direction=\"send\",limit=\"waiting\"}";
    assert_eq!(samples[limit], 1.0, "{samples:#?}");
    assert!(!samples.contains_key(&of("rft_backlog_files", &pair.a, "receive")));
    assert_eq!(samples["rft_connected{peer=\"127.0.0.2\"}"], 0.0);
    assert!(!samples.contains_key("rft_rtt_seconds{peer=\"127.0.0.2\"}"));
    a.stop();
}

#[test]
fn only_this_host_reaches_a_bare_port() {
    let pair = Pair::new();
    let a = pair.a.start(&["--metrics", "0"]);
    let at = address(&pair.a);
    assert!(at.ip().is_loopback() && at.is_ipv4(), "{at}");
    for other in
        [SocketAddr::from(([127, 0, 0, 2], at.port())), SocketAddr::from(([0; 16], at.port()))]
    {
        assert!(TcpStream::connect(other).is_err(), "{other}");
    }
    for (host, status) in [("localhost", 200), ("evil.example", 403)] {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\n\r\n",
            at.port()
        );
        assert_eq!(send(at, request.as_bytes()).unwrap().status, status, "{host}");
    }
    a.stop();
}

#[test]
fn a_port_that_is_taken_is_an_error_before_anything_is_created() {
    let pair = Pair::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    for (option, code, text) in [
        (at.port().to_string(), 5, format!("--metrics: cannot bind TCP {at}: ")),
        ("192.0.2.1:0".to_owned(), 5, "--metrics: cannot bind TCP 192.0.2.1:0: ".to_owned()),
        ("nowhere".to_owned(), 14, "--metrics nowhere: not a TCP port".to_owned()),
    ] {
        let events = pair.a.start(&["--metrics", &option]).ends(code);
        let reason = events.last().unwrap()["reason"].as_str().unwrap();
        assert!(reason.starts_with(&text), "{reason}");
        assert!(!pair.a.state().exists(), "{option}");
    }
}

/// The line on the terminal of a peer with this option, which is then killed.
fn told(host: &Host, option: &str) -> String {
    let mut command =
        host.command(PASSWORD, &["--metrics", option, "--bind", &host.bind, "listen", "0"]);
    // Without --json.
    let words: Vec<_> =
        command.get_args().filter(|word| *word != "--json").map(ToOwned::to_owned).collect();
    let port = host.port.to_string();
    command = std::process::Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(&words[..words.len() - 1]).arg(port).env("RFT_PASSWORD", PASSWORD);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).find(|line| line.contains("metrics"));
    child.kill().unwrap();
    child.wait().unwrap();
    found.unwrap()
}

#[test]
fn the_terminal_says_where_it_is_and_who_can_read_it() {
    let pair = Pair::new();
    let here = told(&pair.a, "0");
    let (_, url) = here.split_once("metrics and a page are at http://127.0.0.1:").unwrap();
    assert!(url.strip_suffix('/').unwrap().parse::<u16>().is_ok(), "{here}");
    let everywhere = told(&pair.a, "0.0.0.0:0");
    assert!(everywhere.contains(" http://127.0.0.1:"), "{everywhere}");
    let others = "/, and at this host's other addresses; no password protects them";
    assert!(everywhere.ends_with(others), "{everywhere}");
}

#[test]
fn hostile_requests_are_refused() {
    let pair = Pair::new();
    let a = pair.a.start(&["--metrics", "0"]);
    let at = address(&pair.a);
    let long = "x".repeat(20_000);
    let many = "a: b\r\n".repeat(100);
    for (request, statuses) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: {at}\r\n\r\n"), &[414, 431][..]),
        (format!("GET / HTTP/1.1\r\nHost: {at}\r\nX: {long}\r\n\r\n"), &[431]),
        (format!("GET / HTTP/1.1\r\nHost: {at}\r\n{many}\r\n"), &[431]),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), &[400]),
        (
            format!("GET /../../etc/passwd HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"),
            &[404],
        ),
        (format!("POST / HTTP/1.1\r\nHost: {at}\r\nContent-Length: 1000000000\r\n\r\nabc"), &[405]),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"
            ),
            &[200, 400],
        ),
        ("\u{1b}[2J\r\n\r\n".to_owned(), &[400]),
    ] {
        let answer = send(at, request.as_bytes());
        let start = request.chars().take(40).collect::<String>();
        let answer = answer.unwrap_or_else(|| panic!("no answer to {start:?}"));
        assert!(statuses.contains(&answer.status), "{start:?}: {answer:?}");
        assert!(answer.status != 200 || answer.body.starts_with("<!DOCTYPE html>"), "{answer:?}");
    }
    // HTTP/2 gets no answer.
    assert!(send(at, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").is_none());
    // HEAD has the fields of GET, and no content.
    let request = format!("HEAD /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    let answer = send(at, request.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(answer.head.contains("content-length: "), "{answer:?}");
    a.stop();
}

/// Opens connections that hold the process up as long as they may: half requests, requests whose
/// answers are never read, and silence.
fn stall(at: SocketAddr, count: usize) -> Vec<TcpStream> {
    let open = |number: usize| {
        // Beyond its queue the system itself accepts no connection.
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_millis(100)).ok()?;
        stream.set_nonblocking(true).unwrap();
        let request = format!("GET /status.json HTTP/1.1\r\nHost: {at}\r\n\r\n");
        let _ = match number % 3 {
            0 => stream.write(b"GET / HTTP/1.1\r\nHo"),
            1 => stream.write(request.repeat(1000).as_bytes()),
            _ => Ok(0),
        };
        Some(stream)
    };
    (0..count).filter_map(open).collect()
}

#[cfg(target_os = "linux")]
fn open_files(running: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", running.id())).unwrap().count()
}

#[cfg(target_os = "linux")]
#[test]
fn stalled_clients_are_bounded_and_delay_no_transfer() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&["--metrics", "0", "--limit-rate", "10M"], &[]);
    let at = address(&pair.a);
    scrape(at);
    let (before, files) = (a.memory(), open_files(&a));
    let begun = Instant::now();
    let hash = drop_in(&pair.a, "big", 30_000_000);
    let stalled = stall(at, 200);
    assert!(stalled.len() > 2 * MAX_CONNECTIONS, "{}", stalled.len());
    b.waits_for("file_done", |event| event["path"] == "big");
    let took = begun.elapsed();
    assert_eq!(hash_of(&pair.b.incoming().join("big")), hash);
    assert!(took < Duration::from_secs(8), "three seconds' worth of a file took {took:?}");
    let grown = open_files(&a) - files;
    // The file itself, and a client of `rft status`, may be open too.
    assert!(grown <= MAX_CONNECTIONS + 8, "{grown} more files are open");
    assert!(a.peak() < before + (48 << 20), "{} to {}", before, a.peak());
    // The commands of the user have their own places.
    assert_eq!(status::of(&pair.a)["peers"][0]["send"]["in_all"]["files"], 1);
    drop(stalled);
    // Those that have left hold no place.
    assert_eq!(scrape(at)[&of("rft_files_total", &pair.a, "send")], 1.0);
    a.stop();
}

#[test]
fn a_connection_without_a_whole_request_ends() {
    let pair = Pair::new();
    let a = pair.a.start(&["--metrics", "0"]);
    let at = address(&pair.a);
    let begun = Instant::now();
    // One that sends a byte now and then, and one that is silent.
    let mut slow = connect(at);
    let silent = connect(at);
    while slow.write_all(b"G").is_ok() {
        assert!(begun.elapsed() < LIMIT, "a request that never ends");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(read_all(silent), b"");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    assert_eq!(get(at, "/").status, 200);
    a.stop();
}

/// It asks for the page again and again, and reads nothing. The system keeps some of the answers
/// for it; then the process waits five seconds.
#[test]
fn a_client_that_reads_nothing_is_disconnected() {
    let pair = Pair::new();
    let a = pair.a.start(&["--metrics", "0"]);
    let at = address(&pair.a);
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.set_recv_buffer_size(4096).unwrap();
    deaf.connect(&at.into()).unwrap();
    let mut deaf = TcpStream::from(deaf);
    deaf.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    let request = format!("GET / HTTP/1.1\r\nHost: {at}\r\n\r\n").repeat(100);
    let error = loop {
        match deaf.write(request.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => break error,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
        assert!(begun.elapsed() < 3 * LIMIT, "it is still connected");
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_eq!(get(at, "/").status, 200);
    a.stop();
}
