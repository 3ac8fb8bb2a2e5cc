//! Events as JSON Lines (operation.md, "Events").

use super::text::role_name;
use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use rft::cause;
use rft::event::{Direction, Event};
use rft::proto::message::TransferId;
use rft::proto::name::{Name, is_unprintable};
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// Writes one object a line. A reader that goes away ends the output and nothing else.
pub(crate) struct Json {
    out: Option<Box<dyn Write + Send>>,
}

impl Json {
    /// Lines go there; it should be buffered.
    pub(crate) fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Some(Box::new(out)) }
    }

    /// Prints an event, unless it is none of the contract's.
    pub(crate) fn event(&mut self, time: SystemTime, event: &Event) {
        if let Some(line) = line_of(time, event) {
            self.write(&line);
        }
    }

    /// Prints the last line.
    pub(crate) fn exit(&mut self, time: SystemTime, code: u8, reason: &str) {
        let line = Line::new("exit", time).number("code", code).text("reason", reason);
        self.write(&line);
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        let result = self.out.as_mut().map_or(Ok(()), |out| out.flush());
        self.give_up_on(result);
    }

    fn write(&mut self, line: &Line) {
        let result = self.out.as_mut().map_or(Ok(()), |out| writeln!(out, "{}}}", line.0));
        self.give_up_on(result);
    }

    fn give_up_on(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!("events cannot be written to stdout any more: {}", cause::of(&error));
            self.out = None;
        }
    }
}

/// An object in the making: all but its closing brace.
struct Line(String);

