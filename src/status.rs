//! The state of a running process at one moment: plain values, without a sentence in them.
//!
//! [`crate::event::Event`]s are the changes of this state.

use crate::config::PeerName;
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A snapshot of a running process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Time since the start.
    pub uptime: Duration,
    /// The address of the UDP socket.
    pub local: SocketAddr,
    /// The peers, in the order of their names.
    pub peers: Vec<PeerStatus>,
}

/// A snapshot of one peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The peer.
    pub name: PeerName,
    /// The session, if there is one.
    pub session: Option<SessionStatus>,
    /// The end of the last session; `None` if there was none.
    pub last_end: Option<PastSession>,
    /// Entries of Outgoing that the peer does not hold yet.
    pub to_send: Backlog,
    /// The peer's backlog, once it has told it in this session.
    pub to_receive: Option<Backlog>,
    /// Entries sent since the start.
    pub sent: Totals,
    /// Entries received since the start.
    pub received: Totals,
    /// Files that have been partly transferred, the oldest first.
    pub in_flight: Vec<FileInFlight>,
    /// Transfers from the peer that are not finished.
    pub arriving: usize,
    /// Entries of Outgoing that are not sent yet: first those that something other than the order
    /// of the queue delays. The list is limited; [`PeerStatus::more_waiting`] counts the others.
    pub waiting: Vec<(Name, WaitReason)>,
    /// Number of waiting entries that are not in the list.
    pub more_waiting: u64,
}

impl PeerStatus {
    /// A peer that has had no session and has nothing to send.
    pub fn new(name: PeerName) -> Self {
        Self {
            name,
            session: None,
            last_end: None,
            to_send: Backlog::default(),
            to_receive: None,
            sent: Totals::default(),
            received: Totals::default(),
            in_flight: Vec::new(),
            arriving: 0,
            waiting: Vec::new(),
            more_waiting: 0,
        }
    }
}

/// A session that lasts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionStatus {
    /// The peer's address when it connected.
    pub address: SocketAddr,
    /// The role of this side.
    pub role: SessionRole,
    /// The public name of the session, the same on both sides.
    pub id: String,
    /// The key exchange group that TLS negotiated, by its name in IANA's registry.
    pub kx: &'static str,
    /// The peer's state folder: the same after a restart of its process.
    pub installation: InstallationId,
    /// Time since it was adopted.
    pub age: Duration,
}

/// A session that has ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PastSession {
    /// Time since its end.
    pub ago: Duration,
    /// Why it ended.
    pub reason: SessionEnd,
}

/// A file that has been partly transferred.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileInFlight {
    /// Its direction.
    pub direction: Direction,
    /// Its name below Outgoing or Incoming.
    pub path: Name,
    /// Its transfer.
    pub transfer: TransferId,
    /// Bytes so far, those of earlier sessions included.
    pub bytes: u64,
    /// Bytes of the whole file.
    pub size: u64,
}

/// The direction of a file, seen from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From this side's Outgoing.
    Send,
    /// Into this side's Incoming.
    Receive,
}

/// The role of a side in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRole {
    /// It was dialled, and generated the session keys.
    Responder,
    /// It dialled.
    Initiator,
}

/// A sum over entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Entries, folders and links included.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// The entries that a side has not delivered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Entries that settle, are ready, in flight, wait for another attempt, or are being removed
    /// after their receipt. Entries that were refused for good, cannot be read, stay, or are
    /// unfinished do not count. Never 0 before the first scan is complete.
    pub files: u64,
    /// Bytes of these entries.
    pub bytes: u64,
}

impl Backlog {
    /// Whether the first scan is complete and nothing is left to deliver.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }
}

/// Why an entry of Outgoing is not delivered yet. Times are those that remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// It was written a moment ago. It is sent when it has been quiet for this much longer.
    Settling(Duration),
    /// A folder is sent after its contents.
    Folder,
    /// It is ready, and waits for its turn or for a peer.
    Ready,
    /// It is in flight.
    InFlight,
    /// The peer holds it, and it is being removed, archived or marked.
    CleaningUp,
    /// A program has it open for writing: it is not sent before that ends.
    Open,
    /// The peer holds it, but a program has it open for writing: it is removed after that.
    DeliveredOpen,
    /// A folder that the peer holds: it is removed when no file has arrived in it for this much
    /// longer.
    Lingering(Duration),
    /// A folder that holds an unfinished file, which is left alone.
    Unfinished,
    /// The name of an unfinished file: it is left alone.
    LeftAlone,
    /// A delivery failed. It is offered again after this time.
    Backoff(Duration),
    /// The peer has something else at its path. The peer is asked again after this time.
    Occupied(Duration),
    /// It cannot be read. It is tried again after this time.
    Unreadable(Duration),
    /// The peer refused it, or the folder cannot be listed.
    Refused,
}

/// What ends the wait of a file that a program has open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenFileWait {
    /// The program closes it.
    Close,
    /// The program pauses: a snapshot is sent (`--send-open`).
    Pause,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// This side was told to stop.
    Stopped,
    /// The peer said goodbye.
    PeerLeft,
    /// A newer session with the same installation replaced it.
    Superseded,
    /// The peer keeps another connection between the same two sides.
    Duplicate,
    /// The peer keeps a session with another installation.
    Occupied,
    /// The peer keeps a session with another program that has a copy of this state folder.
    Copied,
    /// The peer says that this side broke the protocol.
    ProtocolBrokenHere,
    /// The peer broke the protocol.
    ProtocolBrokenByPeer,
    /// The peer stopped answering.
    TimedOut,
    /// The connection was lost otherwise; QUIC's account of it.
    Lost(String),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped here",
            Self::PeerLeft => "the peer left",
            Self::Superseded => "a newer session took its place",
            Self::Duplicate => "another connection to the same peer is kept",
            Self::Occupied => "the peer keeps a session with another installation",
            Self::Copied => {
                "the peer keeps a session with another program that has a copy of this state folder"
            }
            Self::ProtocolBrokenHere => {
                "the peer says that this side broke the protocol; run the same version of rft on both sides"
            }
            Self::ProtocolBrokenByPeer => {
                "the peer broke the protocol; run the same version of rft on both sides"
            }
            Self::TimedOut => "the peer stopped answering",
            Self::Lost(reason) => reason,
        })
    }
}
