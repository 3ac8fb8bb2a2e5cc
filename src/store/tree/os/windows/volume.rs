//! The volume of a folder: free space, limits and syncs.

use super::handle::path_of_dir;
use cap_fs_ext::MetadataExt;
use cap_std::fs::{Dir, Metadata};
use std::io;
use std::path::Path;

/// Windows can sync a whole volume only with administrator's rights.
pub(crate) const SYNC_VOLUME_FROM: usize = usize::MAX;

/// The number of the volume.
pub(crate) fn mount_of(dir: &Dir) -> io::Result<(u64, u64)> {
    Ok((Metadata::from_file(&dir.try_clone()?.into_std_file())?.dev(), 0))
}

/// See [`SYNC_VOLUME_FROM`].
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn sync_volume(_dir: &Dir) -> io::Result<bool> {
    Ok(false)
}

/// Whether [`sync_volume`] does anything here.
pub(crate) fn can_sync_volume() -> bool {
    false
}

/// Bytes that this user may still write on the folder's volume.
pub(crate) fn free_space(dir: &Dir, _path: &Path) -> io::Result<u64> {
    fs4::available_space(path_of_dir(dir)?)
}

/// There is no sandbox on Windows.
pub(crate) fn is_confined_out(_dir: &Dir) -> bool {
    false
}

/// A mounted volume is a reparse point, and reparse points are not followed.
pub(crate) fn is_mount_root(_dir: &Dir) -> bool {
    false
}

/// Windows has no such limit.
pub(crate) fn file_size_limit() -> Option<u64> {
    None
}

/// Whether a folder is on a network share: the true path of a mapped drive is
/// `\\?\UNC\server\share`.
pub(crate) fn is_remote(dir: &Dir, _path: &Path) -> bool {
    use std::path::{Component, Prefix};
    let path = path_of_dir(dir);
    path.is_ok_and(|path| match path.components().next() {
        Some(Component::Prefix(prefix)) => {
            matches!(prefix.kind(), Prefix::UNC(..) | Prefix::VerbatimUNC(..))
        }
        _ => false,
    })
}
