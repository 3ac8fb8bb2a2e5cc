//! Metadata of the file system that identify one version of one file.

use crate::proto::message::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kind of an entry. Links are never followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link (Windows: also any other reparse point that names another place).
    Link,
    /// FIFO, socket, device and so on: never opened.
    Other,
}

/// The metadata of one entry; for a link, those of the link itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// The kind of the entry.
    pub kind: FileKind,
    /// The length in bytes (for a link, that of the target's text).
    pub size: u64,
    /// Last modification.
    pub modified: Timestamp,
    /// Permission bits `0o777`; `None` on Windows.
    pub mode: Option<u32>,
    /// The identity of the file.
    pub identity: FileIdentity,
}

/// The identity of a file, and the time of its last change of any kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileIdentity {
    /// The volume.
    pub device: u64,
    /// The file's number on the volume.
    pub inode: u64,
    /// Last change of the inode on Unix (a rename changes it), creation on Windows.
    pub changed: Timestamp,
}

impl Meta {
    /// Whether this is the same file with the same content, judged by the metadata. A rename and a
    /// change of permissions do not matter.
    pub fn same_file(&self, other: &Self) -> bool {
        self.same_inode(other)
            && self.kind == other.kind
            && self.size == other.size
            && self.modified == other.modified
    }

    /// Whether all metadata are equal.
    pub fn unchanged(&self, other: &Self) -> bool {
        self == other
    }

    /// Whether both are the same file of the same volume, regardless of its content.
    pub(crate) fn same_inode(&self, other: &Self) -> bool {
        self.identity.device == other.identity.device && self.identity.inode == other.identity.inode
    }
}

/// Converts a time of the standard library into that of file systems and the protocol.
#[cfg_attr(unix, allow(dead_code))]
pub(crate) fn timestamp_of(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
        },
        Err(before) => {
            // Nanoseconds count forward, so a time before 1970 borrows a second.
            let before = before.duration();
            let borrow = i64::from(before.subsec_nanos() != 0);
            let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            let nanos = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
            Timestamp { seconds: seconds.saturating_sub(borrow), nanos }
        }
    }
}

/// The reverse of [`timestamp_of`]. A time that this system cannot express becomes 1970.
#[cfg_attr(unix, allow(dead_code))]
pub(crate) fn system_time_of(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(u64::from(time.nanos))))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_1970_go_both_ways() {
        for (seconds, nanos) in
            [(0, 0), (1, 999_999_999), (-1, 0), (-1, 1), (-2, 500_000_000), (1 << 33, 7)]
        {
            let time = Timestamp { seconds, nanos };
            assert_eq!(timestamp_of(system_time_of(time)), time);
        }
    }

    #[test]
    fn a_rename_leaves_it_the_same_file_but_not_unchanged() {
        let meta = |changed| Meta {
            kind: FileKind::File,
            size: 5,
            modified: Timestamp { seconds: 9, nanos: 1 },
            mode: Some(0o644),
            identity: FileIdentity {
                device: 1,
                inode: 2,
                changed: Timestamp { seconds: changed, nanos: 0 },
            },
        };
        let (before, after) = (meta(10), meta(11));
        assert!(
            before.same_file(&after) && !before.unchanged(&after) && before.unchanged(&meta(10))
        );
        for other in [
            Meta { size: 6, ..before },
            Meta { kind: FileKind::Link, ..before },
            Meta { modified: Timestamp { seconds: 9, nanos: 2 }, ..before },
            Meta { identity: FileIdentity { inode: 3, ..before.identity }, ..before },
            Meta { identity: FileIdentity { device: 3, ..before.identity }, ..before },
        ] {
            assert!(!before.same_file(&other));
        }
        assert!(before.same_file(&Meta { mode: Some(0o600), ..before }));
    }
}
