//! `rft status` of the real program: its fields, its text, the reasons for waiting, and counts over
//! a restart.

mod bottlenecks;

use crate::harness::files::drop_content;
use crate::harness::peer::{Host, Pair};
use crate::harness::status;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

/// The longest that a state takes to appear.
const TIMEOUT: Duration = Duration::from_secs(40);

/// The entry of Outgoing with this name in the list of waiting entries.
fn waiting<'a>(status: &'a Value, path: &str) -> Option<&'a Value> {
    status["peers"][0]["waiting"].as_array().unwrap().iter().find(|entry| entry["path"] == path)
}

/// Waits until an entry waits for this reason; the entry.
fn waits(host: &Host, path: &str, reason: &str) -> Value {
    status::wait(host, TIMEOUT, |status| {
        waiting(status, path).filter(|entry| entry["reason"] == reason).cloned()
    })
}

#[test]
fn it_names_the_peer_its_program_and_the_path() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&[], &[]);
    drop_content(&pair.a, "x", "four");
    b.waits_for("file_done", |event| event["path"] == "x");
    let done = |status: &Value| {
        let peer = &status["peers"][0];
        (peer["send"]["in_all"]["files"] == 1 && peer["send"]["limit"] == "nothing_to_send")
            .then(|| status.clone())
    };
    let status = status::wait(&pair.a, TIMEOUT, done);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(status["version"], version);
    assert!(status["uptime_seconds"].as_f64().unwrap() > 0.0, "{status}");
    assert_eq!(status["peers"].as_array().unwrap().len(), 1);
    let peer = &status["peers"][0];
    assert_eq!(peer["name"], "127.0.0.2");
    let session = &peer["session"];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = &host[..host.floor_char_boundary(63)];
    assert_eq!((&session["version"], &session["host"]), (&version.into(), &host.into()));
    assert_eq!(session["kx"], "X25519MLKEM768");
    assert_eq!(session["address"], format!("127.0.0.2:{}", pair.a.port));
    let path = &session["path"];
    assert!((0.0..1.0).contains(&path["rtt_seconds"].as_f64().unwrap()), "{path}");
    assert!(path["mtu"].as_u64().unwrap() >= 1200 && path["loss"] == 0.0, "{path}");
    assert_eq!(peer["send"]["since_start"], json!({"files": 1, "folders": 0, "bytes": 4}));
    assert_eq!((&peer["send"]["files_left"], &peer["send"]["bytes_left"]), (&0.into(), &0.into()));
    assert_eq!((&peer["in_flight"], &peer["waiting"]), (&json!([]), &json!([])));
    assert_eq!(peer["receive"]["limit"], "nothing_to_send");
    #[cfg(target_os = "linux")]
    {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = status::command(&pair.a, &[]).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    let receiver = status::of(&pair.b);
    assert_eq!(receiver["peers"][0]["receive"]["in_all"]["bytes"], 4);

    let text = status::text(&pair.a);
    for part in [
        &format!("127.0.0.2: connected to 127.0.0.2:{} for ", pair.a.port),
        &format!("rft {version} on the host {host}"),
        " ms, 0.0 % lost",
        "nothing to send",
        "nothing to receive",
        "1 file (4 B), last ",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(text.lines().all(|line| console::measure_text_width(line) <= 100), "{text}");
    a.stop();
}

#[test]
fn it_says_why_each_entry_waits() {
    let pair = Pair::new();
    let port = pair.a.port.to_string();
    let mut a = pair.a.start_raw(&["--settle", "60s", "--bind", &pair.a.bind, &pair.a.peer, &port]);
    let limits = ["--max-file-size", "1000", "--max-incoming-bytes", "1000"];
    let mut b = pair.b.start(&limits);
    a.waits_for("connected", |_| true);
    b.waits_for("connected", |_| true);
    let put = |name: &str, bytes: usize| drop_content(&pair.a, name, vec![b'x'; bytes]);
    put("larger than allowed", 2000);
    put("first", 800);
    b.waits_for("file_done", |event| event["path"] == "first");
    put("second", 700);
    put("big.iso.part", 10);
    fs::write(pair.a.outgoing().join("settles"), "x").unwrap();

    let refused = waits(&pair.a, "larger than allowed", "refused");
    assert_eq!(refused["setback"], "refused", "{refused}");
    let text = refused["setback_text"].as_str().unwrap();
    assert!(text.contains("1000") || text.contains("1,000"), "{text}");
    let full = waits(&pair.a, "second", "backoff");
    assert_eq!(full["setback"], "peer_full", "{full}");
    assert!(full["seconds"].as_f64().unwrap() <= 60.0, "{full}");
    waits(&pair.a, "big.iso.part", "left_alone");
    // The wait is shorter where the system knows that no program has the file open.
    let settling = waits(&pair.a, "settles", "settling");
    assert!((1.0..=60.0).contains(&settling["seconds"].as_f64().unwrap()), "{settling}");

    let text = status::text(&pair.a).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "waits: larger than allowed: refused: ",
        "waits: second: ",
        "big.iso.part: left alone: the name of an unfinished file",
        "settles: it was written a moment ago; it settles for ",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    a.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn it_names_the_program_that_has_a_file_open() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&[], &[]);
    let mut open = File::create(pair.a.outgoing().join("open.log")).unwrap();
    open.write_all(b"a line\n").unwrap();
    let entry = waits(&pair.a, "open.log", "open");
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    // A thread of the test may have its own name; the process's is that of its first one.
    let first = fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
    assert!(
        [own.trim_end(), first.trim_end()].contains(&entry["program"].as_str().unwrap()),
        "{entry}"
    );
    let text = status::text(&pair.a);
    assert!(text.contains("open.log: waiting: open in "), "{text}");
    assert_eq!(status::of(&pair.a)["peers"][0]["send"]["limit"], "waiting");
    drop(open);
    b.waits_for("file_done", |event| event["path"] == "open.log");
    a.stop();
}

