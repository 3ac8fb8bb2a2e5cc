//! The events of a running process: the terminal shows them, and `--json` prints them.

use crate::config::PeerName;
use crate::hindrance::Finding;
pub use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
pub use crate::status::{Direction, SessionRole};
use crate::status::{OpenFileWait, PeerStatus, SessionEnd};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// An [`Event`] and the peer that it is about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerEvent {
    /// The peer; `None` if the event is about the process, or about a host that is not known as a
    /// peer.
    pub peer: Option<PeerName>,
    /// The event.
    pub event: Event,
}

/// Takes the events of one part of the engine, from any of its threads. The function should return
/// soon: the engine waits for it.
#[doc(hidden)]
#[derive(Clone)]
pub struct EventSink(Arc<dyn Fn(Event) + Send + Sync>);

impl EventSink {
    /// Calls `f` with each event.
    pub fn new(f: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Drops all events.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Hands over one event.
    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    /// Hands over a warning, about a file if `path` is given.
    pub fn warn(&self, path: Option<Name>, message: impl Into<String>) {
        self.emit(Event::Warning { path, message: message.into() });
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSink")
    }
}

/// The cause of a failed transfer. Failures with the same cause are reported in one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The user renamed, moved, removed or changed the file meanwhile. Nothing is wrong.
    Withdrawn,
    /// The sender's user cancelled it.
    Cancelled,
    /// The receiver refused it, with a text that names no file.
    Refused(String),
    /// Another problem, with a text that names no file.
    Fault(String),
}

/// How a program of `--on-received` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookEnd {
    /// By itself, with this exit code.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// It was killed after `--hook-timeout`.
    TimedOut,
    /// It could not be started, for this reason.
    NotStarted(String),
}

impl HookEnd {
    /// Exit code of a program that asks for another attempt later (EX_TEMPFAIL of sysexits.h).
    pub const TRY_LATER: i32 = 75;

    /// Whether the program succeeded.
    pub fn is_success(&self) -> bool {
        *self == Self::Exit(0)
    }

    /// Whether the program judged the file, rather than failed to.
    pub fn is_verdict(&self) -> bool {
        matches!(self, Self::Exit(code) if *code != Self::TRY_LATER)
    }
}

impl fmt::Display for HookEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut => f.write_str("killed after --hook-timeout"),
            Self::NotStarted(reason) => write!(f, "it could not be started: {reason}"),
        }
    }
}

/// Why an [`Event::Waiting`] is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The first one of a time without a session.
    Begins,
    /// The hindrance has become known, or is another one than before.
    Changes,
    /// A minute has passed.
    Continues,
}

