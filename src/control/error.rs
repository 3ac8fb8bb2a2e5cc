//! Why a command cannot reach a running process, or a process cannot serve commands.

use super::reply::Refused;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An error of the control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No process serves the socket of this state folder.
    #[error("no rft runs there")]
    NotRunning,
    /// The process belongs to another user.
    #[error("the rft there belongs to another user; run the command as that user")]
    Denied,
    /// Something that is not a socket is in its place.
    #[error("{} is not a socket; remove it", .0.display())]
    InTheWay(PathBuf),
    /// The path is too long for a socket on this system.
    #[error(
        "{} is too long for a socket on this system; use a shorter path, or a relative one", .0.display()
    )]
    TooLong(PathBuf),
    /// The process does not answer.
    #[error("the rft there has not answered for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The process refused the request.
    #[error("{0}")]
    Refused(Refused),
    /// The reply is not one of this version.
    #[error("the answer cannot be read; use the same version of rft")]
    Unreadable,
    /// The system refused an operation on the socket.
    #[error("the control socket cannot be used: {}", crate::cause::of(.0))]
    Io(#[from] io::Error),
}
