//! Paths that the user names: the folders are made where they are missing, and their names synced.

use super::os;
use std::io;
use std::path::Path;

/// The hidden folder of a root that lies on another volume, or apart from the state folder.
pub(crate) const HIDDEN: &str = ".rft";

/// Makes a folder, with what is missing above it; a `private` one for this user alone.
pub(crate) fn make_path(path: &Path, private: bool) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    make_path(above, false)?;
    // After `..` there is nothing to make.
    let Some(leaf) = path.file_name() else { return Ok(()) };
    match os::make_dir(&os::open_root(above)?, leaf, private) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// The name of a folder to stable storage, and those of the folders above it on its volume: with
/// them, everything in it would be lost. Nobody can tell whether those last that are there already:
/// a run that was killed may have made them a moment ago.
pub(crate) fn sync_names_above(path: &Path) -> io::Result<()> {
    let real = path.canonicalize()?;
    let device = os::stat_root(&real)?.identity.device;
    for above in real.ancestors().skip(1) {
        // Where this user may not even look, no program of this user's made anything.
        let Ok(dir) = os::open_root(above) else { break };
        if os::stat_dir(&dir)?.identity.device != device {
            break;
        }
        os::sync_dir(&dir)?;
    }
    Ok(())
}
