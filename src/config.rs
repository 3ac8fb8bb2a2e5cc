//! The settings of a process and its peer: plain, validated values.

use crate::proto::name::Name;
use crate::rate_schedule::RateSchedule;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The name of a peer: the key of its state, its events and its counters in this process. It is
/// chosen by this side's configuration and never crosses the wire. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// Any text.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The settings. [`Config::new`] has the defaults of the command line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The peer to dial; `None` only waits for one (`rft listen`).
    pub peer: Option<PeerAddress>,
    /// The name of this host, which an authenticated peer is told; empty to tell none.
    pub host_name: String,
    /// The UDP port of both hosts.
    pub port: u16,
    /// The local address to bind; all addresses of both families by default.
    pub bind: Option<Bind>,
    /// The folders.
    pub folders: Folders,
    /// Which way files cross, and for how long.
    pub exchange: Exchange,
    /// The fate of a file in Outgoing once the peer holds it.
    pub after_send: AfterSend,
    /// The rule for a name that another file has in Incoming.
    pub on_conflict: OnConflict,
    /// Ends the process once both queues are empty.
    pub drain: bool,
    /// With `drain`: time after which an incomplete drain is given up.
    pub wait: Option<Duration>,
    /// With `drain`: time between two events that name the remaining files.
    pub drain_reminder: Duration,
    /// How long files and folders rest before they are sent, and folders before they are removed.
    pub waits: Waits,
    /// Whether files with the names of unfinished files are sent.
    pub temp_names: TempNames,
    /// A file that a program keeps open for writing is sent as a snapshot after this much quiet;
    /// with `None` it waits until it is closed.
    pub send_open: Option<Duration>,
    /// How long a sent file is held aside before it is removed, where the system cannot tell
    /// whether a program has it open for writing.
    pub grace: Duration,
    /// How long the history keeps an entry; with zero there is none.
    pub history: Duration,
    /// Maximum rate of this side's sending, in bytes of UDP payload per second, by the time of the
    /// week. All packets count.
    pub limit_rate: RateSchedule,
    /// Congestion control of this side's sending.
    pub congestion: Congestion,
    /// Whether this side compresses the files that it sends.
    pub compress: Compress,
    /// Maximum number of files that are read and sent at once.
    pub in_flight: usize,
    /// Ends the process when an initiator gives a wrong password.
    pub exit_on_auth_failure: bool,
    /// Largest file that this side accepts, in bytes.
    pub max_file_size: Option<u64>,
    /// Limit for the files in Incoming, those that are arriving included, in bytes.
    pub max_incoming_bytes: Option<u64>,
    /// Free space that must remain in Incoming, in bytes.
    pub min_free: u64,
    /// Limit for the buffers of transfers, in bytes.
    pub memory: u64,
    /// The program that is run for each received file. It needs a [`crate::HookHelper`].
    pub hooks: Option<Hooks>,
}

impl Config {
    /// The defaults, with the folders in `dir`.
    pub fn new(peer: Option<PeerAddress>, port: u16, dir: impl Into<PathBuf>) -> Self {
        Self {
            peer,
            host_name: String::new(),
            port,
            bind: None,
            folders: Folders::in_dir(dir),
            exchange: Exchange::Lasting,
            after_send: AfterSend::Delete,
            on_conflict: OnConflict::Rename,
            drain: false,
            wait: None,
            drain_reminder: Duration::from_secs(60),
            waits: Waits::DEFAULT,
            temp_names: TempNames::LeaveAlone,
            send_open: None,
            grace: Duration::from_secs(10),
            history: Duration::from_secs(90 * 86_400),
            limit_rate: RateSchedule::default(),
            congestion: Congestion::Bbr,
            compress: Compress::Auto,
            in_flight: 64,
            exit_on_auth_failure: false,
            max_file_size: None,
            max_incoming_bytes: None,
            min_free: 16 << 20,
            memory: 256 << 20,
            hooks: None,
        }
    }

    /// The name of the peer: its host as configured, or `peer` if any peer may come.
    pub fn peer_name(&self) -> PeerName {
        PeerName::new(self.peer.as_ref().map_or("peer", |peer| &peer.host))
    }
}

/// `--on-received`: a program that is run for each received file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// The absolute path of the program.
    pub program: PathBuf,
    /// Its arguments before the path of the file.
    pub arguments: Vec<OsString>,
    /// Time that one run may take (`--hook-timeout`).
    pub timeout: Duration,
    /// Further attempts after a failed one (`--hook-retries`).
    pub retries: u32,
    /// Maximum number of programs that run at once (`--hook-parallel`).
    pub parallel: usize,
    /// The file appears in Incoming only after the program has accepted it (`--quarantine`).
    pub quarantine: bool,
}

/// The address to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// IPv4 or IPv6 address, or a host name.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// `--bind ADDR[:PORT]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// Local address.
    pub addr: IpAddr,
    /// Local port, [`Config::port`] by default.
    pub port: Option<u16>,
}

