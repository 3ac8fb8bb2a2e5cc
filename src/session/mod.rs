//! A session: one authenticated connection, with file streams both ways and a control stream.
//!
//! [`handshake`] authenticates a connection within [`guess_limit`]; [`close`] interprets its end;
//! [`installation`] decides whether the peer's installation may have a session. Then [`record`]s
//! cross on each stream.

pub mod close;
mod error;
mod flow_control;
pub mod guess_limit;
pub mod handshake;
pub mod installation;
mod path;
pub mod record;

use crate::crypto::handshake::{PeerId, Role};
use crate::crypto::seal::{RecordKind, SessionKeys};
use crate::proto::message::{Control, InstallationId, Label, MAX_MESSAGE, Settings};
use crate::status::SessionEnd;
use crate::transport::close_code::CloseCode;
use crate::transport::fec::{Fec, RepairKey, SessionRepair};
use crate::transport::path_probe;
use crate::transport::priority::Priority;
use crate::transport::rate_limit::RateLimit;
use crate::transport::receive_window::ReceiveWindow;
use crate::transport::stream::{OpenStreams, RecvHalf, SendBacklog, StreamError};
use crate::transport::tls;
pub use error::AuthError;
pub use flow_control::PathRate;
use flow_control::{FlowControl, MeasuredRate};
use handshake::Authenticated;
pub use path::SentSoFar;
use quinn::{Connection, VarInt};
use record::{RecordError, RecordReader, RecordWriter};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};

/// Maximum number of control messages that wait for the daemon.
const CONTROL_QUEUE: usize = 64;
/// Maximum time for a goodbye to reach the peer.
const FAREWELL: Duration = Duration::from_secs(2);

/// A session. Dropping it closes the connection.
pub struct Session {
    connection: Connection,
    keys: SessionKeys,
    role: Role,
    peer: PeerId,
    installation: InstallationId,
    id: [u8; 16],
    grant: u32,
    accepts_compressed: bool,
    accepts_limits: bool,
    limit: RateLimit,
    version: Label,
    host: Label,
    link: PathRate,
    measured: MeasuredRate,
    backlog: SendBacklog,
    streams: OpenStreams,
    writer: Mutex<RecordWriter>,
    ending: Ending,
    quic_thread: Handle,
}

/// The reason for a close that the connection itself cannot tell.
type Ending = Arc<OnceLock<SessionEnd>>;

/// The peer's control messages in order; ends with the connection.
pub type ControlReceiver = mpsc::Receiver<Control>;

