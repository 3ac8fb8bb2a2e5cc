//! A malicious peer that knows the password. It uses the library's own handshake and seal, and
//! sends any message at any time.

use crate::harness::peer::PASSWORD;
use bytes::{BufMut, Bytes, BytesMut};
use quinn::{Connection, TransportConfig, VarInt};
use rft::internals::crypto::handshake::{PeerId, Role};
use rft::internals::crypto::password::{Password, PasswordKey};
use rft::internals::crypto::seal::{RecordKind, Sealer, SessionKeys};
use rft::internals::proto::chunk_set::ChunkSet;
use rft::internals::proto::message::{
    Accept, Begin, Control, MAX_MESSAGE, Outcome, Settings, Trailer, TransferId,
};
use rft::internals::session::handshake::as_initiator;
use rft::internals::session::record::{RecordError, RecordReader, RecordWriter};
use rft::internals::transport::close_code::CloseCode;
use rft::internals::transport::stream::{StreamCode, StreamError};
use rft::internals::transport::tls;
use rft::internals::transport::tls::SERVER_NAME;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Most files that it lets the other side send at once.
pub const STREAMS: u32 = 1000;
/// The longest wait.
pub const TIMEOUT: Duration = Duration::from_secs(40);

static KEY: LazyLock<PasswordKey> =
    LazyLock::new(|| PasswordKey::derive(&Password::new(PASSWORD).unwrap()).unwrap());

/// A session that was adopted.
pub struct Enemy {
    _endpoint: quinn::Endpoint,
    pub connection: Connection,
    keys: SessionKeys,
    role: Role,
    pub control: RecordWriter,
}

/// The other side's reaction to a file.
#[derive(Debug)]
pub enum Heard {
    Accept(Accept),
    Begin(Begin),
    Outcome(Outcome),
    /// The stream has ended.
    Gone(RecordError),
}

/// A file stream, opened by either side.
pub struct Stream {
    /// The enemy opened it, so it is the one that sends a file.
    pub sends: bool,
    pub writer: RecordWriter,
    pub reader: RecordReader,
}

/// A transfer ID that was never used before.
pub fn fresh_id() -> TransferId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0xee; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    TransferId(id)
}

impl Enemy {
    /// Dials, proves that it knows the password, and becomes the session.
    pub async fn join(to: SocketAddr) -> Self {
        let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut config = quinn::ClientConfig::new(tls::configure().unwrap().client);
        let mut transport = TransportConfig::default();
        transport
            .keep_alive_interval(Some(Duration::from_secs(1)))
            .max_concurrent_bidi_streams(2000u32.into());
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        let joined = async {
            let connection = endpoint.connect(to, SERVER_NAME).unwrap().await.unwrap();
            // The other side has the greater ID and decides at once.
            let own = PeerId(fresh_id().0);
            let settings = |_| Settings { streams: STREAMS, ..Settings::default() };
            let proof_sent = AtomicBool::new(false);
            let done =
                as_initiator(connection.clone(), &KEY, own, &proof_sent, settings).await.unwrap();
            let (mut reader, keys, role) =
                (done.reader, done.established.keys, done.established.role);
            match reader.message(RecordKind::Control, Control::decode).await {
                Ok(Control::Adopt) => {}
                other => panic!("not adopted: {other:?}"),
            }
            // Reads the control messages, so that the other side can go on sending them.
            tokio::spawn(async move { while reader.next(MAX_MESSAGE).await.is_ok() {} });
            (connection, keys, role, done.writer)
        };
        let joined = tokio::time::timeout(TIMEOUT, joined).await.expect("a session in time");
        let (connection, keys, role, control) = joined;
        Self { _endpoint: endpoint, connection, keys, role, control }
    }

    /// An open stream with its keys.
    pub fn stream(&self, (send, recv): (quinn::SendStream, quinn::RecvStream)) -> Stream {
        let number = u64::from(VarInt::from(send.id()));
        let (send, sealer) = self.keys.sealer(self.role, send);
        let sends = u64::from(self.role == Role::Responder) == number & 1;
        Stream {
            sends,
            writer: RecordWriter::new(send, sealer),
            reader: RecordReader::new(recv.into(), self.keys.opener(self.role.other(), number)),
        }
    }

    /// Opens a stream for a file of its own.
    pub async fn open(&self) -> Stream {
        let streams = tokio::time::timeout(TIMEOUT, self.connection.open_bi())
            .await
            .expect("a stream in time");
        self.stream(streams.expect("the session goes on"))
    }

    /// Accepts a stream on which the other side sends.
    pub async fn accept(&self) -> Stream {
        let streams = tokio::time::timeout(TIMEOUT, self.connection.accept_bi())
            .await
            .expect("a stream in time");
        self.stream(streams.expect("the session goes on"))
    }

    /// Offers a file, sends these records, and returns the answer.
    pub async fn offers(&self, offer: &RawOffer, then: &[(RecordKind, Vec<u8>)]) -> Heard {
        let mut stream = self.open().await;
        stream.says(RecordKind::Offer, &offer.bytes()).await;
        for (kind, plaintext) in then {
            stream.says(*kind, plaintext).await;
        }
        stream.hears().await
    }

