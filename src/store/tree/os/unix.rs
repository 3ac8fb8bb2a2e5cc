//! Linux, macOS and the other Unix systems.

use crate::proto::message::Timestamp;
use crate::store::tree::meta::{FileKind, Identity, Meta};
use cap_std::fs::Dir;
use open_writers::Writers;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// More files than this in a batch are synced by one `syncfs`. An `fsync` of one new file costs a
/// commit of the journal and a flush of the disk's cache, some 0.1 to 10 ms, and they cannot be
/// merged; one `syncfs` costs about two of them, and besides what other programs have written. So
/// from a handful of files on it is cheaper, and for hundreds by two orders of magnitude.
pub(crate) const SYNC_VOLUME_FROM: usize = 6;

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

/// What NOFOLLOW reports for a link: ENOTDIR for folders on Linux, ELOOP or EMLINK elsewhere.
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

/// The bytes of a component as they cross the wire.
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
        identity: Identity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        },
    }
}

/// A regular file, for reading. Anything else is not even opened: opening a device may act on it.
pub(crate) fn open_read(dir: &Dir, leaf: &OsStr) -> io::Result<(File, Meta)> {
    open_regular(dir, leaf, OFlags::RDONLY)
}

/// A regular file, for reading and writing.
pub(crate) fn open_edit(dir: &Dir, leaf: &OsStr) -> io::Result<(File, Meta)> {
    open_regular(dir, leaf, OFlags::RDWR)
}

fn open_regular(dir: &Dir, leaf: &OsStr, access: OFlags) -> io::Result<(File, Meta)> {
    if stat(dir, leaf)?.kind != FileKind::File {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // What was renamed there since is caught by NOFOLLOW, NONBLOCK (a FIFO) and the second look.
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

/// Whether a program has a file open for writing. On a file system whose files other hosts can
/// write, the kernel of this one only knows its own writers, so that "none" is no answer there.
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

/// A rename that fails with [`io::ErrorKind::AlreadyExists`] when anything stands at the new name.
pub(crate) fn rename_new(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    use rustix::io::Errno;
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    match fs::renameat_with(from, old, to, new, fs::RenameFlags::NOREPLACE) {
        // The file system (NFS, some FUSE) or the kernel does not have it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        result => return Ok(result?),
    }
    // A second hard link never replaces. Should the process die in between, both names are the same
    // file, which the one who finds the old name can tell.
    match fs::linkat(from, old, to, new, AtFlags::empty()) {
        Ok(()) => return Ok(fs::unlinkat(from, old, AtFlags::empty())?),
        // A folder, or no hard links on this file system.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    // Nothing left but to look first: another program may win the moment in between.
    match stat(to, new) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => rename_over(from, old, to, new),
        Err(error) => Err(error),
    }
}

/// A rename to a name that is free, and that nobody else gives.
pub(crate) fn rename_own(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    rename_over(from, old, to, new)
}

/// A rename that atomically replaces what stands at the new name.
pub(crate) fn rename_over(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    Ok(fs::renameat(from, old, to, new)?)
}

pub(crate) fn unlink(dir: &Dir, leaf: &OsStr) -> io::Result<()> {
    Ok(fs::unlinkat(dir, leaf, AtFlags::empty())?)
}

/// Permission bits (none: left alone) and time of an open file.
pub(crate) fn set_file(file: &File, mode: Option<u32>, modified: Timestamp) -> io::Result<()> {
    if let Some(mode) = mode {
        fs::fchmod(file, bits(mode))?;
    }
    Ok(fs::futimens(file, &times(modified))?)
}

/// The same of a folder.
pub(crate) fn set_dir(dir: &Dir, mode: Option<u32>, modified: Timestamp) -> io::Result<()> {
    if let Some(mode) = mode {
        fs::fchmod(dir, bits(mode))?;
    }
    Ok(fs::futimens(dir, &times(modified))?)
}

/// The time of a link itself.
pub(crate) fn set_link(dir: &Dir, leaf: &OsStr, modified: Timestamp) -> io::Result<()> {
    use rustix::io::Errno;
    match fs::utimensat(dir, leaf, &times(modified), AtFlags::SYMLINK_NOFOLLOW) {
        // It is there, as it was just made or found. Some file systems (sshfs) cannot set the time
        // of a link: they look at where it leads, or say so. A link without its time is better than
        // none.
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}

fn bits(mode: u32) -> Mode {
    // The type is u16 on some systems; 0o777 fits every one.
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
        // Some network file systems have no sync of folders: there the server's answer is all.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
        result => Ok(result?),
    }
}

/// Everything on the volume at once; `false` when this system cannot, or cannot be trusted to
/// report a failed write: Linux does since 5.8 (syncfs(2), "Errors").
pub(crate) fn sync_volume(dir: &Dir) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    if syncfs_reports_errors() {
        fs::syncfs(dir)?;
        return Ok(true);
    }
    let _ = dir;
    Ok(false)
}

/// Whether [`sync_volume`] does anything here.
pub(crate) fn can_sync_volume() -> bool {
    #[cfg(target_os = "linux")]
    return syncfs_reports_errors();
    #[cfg(not(target_os = "linux"))]
    false
}

#[cfg(target_os = "linux")]
fn syncfs_reports_errors() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        let uname = rustix::system::uname();
        let mut numbers = uname.release().to_bytes().split(|b| !b.is_ascii_digit()).map(|digits| {
            std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse::<u32>().ok())
                .unwrap_or(0)
        });
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
    })
}

