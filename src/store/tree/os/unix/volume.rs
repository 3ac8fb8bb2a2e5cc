//! The volume of a folder: mounts, free space, limits and syncs.

use cap_std::fs::Dir;
use rustix::fs::{self, AtFlags};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// From this number of files on, a batch is synced by one `syncfs`. An `fsync` of a new file costs
/// a journal commit and a flush of the disk's cache, 0.1 to 10 ms, and these cannot be merged. One
/// `syncfs` costs about two of them, plus the unwritten data of other programs. It is cheaper from
/// a handful of files on, and for hundreds by two orders of magnitude.
pub(crate) const SYNC_VOLUME_FROM: usize = 6;

/// Syncs the whole volume; `false` if this system cannot, or does not report a failed write. Linux
/// does since 5.8 (syncfs(2), "Errors").
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

// The type of this field differs between systems.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
/// The device and the mount. Both are needed: a bind mount has the device of its source, and
/// subvolumes of one mount have devices of their own.
pub(crate) fn mount_of(dir: &Dir) -> io::Result<(u64, u64)> {
    let device = fs::fstat(dir)?.st_dev as u64;
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

/// Whether the permissions of a folder allow this user to write. If a write fails nevertheless, the
/// sandbox forbids it: Landlock does not affect access(2).
#[cfg(target_os = "linux")]
pub(crate) fn is_confined_out(dir: &Dir) -> bool {
    fs::accessat(dir, ".", fs::Access::WRITE_OK | fs::Access::EXEC_OK, AtFlags::empty()).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_confined_out(_dir: &Dir) -> bool {
    false
}

/// Whether a folder is the root of a mount. If the system does not report it, the device numbers
/// decide.
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

/// Whether the folder above is on another volume, judged by the device numbers.
fn is_other_device(dir: &Dir) -> bool {
    let above = fs::statat(dir, "..", AtFlags::empty());
    above.is_ok_and(|above| fs::fstat(dir).is_ok_and(|own| own.st_dev != above.st_dev))
}

/// The file size limit of this process in bytes (`ulimit -f`), as it is at the first call: rft does
/// not change it.
pub(crate) fn file_size_limit() -> Option<u64> {
    static LIMIT: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();
    *LIMIT.get_or_init(|| rustix::process::getrlimit(rustix::process::Resource::Fsize).current)
}

/// Whether a folder is on a file system that other hosts can change without an event on this one.
#[cfg(target_os = "linux")]
pub(crate) fn is_remote(dir: &Dir, _path: &Path) -> bool {
    is_on_remote(dir)
}

#[cfg(target_os = "linux")]
pub(super) fn is_on_remote(file: impl AsFd) -> bool {
    // The type of this field differs between architectures; every magic number has 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    fs::fstatfs(file).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
}

/// Magic numbers of network file systems, from statfs(2), linux/magic.h and the source of each file
/// system. Not every FUSE file system is remote, but any may be.
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
pub(super) fn is_on_remote(_file: impl AsFd) -> bool {
    false
}
