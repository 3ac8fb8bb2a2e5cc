//! Opening an entry, the path of a handle, and errors after which a call is repeated.

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

// Access rights, share modes and flags of CreateFileW, and its errors (winnt.h, fileapi.h,
// winerror.h).
pub(super) const FILE_READ_ATTRIBUTES: u32 = 0x80;
pub(super) const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
pub(super) const FILE_SHARE_READ: u32 = 1;
pub(super) const FILE_SHARE_DELETE: u32 = 4;
pub(super) const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
pub(super) const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
pub(super) const ERROR_ACCESS_DENIED: i32 = 5;
pub(super) const ERROR_SHARING_VIOLATION: i32 = 32;
pub(super) const ERROR_LOCK_VIOLATION: i32 = 33;
pub(super) const ERROR_DIRECTORY: i32 = 267;
pub(super) const ERROR_STOPPED_ON_SYMLINK: i32 = 681;

/// Virus scanners and indexers open each new file for a moment, so a change of its name is tried
/// this many times at this interval.
const MAX_TRIES: u32 = 6;
const RETRY_INTERVAL: Duration = Duration::from_millis(15);

/// Opens the entry itself; a link is not followed.
pub(super) fn open(dir: &Dir, leaf: &OsStr, options: &mut OpenOptions) -> io::Result<File> {
    let opened = dir.open_with(leaf, options.follow(FollowSymlinks::No));
    Ok(opened.map_err(with_kind)?.into_std())
}

/// Opens the entry itself for its metadata only, which no other program's share mode prevents.
pub(super) fn open_meta(dir: &Dir, leaf: &OsStr, access: u32) -> io::Result<File> {
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    open(dir, leaf, OpenOptions::new().access_mode(access).custom_flags(flags))
}

/// Adds the kind of an error to which the standard library gives none.
pub(super) fn with_kind(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION) => io::ErrorKind::ResourceBusy.into(),
        Some(ERROR_DIRECTORY | ERROR_STOPPED_ON_SYMLINK) => io::ErrorKind::NotADirectory.into(),
        _ => error,
    }
}

/// The present path of an entry.
pub(super) fn path_of(dir: &Dir, leaf: &OsStr) -> io::Result<PathBuf> {
    Ok(path_of_dir(dir)?.join(leaf))
}

pub(super) fn path_of_dir(dir: &Dir) -> io::Result<PathBuf> {
    winx::file::get_file_path(&dir.try_clone()?.into_std_file())
}

/// Repeats a call while another program prevents it. A lasting refusal is reported after about a
/// tenth of a second.
pub(super) fn retry(mut change: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..MAX_TRIES {
        match change() {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION)
                ) =>
            {
                thread::sleep(RETRY_INTERVAL);
            }
            done => return done.map_err(with_kind),
        }
    }
    change().map_err(with_kind)
}