/// Device and mount: bind mounts have the device of what they show, and parts of one mount
/// (subvolumes) have their own.
pub(crate) fn mount_of(dir: &Dir) -> io::Result<(u64, u64)> {
    let device = stat_dir(dir)?.identity.device;
    #[cfg(target_os = "linux")]
    if let Ok(found) = fs::statx(dir, "", AtFlags::EMPTY_PATH, fs::StatxFlags::MNT_ID) {
        return Ok((device, found.stx_mnt_id));
    }
    Ok((device, 0))
}

/// Bytes that this user may still write on the folder's volume.
pub(crate) fn free_space(dir: &Dir, _path: &Path) -> io::Result<u64> {
    let stat = fs::fstatvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether a folder's modes let this user write into it: if it cannot, the process is confined to
/// others. Landlock has no say in access(2).
#[cfg(target_os = "linux")]
pub(crate) fn is_confined_out(dir: &Dir) -> bool {
    fs::accessat(dir, ".", fs::Access::WRITE_OK | fs::Access::EXEC_OK, AtFlags::empty()).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_confined_out(_dir: &Dir) -> bool {
    false
}

/// Whether a folder is the top of what is mounted there. A system that does not say it counts as
/// one that may be.
#[cfg(target_os = "linux")]
pub(crate) fn is_mount_root(dir: &Dir) -> bool {
    use fs::{StatxAttributes, StatxFlags};
    match fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::empty()) {
        Ok(stat) if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        _ => is_other_device(dir),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_mount_root(dir: &Dir) -> bool {
    is_other_device(dir)
}

/// Whether the folder above is on another volume, as far as anybody can tell.
fn is_other_device(dir: &Dir) -> bool {
    let above = fs::statat(dir, "..", AtFlags::empty());
    above.is_ok_and(|above| fs::fstat(dir).is_ok_and(|own| own.st_dev != above.st_dev))
}

/// Whether an entry, or the folder that it is in, is marked as immutable or append-only (chattr):
/// then not even root can rename or remove it. Only asked when the system refused, as it opens the
/// entry.
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

/// The largest file that this process may write, in bytes (`ulimit -f`).
pub(crate) fn file_size_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}

/// Whether a folder lies on a file system whose changes by other hosts no event of this one tells.
#[cfg(target_os = "linux")]
pub(crate) fn is_remote(dir: &Dir, _path: &Path) -> bool {
    is_on_remote(dir)
}

#[cfg(target_os = "linux")]
fn is_on_remote(file: impl AsFd) -> bool {
    // The type of this field differs between architectures; every number is one of 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    fs::fstatfs(file).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
}

/// statfs(2), linux/magic.h, and each file system's own source. Not everything behind FUSE is
/// remote, but all of it may be.
#[cfg(target_os = "linux")]
const REMOTE: [u32; 15] = [
    0x0000_6969, // NFS
    0x0000_517b, // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x0102_1997, // 9P
    0x6573_5546, // FUSE: sshfs, virtiofs and others
    0x00c3_6400, // Ceph
    0x5346_414f, // OpenAFS
    0x6b41_4653, // kAFS
    0x7375_7245, // Coda
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x0116_1970, // GFS2
    0x7461_636f, // OCFS2
    0x786f_4256, // VirtualBox's shared folders
];

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_remote(_dir: &Dir, _path: &Path) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn is_on_remote(_file: impl AsFd) -> bool {
    false
}
