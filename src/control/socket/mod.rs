//! The socket: a Unix socket, or a named pipe on Windows.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(super) use unix::{Bound, Listener, Stream, bind, connect, try_write};
#[cfg(windows)]
pub(super) use windows::{Bound, Listener, Stream, bind, connect, try_write};

use super::error::ControlError;
use std::io;

/// The name in the state folder.
const NAME: &str = "control";

/// The error of a connection whose process may have ended.
pub(super) fn not_running(error: io::Error) -> ControlError {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotADirectory, NotFound,
        PermissionDenied,
    };
    match error.kind() {
        NotFound | NotADirectory | ConnectionRefused | ConnectionReset | ConnectionAborted
        | BrokenPipe => ControlError::NotRunning,
        PermissionDenied => ControlError::Denied,
        _ => ControlError::Io(error),
    }
}