impl Line {
    fn new(event: &str, time: SystemTime) -> Self {
        // A clock outside of the years that jiff knows (-9999 to 9999) is shown as 1970.
        let time = Timestamp::try_from(time).unwrap_or_default();
        Self(format!(r#"{{"event":"{event}","time":"{time:.3}""#))
    }

    fn number(mut self, field: &str, value: impl Display) -> Self {
        self.0.push_str(&format!(r#","{field}":{value}"#));
        self
    }

    fn text(mut self, field: &str, value: &str) -> Self {
        let quoted = serde_json::Value::from(value).to_string();
        self.0.push_str(&format!(r#","{field}":"#));
        // The events may be shown on a terminal as well.
        for c in quoted.chars() {
            match c {
                c if is_unprintable(c) => self.0.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => self.0.push(c),
            }
        }
        self
    }

    fn maybe_text(self, field: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(field, value),
            None => self.number(field, "null"),
        }
    }

    /// A name, and its bytes beside where they are not UTF-8.
    fn name(self, field: &str, name: &Name) -> Self {
        let line = self.text(field, &String::from_utf8_lossy(name.as_bytes()));
        match std::str::from_utf8(name.as_bytes()) {
            Ok(_) => line,
            Err(_) => line.text(&format!("{field}_bytes"), &BASE64.encode(name.as_bytes())),
        }
    }

    fn file(self, direction: Direction, path: &Name, transfer: TransferId) -> Self {
        self.direction(direction).name("path", path).text("transfer", &transfer.to_string())
    }

    fn direction(self, direction: Direction) -> Self {
        let direction = match direction {
            Direction::Send => "send",
            Direction::Receive => "receive",
        };
        self.text("direction", direction)
    }

    fn seconds(self, elapsed: Duration) -> Self {
        self.number("seconds", format_args!("{:.6}", elapsed.as_secs_f64()))
    }
}

fn line_of(time: SystemTime, event: &Event) -> Option<Line> {
    let line = |name| Line::new(name, time);
    Some(match event {
        Event::Listening { local } => line("listening").text("local", &local.to_string()),
        Event::Waiting { peer, local } => {
            let local: Vec<String> = local.iter().map(ToString::to_string).collect();
            line("waiting")
                .maybe_text("peer", peer.as_deref())
                .number("local", serde_json::Value::from(local))
        }
        Event::Connected { peer, role, session, kx, installation } => line("connected")
            .text("peer", &peer.to_string())
            .text("role", role_name(*role))
            .text("session", session)
            .text("kx", kx)
            .text("installation", &installation.to_string()),
        Event::AuthFailed { peer, count } => {
            line("auth_failed").text("peer", &peer.to_string()).number("count", count)
        }
        Event::Disconnected { peer, reason } => {
            line("disconnected").text("peer", &peer.to_string()).text("reason", reason)
        }
        Event::FileStarted { direction, path, size, transfer, offset } => line("file_started")
            .file(*direction, path, *transfer)
            .number("size", size)
            .number("offset", offset),
        Event::FileProgress { direction, path, transfer, bytes, size } => line("file_progress")
            .file(*direction, path, *transfer)
            .number("bytes", bytes)
            .number("size", size),
        Event::FileDone { direction, path, size, transfer, blake3, elapsed, offset, saved_as } => {
            let done = line("file_done")
                .file(*direction, path, *transfer)
                .number("size", size)
                .text("blake3", &HEXLOWER.encode(blake3))
                .seconds(*elapsed)
                .number("offset", offset);
            match (direction, saved_as) {
                (_, Some(name)) => done.name("saved_as", name),
                (Direction::Receive, None) => done.name("saved_as", path),
                (Direction::Send, None) => done,
            }
        }
        Event::FileWaiting { direction, path, reason } => {
            line("file_waiting").direction(*direction).name("path", path).text("reason", reason)
        }
        Event::FileFailed { direction, path, transfer, error, retry, .. } => line("file_failed")
            .file(*direction, path, *transfer)
            .text("error", error)
            .number("retry", retry),
        Event::Warning { path, message } => {
            let warning = line("warning").text("message", message);
            match path {
                Some(path) => warning.name("path", path),
                None => warning,
            }
        }
        Event::Drained { files, bytes, elapsed, left_alone } => line("drained")
            .number("files", files)
            .number("bytes", bytes)
            .seconds(*elapsed)
            .number("left_alone", left_alone),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};
    use std::time::UNIX_EPOCH;

    fn parse(event: &Event) -> Value {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_007);
        let line = line_of(time, event).unwrap();
        serde_json::from_str(&(line.0 + "}")).unwrap()
    }

    #[test]
    fn every_event_has_the_fields_of_the_contract() {
        let path = sample::name("a/b.txt");
        let warning = |path| Event::Warning { path, message: "m".into() };
        let both = |field: &'static str| ["direction", "path", "transfer", field];
        let table: Vec<(Event, &str, Vec<&str>)> = vec![
            (sample::listening(), "listening", vec!["local"]),
            (sample::waiting(), "waiting", vec!["peer", "local"]),
            (
                sample::connected(),
                "connected",
                vec!["peer", "role", "session", "kx", "installation"],
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
                [&both("error")[..], &["retry"]].concat(),
            ),
            (warning(None), "warning", vec!["message"]),
            (warning(Some(path)), "warning", vec!["message", "path"]),
            (
                Event::Drained {
                    files: 1,
                    bytes: 9,
                    elapsed: Duration::from_secs(2),
                    left_alone: 0,
                },
                "drained",
                vec!["files", "bytes", "seconds", "left_alone"],
            ),
        ];
        for (event, name, fields) in table {
            let object = parse(&event);
            let mut expected: Vec<&str> = fields.into_iter().chain(["event", "time"]).collect();
            expected.sort_unstable();
            let mut keys: Vec<&str> =
                object.as_object().unwrap().keys().map(String::as_str).collect();
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
    fn a_line_steers_no_terminal_and_says_the_same() {
        let hostile = "a\u{1b}[2J\n\u{9b}31m\u{202e}\u{7f}\u{feff}\"\\";
        let event = Event::Warning { path: Some(sample::name(hostile)), message: hostile.into() };
        let line = line_of(UNIX_EPOCH, &event).unwrap().0;
        assert_eq!(line.chars().find(|c| is_unprintable(*c)), None, "{line:?}");
        assert_eq!(parse(&event)["message"], hostile);
        assert_eq!(parse(&event)["path"], hostile);
    }

    #[test]
    fn backlog_is_not_printed() {
        let event = Event::Backlog { direction: Direction::Send, files: 1, bytes: 1 };
        assert!(line_of(UNIX_EPOCH, &event).is_none());
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
}
