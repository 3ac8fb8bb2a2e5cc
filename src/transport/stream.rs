//! One bidirectional stream, as the transfers use it: it writes bytes in order, and reads them in
//! order or in order of arrival.
//!
//! In production it is a QUIC stream. In tests of a single transfer a pair of pipes replaces it.

use super::priority::Priority;
use super::urgent_writers::UrgentWriters;
use bytes::Bytes;
use quinn::VarInt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// Maximum length of a piece, bytes.
const PIECE: usize = 64 * 1024;

/// Why a stream ends early; the code of RESET_STREAM and STOP_SENDING (protocol.md section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamCode {
    /// No error: the reader does not need the rest.
    Done = 0x00,
    /// The file changed or vanished during the transfer: the sender cannot complete this content.
    SourceChanged = 0x10,
    /// The peer violated the protocol, or a chunk was not authentic.
    Protocol = 0x11,
    /// The receiver has answered and does not want the rest of this file.
    Refused = 0x12,
    /// This side stops, or another session replaces this one.
    Stopping = 0x13,
    /// The file is unreadable at the moment. The sender may resume it later.
    SourceUnreadable = 0x14,
    /// The sender's user cancelled the file: it is not sent again under this id.
    Cancelled = 0x15,
}

/// The end of a stream that is not complete.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It ended early.
    #[error("the stream ended early")]
    Ended,
    /// The peer abandoned it, with this code.
    #[error("{}", abandoned(*.0))]
    Abandoned(u64),
    /// The connection is lost.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

fn abandoned(code: u64) -> String {
    let codes = [
        (
            StreamCode::SourceChanged as u64,
            "the peer gave it up: it changed or was taken away meanwhile",
        ),
        (
            StreamCode::SourceUnreadable as u64,
            "the peer gave it up: it cannot be read at the moment",
        ),
        (StreamCode::Cancelled as u64, "the sender cancelled it"),
        (StreamCode::Stopping as u64, "the peer gave it up: it stops, or begins another session"),
    ];
    let known = codes.iter().find(|(known, _)| *known == code);
    known.map_or_else(
        || format!("the peer gave this stream up (code {code:#x})"),
        |(_, text)| (*text).into(),
    )
}

/// Tracks the session's stream writers. When none is blocked on QUIC, the application has nothing
/// left to send. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct SendBacklog(Arc<BacklogCounts>);

#[derive(Debug, Default)]
struct BacklogCounts {
    waiting: AtomicUsize,
    written: AtomicU64,
    urgent: UrgentWriters,
}

impl SendBacklog {
    /// Whether a writer is blocked.
    pub fn is_blocked(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that QUIC accepted so far.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    pub(crate) fn blocked(&self) -> BlockedWriter {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        BlockedWriter(self.clone())
    }
}

/// A blocked writer, until this is dropped.
pub(crate) struct BlockedWriter(SendBacklog);

impl Drop for BlockedWriter {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts the open file streams of a session. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct OpenStreams(Arc<OpenCount>);

#[derive(Debug, Default)]
struct OpenCount {
    open: AtomicUsize,
    opened: Notify,
}

impl OpenStreams {
    /// Whether a stream is open.
    pub(crate) fn any(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }

    /// Completes when a stream was opened since the last call completed.
    pub(crate) async fn opened(&self) {
        self.0.opened.notified().await;
    }

    fn open(&self) -> OpenStream {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.opened.notify_one();
        OpenStream(self.clone())
    }
}

/// An open stream, until this is dropped.
#[derive(Debug)]
struct OpenStream(OpenStreams);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The sending half. If it is dropped before it is finished, the stream is reset, so that the peer
/// does not take the data so far for all of it.
#[derive(Debug)]
pub struct SendHalf {
    inner: SendInner,
    ended: bool,
    backlog: SendBacklog,
    /// `None` before it is set.
    priority: Option<Priority>,
}

#[derive(Debug)]
enum SendInner {
    Quic(quinn::SendStream),
    Pipe(tokio::io::WriteHalf<tokio::io::DuplexStream>),
}

/// The receiving half.
#[derive(Debug)]
pub struct RecvHalf {
    inner: RecvInner,
    _open: Option<OpenStream>,
}

#[derive(Debug)]
enum RecvInner {
    Quic(quinn::RecvStream),
    Pipe { read: tokio::io::ReadHalf<tokio::io::DuplexStream>, offset: u64 },
}

/// The two ends of an in-memory stream with a buffer of this many bytes, for tests.
pub fn pipe(buffer: usize) -> ((SendHalf, RecvHalf), (SendHalf, RecvHalf)) {
    let (a, b) = tokio::io::duplex(buffer);
    let end = |stream| {
        let (read, write) = tokio::io::split(stream);
        (
            SendHalf {
                inner: SendInner::Pipe(write),
                ended: false,
                backlog: SendBacklog::default(),
                priority: None,
            },
            RecvHalf { inner: RecvInner::Pipe { read, offset: 0 }, _open: None },
        )
    };
    (end(a), end(b))
}

impl From<quinn::SendStream> for SendHalf {
    fn from(stream: quinn::SendStream) -> Self {
        let (inner, backlog) = (SendInner::Quic(stream), SendBacklog::default());
        Self { inner, ended: false, backlog, priority: None }
    }
}

impl From<quinn::RecvStream> for RecvHalf {
    fn from(stream: quinn::RecvStream) -> Self {
        Self { inner: RecvInner::Quic(stream), _open: None }
    }
}

impl SendHalf {
    /// Counts this stream's writes in `backlog`.
    pub fn counted(mut self, backlog: &SendBacklog) -> Self {
        self.backlog = backlog.clone();
        self
    }

