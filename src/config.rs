//! All that a peer is told before it starts: plain, validated values.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How one peer runs. [`Config::new`] has the defaults of the command line.
#[derive(Debug, Clone)]
pub struct Config {
    /// The peer to dial, `None` to only wait for one (`rft listen`).
    pub peer: Option<PeerAddress>,
    /// The UDP port of both hosts.
    pub port: u16,
    /// The local address to bind, all addresses of both families by default.
    pub bind: Option<Bind>,
    /// Where the files are.
    pub folders: Folders,
    /// What happens to a file in Outgoing once the peer holds it.
    pub after_send: AfterSend,
    /// What happens when another file stands at a name in Incoming.
    pub on_conflict: OnConflict,
    /// Leave once both queues are empty.
    pub drain: bool,
    /// With `drain`: give up when it is not done by then.
    pub wait: Option<Duration>,
    /// With `drain`: between two messages on what it waits for.
    pub drain_reminder: Duration,
    /// How long files and folders are left alone before they are sent, and folders before they are
    /// removed.
    pub waits: Waits,
    /// Whether files with the names that programs give to unfinished files are left alone.
    pub temp_names: TempNames,
    /// After so much quiet, a snapshot is sent of a file that a program keeps open for writing;
    /// `None`: it waits.
    pub send_open: Option<Duration>,
    /// How long a sent file is set aside before it is removed, where the system cannot tell whether
    /// a program has it open for writing.
    pub grace: Duration,
    /// Cap of what this side sends, in bytes per second.
    pub limit_rate: Option<u64>,
    /// Congestion control of what this side sends.
    pub congestion: Congestion,
    /// Whether what is sent may be compressed.
    pub compress: Compress,
    /// How many files are read and sent at once.
    pub in_flight: usize,
    /// Stop with exit code 9 when an initiator gives a wrong password.
    pub exit_on_auth_failure: bool,
    /// Largest file taken, in bytes.
    pub max_file_size: Option<u64>,
    /// Most bytes that Incoming may hold, with what is being received.
    pub max_incoming_bytes: Option<u64>,
    /// Free bytes that must remain in Incoming.
    pub min_free: u64,
    /// Bound on what is held in memory for transfers, in bytes.
    pub memory: u64,
}

impl Config {
    /// The defaults, for a peer whose folders are in `dir`.
    pub fn new(peer: Option<PeerAddress>, port: u16, dir: impl Into<PathBuf>) -> Self {
        Self {
            peer,
            port,
            bind: None,
            folders: Folders::in_dir(dir),
            after_send: AfterSend::Delete,
            on_conflict: OnConflict::Rename,
            drain: false,
            wait: None,
            drain_reminder: Duration::from_secs(60),
            waits: Waits::DEFAULT,
            temp_names: TempNames::LeaveAlone,
            send_open: None,
            grace: Duration::from_secs(10),
            limit_rate: None,
            congestion: Congestion::Bbr,
            compress: Compress::Auto,
            in_flight: 64,
            exit_on_auth_failure: false,
            max_file_size: None,
            max_incoming_bytes: None,
            min_free: 16 << 20,
            memory: 256 << 20,
        }
    }
}

/// Who is dialled: a name or an address, and the port.
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
    /// The whole address, given the port to fall back to.
    pub fn socket_addr(self, default_port: u16) -> SocketAddr {
        SocketAddr::new(self.addr, self.port.unwrap_or(default_port))
    }
}

/// The folders of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// What is dropped here is sent.
    pub outgoing: PathBuf,
    /// What arrives stands here.
    pub incoming: PathBuf,
    /// The program's own: staged files, the ledger, the lock, the log.
    pub state: PathBuf,
}

impl Folders {
    /// `Outgoing`, `Incoming` and `.rft` below one base folder.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            outgoing: dir.join("Outgoing"),
            incoming: dir.join("Incoming"),
            state: dir.join(".rft"),
        }
    }
}

/// How long entries of Outgoing are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// How long a file that was written in place must be quiet before it is sent (`--settle`).
    pub settle: Duration,
    /// The same, for a file whose last writer was seen to close it. `--settle` sets this too.
    pub after_close: Duration,
    /// How long an empty folder that was made in place stays before it is sent and removed: its
    /// user is about to name or to fill it.
    pub empty_folder: Duration,
    /// How long a folder stays after the last file in it came or went. It is sent before, and
    /// removed then.
    pub emptied_folder: Duration,
}

impl Waits {
    /// What holds unless the user says otherwise.
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
    /// A file whose name says that it is unfinished stays where it is until it is renamed.
    #[default]
    LeaveAlone,
    /// Every name is sent.
    Send,
}

impl TempNames {
    /// The names that [`TempNames::LeaveAlone`] is about, for people. `*` is one byte or more, `X`
    /// a letter or a digit, `/` at the end a folder.
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
    /// Removed from Outgoing.
    #[default]
    Delete,
    /// Left in Outgoing, and sent again only when it changes.
    Keep,
    /// Moved to `.rft/sent/`.
    Archive,
}

/// `--on-conflict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Both are kept; the new one becomes `name (1).ext`.
    #[default]
    Rename,
    /// The old one is replaced, atomically.
    Overwrite,
    /// The old one stays; the sender is told and keeps its file.
    Skip,
}

/// `--congestion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// Our model-based controller, for lossy links.
    #[default]
    Bbr,
    /// RFC 9438, as most of the Internet has it.
    Cubic,
}

/// `--compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// Where it makes a transfer faster.
    #[default]
    Auto,
    /// Not at all.
    Never,
}
