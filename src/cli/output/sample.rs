//! Events for tests of the output.

use rft::Name;
use rft::Status;
use rft::event::{Cause, Direction, Event, HookEnd, Occasion, SessionRole};
use rft::event::{InstallationId, TransferId};
use rft::hindrance::{Finding, Hindrance};
use rft::status::SessionEnd;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn addr() -> SocketAddr {
    "192.0.2.7:4000".parse().unwrap()
}

/// The transfer id of a name, the same in both directions.
fn transfer(path: &str) -> TransferId {
    let hash = blake3::hash(path.as_bytes());
    TransferId(hash.as_bytes()[..16].try_into().unwrap())
}

pub(crate) fn listening() -> Event {
    Event::Listening { local: "[::]:4000".parse().unwrap() }
}

pub(crate) fn waiting() -> Event {
    Event::Waiting {
        peer: Some("bob".into()),
        local: vec![addr(), "[2001:db8::7]:4000".parse().unwrap()],
        finding: None,
        elapsed: Duration::from_millis(1500),
        occasion: Occasion::Begins,
    }
}

/// The same with a cause, on this occasion.
pub(crate) fn waiting_because(hindrance: Hindrance, occasion: Occasion) -> Event {
    Event::Waiting {
        peer: Some("bob".into()),
        local: vec![addr()],
        finding: Some(Finding { hindrance, address: addr() }),
        elapsed: Duration::from_secs(61),
        occasion,
    }
}

pub(crate) fn silent() -> Event {
    let elapsed = Duration::from_millis(2540);
    Event::Silent { peer: addr(), host: Some("bob".into()), elapsed }
}

pub(crate) fn heard() -> Event {
    let elapsed = Duration::from_millis(4200);
    Event::Heard { peer: addr(), host: Some("bob".into()), elapsed }
}

pub(crate) fn connected() -> Event {
    Event::Connected {
        peer: addr(),
        role: SessionRole::Initiator,
        session: "5e55".into(),
        kx: "X25519MLKEM768",
        installation: InstallationId([7; 16]),
        version: "1.2.3".into(),
        host: "bob.example.org".into(),
    }
}

pub(crate) fn auth_failed() -> Event {
    Event::AuthFailed { peer: addr(), count: 1 }
}

pub(crate) fn disconnected() -> Event {
    Event::Disconnected { peer: addr(), reason: SessionEnd::TimedOut }
}

pub(crate) fn started(direction: Direction, path: &str, size: u64) -> Event {
    Event::FileStarted { direction, path: name(path), size, transfer: transfer(path), offset: 0 }
}

pub(crate) fn progress(direction: Direction, path: &str, bytes: u64, size: u64) -> Event {
    Event::FileProgress { direction, path: name(path), transfer: transfer(path), bytes, size }
}

pub(crate) fn done(direction: Direction, path: &str, size: u64) -> Event {
    Event::FileDone {
        direction,
        path: name(path),
        size,
        transfer: transfer(path),
        blake3: *blake3::hash(path.as_bytes()).as_bytes(),
        elapsed: Duration::from_millis(1500),
        offset: 0,
        saved_as: None,
        checked: false,
    }
}

/// The program of `--on-received` ended on a received file.
pub(crate) fn hook_done(path: &str, end: HookEnd) -> Event {
    Event::HookDone {
        path: name(path),
        size: 12,
        transfer: transfer(path),
        quarantine: false,
        end,
        attempts: 3,
        elapsed: Duration::from_millis(250),
        output: "found \u{1b}[31mEicar".into(),
    }
}

pub(crate) fn failed(direction: Direction, path: &str) -> Event {
    Event::FileFailed {
        direction,
        path: name(path),
        size: 1234,
        transfer: transfer(path),
        error: "permission denied".into(),
        cause: Cause::Fault("permission denied".into()),
        retry: true,
    }
}

fn time(text: &str) -> SystemTime {
    SystemTime::try_from(text.parse::<jiff::Timestamp>().unwrap()).unwrap()
}

/// A peer that sends files, while others wait. A snapshot can only be made by the library, so this
/// one comes from its JSON.
pub(crate) fn busy() -> Status {
    let mut status: Status = serde_json::from_str(include_str!("busy.json")).unwrap();
    status.time = time("2026-03-01T23:50:00Z");
    status
}
