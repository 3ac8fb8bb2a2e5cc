//! The state of a running process at one moment: plain values, without a sentence in them. The
//! terminal, the answer of the control socket (`docs/control.md`) and SIGUSR1 show the same values.
//!
//! [`crate::event::Event`]s are the changes of this state.

mod bottleneck;
pub(crate) mod encoding;
mod session_end;
mod waiting;

pub use bottleneck::Bottleneck;
pub use session_end::SessionEnd;
pub use waiting::{
    OpenFileWait, Setback, SetbackKind, WaitKind, WaitReason, Waiting, WaitingEntries,
};

use crate::config::PeerName;
use crate::hindrance::Finding;
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// A snapshot of a running process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The time of the snapshot.
    #[serde(with = "encoding::time")]
    pub time: SystemTime,
    /// The version of the program.
    pub version: String,
    /// Time since the start.
    #[serde(rename = "uptime_seconds", with = "encoding::seconds")]
    pub uptime: Duration,
    /// The address of the UDP socket.
    pub local: SocketAddr,
    /// The limit of this side's sending, in bytes per second; `None` without one.
    #[serde(default)]
    pub limit_rate: Option<u64>,
    /// When `limit_rate` changes by its schedule; `None` if it does not.
    #[serde(default, with = "encoding::optional_time")]
    pub limit_until: Option<SystemTime>,
    /// The schedule of the limit as it is typed; `None` if it does not depend on the time.
    #[serde(default)]
    pub limit_schedule: Option<String>,
    /// The programs of `--on-received`; `None` without the option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HookStatus>,
    /// The peers, in the order of their names.
    pub peers: Vec<PeerStatus>,
}

/// The programs of `--on-received`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HookStatus {
    /// Whether files appear in Incoming only after a program has accepted them.
    pub quarantine: bool,
    /// Programs that run now.
    pub running: u64,
    /// Received files that wait for a program to start, or to be started again.
    pub waiting: u64,
    /// The process that runs the programs has ended: none runs until rft is started again.
    pub helper_ended: bool,
}

impl HookStatus {
    /// The programs at one moment.
    pub fn new(quarantine: bool, running: u64, waiting: u64, helper_ended: bool) -> Self {
        Self { quarantine, running, waiting, helper_ended }
    }
}

/// A snapshot of one peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The peer.
    #[serde(with = "encoding::peer_name")]
    pub name: PeerName,
    /// The absolute path of Outgoing, with replacement characters if it is not UTF-8.
    pub outgoing: String,
    /// The session, if there is one.
    pub session: Option<SessionStatus>,
    /// The end of the last session; `None` if there was none.
    pub last_end: Option<PastSession>,
    /// How long there has been no session, and why, if there is none.
    pub no_session: Option<NoSession>,
    /// No further file is sent until the user resumes it. Files are received.
    #[serde(default)]
    pub paused: bool,
    /// The files that this side sends.
    pub send: DirectionStatus,
    /// The files that it receives.
    pub receive: DirectionStatus,
    /// Files that have been partly transferred, the oldest first. The list is limited;
    /// [`PeerStatus::more_in_flight`] counts the others.
    pub in_flight: Vec<FileInFlight>,
    /// Number of files in flight that are not in the list.
    pub more_in_flight: u64,
    /// Transfers from the peer that are not finished.
    pub arriving: usize,
    /// Entries of Outgoing that are not sent yet: first those that something other than the order
    /// of the queue delays. The list is limited; [`PeerStatus::more_waiting`] counts the others.
    pub waiting: Vec<Waiting>,
    /// Number of waiting entries that are not in the list.
    pub more_waiting: u64,
    /// How many entries wait for each reason, those of the list included. Without reasons for which
    /// none waits.
    #[serde(default)]
    pub waiting_by_reason: BTreeMap<WaitKind, u64>,
}

impl PeerStatus {
    /// A peer that has had no session and has nothing to send.
    pub fn new(name: PeerName) -> Self {
        let send = DirectionStatus { backlog: Some(Backlog::default()), ..Default::default() };
        Self {
            name,
            outgoing: String::new(),
            session: None,
            last_end: None,
            no_session: None,
            paused: false,
            send,
            receive: DirectionStatus::default(),
            in_flight: Vec::new(),
            more_in_flight: 0,
            arriving: 0,
            waiting: Vec::new(),
            more_waiting: 0,
            waiting_by_reason: BTreeMap::new(),
        }
    }

    /// One direction.
    pub fn direction(&self, direction: Direction) -> &DirectionStatus {
        match direction {
            Direction::Send => &self.send,
            Direction::Receive => &self.receive,
        }
    }
}