    /// Sends a file of one chunk as an honest peer does, except for the values in `offer`.
    pub async fn sends(&self, offer: &RawOffer, content: &[u8]) -> Heard {
        self.offers(offer, &[(RecordKind::Final, last_chunk(content, None))]).await
    }

    /// How the other side closed the connection.
    pub async fn is_closed_with(&self) -> Option<CloseCode> {
        let error =
            tokio::time::timeout(TIMEOUT, self.connection.closed()).await.expect("closed in time");
        let codes = [CloseCode::Goodbye, CloseCode::Superseded, CloseCode::Protocol];
        codes.into_iter().find(|code| code.is_reason_of(&error))
    }
}

impl Drop for Enemy {
    fn drop(&mut self) {
        self.connection.close(CloseCode::Goodbye.var_int(), b"");
    }
}

impl Stream {
    /// Sends one record. If the stream has ended, reading it will show that.
    pub async fn says(&mut self, kind: RecordKind, plaintext: &[u8]) {
        let sent = self.writer.send(kind, |out| out.put_slice(plaintext));
        let _ = tokio::time::timeout(TIMEOUT, sent).await.expect("room in time");
    }

    /// Sends raw bytes, without a seal.
    pub async fn says_raw(&mut self, bytes: Vec<u8>) -> Result<(), StreamError> {
        tokio::time::timeout(TIMEOUT, self.writer.stream().write(Bytes::from(bytes)))
            .await
            .expect("room in time")
    }

    pub async fn hears(&mut self) -> Heard {
        let next = tokio::time::timeout(TIMEOUT, self.reader.next(MAX_MESSAGE))
            .await
            .expect("an answer in time");
        match next {
            Ok((RecordKind::Receipt, plaintext)) => {
                Heard::Outcome(Outcome::decode(&plaintext).unwrap())
            }
            Ok((RecordKind::Answer, plaintext)) if self.sends => {
                Heard::Accept(Accept::decode(&plaintext).unwrap())
            }
            Ok((RecordKind::Answer, plaintext)) => Heard::Begin(Begin::decode(&plaintext).unwrap()),
            Ok(other) => panic!("unexpected: {other:?}"),
            Err(error) => Heard::Gone(error),
        }
    }
}

impl Heard {
    /// The stream was closed with this code.
    pub fn is_gone(&self, code: StreamCode) -> bool {
        matches!(self, Self::Gone(RecordError::Stream(StreamError::Abandoned(got))) if *got == code as u64)
    }

    /// The sender begins, with these chunks confirmed, and without compression.
    pub fn is_begin(&self, confirmed: &ChunkSet) -> bool {
        matches!(self, Self::Begin(Begin { confirmed: got, compressed: false }) if got == confirmed)
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Outcome(Outcome::Done { .. }))
    }
}

/// An offer with unchecked contents.
#[derive(Clone)]
pub struct RawOffer {
    pub kind: u8,
    pub inline: u8,
    pub id: TransferId,
    pub size: u64,
    pub seconds: i64,
    pub nanos: u32,
    pub mode: u32,
    pub name: Vec<u8>,
    pub target: Vec<u8>,
}

impl RawOffer {
    /// A small file.
    pub fn file(name: impl Into<Vec<u8>>, size: u64) -> Self {
        let (id, name) = (fresh_id(), name.into());
        Self {
            kind: 0,
            inline: 1,
            id,
            size,
            seconds: 1_700_000_000,
            nanos: 0,
            mode: 0o644,
            name,
            target: vec![],
        }
    }

    /// A file that waits for the receiver's answer.
    pub fn large(name: impl Into<Vec<u8>>, size: u64) -> Self {
        Self { inline: 0, ..Self::file(name, size) }
    }

    pub fn folder(name: impl Into<Vec<u8>>) -> Self {
        Self { kind: 1, ..Self::file(name, 0) }
    }

    pub fn link(name: impl Into<Vec<u8>>, target: &str) -> Self {
        Self { kind: 2, target: target.into(), ..Self::file(name, 0) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_u8(self.kind);
        out.put_u8(self.inline);
        out.put_slice(&self.id.0);
        out.put_u64(self.size);
        out.put_i64(self.seconds);
        out.put_u32(self.nanos);
        out.put_u32(self.mode);
        for text in [&self.name, &self.target] {
            out.put_u16(u16::try_from(text.len()).unwrap());
            out.put_slice(text);
        }
        out.to_vec()
    }
}

/// The plaintext of a final record, with a truthful trailer unless one is given.
pub fn last_chunk(content: &[u8], trailer: Option<Trailer>) -> Vec<u8> {
    let truth = Trailer { size: content.len() as u64, hash: *blake3::hash(content).as_bytes() };
    let mut plaintext = BytesMut::from(content);
    trailer.unwrap_or(truth).encode(&mut plaintext);
    plaintext.to_vec()
}

/// A record sealed for a stream of its own, as bytes.
pub fn sealed(sealer: &mut Sealer, kind: RecordKind, plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = Sealer::buffer(plaintext.len());
    buffer.put_slice(plaintext);
    sealer.seal(kind, buffer).unwrap().to_vec()
}