/// A change of the state of a process or a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The socket is bound.
    Listening {
        /// Its local address.
        local: SocketAddr,
    },
    /// There is no session. Emitted soon after the start and the end of a session, when the
    /// hindrance changes, and each minute.
    Waiting {
        /// The host that is dialled, as the user wrote it; `None` when only listening.
        peer: Option<String>,
        /// The local addresses that the other side can dial.
        local: Vec<SocketAddr>,
        /// Why there is none; `None` if that is not known (yet).
        finding: Option<Finding>,
        /// Time without a session.
        elapsed: Duration,
        /// Why the event comes now.
        occasion: Occasion,
    },
    /// The session lasts, and the peer does not answer. A new connection is dialled beside it.
    Silent {
        /// The peer's address.
        peer: SocketAddr,
        /// The host that is dialled, as the user wrote it; `None` when only listening.
        host: Option<String>,
        /// Time without an answer.
        elapsed: Duration,
    },
    /// The peer answers again, after an [`Event::Silent`], in the same session.
    Heard {
        /// The peer's address.
        peer: SocketAddr,
        /// The host that is dialled, as the user wrote it; `None` when only listening.
        host: Option<String>,
        /// How long it did not answer.
        elapsed: Duration,
    },
    /// An authenticated session is adopted.
    Connected {
        /// The peer's address.
        peer: SocketAddr,
        /// The role of this side.
        role: SessionRole,
        /// The public name of the session, the same on both sides.
        session: String,
        /// The key exchange group that TLS negotiated, by its name in IANA's registry.
        kx: &'static str,
        /// The peer's state folder: the same after a restart of its process.
        installation: InstallationId,
        /// The version of the peer's program, as the peer says. It may contain control characters.
        version: String,
        /// The name of the peer's host, as the peer says. It may contain control characters.
        host: String,
    },
    /// A host did not know the password; at most once a minute for each source.
    AuthFailed {
        /// The address of the host.
        peer: SocketAddr,
        /// Number of failures since the last such event of this source.
        count: u32,
    },
    /// The session is over.
    Disconnected {
        /// The peer's address.
        peer: SocketAddr,
        /// Why it ended.
        reason: SessionEnd,
    },
    /// A transfer begins.
    FileStarted {
        /// Its direction.
        direction: Direction,
        /// The name below Outgoing or Incoming.
        path: Name,
        /// Bytes of the whole file.
        size: u64,
        /// The transfer.
        transfer: TransferId,
        /// Bytes that the receiver already has.
        offset: u64,
    },
    /// A part of a file has crossed; at most five times a second for each file.
    FileProgress {
        /// Its direction.
        direction: Direction,
        /// The name below Outgoing or Incoming.
        path: Name,
        /// The transfer.
        transfer: TransferId,
        /// Bytes so far, `offset` included.
        bytes: u64,
        /// Bytes of the whole file.
        size: u64,
    },
    /// A file is in the receiver's Incoming, on stable storage.
    FileDone {
        /// Its direction.
        direction: Direction,
        /// The name below Outgoing or Incoming.
        path: Name,
        /// Bytes of the whole file.
        size: u64,
        /// The transfer.
        transfer: TransferId,
        /// BLAKE3 of the whole file (zero for folders and links).
        blake3: [u8; 32],
        /// Time from the start to the receipt.
        elapsed: Duration,
        /// Bytes that the receiver had before.
        offset: u64,
        /// Its name in Incoming.
        saved_as: Option<Name>,
        /// A program of the receiver has accepted it before it appeared (`--quarantine`).
        checked: bool,
    },
    /// The program of `--on-received` has ended for the last time on a received file.
    HookDone {
        /// The name in Incoming; with `quarantine` the one that the sender gave it.
        path: Name,
        /// Bytes of the file.
        size: u64,
        /// The transfer.
        transfer: TransferId,
        /// It decided whether the file appears in Incoming.
        quarantine: bool,
        /// How the last attempt ended.
        end: HookEnd,
        /// Number of attempts.
        attempts: u32,
        /// Time of the last attempt.
        elapsed: Duration,
        /// The last line that the program wrote. It may contain control characters.
        output: String,
    },
    /// A file is not sent yet, because a program has it open for writing.
    FileWaiting {
        /// Its direction.
        direction: Direction,
        /// The name below Outgoing.
        path: Name,
        /// What ends the wait.
        reason: OpenFileWait,
    },
    /// An attempt to transfer a file failed.
    FileFailed {
        /// Its direction.
        direction: Direction,
        /// The name below Outgoing or Incoming.
        path: Name,
        /// Bytes of the whole file.
        size: u64,
        /// The transfer.
        transfer: TransferId,
        /// The problem, and the remedy if the user has one.
        error: String,
        /// The part of it that other files may share.
        cause: Cause,
        /// Whether it is tried again without the user's help.
        retry: bool,
    },
    /// An entry has left Outgoing, because the peer holds it. Not part of `--json`.
    FileRemoved {
        /// The name below Outgoing.
        path: Name,
        /// Bytes of the file; 0 for folders and links.
        size: u64,
        /// The transfer.
        transfer: TransferId,
        /// Whether it is in `.rft/sent` now (`--after-send archive`).
        archived: bool,
    },
    /// The user cancelled an entry of Outgoing: it is not sent.
    FileCancelled {
        /// The name below Outgoing.
        path: Name,
        /// Bytes of the files of it that the peer does not hold.
        size: u64,
        /// How many entries of it the peer does not hold, folders and links included.
        entries: u64,
        /// The transfer.
        transfer: TransferId,
        /// The path to which it was moved; `None` if it stays in Outgoing (`--after-send keep`).
        moved_to: Option<String>,
    },
    /// A problem that does not end the process.
    Warning {
        /// The file that it is about.
        path: Option<Name>,
        /// The problem, and the remedy if the user has one.
        message: String,
    },
    /// The backlog of one direction, for a total line. Not part of `--json`.
    Backlog {
        /// The direction.
        direction: Direction,
        /// Entries.
        files: u64,
        /// Bytes of these entries.
        bytes: u64,
    },
    /// `--drain` is not done yet; emitted at each [`crate::config::Config::drain_reminder`].
    DrainWaiting {
        /// The peer's state, with a few of the remaining files.
        status: Box<PeerStatus>,
    },
    /// `--drain` is done.
    Drained {
        /// Files sent in all.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Time since the start.
        elapsed: Duration,
        /// Unfinished files that stay in Outgoing (`--temp-names`).
        left_alone: u64,
    },
}
