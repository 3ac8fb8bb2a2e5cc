//! The serving side: bounded in the number of clients, in the size of their requests and in time.

use super::error::ControlError;
use super::reply::{Answer, CancelledReply, Refused, Reply};
use super::request::{MAX_REQUEST, Request};
use super::socket;
use crate::daemon::{CancelledEntries, Handle, SNAPSHOT_INTERVAL, SteerError};
use crate::history::{HistoryPage, HistoryQuery};
use crate::status::Status;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    sink,
};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Clients at once; each needs a few kilobytes, and one reply while it is written.
const MAX_CLIENTS: usize = 16;
/// Maximum time from one request to the end of the next.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for a client to read a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that are read after a request that is too long.
const MAX_DISCARDED: u64 = 1 << 20;
/// Minimum time between two replies to one client.
const REPLY_INTERVAL: Duration = SNAPSHOT_INTERVAL;
/// Pause after a failed accept, for example without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The bound socket of a state folder.
#[derive(Debug)]
pub struct ControlSocket(socket::Bound);

impl ControlSocket {
    /// Binds the socket in the state folder. The caller holds the lock of the folder, so a socket
    /// that is there already is one that a process left behind: it is replaced.
    ///
    /// # Errors
    /// [`ControlError`] if it cannot be bound; the process can run without it.
    pub fn bind(state: &Path) -> Result<Self, ControlError> {
        socket::bind(state).map(Self)
    }

    /// Serves clients until this is dropped. Needs the context of a tokio runtime.
    ///
    /// # Errors
    /// [`ControlError`] if the system takes the socket back.
    pub async fn serve(self, handle: Handle) -> Result<(), ControlError> {
        let mut listener = socket::Listener::start(self.0)?;
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        let source = Arc::new(Source { handle, reading: Mutex::new(()) });
        let mut clients = JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let stream = match listener.accept().await {
                Ok(Some(stream)) => stream,
                // Another user: nothing is answered.
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(%error, "a client of the control socket was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                refuse(stream);
                continue;
            };
            let source = source.clone();
            clients.spawn(async move {
                let _place = place;
                if let Err(error) = serve_client(stream, &source).await {
                    tracing::debug!(%error, "a client of the control socket left");
                }
            });
        }
    }
}

/// Tells a client that there are too many, if it reads at once.
fn refuse(mut stream: socket::Stream) {
    if let Ok(line) = Reply::new(Err(Refused::busy())).to_line() {
        socket::try_write(&mut stream, &line);
    }
}

/// Answers the requests of one client, one after another.
async fn serve_client(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    source: &Source,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(line) = timeout(REQUEST_TIMEOUT, read_line(&mut stream, MAX_REQUEST)).await?? {
        let result = match Request::parse(&line) {
            Ok(request) => answer(request, source).await,
            Err(refused) => Err(refused),
        };
        let is_lost = line.len() > MAX_REQUEST;
        let reply = Reply::new(result).to_line()?;
        timeout(REPLY_TIMEOUT, stream.write_all(&reply)).await??;
        if is_lost {
            // The rest of the line would be taken for another request. It is read, since a system
            // may drop the reply when a connection is closed with unread data.
            let mut rest = stream.take(MAX_DISCARDED);
            let _ = timeout(REPLY_TIMEOUT, tokio::io::copy(&mut rest, &mut sink())).await;
            return Ok(());
        }
        sleep(REPLY_INTERVAL).await;
    }
    Ok(())
}

/// Carries out a request.
async fn answer(request: Request, source: &Source) -> Result<Answer, Refused> {
    match request {
        Request::Status => {
            let status = source.handle.recent_status().await.ok_or_else(Refused::internal)?;
            Ok(Answer::Status(Box::new(Status::clone(&status))))
        }
        Request::History(query) => source.history(query).await.map(Answer::History),
        Request::Waiting { path } => {
            let handle = source.handle.clone();
            // It waits for the locks of the queue.
            let waiting = tokio::task::spawn_blocking(move || handle.waiting(&path)).await;
            waiting.ok().flatten().map(Answer::Waiting).ok_or_else(Refused::internal)
        }
        Request::Pause => paused(source, true).await,
        Request::Resume => paused(source, false).await,
        Request::Limit(schedule) => {
            let limit = source.handle.limit_rate(schedule);
            source.handle.changed().await;
            limit.map(|limit| Answer::Limit(limit.rate)).ok_or_else(Refused::internal)
        }
        Request::Retry { name } => {
            let handle = source.handle.clone();
            let retried = tokio::task::spawn_blocking(move || handle.retry(name.as_ref())).await;
            source.handle.changed().await;
            retried.ok().flatten().map(Answer::Retried).ok_or_else(Refused::internal)
        }
        Request::Urgent { path, urgent } => {
            let set = move |handle: Handle| handle.set_urgent(&path, urgent);
            steer(source, set).await.map(Answer::Urgent)
        }
        Request::Cancel { path } => {
            let CancelledEntries { entries, bytes, moved_to, .. } =
                steer(source, move |handle| handle.cancel(&path)).await?;
            let moved_to = moved_to.map(|path| path.display().to_string());
            Ok(Answer::Cancelled(CancelledReply { entries, bytes, moved_to }))
        }
    }
}

/// Carries out a command about an entry, which waits for a disk or for sessions.
async fn steer<T: Send + 'static>(
    source: &Source,
    command: impl FnOnce(Handle) -> Option<Result<T, SteerError>> + Send + 'static,
) -> Result<T, Refused> {
    let handle = source.handle.clone();
    let done = tokio::task::spawn_blocking(move || command(handle)).await;
    source.handle.changed().await;
    let done = done.ok().flatten().ok_or_else(Refused::internal)?;
    done.map_err(|error| Refused::failed(error.to_string()))
}

async fn paused(source: &Source, paused: bool) -> Result<Answer, Refused> {
    let changed = source.handle.pause(paused);
    source.handle.changed().await;
    changed.then_some(Answer::Paused(paused)).ok_or_else(Refused::internal)
}

/// What the clients ask.
struct Source {
    handle: Handle,
    /// Held while the history is read.
    reading: Mutex<()>,
}

impl Source {
    /// A page of the history. One at a time: each may read all of it.
    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, Refused> {
        let _turn = self.reading.lock().await;
        let handle = self.handle.clone();
        let page = tokio::task::spawn_blocking(move || handle.history(&query)).await;
        let page = page.map_err(|_| Refused::internal())?;
        page.map_err(|error| Refused::failed(error.to_string()))?.ok_or_else(Refused::internal)
    }
}

/// The next line without its end; `None` at the end of the stream. A line of more than `max` bytes
/// is cut after `max + 1`.
pub(super) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let part = reader.fill_buf().await?;
        if part.is_empty() {
            return Ok((!line.is_empty()).then_some(line));
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let room = max + 1 - line.len();
        let taken = end.unwrap_or(part.len()).min(room);
        line.extend_from_slice(&part[..taken]);
        let whole = end.is_some_and(|end| end <= room);
        reader.consume(taken + usize::from(whole));
        if whole || line.len() > max {
            return Ok(Some(line));
        }
    }
}
