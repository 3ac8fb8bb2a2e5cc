//! `rft check`: looks at everything that an exchange needs, step by step, and changes nothing.
//!
//! The steps are values without sentences; the command line has those, and the remedies.

mod disk;
mod folders;
mod peer;
mod system;

use crate::config::{Bind, Folders, PeerAddress};
use crate::hindrance::Hindrance;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The folders of the rft.
    pub folders: Folders,
    /// Free space that must remain, in bytes.
    pub min_free: u64,
    /// The UDP port; `None` checks the local steps alone.
    pub port: Option<u16>,
    /// The local address to bind.
    pub bind: Option<Bind>,
    /// The peer to look at.
    pub peer: Option<PeerAddress>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Pass,
    /// It works, and something can be better.
    Warn,
    /// An exchange is not possible before this is mended.
    Fail,
}

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

/// A sync that takes longer delays each batch of small files noticeably.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// Bytes per second below which a disk is slower than a common link.
const SLOW_DISK: f64 = 10e6;
/// rft needs a few hundred files at its defaults.
const MIN_OPEN_FILES: u64 = 1024;
const MIN_FREE_INODES: u64 = 1000;
/// A receive buffer below this loses packets at a few hundred Mbit/s.
const MIN_BUFFER: usize = 512 << 10;
/// Files in the future by more than this are no rounding.
const MAX_AHEAD: Duration = Duration::from_secs(5);
/// A path below this MTU is a tunnel in a tunnel, or wrongly configured.
const USUAL_MTU: u32 = 1280;

impl Found {
    /// The word of the step for programs.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Folder { kind: FolderKind::Outgoing, .. } => "outgoing",
            Self::Folder { kind: FolderKind::Incoming, .. } => "incoming",
            Self::Folder { kind: FolderKind::State, .. } => "state_folder",
            Self::State { .. } => "state",
            Self::Space { .. } => "space",
            Self::Inodes { .. } => "inodes",
            Self::Disk { .. } | Self::DiskFailed(_) => "disk",
            Self::OpenFiles { .. } => "open_files",
            Self::Watches { .. } => "watches",
            Self::Clock { .. } => "clock",
            Self::Buffers { .. } => "buffers",
            Self::Offload { .. } => "offload",
            Self::Port { .. } => "port",
            Self::Name { .. } | Self::NameUnknown { .. } => "name",
            Self::Route { .. } => "route",
            Self::Answer { .. } => "answer",
            Self::Version { .. } => "version",
            Self::Path { .. } => "path",
            Self::Mtu { .. } => "mtu",
            Self::Inbound { .. } => "inbound",
        }
    }

    /// How the step ended.
    pub fn level(&self) -> Level {
        let warn_if = |bad| if bad { Level::Warn } else { Level::Pass };
        let fail_if = |bad| if bad { Level::Fail } else { Level::Pass };
        match self {
            Self::Folder { usable, .. } => fail_if(matches!(usable, Usable::No(_))),
            Self::State { ledger, set_aside, removing, .. } => {
                warn_if(matches!(ledger, LedgerState::Damaged(_)) || *set_aside + *removing > 0)
            }
            Self::Space { free, needed } => match free {
                free if free < needed => Level::Fail,
                // The next large file will not fit.
                free => warn_if(*free < needed.saturating_add(1 << 30)),
            },
            Self::Inodes { free, .. } if *free == 0 => Level::Fail,
            Self::Inodes { free, .. } => warn_if(*free < MIN_FREE_INODES),
            Self::Disk { write_rate, sync } => {
                warn_if(*write_rate < SLOW_DISK || *sync > SLOW_SYNC)
            }
            Self::DiskFailed(_) | Self::NameUnknown { .. } => Level::Fail,
            Self::OpenFiles { limit } => warn_if(*limit < MIN_OPEN_FILES),
            Self::Watches { folders, max_watches, max_instances } => warn_if(
                folders.saturating_mul(5) > max_watches.saturating_mul(4) || *max_instances == 0,
            ),
            Self::Clock { ahead, synchronised } => warn_if(
                ahead.is_some_and(|ahead| ahead > MAX_AHEAD) || *synchronised == Some(false),
            ),
            Self::Buffers { receive, .. } => warn_if(*receive < MIN_BUFFER),
            Self::Offload { gso, .. } => warn_if(*gso <= 1 && cfg!(target_os = "linux")),
            Self::Port { state, .. } => match state {
                PortState::Free | PortState::Running => Level::Pass,
                PortState::Taken => Level::Warn,
                PortState::Refused(_) => Level::Fail,
            },
            Self::Name { .. } => Level::Pass,
            Self::Route { from, .. } => fail_if(from.is_err()),
            Self::Answer { result, quic, .. } => fail_if(result.is_err() || !quic),
            Self::Version { result, .. } => fail_if(result.is_err()),
            Self::Path { sample, .. } if sample.lost == sample.sent => Level::Fail,
            // One of twenty may be chance.
            Self::Path { sample, .. } => warn_if(sample.lost > 1),
            Self::Mtu { mtu, .. } => warn_if(*mtu < USUAL_MTU),
            // A peer that only listens sends nothing by itself.
            Self::Inbound { .. } => Level::Pass,
        }
    }
}

/// Looks at everything, and hands over each result when it is there. Blocks, and needs the context
/// of a multi-threaded tokio runtime, which `wait` runs a future on.
pub async fn run(subject: &Subject, mut tell: impl FnMut(Found)) {
    let running = folders::is_running(&subject.folders);
    for found in folders::look(&subject.folders, running) {
        tell(found);
    }
    for found in disk::look(subject) {
        tell(found);
    }
    for found in system::look(&subject.folders) {
        tell(found);
    }
    let Some(port) = subject.port else { return };
    tell(system::port(subject, port, running));
    let Some(peer) = &subject.peer else { return };
    peer::look(subject, peer, port, &mut tell).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_limits() {
        let space = |free| Found::Space { free, needed: 16 << 20 }.level();
        assert_eq!(space(1), Level::Fail);
        assert_eq!(space(100 << 20), Level::Warn);
        assert_eq!(space(10 << 30), Level::Pass);
        let sync =
            |millis| Found::Disk { write_rate: 1e9, sync: Duration::from_millis(millis) }.level();
        assert_eq!((sync(3), sync(300)), (Level::Pass, Level::Warn));
        let watches =
            |folders| Found::Watches { folders, max_watches: 1000, max_instances: 128 }.level();
        assert_eq!((watches(800), watches(801)), (Level::Pass, Level::Warn));
        let sample = |lost| {
            let rtt = Duration::from_millis(1);
            let sample = PathSample { sent: 20, lost, min_rtt: rtt, median_rtt: rtt };
            Found::Path { to: "192.0.2.1:4000".parse().unwrap(), sample }.level()
        };
        assert_eq!([sample(1), sample(2), sample(20)], [Level::Pass, Level::Warn, Level::Fail]);
        let ahead = |seconds| {
            let ahead = Some(Duration::from_secs(seconds));
            Found::Clock { ahead, synchronised: None }.level()
        };
        assert_eq!((ahead(1), ahead(3600)), (Level::Pass, Level::Warn));
    }
}
