//! The named pipe. Its name is random, and a file in the state folder has it: only those who may
//! read that file know which pipe belongs to which folder.
//!
//! Windows gives a pipe without a security descriptor a default one: the owner, administrators and
//! the system may use it. Others may only read from it: they cannot send a request, and get no reply
//! but that all places are taken
//! (https://learn.microsoft.com/windows/win32/ipc/named-pipe-security-and-access-rights).

use super::{NAME, not_running};
use crate::control::error::ControlError;
use data_encoding::HEXLOWER;
use rand::TryRng;
use rand::rngs::SysRng;
use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::{
    ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions,
};

/// The beginning of every pipe's name.
const PREFIX: &str = r"\\.\pipe\rft-";
/// All instances of the pipe are busy (ERROR_PIPE_BUSY).
const PIPE_BUSY: i32 = 231;
/// Time between two attempts to connect to a busy pipe.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The name of the pipe.
#[derive(Debug)]
pub(in crate::control) struct Bound(String);

/// Chooses the name and writes it into the folder, in place of the one that a process left behind.
pub(in crate::control) fn bind(state: &Path) -> Result<Bound, ControlError> {
    let mut random = [0; 16];
    SysRng.try_fill_bytes(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let name = format!("{PREFIX}{}", HEXLOWER.encode(&random));
    let path = state.join(NAME);
    if path.is_dir() {
        return Err(ControlError::InTheWay(path));
    }
    fs::write(&path, &name)?;
    Ok(Bound(name))
}

/// Connects to the process that serves the folder.
pub(in crate::control) async fn connect(state: &Path) -> Result<Stream, ControlError> {
    let name = fs::read_to_string(state.join(NAME)).map_err(not_running)?;
    if !name.starts_with(PREFIX) {
        return Err(ControlError::NotRunning);
    }
    loop {
        match ClientOptions::new().open(&name) {
            Ok(pipe) => return Ok(Stream::Client(pipe)),
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(not_running(error)),
        }
    }
}

/// Writes what the system takes at once.
pub(in crate::control) fn try_write(stream: &mut Stream, bytes: &[u8]) {
    if let Stream::Server(pipe) = stream {
        let _ = pipe.try_write(bytes);
    }
}

/// Accepts connections.
pub(in crate::control) struct Listener {
    name: String,
    /// The instance that the next client gets.
    next: NamedPipeServer,
}

impl Listener {
    pub(in crate::control) fn start(Bound(name): Bound) -> io::Result<Self> {
        // It fails if a pipe of this name exists already.
        let next = options().first_pipe_instance(true).create(&name)?;
        Ok(Self { name, next })
    }

    /// The next connection. Never `None`: the system itself refuses other users.
    pub(in crate::control) async fn accept(&mut self) -> io::Result<Option<Stream>> {
        if let Err(error) = self.next.connect().await {
            // A client that has left already would stay connected to the instance.
            let _ = self.next.disconnect();
            return Err(error);
        }
        // Before the connected one is served, so that the name stays this process's.
        let next = options().create(&self.name)?;
        Ok(Some(Stream::Server(std::mem::replace(&mut self.next, next))))
    }
}

fn options() -> ServerOptions {
    let mut options = ServerOptions::new();
    options.reject_remote_clients(true);
    options
}

/// A connection.
#[derive(Debug)]
pub(in crate::control) enum Stream {
    Client(NamedPipeClient),
    Server(NamedPipeServer),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Self::Server(pipe) => Pin::new(pipe).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Self::Server(pipe) => Pin::new(pipe).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Server(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Server(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
