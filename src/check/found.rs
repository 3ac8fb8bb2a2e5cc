//! The results of the steps.

use crate::hindrance::Hindrance;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// One of the three folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderKind {
    /// The folder of the files to send.
    Outgoing,
    /// The folder of the received files.
    Incoming,
    /// `.rft`.
    State,
}

/// The state of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usable {
    /// A file was created and removed in it.
    Yes,
    /// It does not exist; it can be created.
    Missing,
    /// A file cannot be created in it, or it cannot be created; the cause for people.
    No(String),
}

/// The state of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerState {
    /// There is none yet.
    Missing,
    /// It was read and verified.
    Whole,
    /// A running rft has it, and has verified it at its start.
    InUse,
    /// It is larger than this command reads. rft verifies it at its start.
    NotRead,
    /// It cannot be read; the cause for people.
    Damaged(String),
}

/// How the UDP port is used on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortState {
    /// It can be bound.
    Free,
    /// A program has it, and an rft runs in these folders.
    Running,
    /// A program has it, and no rft runs in these folders.
    Taken,
    /// It cannot be bound; the cause for people.
    Refused(String),
}

/// Whether packets of the peer arrive at the own port without a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// The peer dials, and a packet arrived.
    Arrived,
    /// None arrived: a firewall, or the peer does not dial this host.
    Nothing,
}

/// Sent and answered probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathSample {
    /// Probes.
    pub sent: u32,
    /// Those without an answer.
    pub lost: u32,
    /// The shortest RTT.
    pub min_rtt: Duration,
    /// The RTT that half of them exceed.
    pub median_rtt: Duration,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Found {
    /// A file can be created in a folder.
    Folder {
        /// Which one.
        kind: FolderKind,
        /// Its path.
        path: PathBuf,
        /// Whether it can be used.
        usable: Usable,
    },
    /// The content of `.rft`.
    State {
        /// Its path.
        path: PathBuf,
        /// The ledger.
        ledger: LedgerState,
        /// Damaged ledgers that were set aside.
        set_aside: usize,
        /// Files that were being removed from Outgoing when rft ended; the next start settles them.
        removing: usize,
    },
    /// Free space on the volume of Incoming.
    Space {
        /// Bytes that this user may write.
        free: u64,
        /// Bytes that must remain.
        needed: u64,
    },
    /// Free inodes on the volume of Incoming.
    Inodes {
        /// Those that are free.
        free: u64,
        /// All of them.
        total: u64,
    },
    /// Speed of the volume of Incoming.
    Disk {
        /// Bytes per second of a file that is written and synced.
        write_rate: f64,
        /// Time of the sync of one small file.
        sync: Duration,
    },
    /// A file could not be written; the cause for people.
    DiskFailed(String),
    /// Number of files that this process may open.
    OpenFiles {
        /// The limit.
        limit: u64,
    },
    /// The limits of inotify.
    Watches {
        /// Folders in Outgoing, each of which needs a watch.
        folders: u64,
        /// Watches that a user may have.
        max_watches: u64,
        /// Watchers that a user may have; each rft needs one.
        max_instances: u64,
    },
    /// The clock of this host.
    Clock {
        /// How far a file of this host's is in the future, if it is.
        ahead: Option<Duration>,
        /// Whether a program keeps the clock right, if that is known.
        synchronised: Option<bool>,
    },
    /// Kernel buffers of a UDP socket, as granted.
    Buffers {
        /// Of received packets, in bytes.
        receive: usize,
        /// Of sent packets, in bytes.
        send: usize,
        /// The size that rft requests.
        wanted: usize,
    },
    /// Packets that one system call sends and receives.
    Offload {
        /// Sent ones.
        gso: usize,
        /// Received ones.
        gro: usize,
    },
    /// The own UDP port.
    Port {
        /// Its number.
        port: u16,
        /// Its state.
        state: PortState,
    },
    /// The addresses of the peer's name.
    Name {
        /// The name.
        host: String,
        /// All addresses.
        addresses: Vec<SocketAddr>,
        /// Time of the look-up.
        took: Duration,
    },
    /// The name does not resolve; the cause for people.
    NameUnknown {
        /// The name.
        host: String,
        /// The cause.
        reason: String,
    },
    /// The route to one address.
    Route {
        /// The address.
        to: SocketAddr,
        /// The local address that the packets have.
        from: Result<IpAddr, Hindrance>,
    },
    /// Whether the port answers.
    Answer {
        /// The address.
        to: SocketAddr,
        /// The RTT.
        result: Result<Duration, Hindrance>,
        /// Whether the answer is QUIC's.
        quic: bool,
    },
    /// Whether the program at the port speaks this protocol version.
    Version {
        /// The address.
        to: SocketAddr,
        /// Whether it does.
        result: Result<(), Hindrance>,
    },
    /// RTT and loss.
    Path {
        /// The address.
        to: SocketAddr,
        /// The probes.
        sample: PathSample,
    },
    /// The largest packet that was answered.
    Mtu {
        /// The address.
        to: SocketAddr,
        /// Its size, IP and UDP headers included.
        mtu: u32,
    },
    /// Whether the peer's packets arrive.
    Inbound {
        /// The own port.
        port: u16,
        /// Whether one came.
        state: Inbound,
    },
}
