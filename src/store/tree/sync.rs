//! Syncs of many files and folders at the lowest cost.

use super::os;
use cap_std::fs::Dir;
use std::io;
use std::sync::Arc;

/// Whether one sync of the volume is cheaper than a sync of each of `count` files or folders.
pub(crate) fn at_once(count: usize) -> bool {
    count >= os::SYNC_VOLUME_FROM && os::can_sync_volume()
}

/// Syncs folders of one volume.
pub(crate) fn folders<'a>(dirs: impl ExactSizeIterator<Item = &'a Arc<Dir>>) -> io::Result<()> {
    let all = at_once(dirs.len());
    for dir in dirs {
        if all && os::sync_volume(dir)? {
            return Ok(());
        }
        os::sync_dir(dir)?;
    }
    Ok(())
}
