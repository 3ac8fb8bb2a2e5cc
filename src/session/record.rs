//! Sealed records on a stream, in order: the control stream, and file streams except their chunks
//! (protocol.md section 4).

use crate::crypto::seal::{
    HEADER_LEN, Header, OpenError, Opener, RecordKind, SealError, Sealer, TRAILER_LEN, UnsealedHalf,
};
use crate::proto::codec::Malformed;
use crate::proto::message::MAX_MESSAGE;
use crate::transport::stream::{RecvHalf, SendHalf, StreamCode, StreamError};
use bytes::{Buf, Bytes, BytesMut};

/// The reason why a record was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The stream is closed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A record is not authentic: it was changed, moved or replayed.
    #[error("a record from the peer did not open: it was changed on its way")]
    Open(#[from] OpenError),
    /// A record could not be sealed.
    #[error("a record could not be sealed")]
    Seal(#[from] SealError),
    /// The record is authentic, but its content breaks the protocol.
    #[error("the peer does not follow the protocol; both sides should run the same version of rft")]
    Malformed(#[from] Malformed),
}

impl RecordError {
    /// Whether the sender gave up the stream because the file had changed.
    pub fn is_withdrawal(&self) -> bool {
        self.has(StreamCode::SourceChanged)
    }

    /// Whether the sender's user cancelled the file.
    pub fn is_cancelled(&self) -> bool {
        self.has(StreamCode::Cancelled)
    }

    fn has(&self, wanted: StreamCode) -> bool {
        matches!(self, Self::Stream(StreamError::Abandoned(code)) if *code == wanted as u64)
    }
}

/// Seals one message of at most [`MAX_MESSAGE`] bytes.
///
/// # Errors
/// [`SealError`] when the key is used up.
pub fn seal_message(
    sealer: &mut Sealer,
    kind: RecordKind,
    encode: impl FnOnce(&mut BytesMut),
) -> Result<Bytes, SealError> {
    let mut buf = Sealer::buffer(512);
    encode(&mut buf);
    sealer.seal(kind, buf)
}

/// Writes sealed messages, in order.
pub struct RecordWriter {
    stream: SendHalf,
    sealer: Sealer,
}

impl RecordWriter {
    /// Writes to `stream` with its keys.
    pub fn new(stream: SendHalf, sealer: Sealer) -> Self {
        Self { stream, sealer }
    }

    /// Seals and sends one message.
    ///
    /// # Errors
    /// [`RecordError`] when it cannot be sealed or the stream is gone.
    pub async fn send(
        &mut self,
        kind: RecordKind,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), RecordError> {
        let record = seal_message(&mut self.sealer, kind, encode)?;
        Ok(self.stream.write(record).await?)
    }

    /// The stream below.
    pub fn stream(&mut self) -> &mut SendHalf {
        &mut self.stream
    }

    /// The stream and its sealer, for records that are sealed elsewhere.
    pub fn into_parts(self) -> (SendHalf, Sealer) {
        (self.stream, self.sealer)
    }
}

/// Reads sealed records, in order.
pub struct RecordReader {
    stream: RecvHalf,
    opener: Opener,
    index: u64,
    position: u64,
}

impl RecordReader {
    /// Reads from `stream` with its keys.
    pub fn new(stream: RecvHalf, opener: Opener) -> Self {
        Self { stream, opener, index: 0, position: 0 }
    }

    /// The next record, of at most `max` bytes of plaintext.
    ///
    /// # Errors
    /// [`RecordError`] when the stream ends or the record does not open.
    pub async fn next(&mut self, max: usize) -> Result<(RecordKind, BytesMut), RecordError> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).await?;
        let len = Header::parse(&header, u32::try_from(max).unwrap_or(u32::MAX))?.len as usize;
        let mut record = BytesMut::zeroed(HEADER_LEN + len + TRAILER_LEN);
        record[..HEADER_LEN].copy_from_slice(&header);
        self.stream.read_exact(&mut record[HEADER_LEN..]).await?;
        let (kind, plaintext) = self.opener.open(self.index, &mut record)?;
        debug_assert_eq!(plaintext.len(), len);
        self.index += 1;
        self.position += record.len() as u64;
        record.advance(HEADER_LEN);
        record.truncate(len);
        Ok((kind, record))
    }

    /// The next record, which must be of this kind, decoded.
    ///
    /// # Errors
    /// [`RecordError`], also for a record of another kind.
    pub async fn message<T>(
        &mut self,
        kind: RecordKind,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, RecordError> {
        let (got, plaintext) = self.next(MAX_MESSAGE).await?;
        if got != kind {
            return Err(Malformed.into());
        }
        Ok(decode(&plaintext)?)
    }

    /// The stream below.
    pub fn stream(&mut self) -> &mut RecvHalf {
        &mut self.stream
    }

    /// The stream, its opener, and the index and stream offset of the next record, for records that
    /// are reassembled elsewhere.
    pub fn into_parts(self) -> (RecvHalf, Opener, u64, u64) {
        (self.stream, self.opener, self.index, self.position)
    }
}

/// quinn gives out one sending half of each stream, which cannot be cloned.
impl UnsealedHalf for quinn::SendStream {
    type Opened = SendHalf;

    fn stream_id(&self) -> u64 {
        quinn::VarInt::from(self.id()).into()
    }

    fn opened(self) -> SendHalf {
        self.into()
    }
}
