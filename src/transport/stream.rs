//! One bidirectional stream, as the transfers see it: bytes out, bytes in, in order or as they
//! come.
//!
//! In production it is a QUIC stream. A pair of pipes in its place is the network of the tests that
//! look at one transfer alone.

use bytes::Bytes;
use quinn::VarInt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Largest piece that is read at once.
const PIECE: usize = 64 * 1024;

/// Why a stream ends early; the code of RESET_STREAM and STOP_SENDING (protocol.md section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamCode {
    /// Nothing is wrong; the rest is not needed.
    Done = 0x00,
    /// The file changed or vanished while it was sent: this content never comes again.
    SourceChanged = 0x10,
    /// What came was not the protocol, or did not open.
    Protocol = 0x11,
    /// The receiver gave its answer and wants no more of this file.
    Refused = 0x12,
    /// This side stops, or the session is replaced.
    Stopping = 0x13,
    /// The file cannot be read at the moment; it may come again, behind what is there of it.
    SourceUnreadable = 0x14,
}

/// A stream that is gone.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It ended before all had come.
    #[error("the stream ended early")]
    Ended,
    /// The other side gave it up, with its code.
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
        (StreamCode::Stopping as u64, "the peer gave it up: it stops, or begins another session"),
    ];
    let known = codes.iter().find(|(known, _)| *known == code);
    known.map_or_else(
        || format!("the peer gave this stream up (code {code:#x})"),
        |(_, text)| (*text).into(),
    )
}

/// Which stream's bytes go first, lost ones included. What is of one kind goes in the order of its
/// numbers, so that one file after the other is complete, and not all of them at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Answers, receipts, the control stream: a few bytes that somebody waits for.
    Answer,
    /// A file that is one chunk.
    Small(u32),
    /// A file of many chunks.
    Bulk(u32),
}

impl Priority {
    /// As quinn wants it: higher first, 0 by default.
    fn priority(self) -> i32 {
        // Numbers begin again after 2^30 files: once in so many, a new one goes before older ones.
        let number = |number: u32| (number & 0x3fff_ffff).cast_signed();
        match self {
            Self::Answer => i32::MAX,
            Self::Small(n) => i32::MAX - 1 - number(n),
            Self::Bulk(n) => -1 - number(n),
        }
    }
}

/// All who write to streams of a session. While nobody waits for QUIC to take what he has, QUIC has
/// all that there is to send. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct SendBacklog(Arc<BacklogCounts>);

#[derive(Debug, Default)]
struct BacklogCounts {
    waiting: AtomicUsize,
    written: AtomicU64,
}

impl SendBacklog {
    /// Whether anybody waits.
    pub fn is_blocked(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes that QUIC took so far.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    pub(crate) fn blocked(&self) -> BlockedWriter {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        BlockedWriter(self.clone())
    }
}

/// One who waits, until this is dropped.
pub(crate) struct BlockedWriter(SendBacklog);

impl Drop for BlockedWriter {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The sending half. Dropped before it is finished, it is reset: the other side never takes what
/// came until then for all.
#[derive(Debug)]
pub struct SendHalf {
    inner: SendInner,
    over: bool,
    backlog: SendBacklog,
}

#[derive(Debug)]
enum SendInner {
    Quic(quinn::SendStream),
    Pipe(tokio::io::WriteHalf<tokio::io::DuplexStream>),
}

/// The receiving half.
#[derive(Debug)]
pub struct RecvHalf(RecvInner);

#[derive(Debug)]
enum RecvInner {
    Quic(quinn::RecvStream),
    Pipe { read: tokio::io::ReadHalf<tokio::io::DuplexStream>, offset: u64 },
}

/// Two ends of an in-memory stream with the given number, for tests.
pub fn pipe(buffer: usize) -> ((SendHalf, RecvHalf), (SendHalf, RecvHalf)) {
    let (a, b) = tokio::io::duplex(buffer);
    let end = |stream| {
        let (read, write) = tokio::io::split(stream);
        (
            SendHalf {
                inner: SendInner::Pipe(write),
                over: false,
                backlog: SendBacklog::default(),
            },
            RecvHalf(RecvInner::Pipe { read, offset: 0 }),
        )
    };
    (end(a), end(b))
}

impl From<quinn::SendStream> for SendHalf {
    fn from(stream: quinn::SendStream) -> Self {
        Self { inner: SendInner::Quic(stream), over: false, backlog: SendBacklog::default() }
    }
}

impl From<quinn::RecvStream> for RecvHalf {
    fn from(stream: quinn::RecvStream) -> Self {
        Self(RecvInner::Quic(stream))
    }
}

impl SendHalf {
    /// Its backlog are counted there.
    pub fn counted(mut self, backlog: &SendBacklog) -> Self {
        self.backlog = backlog.clone();
        self
    }

    /// Hands bytes to the stream without copying them; waits while its window is full.
    ///
    /// # Errors
    /// [`StreamError`] when nobody will read them.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let _waits = self.backlog.blocked();
        let length = bytes.len() as u64;
        match &mut self.inner {
            SendInner::Quic(stream) => {
                stream.write_chunk(bytes).await.map_err(write_error)?;
                self.backlog.0.written.fetch_add(length, Ordering::Relaxed);
                Ok(())
            }
            SendInner::Pipe(write) => write.write_all(&bytes).await.map_err(pipe_error),
        }
    }

    /// All was written.
    pub async fn finish(&mut self) {
        self.over = true;
        match &mut self.inner {
            SendInner::Quic(stream) => {
                let _ = stream.finish();
            }
            SendInner::Pipe(write) => {
                let _ = write.shutdown().await;
            }
        }
    }

    /// Gives the stream up: what is in flight is dropped, and the other side is told.
    pub fn reset(&mut self, code: StreamCode) {
        self.over = true;
        if let SendInner::Quic(stream) = &mut self.inner {
            let _ = stream.reset(VarInt::from_u32(code as u32));
        }
    }

    /// When its bytes go, of all streams that have some: by default with the bulk that takes turns.
    pub fn set_turn(&self, turn: Priority) {
        if let SendInner::Quic(stream) = &self.inner {
            let _ = stream.set_priority(turn.priority());
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.over {
            self.reset(StreamCode::Stopping);
        }
    }
}

impl RecvHalf {
    /// Fills `buf` with the next bytes in order.
    ///
    /// # Errors
    /// [`StreamError`] when the stream ends before.
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), StreamError> {
        match &mut self.0 {
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

    /// The next piece in whatever order pieces come, with its offset in the stream; `None` once all
    /// have come. After the first call, [`RecvHalf::read_exact`] fails.
    ///
    /// # Errors
    /// [`StreamError`] when the stream is given up or the connection lost.
    pub async fn piece(&mut self) -> Result<Option<(u64, Bytes)>, StreamError> {
        match &mut self.0 {
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

    /// Wants no more; the other side is told why.
    pub fn stop(&mut self, code: StreamCode) {
        if let RecvInner::Quic(stream) = &mut self.0 {
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
