//! Folders that the user names by path: they are created, and their names are synced.

use super::os;
use std::io;
use std::path::Path;

/// The hidden folder of a root that is on another volume or has another parent than the state
/// folder.
pub(crate) const HIDDEN: &str = ".rft";

/// Creates a folder and the missing folders above it. A `private` one is accessible to this user
/// only.
pub(crate) fn make_path(path: &Path, private: bool) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    make_path(above, false)?;
    // A path that ends in `..` names an existing folder.
    let Some(leaf) = path.file_name() else { return Ok(()) };
    match os::make_dir(&os::open_root(above)?, leaf, private) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Syncs the name of a folder, and the names of the folders above it on its volume. If one of them
/// were lost, the content would be lost with it. Existing names are synced, too: a run that was
/// killed may have created them just before.
pub(crate) fn sync_names_above(path: &Path) -> io::Result<()> {
    let real = path.canonicalize()?;
    let device = os::stat_root(&real)?.identity.device;
    for above in real.ancestors().skip(1) {
        // In a folder that this user cannot open, no program of this user created anything.
        let Ok(dir) = os::open_root(above) else { break };
        if os::stat_dir(&dir)?.identity.device != device {
            break;
        }
        os::sync_dir(&dir)?;
    }
    Ok(())
}