impl Bind {
    /// The whole address; `default_port` applies if no port is set.
    pub fn socket_addr(self, default_port: u16) -> SocketAddr {
        SocketAddr::new(self.addr, self.port.unwrap_or(default_port))
    }
}

/// The folders of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Files here are sent.
    pub outgoing: PathBuf,
    /// Files from the peer arrive here.
    pub incoming: PathBuf,
    /// rft's own: staged files, the ledger, the lock, the log.
    pub state: PathBuf,
    /// Outgoing is a folder of the user's that is only read: nothing in it is locked, created or
    /// removed. Needs [`AfterSend::Keep`].
    pub reads_outgoing: bool,
}

/// Which way files cross, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Exchange {
    /// Both ways, until the process is stopped or drained.
    #[default]
    Lasting,
    /// Once, from here to the peer (`rft send`). Nothing is received. Needs [`Config::drain`],
    /// [`AfterSend::Keep`] and [`Folders::reads_outgoing`].
    Send {
        /// The entries at the top of Outgoing that are sent.
        only: Vec<Name>,
    },
    /// Once, from the peer to here (`rft receive`). Nothing is sent. Needs the same.
    Receive,
}

impl Exchange {
    /// Whether it ends by itself.
    pub fn is_once(&self) -> bool {
        *self != Self::Lasting
    }

    /// Whether files of the peer are received.
    pub fn receives(&self) -> bool {
        !matches!(self, Self::Send { .. })
    }

    /// The entries at the top of Outgoing that are sent; `None` for all.
    pub fn only(&self) -> Option<&[Name]> {
        match self {
            Self::Lasting => None,
            Self::Send { only } => Some(only),
            Self::Receive => Some(&[]),
        }
    }
}

impl Folders {
    /// `Outgoing`, `Incoming` and `.rft` below one base folder.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            outgoing: dir.join("Outgoing"),
            incoming: dir.join("Incoming"),
            state: dir.join(".rft"),
            reads_outgoing: false,
        }
    }
}

/// How long entries of Outgoing rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Quiet time before a file that was written in place is sent (`--settle`).
    pub settle: Duration,
    /// The same for a file after the close of its last writer. `--settle` sets this too.
    pub after_close: Duration,
    /// Time before an empty folder that was created in place is sent and removed: its user may be
    /// about to name or to fill it.
    pub empty_folder: Duration,
    /// Time from the last file that came into a folder or left it to the folder's removal. The
    /// folder is sent earlier.
    pub emptied_folder: Duration,
}

impl Waits {
    /// The defaults of the command line.
    pub const DEFAULT: Self = Self {
        settle: Duration::from_secs(1),
        after_close: Duration::from_millis(80),
        empty_folder: Duration::from_secs(60),
        emptied_folder: Duration::from_secs(10),
    };
}

/// `--temp-names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TempNames {
    /// A file with the name of an unfinished file stays until it is renamed.
    #[default]
    LeaveAlone,
    /// Every name is sent.
    Send,
}

impl TempNames {
    /// The names of unfinished files, for people. `*` stands for one byte or more, `X` for a letter
    /// or a digit, and `/` at the end for a folder.
    pub const LIST: &str = "*.part *.part-Frag* *.crdownload *.opdownload *.wkdownload *.download/ \
        *.partial *.filepart *.fdmdownload *.dtapart *.ytdl *.aria2 (and the file beside it) *.!ut *.!qB \
        *.bc! *.!sync *.part.minio *_.gstmp .azDownload-* .com.google.Chrome.XXXXXX \
        .org.chromium.Chromium.XXXXXX .~tmp~/ .rsync-partial/ .*.XXXXXX .*.XXXXXXXXXX .in.*. \
        .pureftpd-upload.* .syncthing.*.tmp ~syncthing~*.tmp .*.~* .unison.*.unison.tmp \
        .mutagen-temporary-* .pending-* .goutputstream-XXXXXX *.sb-XXXXXXXX-XXXXXX/ .~lock.*# ~$* ~WR*.tmp \
        4913 (empty) .*.swp .*.swo .*.swn .*.swx .*.kate-swp .#* #*# *___jb_tmp___ *___jb_old___ .nfsXXXXXXXXXXXX* \
        .fuse_hidden* .smbdeleteXXX*";
}

/// `--after-send`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterSend {
    /// It is removed from Outgoing.
    #[default]
    Delete,
    /// It stays in Outgoing, and is sent again only when it changes.
    Keep,
    /// It is moved to `.rft/sent/`.
    Archive,
}

/// `--on-conflict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Both stay; the new one becomes `name (1).ext`.
    #[default]
    Rename,
    /// The new one replaces the old one, atomically.
    Overwrite,
    /// The old one stays; the receiver tells the sender, which keeps its file.
    Skip,
}

/// `--congestion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// rft's model-based controller, for lossy paths.
    #[default]
    Bbr,
    /// CUBIC (RFC 9438).
    Cubic,
}

/// `--compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// Where compression makes a transfer faster.
    #[default]
    Auto,
    /// Never.
    Never,
}
