//! The Unix socket `.rft/control`. Its peers are the same user and root.

use super::{NAME, not_running};
use crate::control::error::ControlError;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// A connection.
pub(in crate::control) type Stream = UnixStream;

/// The bound socket. It is not removed: another process may have replaced it by then, and without a
/// process it refuses connections.
pub(in crate::control) type Bound = UnixListener;

/// Binds the socket, in place of one that a process left behind.
pub(in crate::control) fn bind(state: &Path) -> Result<Bound, ControlError> {
    let place = SocketPlace::of(state)?;
    match fs::symlink_metadata(&place.path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(&place.path)?,
        Ok(_) => return Err(ControlError::InTheWay(state.join(NAME))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(&place.path)?;
    // On some systems only the folder's rights count; `.rft` is its owner's alone.
    fs::set_permissions(&place.path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to the process that serves the folder.
pub(in crate::control) async fn connect(state: &Path) -> Result<Stream, ControlError> {
    let place = SocketPlace::of(state)?;
    UnixStream::connect(&place.path).await.map_err(not_running)
}

/// Writes what the system takes at once.
pub(in crate::control) fn try_write(stream: &mut Stream, bytes: &[u8]) {
    let _ = stream.try_write(bytes);
}

/// Accepts connections.
pub(in crate::control) struct Listener(tokio::net::UnixListener);

impl Listener {
    pub(in crate::control) fn start(bound: Bound) -> io::Result<Self> {
        tokio::net::UnixListener::from_std(bound).map(Self)
    }

    /// The next connection; `None` for one of another user.
    pub(in crate::control) async fn accept(&mut self) -> io::Result<Option<Stream>> {
        let (stream, _) = self.0.accept().await?;
        let uid = stream.peer_cred()?.uid();
        let allowed = uid == 0 || uid == rustix::process::geteuid().as_raw();
        if !allowed {
            tracing::warn!(uid, "another user was refused at the control socket");
        }
        Ok(allowed.then_some(stream))
    }
}

/// A path to the socket that is short enough for the system (108 bytes on Linux, 104 elsewhere).
struct SocketPlace {
    path: PathBuf,
    /// Keeps the path valid.
    #[cfg(target_os = "linux")]
    _folder: Option<fs::File>,
}

/// The bytes of a path that every Unix system takes, without the NUL at its end.
const MAX_PATH: usize = 103;

impl SocketPlace {
    #[cfg(target_os = "linux")]
    fn of(state: &Path) -> Result<Self, ControlError> {
        use std::os::fd::AsRawFd;
        let path = state.join(NAME);
        if path.as_os_str().len() <= MAX_PATH {
            return Ok(Self { path, _folder: None });
        }
        // By the handle of the folder, since every path to it may be long.
        let folder = fs::File::open(state).map_err(not_running)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()));
        Ok(Self { path, _folder: Some(folder) })
    }

    #[cfg(not(target_os = "linux"))]
    fn of(state: &Path) -> Result<Self, ControlError> {
        let path = state.join(NAME);
        let here = std::env::current_dir().ok();
        let relative = here.and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
        let short = |path: &PathBuf| path.as_os_str().len() <= MAX_PATH;
        let found = [Some(path.clone()), relative].into_iter().flatten().find(short);
        found.map(|path| Self { path }).ok_or(ControlError::TooLong(path))
    }
}
