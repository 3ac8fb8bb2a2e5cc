//! Linux, macOS and the other Unix systems.

mod volume;

use crate::proto::message::Timestamp;
use crate::store::tree::meta::{FileIdentity, FileKind, Meta};
use cap_std::fs::Dir;
use open_writers::Writers;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;

use volume::is_on_remote;
pub(crate) use volume::{
    SYNC_VOLUME_FROM, can_sync_volume, file_size_limit, free_space, is_confined_out, is_mount_root,
    is_remote, mount_of, sync_volume,
};

pub(crate) fn open_root(path: &Path) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = fs::open(path, flags, Mode::empty())?;
    Ok(Dir::from_std_file(File::from(fd)))
}

pub(crate) fn stat_root(path: &Path) -> io::Result<Meta> {
    Ok(meta_of(&fs::stat(path)?))
}

pub(crate) fn open_dir(dir: &Dir, leaf: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(dir, leaf, flags, Mode::empty()).map_err(link_in_the_way)?;
    Ok(Dir::from_std_file(File::from(fd)))
}

/// Maps the errors of NOFOLLOW for a link: ENOTDIR for folders on Linux, ELOOP or EMLINK elsewhere.
fn link_in_the_way(error: rustix::io::Errno) -> io::Error {
    match error {
        rustix::io::Errno::LOOP | rustix::io::Errno::MLINK => io::ErrorKind::NotADirectory.into(),
        error => error.into(),
    }
}

pub(crate) fn make_dir(dir: &Dir, leaf: &OsStr, private: bool) -> io::Result<()> {
    let mode = Mode::from_raw_mode(if private { 0o700 } else { 0o777 });
    Ok(fs::mkdirat(dir, leaf, mode)?)
}

pub(crate) fn remove_dir(dir: &Dir, leaf: &OsStr) -> io::Result<()> {
    Ok(fs::unlinkat(dir, leaf, AtFlags::REMOVEDIR)?)
}

pub(crate) fn entries(dir: &Dir) -> io::Result<Vec<OsString>> {
    let mut leaves = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            leaf => leaves.push(OsString::from_vec(leaf.to_vec())),
        }
    }
    Ok(leaves)
}

/// The bytes of a component in the protocol.
pub(crate) fn leaf_bytes(leaf: OsString) -> Result<Vec<u8>, OsString> {
    Ok(leaf.into_vec())
}

pub(crate) fn stat(dir: &Dir, leaf: &OsStr) -> io::Result<Meta> {
    Ok(meta_of(&fs::statat(dir, leaf, AtFlags::SYMLINK_NOFOLLOW)?))
}

pub(crate) fn stat_file(file: &File) -> io::Result<Meta> {
    Ok(meta_of(&fs::fstat(file)?))
}

pub(crate) fn stat_dir(dir: &Dir) -> io::Result<Meta> {
    Ok(meta_of(&fs::fstat(dir)?))
}

// The types of these fields differ between systems.
#[allow(clippy::cast_lossless, clippy::unnecessary_cast, clippy::cast_sign_loss)]
fn meta_of(stat: &fs::Stat) -> Meta {
    let kind = match FileType::from_raw_mode(stat.st_mode as _) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Folder,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    };
    let time = |seconds: i64, nanos: u32| Timestamp { seconds, nanos };
    Meta {
        kind,
        size: stat.st_size as u64,
        modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        mode: Some(stat.st_mode as u32 & 0o777),
        identity: FileIdentity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        },
    }
}

/// Opens a regular file for reading. No other kind is opened: opening a device may act on it.
pub(crate) fn open_read(dir: &Dir, leaf: &OsStr) -> io::Result<(File, Meta)> {
    open_regular(dir, leaf, OFlags::RDONLY)
}

/// Opens a regular file for reading and writing.
pub(crate) fn open_edit(dir: &Dir, leaf: &OsStr) -> io::Result<(File, Meta)> {
    open_regular(dir, leaf, OFlags::RDWR)
}

fn open_regular(dir: &Dir, leaf: &OsStr, access: OFlags) -> io::Result<(File, Meta)> {
    if stat(dir, leaf)?.kind != FileKind::File {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // If another entry is renamed to this name after the check, NOFOLLOW, NONBLOCK (for a FIFO) and
    // the check below catch it.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(fs::openat(dir, leaf, flags, Mode::empty()).map_err(link_in_the_way)?);
    let meta = stat_file(&file)?;
    if meta.kind == FileKind::File {
        Ok((file, meta))
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

pub(crate) fn create_new(dir: &Dir, leaf: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(dir, leaf, flags, Mode::from_raw_mode(0o666))?))
}

pub(crate) fn write_at(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(data, offset)
}

pub(crate) fn set_len(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)
}

/// Whether a program has a file open for writing. On a network file system the kernel knows only
/// the writers of this host, so "none" becomes "unknown".
pub(crate) fn writers(file: &File) -> io::Result<Writers> {
    Ok(match open_writers::writers(file) {
        Writers::None if is_on_remote(file) => Writers::Unknown,
        answer => answer,
    })
}

