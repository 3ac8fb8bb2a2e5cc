//! All that a peer tells the outside: what a terminal shows and `--json` prints.

use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Takes every [`Event`], from whatever thread it happens on; it should return soon.
#[derive(Clone)]
pub struct EventSink(Arc<dyn Fn(Event) + Send + Sync>);

impl EventSink {
    /// Events go to this function.
    pub fn new(f: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Events go nowhere.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Hands one event over.
    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    /// Hands a warning about a file or, with no path, about the whole.
    pub fn warn(&self, path: Option<Name>, message: impl Into<String>) {
        self.emit(Event::Warning { path, message: message.into() });
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSink")
    }
}

/// Which way a file goes, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From our Outgoing.
    Send,
    /// Into our Incoming.
    Receive,
}

/// Which side of the handshake this peer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRole {
    /// It was dialled, and made the session keys.
    Responder,
    /// It dialled.
    Initiator,
}

/// Why a file did not arrive, as far as several may have it in common: one line tells of all of
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its user renamed it, moved it away, removed or changed it meanwhile. Nothing is wrong.
    Withdrawn,
    /// This, in which no file is named.
    Fault(String),
}

/// One thing that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The socket is bound.
    Listening {
        /// To this address.
        local: SocketAddr,
    },
    /// Nobody is there yet; told once for each time that a peer is waited for.
    Waiting {
        /// Who is dialled, as the user wrote it; `None` when only listening.
        peer: Option<String>,
        /// The local addresses that the other side can name.
        local: Vec<SocketAddr>,
    },
    /// An authenticated session is adopted.
    Connected {
        /// The peer's address.
        peer: SocketAddr,
        /// Our role in it.
        role: SessionRole,
        /// Names the session in logs of both sides; no secret.
        session: String,
        /// The key exchange group that TLS negotiated, by its name in IANA's registry.
        kx: &'static str,
        /// The peer's state folder: the same after a restart of its process.
        installation: InstallationId,
    },
    /// Somebody did not know the password; at most once a minute for each source.
    AuthFailed {
        /// From there.
        peer: SocketAddr,
        /// How often, since the last such event of this source.
        count: u32,
    },
    /// The session is over.
    Disconnected {
        /// The peer's address.
        peer: SocketAddr,
        /// Why, for people.
        reason: String,
    },
    /// A file's first byte is about to cross.
    FileStarted {
        /// Which way.
        direction: Direction,
        /// Its name below Outgoing or Incoming.
        path: Name,
        /// Bytes of the whole file.
        size: u64,
        /// Its transfer.
        transfer: TransferId,
        /// Bytes that were there from before.
        offset: u64,
    },
    /// Some of a file crossed; at most five a second a file.
    FileProgress {
        /// Which way.
        direction: Direction,
        /// Its name.
        path: Name,
        /// Its transfer.
        transfer: TransferId,
        /// Bytes so far, `offset` included.
        bytes: u64,
        /// Bytes of the whole file.
        size: u64,
    },
    /// A file stands in Incoming, ours or the peer's, on stable storage.
    FileDone {
        /// Which way.
        direction: Direction,
        /// Its name.
        path: Name,
        /// Its bytes.
        size: u64,
        /// Its transfer.
        transfer: TransferId,
        /// BLAKE3 of the whole file (zero for folders and links).
        blake3: [u8; 32],
        /// From start to receipt.
        elapsed: Duration,
        /// Bytes that were there from before.
        offset: u64,
        /// The name that it was given in Incoming.
        saved_as: Option<Name>,
    },
    /// A file is not sent for now.
    FileWaiting {
        /// Which way.
        direction: Direction,
        /// Its name.
        path: Name,
        /// For what it waits.
        reason: String,
    },
    /// A file did not arrive this time.
    FileFailed {
        /// Which way.
        direction: Direction,
        /// Its name.
        path: Name,
        /// Its transfer.
        transfer: TransferId,
        /// What happened and what to do.
        error: String,
        /// What other files may have in common with it.
        cause: Cause,
        /// It is tried again without anybody doing anything.
        retry: bool,
    },
    /// Something a person should know.
    Warning {
        /// The file that it is about.
        path: Option<Name>,
        /// What, and what to do.
        message: String,
    },
    /// How much each side still has to send; for a total line. Not part of `--json`.
    Backlog {
        /// Whose.
        direction: Direction,
        /// Entries.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// `--drain` is done.
    Drained {
        /// Files sent in all.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Since the start.
        elapsed: Duration,
        /// Unfinished files that stay in Outgoing (`--temp-names`).
        left_alone: u64,
    },
}