impl Session {
    /// Takes over an adopted connection. The peer may have `streams` file streams open, and half of
    /// `memory` bytes in flight; this side keeps as many bytes for retransmission. Lost packets are
    /// recovered by FEC where that helps. `quic_thread` is the thread that drives the connection.
    pub fn start(
        adopted: Authenticated,
        streams: u32,
        memory: u64,
        fec: &Fec,
        limit: &RateLimit,
        quic_thread: Handle,
    ) -> (Self, ControlReceiver) {
        let Authenticated { connection, established, settings, mut writer, reader, .. } = adopted;
        let mut receive = ReceiveWindow::new(memory / 2, connection.rtt(), Instant::now());
        connection.set_receive_window(flow_control::var_int(
            receive.next(connection.rtt(), Instant::now()),
        ));
        writer.stream().set_priority(Priority::Answer);
        // On the responder's side the peer's control stream counts, too.
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(streams.saturating_add(1)));
        let (messages, receiver) = mpsc::channel(CONTROL_QUEUE);
        let (ending, link, backlog) =
            (Ending::default(), PathRate::default(), SendBacklog::default());
        let (keys, open) = (established.keys, OpenStreams::default());
        let measured = MeasuredRate::default();
        fec.begin(SessionRepair {
            own: RepairKey::new(&keys.repair(established.role)),
            peers: RepairKey::new(&keys.repair(established.role.other())),
            accepts_repair: settings.capabilities & Settings::ACCEPTS_REPAIR != 0,
            backlog: backlog.clone(),
        });
        tokio::spawn(read_control(connection.clone(), reader, messages, ending.clone()));
        tokio::spawn(path_probe::run(connection.clone(), limit.clone()));
        let flow_control = FlowControl {
            connection: connection.clone(),
            memory,
            receive,
            rate: link.clone(),
            measured: measured.clone(),
            estimate: None,
            fec: fec.clone(),
            limit: limit.clone(),
            streams: open.clone(),
        };
        tokio::spawn(flow_control.follow());
        let session = Self {
            connection,
            keys,
            role: established.role,
            peer: established.peer,
            installation: settings.installation,
            id: established.session_id,
            grant: settings.streams,
            accepts_compressed: settings.capabilities & Settings::ACCEPTS_COMPRESSED != 0,
            accepts_limits: settings.capabilities & Settings::ACCEPTS_LIMITS != 0,
            limit: limit.clone(),
            version: settings.version,
            host: settings.host,
            link,
            measured,
            backlog,
            streams: open,
            writer: Mutex::new(writer),
            ending,
            quic_thread,
        };
        (session, receiver)
    }

    /// The peer's present address; it may change during the session.
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    /// The thread that drives the connection, for tasks that mostly wait for QUIC.
    pub fn quic_thread(&self) -> &Handle {
        &self.quic_thread
    }

    /// The key exchange group of TLS, by its IANA name.
    pub fn key_exchange(&self) -> &'static str {
        tls::key_exchange(&self.connection).unwrap_or("unknown")
    }

    /// This side's role in the handshake.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The peer's process.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The peer's state folder.
    pub fn installation(&self) -> InstallationId {
        self.installation
    }

    /// Public name of this session, the same on both sides.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Maximum number of file streams that this side may have open; 0 if the peer receives no files.
    pub fn grant(&self) -> u32 {
        self.grant
    }

    /// Whether the peer takes compressed chunks.
    pub fn accepts_compressed(&self) -> bool {
        self.accepts_compressed
    }

    /// The path's rate, updated during the session.
    pub fn link_rate(&self) -> PathRate {
        self.link.clone()
    }

    /// Opens a stream for a file of this side: records go out, answers come in. Waits while the
    /// peer grants no more streams.
    ///
    /// # Errors
    /// [`StreamError`] when the connection is lost.
    pub async fn open_file(&self) -> Result<(RecordWriter, RecordReader), StreamError> {
        let streams =
            self.connection.open_bi().await.map_err(|error| StreamError::Lost(describe(&error)))?;
        Ok(self.sealed(streams))
    }

    /// The next stream that the peer opens: its records come in, answers go out.
    ///
    /// # Errors
    /// [`StreamError`] when the connection is lost.
    pub async fn accept_file(&self) -> Result<(RecordWriter, RecordReader), StreamError> {
        let streams = self
            .connection
            .accept_bi()
            .await
            .map_err(|error| StreamError::Lost(describe(&error)))?;
        let (mut writer, reader) = self.sealed(streams);
        writer.stream().set_priority(Priority::Answer);
        Ok((writer, reader))
    }

    fn sealed(
        &self,
        (send, recv): (quinn::SendStream, quinn::RecvStream),
    ) -> (RecordWriter, RecordReader) {
        let stream = u64::from(VarInt::from(send.id()));
        let (send, sealer) = self.keys.sealer(self.role, send);
        let writer = RecordWriter::new(send.counted(&self.backlog), sealer);
        let recv = RecvHalf::from(recv).counted(&self.streams);
        let reader = RecordReader::new(recv, self.keys.opener(self.role.other(), stream));
        (writer, reader)
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// [`RecordError`] when the connection is lost.
    pub async fn tell(&self, message: &Control) -> Result<(), RecordError> {
        self.writer.lock().await.send(RecordKind::Control, |out| message.encode(out)).await
    }

    /// Waits for the connection's end, and returns the reason.
    pub async fn closed(&self) -> SessionEnd {
        let error = self.connection.closed().await;
        self.ending.get().cloned().unwrap_or_else(|| end_of(&error))
    }

    /// Ends the session in order: the connection closes once the peer has all written data and
    /// knows the rest of this side's queue, or after two seconds.
    pub async fn farewell(&self, files: u64, bytes: u64) {
        self.ending.get_or_init(|| SessionEnd::Stopped);
        let flush = async {
            let _ = self.tell(&Control::Backlog { files, bytes }).await;
            let _ = self.tell(&Control::Goodbye).await;
            // The peer closes the connection when it has read this. A close from here would discard
            // data that the peer has received but not read.
            self.connection.closed().await;
        };
        let _ = tokio::time::timeout(FAREWELL, flush).await;
        self.close(CloseCode::Goodbye);
    }

    /// A guard for each task of the session.
    pub fn closes_on_panic(&self) -> ClosesOnPanic {
        ClosesOnPanic(self.connection.clone())
    }

    /// Closes the connection at once.
    pub fn close(&self, code: CloseCode) {
        self.connection.close(code.var_int(), b"");
    }
}

