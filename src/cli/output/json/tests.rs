use super::*;
use crate::cli::output::sample;
use rft::event::{HookEnd, Occasion};
use rft::hindrance::Hindrance;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

fn written(time: SystemTime, event: &Event) -> String {
    let (name, fields) = fields_of(event).unwrap();
    String::from_utf8(EventLine::new(name, time, fields).to_json().unwrap()).unwrap()
}

fn parse(event: &Event) -> Value {
    let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_007);
    serde_json::from_str(&written(time, event)).unwrap()
}

#[test]
fn every_event_has_the_fields_of_the_contract() {
    let path = sample::name("a/b.txt");
    let warning = |path| Event::Warning { path, message: "m".into() };
    let both = |field: &'static str| ["direction", "path", "transfer", field];
    let table: Vec<(Event, &str, Vec<&str>)> = vec![
        (sample::listening(), "listening", vec!["local"]),
        (sample::waiting(), "waiting", vec!["peer", "local", "seconds", "cause"]),
        (
            sample::waiting_because(Hindrance::PortClosed, Occasion::Changes),
            "waiting",
            vec!["peer", "local", "seconds", "cause", "address", "message"],
        ),
        (sample::silent(), "silent", vec!["peer", "seconds"]),
        (sample::heard(), "heard", vec!["peer", "seconds"]),
        (
            sample::connected(),
            "connected",
            vec!["peer", "role", "session", "kx", "installation", "version", "host"],
        ),
        (sample::auth_failed(), "auth_failed", vec!["peer", "count"]),
        (sample::disconnected(), "disconnected", vec!["peer", "reason"]),
        (
            sample::started(Direction::Send, "a/b.txt", 9),
            "file_started",
            [&both("size")[..], &["offset"]].concat(),
        ),
        (
            sample::progress(Direction::Send, "a/b.txt", 3, 9),
            "file_progress",
            [&both("size")[..], &["bytes"]].concat(),
        ),
        (
            sample::done(Direction::Send, "a/b.txt", 9),
            "file_done",
            [&both("size")[..], &["blake3", "seconds", "offset"]].concat(),
        ),
        (
            sample::done(Direction::Receive, "a/b.txt", 9),
            "file_done",
            [&both("size")[..], &["blake3", "seconds", "offset", "saved_as"]].concat(),
        ),
        (
            sample::failed(Direction::Receive, "a/b.txt"),
            "file_failed",
            [&both("error")[..], &["retry", "size"]].concat(),
        ),
        (warning(None), "warning", vec!["message"]),
        (warning(Some(path)), "warning", vec!["message", "path"]),
        (
            Event::Drained { files: 1, bytes: 9, elapsed: Duration::from_secs(2), left_alone: 0 },
            "drained",
            vec!["files", "bytes", "seconds", "left_alone"],
        ),
    ];
    for (event, name, fields) in table {
        let object = parse(&event);
        let mut expected: Vec<&str> = fields.into_iter().chain(["event", "time"]).collect();
        expected.sort_unstable();
        let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, expected, "{name}");
        assert_eq!(object["event"], name);
        assert_eq!(object["time"], "2023-11-14T22:13:20.007Z");
    }
}

#[test]
fn values_have_the_types_of_the_contract() {
    let object = parse(&sample::done(Direction::Receive, "a/b.txt", 9));
    assert_eq!(object["direction"], "receive");
    assert_eq!(object["size"], 9);
    assert_eq!(object["seconds"].as_f64(), Some(1.5));
    assert_eq!(object["blake3"].as_str().unwrap().len(), 64);
    assert_eq!(object["transfer"].as_str().unwrap().len(), 32);
    assert_eq!(parse(&sample::failed(Direction::Send, "x"))["retry"], true);
    assert_eq!(parse(&sample::connected())["role"], "initiator");
    assert_eq!(parse(&sample::connected())["kx"], "X25519MLKEM768");
}

#[test]
fn names_that_are_not_utf8_have_their_bytes_beside() {
    let name = Name::parse(b"caf\xe9/\"\x1b.txt").unwrap();
    let object = parse(&Event::Warning { path: Some(name), message: "m".into() });
    assert_eq!(object["path"], "caf\u{fffd}/\"\u{1b}.txt");
    assert_eq!(
        BASE64.decode(object["path_bytes"].as_str().unwrap().as_bytes()).unwrap(),
        b"caf\xe9/\"\x1b.txt"
    );
}

#[test]
fn a_line_has_no_control_characters_and_keeps_its_text() {
    let hostile = "a\u{1b}[2J\n\u{9b}31m\u{202e}\u{7f}\u{feff}\"\\";
    let event = Event::Warning { path: Some(sample::name(hostile)), message: hostile.into() };
    let line = written(UNIX_EPOCH, &event);
    let is_control = |c: &char| is_unprintable(*c);
    assert_eq!(line.trim_end_matches('\n').chars().find(is_control), None, "{line:?}");
    assert_eq!(parse(&event)["message"], hostile);
    assert_eq!(parse(&event)["path"], hostile);
}