pub(crate) fn has_writer(file: &File) -> io::Result<bool> {
    Ok(open_writers::writers(file) == Writers::Some)
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

pub(crate) fn read_link(dir: &Dir, leaf: &OsStr) -> io::Result<Vec<u8>> {
    Ok(fs::readlinkat(dir, leaf, Vec::new())?.into_bytes())
}

pub(crate) fn make_link(dir: &Dir, leaf: &OsStr, target: &[u8]) -> io::Result<()> {
    Ok(fs::symlinkat(OsStr::from_bytes(target), dir, leaf)?)
}

/// A rename that fails with [`io::ErrorKind::AlreadyExists`] if the new name is taken.
pub(crate) fn rename_new(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    use rustix::io::Errno;
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    match fs::renameat_with(from, old, to, new, fs::RenameFlags::NOREPLACE) {
        // The file system (NFS, some FUSE) or the kernel does not support NOREPLACE.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        result => return Ok(result?),
    }
    // A hard link never replaces a name. If the process dies in between, both names are the same
    // file, which the recovery can see.
    match fs::linkat(from, old, to, new, AtFlags::empty()) {
        Ok(()) => return Ok(fs::unlinkat(from, old, AtFlags::empty())?),
        // The entry is a folder, or the file system has no hard links.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    // As a last resort, checks before the rename. Another program may create the name in between.
    match stat(to, new) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => rename_over(from, old, to, new),
        Err(error) => Err(error),
    }
}

pub(crate) fn link(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    Ok(fs::linkat(from, old, to, new, AtFlags::empty())?)
}

/// A rename to a free name that no other program creates.
pub(crate) fn rename_own(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    rename_over(from, old, to, new)
}

/// A rename that atomically replaces the entry at the new name.
pub(crate) fn rename_over(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    Ok(fs::renameat(from, old, to, new)?)
}

pub(crate) fn unlink(dir: &Dir, leaf: &OsStr) -> io::Result<()> {
    Ok(fs::unlinkat(dir, leaf, AtFlags::empty())?)
}

/// Sets the permission bits (`None`: unchanged) and the time of an open file.
pub(crate) fn set_file(file: &File, mode: Option<u32>, modified: Timestamp) -> io::Result<()> {
    if let Some(mode) = mode {
        fs::fchmod(file, bits(mode))?;
    }
    Ok(fs::futimens(file, &times(modified))?)
}

/// The same for a folder.
pub(crate) fn set_dir(dir: &Dir, mode: Option<u32>, modified: Timestamp) -> io::Result<()> {
    if let Some(mode) = mode {
        fs::fchmod(dir, bits(mode))?;
    }
    Ok(fs::futimens(dir, &times(modified))?)
}

/// Sets the time of a link itself.
pub(crate) fn set_link(dir: &Dir, leaf: &OsStr, modified: Timestamp) -> io::Result<()> {
    use rustix::io::Errno;
    match fs::utimensat(dir, leaf, &times(modified), AtFlags::SYMLINK_NOFOLLOW) {
        // The link exists: it was just created or found. Some file systems (sshfs) cannot set the
        // time of a link: they follow it, or report an error. A link without its time is better
        // than none.
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}

fn bits(mode: u32) -> Mode {
    // The type is u16 on some systems; 0o777 fits into each.
    #[allow(clippy::useless_conversion, clippy::cast_possible_truncation)]
    Mode::from_raw_mode((mode & 0o777) as _)
}

fn times(modified: Timestamp) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT };
    let last_modification =
        Timespec { tv_sec: modified.seconds as _, tv_nsec: i64::from(modified.nanos) as _ };
    Timestamps { last_access: omit, last_modification }
}

pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

pub(crate) fn sync_dir(dir: &Dir) -> io::Result<()> {
    match fs::fsync(dir) {
        // Some network file systems cannot sync a folder. There the server's reply to the operation
        // must do.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
        result => Ok(result?),
    }
}

/// Whether an entry or its folder has the attribute immutable or append-only (chattr). Then not
/// even root can rename or remove it. Called only after a refusal, because it opens the entry.
#[cfg(target_os = "linux")]
pub(crate) fn is_marked(dir: &Dir, leaf: &OsStr) -> bool {
    use fs::IFlags;
    let marks = IFlags::IMMUTABLE | IFlags::APPEND;
    let marked =
        |flags: rustix::io::Result<IFlags>| flags.is_ok_and(|flags| flags.intersects(marks));
    let is_plain =
        stat(dir, leaf).is_ok_and(|meta| matches!(meta.kind, FileKind::File | FileKind::Folder));
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let entry = || fs::openat(dir, leaf, flags, Mode::empty());
    marked(fs::ioctl_getflags(dir))
        || (is_plain && entry().is_ok_and(|fd| marked(fs::ioctl_getflags(fd))))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_marked(_dir: &Dir, _leaf: &OsStr) -> bool {
    false
}
