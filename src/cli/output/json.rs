//! Events as JSON Lines (docs/operation.md, "Events").

mod hook;

use super::hindrance;
use super::state;
use super::text::role_name;
use data_encoding::{BASE64, HEXLOWER};
use hook::HookDone;
use jiff::Timestamp;
use rft::cause;
use rft::event::TransferId;
use rft::event::{Direction, Event};
use rft::hindrance::Finding;
use rft::{Name, is_unprintable};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::SystemTime;

/// Writes one JSON object a line. When the reader closes its end, only this output stops.
pub(crate) struct Json {
    out: Option<Box<dyn Write + Send>>,
}

impl Json {
    /// Writes to `out`, which should be buffered.
    pub(crate) fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Some(Box::new(out)) }
    }

    /// Writes an event, unless `--json` leaves events of its kind out.
    pub(crate) fn event(&mut self, time: SystemTime, event: &Event) {
        if let Some((name, fields)) = fields_of(event) {
            self.write(&EventLine::new(name, time, fields));
        }
    }

    /// Writes the last line: the exit code and the reason.
    pub(crate) fn exit(&mut self, time: SystemTime, code: u8, reason: &str) {
        self.write(&EventLine::new("exit", time, Fields::Exit { code, reason }));
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        let result = self.out.as_mut().map_or(Ok(()), |out| out.flush());
        self.stop_on_error(result);
    }

    fn write(&mut self, line: &EventLine<'_>) {
        let result = line.to_json().and_then(|json| match &mut self.out {
            Some(out) => out.write_all(&json),
            None => Ok(()),
        });
        self.stop_on_error(result);
    }

    fn stop_on_error(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(
                "stdout cannot be written to, so no more events are printed: {}",
                cause::of(&error)
            );
            self.out = None;
        }
    }
}

/// A value as one line of JSON.
pub(crate) fn line_of(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut json, Printable))?;
    json.push(b'\n');
    Ok(json)
}

/// One line. The order of the fields here is their order in the output.
#[derive(Serialize)]
struct EventLine<'a> {
    event: &'static str,
    time: String,
    #[serde(flatten)]
    fields: Fields<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    Listening {
        local: SocketAddr,
    },
    Waiting {
        peer: Option<&'a str>,
        local: &'a [SocketAddr],
        seconds: f64,
        cause: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<SocketAddr>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    Silence {
        peer: SocketAddr,
        seconds: f64,
    },
    Connected {
        peer: SocketAddr,
        role: &'static str,
        session: &'a str,
        kx: &'static str,
        installation: String,
        version: &'a str,
        host: &'a str,
    },
    AuthFailed {
        peer: SocketAddr,
        count: u32,
    },
    Disconnected {
        peer: SocketAddr,
        reason: String,
    },
    FileStarted {
        #[serde(flatten)]
        file: File<'a>,
        size: u64,
        offset: u64,
    },
    FileProgress {
        #[serde(flatten)]
        file: File<'a>,
        bytes: u64,
        size: u64,
    },
    FileDone {
        #[serde(flatten)]
        file: File<'a>,
        size: u64,
        blake3: String,
        seconds: f64,
        offset: u64,
        #[serde(flatten)]
        saved_as: Option<SavedAsFields<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        checked: bool,
    },
    HookDone(HookDone<'a>),
    FileWaiting {
        direction: &'static str,
        #[serde(flatten)]
        path: PathFields<'a>,
        reason: &'a str,
    },
    FileFailed {
        #[serde(flatten)]
        file: File<'a>,
        size: u64,
        error: &'a str,
        retry: bool,
    },
    FileCancelled {
        #[serde(flatten)]
        file: File<'a>,
        size: u64,
        entries: u64,
        moved_to: Option<&'a str>,
    },
    Warning {
        message: Cow<'a, str>,
        #[serde(flatten)]
        path: Option<PathFields<'a>>,
    },
    Drained {
        files: u64,
        bytes: u64,
        seconds: f64,
        left_alone: u64,
    },
    Exit {
        code: u8,
        reason: &'a str,
    },
}

#[derive(Serialize)]
struct File<'a> {
    direction: &'static str,
    #[serde(flatten)]
    path: PathFields<'a>,
    transfer: String,
}

/// A name; if it is not UTF-8, its bytes in Base64 as well.
#[derive(Serialize)]
pub(crate) struct PathFields<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
}

/// The same for the name that a received file has in Incoming.
#[derive(Serialize)]
struct SavedAsFields<'a> {
    saved_as: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved_as_bytes: Option<String>,
}