/// A session that lasts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionStatus {
    /// The peer's present address.
    pub address: SocketAddr,
    /// The role of this side.
    pub role: SessionRole,
    /// The public name of the session, the same on both sides.
    pub id: String,
    /// The key exchange group that TLS negotiated, by its name in IANA's registry.
    pub kx: String,
    /// The peer's state folder: the same after a restart of its process.
    #[serde(with = "encoding::installation")]
    pub installation: InstallationId,
    /// The version of the peer's program, as the peer says; empty if it does not. It may contain
    /// control characters.
    pub version: String,
    /// The name of the peer's host, as the peer says; empty if it does not. It may contain control
    /// characters.
    pub host: String,
    /// Whether the peer receives files in this session; `rft send` does not.
    #[serde(default = "receives")]
    pub receives: bool,
    /// When it was adopted.
    #[serde(with = "encoding::time")]
    pub since: SystemTime,
    /// Time since then.
    #[serde(rename = "age_seconds", with = "encoding::seconds")]
    pub age: Duration,
    /// For how long the peer has not answered, once the user has been told of it; a new connection
    /// is being dialled.
    #[serde(rename = "silent_seconds", with = "encoding::optional_seconds")]
    pub silent_for: Option<Duration>,
    /// The network path.
    pub path: PathStatus,
}

/// What an older rft, which does not say it, does.
fn receives() -> bool {
    true
}

/// The network path of a session.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PathStatus {
    /// Round-trip time.
    #[serde(rename = "rtt_seconds", with = "encoding::seconds")]
    pub rtt: Duration,
    /// Share of this side's packets that were lost, 0 to 1, over the last seconds with traffic.
    pub loss: f64,
    /// The rate of the path from this side as congestion control measures it, in bytes per second; 0
    /// before the first measurement, and with a rate limit, which hides the path.
    pub rate: u64,
    /// Size of the largest packets, in bytes.
    pub mtu: u16,
}

/// A session that has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastSession {
    /// Time since its end.
    #[serde(rename = "ago_seconds", with = "encoding::seconds")]
    pub ago: Duration,
    /// Why it ended.
    #[serde(flatten)]
    pub reason: SessionEnd,
}

/// A time without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NoSession {
    /// Its length so far.
    #[serde(rename = "seconds", with = "encoding::seconds")]
    pub elapsed: Duration,
    /// Why there is none; `None` if that is not known (yet).
    #[serde(flatten)]
    pub finding: Option<Finding>,
}

impl NoSession {
    /// Such a time.
    pub fn new(elapsed: Duration, finding: Option<Finding>) -> Self {
        Self { elapsed, finding }
    }
}

/// One direction between this side and a peer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DirectionStatus {
    /// What the sending side has not delivered yet; `None` if the peer has not told it in this
    /// session.
    pub backlog: Option<Backlog>,
    /// Entries of the backlog that are not complete yet.
    pub files_left: u64,
    /// Bytes of the backlog that have not crossed yet. It shrinks while a file crosses.
    pub bytes_left: u64,
    /// Bytes per second over the last seconds.
    pub rate: u64,
    /// The time that `bytes_left` takes at this rate, if there is one.
    #[serde(rename = "seconds_left", with = "encoding::optional_seconds")]
    pub time_left: Option<Duration>,
    /// What limits the speed now.
    pub limit: Bottleneck,
    /// Entries since the start of this process.
    pub since_start: Totals,
    /// Entries since the state folder was created.
    pub in_all: Totals,
    /// When the last entry was complete.
    #[serde(with = "encoding::optional_time")]
    pub last: Option<SystemTime>,
}

/// A file that has been partly transferred.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileInFlight {
    /// Its direction.
    pub direction: Direction,
    /// Its name below Outgoing or Incoming.
    #[serde(flatten, with = "encoding::path")]
    pub path: Name,
    /// Its transfer.
    #[serde(with = "encoding::transfer")]
    pub transfer: TransferId,
    /// Bytes so far, those of earlier sessions included.
    pub bytes: u64,
    /// Bytes of the whole file.
    pub size: u64,
    /// Time since it was started in this session.
    #[serde(rename = "age_seconds", with = "encoding::seconds")]
    pub age: Duration,
    /// Bytes per second over the last seconds.
    pub rate: u64,
}

/// The direction of a file, seen from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From this side's Outgoing.
    Send,
    /// Into this side's Incoming.
    Receive,
}

/// The role of a side in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionRole {
    /// It was dialled, and generated the session keys.
    Responder,
    /// It dialled.
    Initiator,
}

/// A sum over entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Folders and symbolic links.
    pub folders: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// The entries that a side has not delivered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Backlog {
    /// Entries that settle, are ready, in flight, wait for another attempt, or are being removed
    /// after their receipt. Entries that were refused for good, cannot be read, stay, or are
    /// unfinished do not count. Folders and links do. Never 0 before the first scan is complete.
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