/// Closes the connection when a panic drops it. A session that lost one of its tasks would do half
/// of its work; both sides begin a new one instead.
pub struct ClosesOnPanic(Connection);

impl Drop for ClosesOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a part of the session ended by a bug; please report it");
            self.0.close(CloseCode::Goodbye.var_int(), b"");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close(CloseCode::Goodbye);
    }
}

/// The reason for the end of a connection.
fn end_of(error: &quinn::ConnectionError) -> SessionEnd {
    match error {
        e if CloseCode::Goodbye.is_reason_of(e) => SessionEnd::PeerLeft,
        e if CloseCode::Superseded.is_reason_of(e) => SessionEnd::Superseded,
        e if CloseCode::Duplicate.is_reason_of(e) => SessionEnd::Duplicate,
        e if CloseCode::Occupied.is_reason_of(e) => SessionEnd::Occupied,
        e if CloseCode::Copied.is_reason_of(e) => SessionEnd::Copied,
        e if CloseCode::Protocol.is_reason_of(e) => SessionEnd::ProtocolBrokenHere,
        // Any other close from this side has set its reason before ([`Session::closed`]).
        quinn::ConnectionError::LocallyClosed => SessionEnd::Superseded,
        quinn::ConnectionError::TimedOut => SessionEnd::TimedOut,
        other => SessionEnd::Lost(close::describe(other)),
    }
}

/// A sentence on a connection's end, for messages about a stream.
pub fn describe(error: &quinn::ConnectionError) -> String {
    end_of(error).to_string()
}

/// An IPv4-mapped IPv6 address of a dual-stack socket, written as IPv4.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

async fn read_control(
    connection: Connection,
    mut reader: RecordReader,
    messages: mpsc::Sender<Control>,
    ending: Ending,
) {
    let _guard = ClosesOnPanic(connection.clone());
    loop {
        let message = match reader.next(MAX_MESSAGE).await {
            Ok((RecordKind::Control, plaintext)) => {
                Control::decode(&plaintext).map_err(RecordError::from)
            }
            Ok(_) => Err(RecordError::Malformed(crate::proto::codec::Malformed)),
            Err(error) => Err(error),
        };
        match message {
            // A repeated adoption has no effect.
            Ok(Control::Adopt) => {}
            Ok(message) => {
                let goodbye = message == Control::Goodbye;
                if messages.send(message).await.is_err() {
                    return;
                }
                if goodbye {
                    ending.get_or_init(|| SessionEnd::PeerLeft);
                    connection.close(CloseCode::Goodbye.var_int(), b"");
                    return;
                }
            }
            Err(RecordError::Stream(_)) => return,
            Err(error) => {
                tracing::warn!(%error, "control stream");
                ending.get_or_init(|| SessionEnd::ProtocolBrokenByPeer);
                connection.close(CloseCode::Protocol.var_int(), b"");
                return;
            }
        }
    }
}