/// The event's name in `--json` and its fields; `None` for an event that is not printed.
fn fields_of(event: &Event) -> Option<(&'static str, Fields<'_>)> {
    Some(match event {
        Event::Listening { local } => ("listening", Fields::Listening { local: *local }),
        Event::Waiting { peer, local, finding, elapsed, .. } => {
            let peer = peer.as_deref();
            let told = |found: &Finding| hindrance::sentence(found, peer.unwrap_or("a peer"));
            let fields = Fields::Waiting {
                peer,
                local,
                seconds: elapsed.as_secs_f64(),
                cause: finding.map(|found| found.hindrance.word()),
                address: finding.map(|found| found.address),
                message: finding.as_ref().map(told),
            };
            ("waiting", fields)
        }
        Event::Silent { peer, elapsed, .. } => {
            ("silent", Fields::Silence { peer: *peer, seconds: elapsed.as_secs_f64() })
        }
        Event::Heard { peer, elapsed, .. } => {
            ("heard", Fields::Silence { peer: *peer, seconds: elapsed.as_secs_f64() })
        }
        Event::Connected { peer, role, session, kx, installation, version, host } => {
            let (role, installation) = (role_name(*role), installation.to_string());
            let fields =
                Fields::Connected { peer: *peer, role, session, kx, installation, version, host };
            ("connected", fields)
        }
        Event::AuthFailed { peer, count } => {
            ("auth_failed", Fields::AuthFailed { peer: *peer, count: *count })
        }
        Event::Disconnected { peer, reason } => {
            ("disconnected", Fields::Disconnected { peer: *peer, reason: reason.to_string() })
        }
        Event::Warning { path, message } => {
            let message = message.into();
            ("warning", Fields::Warning { message, path: path.as_ref().map(PathFields::from) })
        }
        Event::DrainWaiting { status } => {
            let message = format!("--drain waits: {}", state::remaining_of(status)).into();
            ("warning", Fields::Warning { message, path: None })
        }
        &Event::Drained { files, bytes, elapsed, left_alone } => {
            let seconds = elapsed.as_secs_f64();
            ("drained", Fields::Drained { files, bytes, seconds, left_alone })
        }
        event => return fields_of_file(event),
    })
}

/// The same for an event about a file.
fn fields_of_file(event: &Event) -> Option<(&'static str, Fields<'_>)> {
    Some(match event {
        Event::FileStarted { direction, path, size, transfer, offset } => {
            let file = File::new(*direction, path, *transfer);
            ("file_started", Fields::FileStarted { file, size: *size, offset: *offset })
        }
        Event::FileProgress { direction, path, transfer, bytes, size } => {
            let file = File::new(*direction, path, *transfer);
            ("file_progress", Fields::FileProgress { file, bytes: *bytes, size: *size })
        }
        Event::FileDone {
            direction,
            path,
            size,
            transfer,
            blake3,
            elapsed,
            offset,
            saved_as,
            checked,
        } => {
            let received_as = (*direction == Direction::Receive).then_some(path);
            let fields = Fields::FileDone {
                file: File::new(*direction, path, *transfer),
                size: *size,
                blake3: HEXLOWER.encode(blake3),
                seconds: elapsed.as_secs_f64(),
                offset: *offset,
                saved_as: saved_as.as_ref().or(received_as).map(SavedAsFields::from),
                checked: *checked,
            };
            ("file_done", fields)
        }
        Event::FileWaiting { direction, path, reason } => {
            let direction = direction_name(*direction);
            let reason = state::open_file(*reason);
            ("file_waiting", Fields::FileWaiting { direction, path: path.into(), reason })
        }
        Event::FileFailed { direction, path, size, transfer, error, retry, .. } => {
            let file = File::new(*direction, path, *transfer);
            ("file_failed", Fields::FileFailed { file, size: *size, error, retry: *retry })
        }
        Event::FileCancelled { path, size, entries, transfer, moved_to } => {
            let file = File::new(Direction::Send, path, *transfer);
            let (size, entries, moved_to) = (*size, *entries, moved_to.as_deref());
            ("file_cancelled", Fields::FileCancelled { file, size, entries, moved_to })
        }
        event => return HookDone::of(event).map(|hook| ("hook_done", Fields::HookDone(hook))),
    })
}

impl<'a> EventLine<'a> {
    fn new(event: &'static str, time: SystemTime, fields: Fields<'a>) -> Self {
        // jiff knows the years -9999 to 9999; a clock outside of them is shown as 1970.
        let time = Timestamp::try_from(time).unwrap_or_default();
        Self { event, time: format!("{time:.3}"), fields }
    }

    /// The object and the end of the line.
    fn to_json(&self) -> io::Result<Vec<u8>> {
        line_of(self)
    }
}

impl<'a> File<'a> {
    fn new(direction: Direction, path: &'a Name, transfer: TransferId) -> Self {
        Self {
            direction: direction_name(direction),
            path: path.into(),
            transfer: transfer.to_string(),
        }
    }
}

impl<'a> From<&'a Name> for PathFields<'a> {
    fn from(name: &'a Name) -> Self {
        let (path, path_bytes) = text_and_bytes(name);
        Self { path, path_bytes }
    }
}

impl<'a> From<&'a Name> for SavedAsFields<'a> {
    fn from(name: &'a Name) -> Self {
        let (saved_as, saved_as_bytes) = text_and_bytes(name);
        Self { saved_as, saved_as_bytes }
    }
}

fn text_and_bytes(name: &Name) -> (Cow<'_, str>, Option<String>) {
    let text = String::from_utf8_lossy(name.as_bytes());
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    (text, (!is_utf8).then(|| BASE64.encode(name.as_bytes())))
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Send => "send",
        Direction::Receive => "receive",
    }
}

/// Compact JSON whose strings are safe to show on a terminal: characters that could control it are
/// escaped. Numbers with a fraction are seconds and have six decimals.
struct Printable;

impl Formatter for Printable {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write!(writer, "{value:.6}")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for part in fragment.split_inclusive(is_unprintable) {
            match part.char_indices().next_back().filter(|(_, last)| is_unprintable(*last)) {
                Some((at, last)) => {
                    // All of them are in the Basic Multilingual Plane: four digits are enough.
                    write!(writer, "{}\\u{:04x}", &part[..at], u32::from(last))?;
                }
                None => writer.write_all(part.as_bytes())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