#[test]
fn backlog_is_not_printed() {
    let event = Event::Backlog { direction: Direction::Send, files: 1, bytes: 1 };
    assert!(fields_of(&event).is_none());
}

/// Fails from the second write on, and counts the calls.
struct Broken(Arc<Mutex<u32>>);

impl Write for Broken {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        if *calls > 1 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(buf.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn broken_pipe_ends_the_output_once() {
    let calls = Arc::new(Mutex::new(0));
    let mut json = Json::new(Broken(Arc::clone(&calls)));
    for _ in 0..10 {
        json.event(UNIX_EPOCH, &sample::listening());
    }
    json.exit(UNIX_EPOCH, 0, "stopped");
    assert_eq!(*calls.lock().unwrap(), 2);
}

/// An event of each kind, and some with text that needs escapes.
fn events() -> Vec<Event> {
    let hostile = "a\u{1b}[2J\n\t\u{9b}31m\u{202e}\u{7f}\u{feff}\"\\/é日😀";
    let name = Name::parse(b"caf\xe9/\"\x1b.txt").unwrap();
    let mut saved = sample::done(Direction::Receive, "a/b.txt", 9);
    if let Event::FileDone { saved_as, path, blake3, elapsed, offset, .. } = &mut saved {
        (*saved_as, *path, *blake3) = (Some(name.clone()), name.clone(), [0; 32]);
        (*elapsed, *offset) = (Duration::from_nanos(1_234_567_890), u64::MAX);
    }
    let mut no_retry = sample::failed(Direction::Send, "a/b.txt");
    if let Event::FileFailed { retry, error, .. } = &mut no_retry {
        (*retry, *error) = (false, hostile.into());
    }
    let mut hook = sample::hook_done("a/b.txt", HookEnd::NotStarted(hostile.into()));
    if let Event::HookDone { path, output, .. } = &mut hook {
        (*path, *output) = (name.clone(), hostile.into());
    }
    vec![
        sample::listening(),
        sample::waiting(),
        Event::Waiting {
            peer: None,
            local: vec![],
            finding: None,
            elapsed: Duration::from_secs(60),
            occasion: Occasion::Continues,
        },
        sample::waiting_because(Hindrance::PortClosed, Occasion::Changes),
        sample::silent(),
        sample::heard(),
        sample::connected(),
        Event::Connected {
            peer: "[fe80::1%3]:4000".parse().unwrap(),
            role: rft::event::SessionRole::Responder,
            session: hostile.into(),
            kx: "X25519",
            installation: rft::event::InstallationId([0xab; 16]),
            version: hostile.into(),
            host: String::new(),
        },
        sample::auth_failed(),
        sample::disconnected(),
        sample::started(Direction::Send, "a/b.txt", 9),
        sample::progress(Direction::Receive, "a/b.txt", 3, 9),
        sample::done(Direction::Send, "a/b.txt", 9),
        sample::done(Direction::Receive, "a/b.txt", 9),
        saved,
        Event::FileWaiting {
            direction: Direction::Send,
            path: name.clone(),
            reason: rft::status::OpenFileWait::Close,
        },
        Event::FileCancelled {
            path: name.clone(),
            size: 9,
            entries: 2,
            transfer: TransferId([1; 16]),
            moved_to: Some(hostile.into()),
        },
        sample::failed(Direction::Receive, "a/b.txt"),
        no_retry,
        Event::Warning { path: None, message: hostile.into() },
        Event::Warning { path: Some(sample::name(hostile)), message: "m".into() },
        Event::Warning { path: Some(name), message: "m".into() },
        hook,
        sample::hook_done("a/b.txt", HookEnd::Exit(-1)),
        sample::hook_done("a/b.txt", HookEnd::TimedOut),
        Event::Drained { files: 1, bytes: 9, elapsed: Duration::from_millis(100), left_alone: 0 },
    ]
}

#[test]
fn every_event_is_written_byte_for_byte_as_recorded() {
    let (out, time) = (Pipe::default(), UNIX_EPOCH + Duration::from_millis(1_700_000_000_007));
    let mut json = Json::new(out.clone());
    for event in events() {
        json.event(time, &event);
    }
    json.exit(time, 0, "stopped \u{1b}");
    let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let recorded = include_str!("events.jsonl");
    for (written, recorded) in written.lines().zip(recorded.lines()) {
        assert_eq!(written, recorded);
    }
    assert_eq!(written, recorded);
}

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