#[test]
fn it_tells_what_is_left_before_the_peer_comes_and_after_it_has_gone() {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |event| event["cause"] == "port_closed");
    drop_content(&pair.a, "\u{1b}[2J\u{202e}x", "12345");
    let left = |status: &Value| {
        let peer = &status["peers"][0];
        (peer["send"]["bytes_left"] == 5).then(|| peer.clone())
    };
    let peer = status::wait(&pair.a, TIMEOUT, left);
    assert_eq!((&peer["session"], &peer["last_end"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&peer["send"]["limit"], &peer["send"]["files_left"]),
        (&"waiting".into(), &1.into())
    );
    assert_eq!(peer["receive"]["backlog"], Value::Null);
    assert_eq!(peer["waiting"][0]["reason"], "ready");
    let apart = &peer["no_session"];
    assert_eq!(apart["cause"], "port_closed");
    assert_eq!(apart["address"], format!("127.0.0.2:{}", pair.a.port));
    assert!(apart["seconds"].as_f64().unwrap() > 0.0, "{apart}");
    let text = status::text(&pair.a);
    assert!(
        text.contains("not connected yet: 127.0.0.2 is up, but nothing listens on UDP")
            && text.contains("1 left, 5 B"),
        "{text}"
    );
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    let output = status::run(&pair.a, &["--json"]).stdout;
    assert!(!output.contains(&0x1b), "{}", String::from_utf8_lossy(&output));

    let mut b = pair.b.start(&[]);
    b.waits_for("file_done", |_| true);
    b.stop();
    let ended = |status: &Value| {
        let peer = &status["peers"][0];
        (!peer["last_end"].is_null()).then(|| peer.clone())
    };
    let peer = status::wait(&pair.a, TIMEOUT, ended);
    assert_eq!(
        (&peer["session"], &peer["last_end"]["reason"]),
        (&Value::Null, &"peer_left".into())
    );
    let text = status::text(&pair.a);
    assert!(text.contains("not connected") && text.contains("the last session ended"), "{text}");
    a.stop();
}

#[test]
fn counts_continue_after_a_restart_and_tell_files_from_folders() {
    let pair = Pair::new();
    let (a, mut b) = pair.connected(&[], &[]);
    let folder = pair.a.dir.join("new");
    fs::create_dir(&folder).unwrap();
    for name in ["1", "2"] {
        fs::write(folder.join(name), "abc").unwrap();
    }
    fs::rename(folder, pair.a.outgoing().join("d")).unwrap();
    b.waits_for("file_done", |event| event["path"] == "d");
    let counted = json!({"files": 2, "folders": 1, "bytes": 6});
    let sent = |status: &Value| {
        (status["peers"][0]["send"]["in_all"] == counted).then(|| status["peers"][0].clone())
    };
    let before = status::wait(&pair.a, TIMEOUT, sent)["send"].clone();
    assert_eq!(before["since_start"], counted);
    for host in [a, b] {
        host.stop();
    }
    let (a, _b) = pair.connected(&[], &[]);
    let now = &status::of(&pair.a)["peers"][0]["send"];
    assert_eq!((&now["in_all"], &now["since_start"]["files"]), (&counted, &0.into()));
    // The second is kept.
    let second = |time: &Value| time.as_str().unwrap().split('.').next().unwrap().to_owned();
    assert_eq!(second(&now["last"]), second(&before["last"]));
    assert_eq!(status::of(&pair.b)["peers"][0]["receive"]["in_all"], counted);
    assert!(status::text(&pair.b).contains("2 files (6 B), 1 folder, last "));
    a.stop();
}

#[test]
fn watch_shows_it_again_until_the_peer_ends() {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |_| true);
    let mut command = status::command(&pair.a, &["--watch", "--json"]);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = piped.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut uptime = 0.0;
    for _ in 0..3 {
        let status: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let now = status["uptime_seconds"].as_f64().unwrap();
        assert!(now > uptime, "{now} after {uptime}");
        uptime = now;
    }
    a.stop();
    let output = watch.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(18), "{errors}");
    assert!(errors.contains("no rft runs in "), "{errors}");
}
