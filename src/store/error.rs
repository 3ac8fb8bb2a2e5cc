//! Errors of the folders and the ledger. Each message names the file, the cause and the remedy.

use super::tree::os;
use crate::cause;
use crate::proto::message::Refusal;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io;

/// Why an operation on a folder, a file or the ledger failed. Every message names the file.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk or the quota is full, or the file system has no free inode.
    #[error("{path}: no space (or no inode) is left; make room, and rft continues by itself")]
    NoSpace {
        /// The file that did not fit.
        path: String,
    },
    /// Incoming has reached the limit `--max-incoming-bytes`.
    #[error(
        "{path}: it holds {used} of at most {limit} bytes (--max-incoming-bytes); remove files from it, and rft \
         continues by itself"
    )]
    Full {
        /// Incoming.
        path: String,
        /// Bytes that Incoming holds, with those of the transfers under way.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The permissions do not allow the operation.
    #[error("{path}: permission denied; give this user the right to {doing} it")]
    Denied {
        /// The file or folder.
        path: String,
        /// The operation that failed: a verb.
        doing: &'static str,
    },
    /// The file or its folder has the attribute immutable or append-only (chattr +i, +a), which
    /// binds root as well.
    #[error(
        "{path}: it, or its folder, is marked as immutable or append-only; clear that with chattr -i -a"
    )]
    Marked {
        /// The file or folder.
        path: String,
    },
    /// The file exceeds the file size limit of this process, or of the file system.
    #[error("{path}: {}", too_large(.limit))]
    TooLarge {
        /// The file.
        path: String,
        /// The limit of the process, if it has one.
        limit: Option<u64>,
    },
    /// The file system is mounted read-only.
    #[error("{path}: the file system is read-only; mount it writable")]
    ReadOnly {
        /// The file or folder.
        path: String,
    },
    /// The file does not exist (any longer).
    #[error("{path}: it no longer exists")]
    NotFound {
        /// The file or folder.
        path: String,
    },
    /// A folder that existed at the start was removed or moved away, or its volume is not mounted.
    #[error(
        "{path}: the folder is gone; bring it back (is its disk mounted?), and rft continues by itself"
    )]
    Gone {
        /// The folder.
        path: String,
    },
    /// Another folder is at this path now, and the sandbox limits the process to the one of the
    /// start.
    #[error(
        "{path}: the folder was replaced, and the sandbox limits this process to the one of its start; start rft \
         again"
    )]
    Replaced {
        /// The folder.
        path: String,
    },
    /// The state folder was removed or replaced, and with it the lock and the ledger.
    #[error(
        "{path}: rft's own folder was removed or replaced while rft ran; bring it back, and start rft again"
    )]
    StateGone {
        /// The folder.
        path: String,
    },
    /// Another rft process has locked the folder.
    #[error("{path}: another rft uses this folder; stop it, or give another --dir")]
    InUse {
        /// The folder.
        path: String,
    },
    /// A file or a link exists where a folder is needed, or another entry where a file is needed.
    #[error("{path}: another entry has this name, or that of a folder above it; move it away")]
    InTheWay {
        /// The file or folder that was wanted.
        path: String,
    },
    /// A folder in Incoming is a mount point, and a rename does not cross volumes.
    #[error(
        "{path}: another volume is mounted there, and a file arrives by a rename, which does not cross volumes; unmount \
         it, or receive onto that volume (--incoming)"
    )]
    Mounted {
        /// The mount point, or the folder in it.
        path: String,
    },
    /// Another program or another transfer has the file open.
    #[error("{path}: it is in use; rft tries again by itself")]
    Busy {
        /// The file.
        path: String,
    },
    /// A folder inside Outgoing is a mount point, so its files cannot be renamed into rft's own
    /// folder.
    #[error(
        "{path}: this folder is a mount inside Outgoing, and rft cannot move sent files out of it; use --after-send \
         keep, or give the folder an rft of its own with --outgoing"
    )]
    OtherVolume {
        /// The folder.
        path: String,
    },
    /// This system does not allow a file of that name.
    #[error("{path}: this system cannot have a file of this name; rename it at the source")]
    Name {
        /// The name.
        path: String,
    },
    /// A symbolic link that leaves the tree, or that this system cannot create.
    #[error("{path}: this symbolic link cannot be made here; send what it points to instead")]
    Link {
        /// The link.
        path: String,
    },
    /// With `--on-conflict skip`: another file exists under this name.
    #[error("{path}: rename or remove one of the two")]
    Conflict {
        /// The file.
        path: String,
    },
    /// Outgoing and Incoming are the same folder, or one is inside the other.
    #[error("{path}: Outgoing and Incoming must not be inside each other; give separate folders")]
    Nested {
        /// The inner folder.
        path: String,
    },
    /// The ledger cannot be used.
    #[error(
        "{path}: the ledger of transfers failed ({reason}); restart rft, it repairs the ledger"
    )]
    Ledger {
        /// The database file.
        path: String,
        /// The database's error.
        reason: String,
    },
    /// The ledger has reached its limit, because the peer never allowed its transfers to be
    /// forgotten.
    #[error(
        "{path}: the ledger is full: the peer never releases finished transfers; stop rft and remove this file to forget them"
    )]
    LedgerFull {
        /// The database file.
        path: String,
    },
    /// Any other error of the system.
    #[error("{path}: could not {doing} it: {reason}")]
    Io {
        /// The file or folder.
        path: String,
        /// The operation that failed: a verb.
        doing: &'static str,
        /// The system's error.
        reason: String,
    },
}