    /// Writes bytes without copying them. Waits while the stream's window is full, and those of a
    /// bulk stream while an urgent one has data to write.
    ///
    /// # Errors
    /// [`StreamError`] if the peer will not read them.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let _waits = self.backlog.blocked();
        let length = bytes.len() as u64;
        match &mut self.inner {
            SendInner::Quic(stream) => {
                let urgent = &self.backlog.0.urgent;
                match self.priority {
                    Some(Priority::Urgent(_)) => write_urgent(stream, bytes, urgent).await,
                    Some(Priority::Bulk(_)) => write_bulk(stream, bytes, urgent).await,
                    _ => stream.write_chunk(bytes).await,
                }
                .map_err(write_error)?;
                self.backlog.0.written.fetch_add(length, Ordering::Relaxed);
                Ok(())
            }
            SendInner::Pipe(write) => write.write_all(&bytes).await.map_err(pipe_error),
        }
    }

    /// Ends the stream: all data is written.
    pub async fn finish(&mut self) {
        self.ended = true;
        match &mut self.inner {
            SendInner::Quic(stream) => {
                let _ = stream.finish();
            }
            SendInner::Pipe(write) => {
                let _ = write.shutdown().await;
            }
        }
    }

    /// Abandons the stream: QUIC drops unacknowledged data and sends the code to the peer.
    pub fn reset(&mut self, code: StreamCode) {
        self.ended = true;
        if let SendInner::Quic(stream) = &mut self.inner {
            let _ = stream.reset(VarInt::from_u32(code as u32));
        }
    }

    /// Sets the stream's priority. By default it shares the path with other files of many chunks.
    pub fn set_priority(&mut self, priority: Priority) {
        self.priority = Some(priority);
        if let SendInner::Quic(stream) = &self.inner {
            let _ = stream.set_priority(priority.priority());
        }
    }
}

/// Writes bytes while the bulk streams give way.
async fn write_urgent(
    stream: &mut quinn::SendStream,
    bytes: Bytes,
    urgent: &UrgentWriters,
) -> Result<(), quinn::WriteError> {
    let writer = urgent.enter();
    let mut left = [bytes];
    while !left[0].is_empty() {
        stream.write_chunks(&mut left).await?;
        writer.progressed();
    }
    Ok(())
}

/// Writes bytes, and gives way before each part that QUIC takes.
async fn write_bulk(
    stream: &mut quinn::SendStream,
    bytes: Bytes,
    urgent: &UrgentWriters,
) -> Result<(), quinn::WriteError> {
    let mut left = [bytes];
    while !left[0].is_empty() {
        urgent.give_way().await;
        stream.write_chunks(&mut left).await?;
    }
    Ok(())
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.ended {
            self.reset(StreamCode::Stopping);
        }
    }
}

impl RecvHalf {
    /// Counts this stream among `streams` until it is dropped.
    pub fn counted(mut self, streams: &OpenStreams) -> Self {
        self._open = Some(streams.open());
        self
    }

    /// Fills `buf` with the next bytes in order.
    ///
    /// # Errors
    /// [`StreamError`] if the stream ends before.
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), StreamError> {
        match &mut self.inner {
            RecvInner::Quic(stream) => stream.read_exact(buf).await.map_err(|error| match error {
                quinn::ReadExactError::FinishedEarly(_) => StreamError::Ended,
                quinn::ReadExactError::ReadError(error) => read_error(error),
            }),
            RecvInner::Pipe { read, offset } => {
                read.read_exact(buf).await.map_err(pipe_error)?;
                *offset += buf.len() as u64;
                Ok(())
            }
        }
    }

    /// The next piece in order of arrival, with its offset in the stream; `None` after the last
    /// one. After the first call, [`RecvHalf::read_exact`] fails.
    ///
    /// # Errors
    /// [`StreamError`] if the peer abandons the stream or the connection is lost.
    pub async fn piece(&mut self) -> Result<Option<(u64, Bytes)>, StreamError> {
        match &mut self.inner {
            RecvInner::Quic(stream) => match stream.read_chunk(PIECE, false).await {
                Ok(chunk) => Ok(chunk.map(|chunk| (chunk.offset, chunk.bytes))),
                Err(error) => Err(read_error(error)),
            },
            RecvInner::Pipe { read, offset } => {
                let mut buf = bytes::BytesMut::with_capacity(PIECE);
                let n = read.read_buf(&mut buf).await.map_err(pipe_error)?;
                let at = *offset;
                *offset += n as u64;
                Ok((n > 0).then(|| (at, buf.freeze())))
            }
        }
    }

    /// Stops reading, and sends the code to the peer.
    pub fn stop(&mut self, code: StreamCode) {
        if let RecvInner::Quic(stream) = &mut self.inner {
            let _ = stream.stop(VarInt::from_u32(code as u32));
        }
    }
}

fn write_error(error: quinn::WriteError) -> StreamError {
    match error {
        quinn::WriteError::Stopped(code) => StreamError::Abandoned(code.into_inner()),
        other => StreamError::Lost(other.to_string()),
    }
}

fn read_error(error: quinn::ReadError) -> StreamError {
    match error {
        quinn::ReadError::Reset(code) => StreamError::Abandoned(code.into_inner()),
        other => StreamError::Lost(other.to_string()),
    }
}

fn pipe_error(error: io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => StreamError::Ended,
        _ => StreamError::Lost(error.to_string()),
    }
}