impl StoreError {
    /// Classifies an error of the system; `doing` is a verb, such as `read`.
    pub fn new(doing: &'static str, path: impl Display, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let path = path.to_string();
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => Self::NoSpace { path },
            Kind::PermissionDenied => Self::Denied { path, doing },
            Kind::ReadOnlyFilesystem => Self::ReadOnly { path },
            // A new file cannot have been removed: its folder is missing.
            Kind::NotFound if doing == "create" => Self::Io {
                path,
                doing,
                reason: "its folder does not exist, or allows no new entries".into(),
            },
            Kind::NotFound => Self::NotFound { path },
            Kind::FileTooLarge => Self::TooLarge { path, limit: os::file_size_limit() },
            Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::AlreadyExists
            | Kind::DirectoryNotEmpty => Self::InTheWay { path },
            Kind::ResourceBusy | Kind::ExecutableFileBusy => Self::Busy { path },
            Kind::InvalidFilename => Self::Name { path },
            _ => Self::Io { path, doing, reason: cause::of(error) },
        }
    }

    /// As [`StoreError::new`], for an operation on the entry `leaf` of the folder `dir`. It
    /// distinguishes the attributes of chattr from missing permissions.
    pub(crate) fn of_entry(
        doing: &'static str,
        path: impl Display,
        error: &io::Error,
        (dir, leaf): (&Dir, &OsStr),
    ) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied if os::is_marked(dir, leaf) => {
                Self::Marked { path: path.to_string() }
            }
            _ => Self::new(doing, path, error),
        }
    }

    /// The file or folder that the error concerns.
    pub fn path(&self) -> &str {
        match self {
            Self::NoSpace { path }
            | Self::Full { path, .. }
            | Self::Denied { path, .. }
            | Self::Marked { path }
            | Self::TooLarge { path, .. }
            | Self::ReadOnly { path }
            | Self::NotFound { path }
            | Self::Gone { path }
            | Self::Replaced { path }
            | Self::StateGone { path }
            | Self::InUse { path }
            | Self::InTheWay { path }
            | Self::OtherVolume { path }
            | Self::Mounted { path }
            | Self::Busy { path }
            | Self::Name { path }
            | Self::Link { path }
            | Self::Conflict { path }
            | Self::Nested { path }
            | Self::Ledger { path, .. }
            | Self::LedgerFull { path }
            | Self::Io { path, .. } => path,
        }
    }

    /// The cause and the remedy, for a message that has named the file already.
    pub fn without_path(&self) -> String {
        let text = self.to_string();
        text.strip_prefix(self.path())
            .and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or(&text)
            .to_owned()
    }

    /// The cause alone, by which errors of several files are grouped.
    pub fn cause(&self) -> String {
        let text = self.without_path();
        text.split_once("; ").map_or(text.as_str(), |(cause, _)| cause).to_owned()
    }

    /// The refusal that the sender of the file receives if this error keeps the file out of
    /// Incoming.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::NoSpace { .. } => Refusal::NoSpace,
            Self::Full { .. } => Refusal::Full,
            Self::InTheWay { .. } | Self::Mounted { .. } => Refusal::InTheWay,
            Self::Busy { .. } => Refusal::Busy,
            Self::Name { .. } => Refusal::Name,
            Self::Link { .. } => Refusal::Link,
            Self::Conflict { .. } => Refusal::Conflict,
            Self::TooLarge { .. } => Refusal::TooLarge,
            Self::Denied { .. }
            | Self::Marked { .. }
            | Self::ReadOnly { .. }
            | Self::NotFound { .. }
            | Self::Gone { .. }
            | Self::Replaced { .. }
            | Self::StateGone { .. }
            | Self::InUse { .. }
            | Self::Nested { .. }
            | Self::OtherVolume { .. }
            | Self::Ledger { .. }
            | Self::LedgerFull { .. }
            | Self::Io { .. } => Refusal::Storage,
        }
    }

    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether a repetition may succeed without an action of the user.
    pub fn retry_helps(&self) -> bool {
        self.refusal().retry_helps()
            && !matches!(self, Self::Nested { .. } | Self::InUse { .. } | Self::OtherVolume { .. })
    }
}

fn too_large(limit: &Option<u64>) -> String {
    match limit {
        Some(limit) => format!(
            "the file size limit of this process is {limit} bytes (ulimit -f); raise it and start rft again"
        ),
        None => "the file system takes no file of this size; use another one".into(),
    }
}

/// Names the file in an [`io::Error`].
pub(crate) trait Naming<T> {
    /// As [`StoreError::new`]; the path is formatted only after a failure.
    fn naming<P: Display>(
        self,
        doing: &'static str,
        path: impl FnOnce() -> P,
    ) -> Result<T, StoreError>;
}

impl<T> Naming<T> for io::Result<T> {
    fn naming<P: Display>(
        self,
        doing: &'static str,
        path: impl FnOnce() -> P,
    ) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::new(doing, path(), &error))
    }
}
