//! One authenticated, adopted connection: file streams both ways and the control stream.

pub mod close;
pub mod guess_limit;
pub mod handshake;
pub mod installation;
pub mod record;

use crate::crypto::handshake::{PeerId, Role};
use crate::crypto::seal::{RecordKind, SessionKeys};
use crate::proto::message::{Control, InstallationId, MAX_MESSAGE, Settings};
use crate::transport::congestion;
use crate::transport::endpoint::{CloseCode, SEND_WINDOW};
use crate::transport::fec::{Fec, RepairKey, SessionRepair};
use crate::transport::path_probe;
use crate::transport::receive_window::ReceiveWindow;
use crate::transport::stream::{Priority, SendBacklog, StreamError};
use crate::transport::tls;
use handshake::Authenticated;
use quinn::{Connection, VarInt};
use record::{RecordError, RecordReader, RecordWriter};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};

/// Control messages that may wait for the daemon.
const CONTROL_QUEUE: usize = 64;
/// How long a goodbye may take to reach the other side.
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
    unpacks: bool,
    link: PathRate,
    backlog: SendBacklog,
    writer: Mutex<RecordWriter>,
    ending: Ending,
}

/// Why this side closes, when the connection itself cannot tell.
type Ending = Arc<OnceLock<&'static str>>;

/// How fast the link takes what is sent, as congestion control has it at the moment: no less than
/// what really goes.
#[derive(Debug, Clone, Default)]
pub struct PathRate(Arc<AtomicU64>);

impl PathRate {
    /// An estimate to begin with.
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(bytes_per_second.into()))
    }

    /// In bytes per second.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the peer says beside the files, in order; ends with the connection.
pub type ControlReceiver = mpsc::Receiver<Control>;

impl Session {
    /// Takes over an adopted connection: lets the peer open `streams` file streams at once and have
    /// half of `memory` bytes under way at most, and keeps as many for retransmission. On its path
    /// lost packets are repaired where that helps.
    pub fn start(
        adopted: Authenticated,
        streams: u32,
        memory: u64,
        fec: &Fec,
    ) -> (Self, ControlReceiver) {
        let Authenticated { connection, established, settings, mut writer, reader, .. } = adopted;
        let mut receive = ReceiveWindow::new(memory / 2, connection.rtt(), Instant::now());
        connection.set_receive_window(var_int(receive.next(connection.rtt(), Instant::now())));
        writer.stream().set_turn(Priority::Answer);
        // The responder's side has the control stream open by the peer besides.
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(streams.saturating_add(1)));
        let (messages, receiver) = mpsc::channel(CONTROL_QUEUE);
        let (ending, link, backlog) =
            (Ending::default(), PathRate::default(), SendBacklog::default());
        let keys = established.keys;
        fec.begin(SessionRepair {
            own: RepairKey::new(&keys.repair(established.role)),
            peers: RepairKey::new(&keys.repair(established.role.other())),
            taken: settings.capabilities & Settings::RECOVERS != 0,
            backlog: backlog.clone(),
        });
        tokio::spawn(read_control(connection.clone(), reader, messages, ending.clone()));
        tokio::spawn(path_probe::run(connection.clone()));
        tokio::spawn(follow_windows(
            connection.clone(),
            memory,
            receive,
            link.clone(),
            fec.clone(),
        ));
        let session = Self {
            connection,
            keys,
            role: established.role,
            peer: established.peer,
            installation: settings.installation,
            id: established.session_id,
            grant: settings.streams,
            unpacks: settings.capabilities & Settings::UNPACKS != 0,
            link,
            backlog,
            writer: Mutex::new(writer),
            ending,
        };
        (session, receiver)
    }

    /// The peer's address now; it may change while the session lives.
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    /// The key exchange group of its TLS, by its name in IANA's registry.
    pub fn key_exchange(&self) -> &'static str {
        tls::key_exchange(&self.connection).unwrap_or("unknown")
    }

    /// Our role in the handshake.
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

    /// How many file streams the peer lets us have open at once.
    pub fn grant(&self) -> u32 {
        self.grant
    }

    /// Whether the peer takes compressed chunks.
    pub fn unpacks(&self) -> bool {
        self.unpacks
    }

    /// What the link takes, for as long as the session lives.
    pub fn link_rate(&self) -> PathRate {
        self.link.clone()
    }

    /// Opens a stream for one of our files: our records out, the peer's answers in. Waits while the
    /// peer grants no more streams.
    ///
    /// # Errors
    /// [`StreamError`] when the connection is lost.
    pub async fn open_file(&self) -> Result<(RecordWriter, RecordReader), StreamError> {
        let streams =
            self.connection.open_bi().await.map_err(|error| StreamError::Lost(describe(&error)))?;
        Ok(self.sealed(streams))
    }

    /// The next stream that the peer opens: its records in, our answers out.
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
        writer.stream().set_turn(Priority::Answer);
        Ok((writer, reader))
    }

    fn sealed(
        &self,
        (send, recv): (quinn::SendStream, quinn::RecvStream),
    ) -> (RecordWriter, RecordReader) {
        let stream = u64::from(VarInt::from(send.id()));
        let (send, sealer) = self.keys.sealer(self.role, send);
        let writer = RecordWriter::new(send.counted(&self.backlog), sealer);
        let reader = RecordReader::new(recv.into(), self.keys.opener(self.role.other(), stream));
        (writer, reader)
    }

    /// Says something beside the files.
    ///
    /// # Errors
    /// [`RecordError`] when the connection is lost.
    pub async fn tell(&self, message: &Control) -> Result<(), RecordError> {
        self.writer.lock().await.send(RecordKind::Control, |out| message.encode(out)).await
    }

    /// Why the connection ended, once it has.
    pub async fn closed(&self) -> String {
        let error = self.connection.closed().await;
        self.ending.get().map_or_else(|| describe(&error), |ending| (*ending).to_owned())
    }

    /// Ends the session in order: the peer has all that was written, and knows what this side has
    /// left, before the connection closes, or two seconds pass.
    pub async fn farewell(&self, files: u64, bytes: u64) {
        self.ending.get_or_init(|| "stopped here");
        let flush = async {
            let _ = self.tell(&Control::Backlog { files, bytes }).await;
            let _ = self.tell(&Control::Goodbye).await;
            // The peer closes when it has read this. To close from here would throw away what it
            // has received and not read yet.
            self.connection.closed().await;
        };
        let _ = tokio::time::timeout(FAREWELL, flush).await;
        self.close(CloseCode::Goodbye);
    }

    /// To be held by each task that does a part of the session's work.
    pub fn closes_on_panic(&self) -> ClosesOnPanic {
        ClosesOnPanic(self.connection.clone())
    }

    /// Closes the connection at once.
    pub fn close(&self, code: CloseCode) {
        self.connection.close(code.var_int(), b"");
    }
}

/// Closes the connection when a panic drops it. Without one of its tasks a session would go on and
/// do half of its work; both sides begin another one instead.
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

/// A connection's end, for people.
pub fn describe(error: &quinn::ConnectionError) -> String {
    match error {
        e if CloseCode::Goodbye.is_reason_of(e) => "the peer left".into(),
        e if CloseCode::Superseded.is_reason_of(e) => "a newer session took its place".into(),
        e if CloseCode::Duplicate.is_reason_of(e) => "another connection to the same peer is kept".into(),
        e if CloseCode::Occupied.is_reason_of(e) => {
            "the peer keeps a session with another installation".into()
        }
        e if CloseCode::Copied.is_reason_of(e) => {
            "the peer keeps a session with another program that has a copy of this state folder".into()
        }
        e if CloseCode::Protocol.is_reason_of(e) => {
            "the peer says that we broke the protocol; both sides should run the same version of rft".into()
        }
        // Whoever closes here for another reason has said so before ([`Session::closed`]).
        quinn::ConnectionError::LocallyClosed => "a newer session took its place".into(),
        other => close::describe(other),
    }
}

/// An IPv4 address that came in over a socket of both families, written as IPv4.
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
            // A later adoption of the adopted means nothing.
            Ok(Control::Adopt) => {}
            Ok(message) => {
                let goodbye = message == Control::Goodbye;
                if messages.send(message).await.is_err() {
                    return;
                }
                if goodbye {
                    ending.get_or_init(|| "the peer left");
                    connection.close(CloseCode::Goodbye.var_int(), b"");
                    return;
                }
            }
            Err(RecordError::Stream(_)) => return,
            Err(error) => {
                tracing::warn!(%error, "control stream");
                ending.get_or_init(
                    || "the peer broke the protocol; both sides should run the same version of rft",
                );
                connection.close(CloseCode::Protocol.var_int(), b"");
                return;
            }
        }
    }
}

fn var_int(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}

/// Bounds what is handed to quinn ahead of the link, and what the peer may have under way. Half of
/// the budget is for what is sent, the other for what is received.
async fn follow_windows(
    connection: Connection,
    memory: u64,
    mut receive: ReceiveWindow,
    link: PathRate,
    fec: Fec,
) {
    let _guard = ClosesOnPanic(connection.clone());
    let mut followed = None;
    let most = (memory / 2).max(SEND_WINDOW);
    let mut tick = tokio::time::interval(congestion::UPDATE_INTERVAL);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = connection.closed() => {
                tracing::debug!(made = fec.recovered_count(), "packets that were lost and made again");
                return;
            }
        }
        // Another address is another path, with a controller of its own.
        let peer = connection.remote_address();
        if followed != Some(peer) {
            fec.follow(
                peer,
                connection.rtt(),
                congestion::estimate(connection.congestion_state().into_any()),
            );
            followed = Some(peer);
        }
        let path = connection.stats().path;
        let rate = path.cwnd as f64 / path.rtt.as_secs_f64().max(1e-6);
        link.0.store(rate as u64, Ordering::Relaxed);
        let window = congestion::send_window(path.cwnd, path.sent_packets, path.lost_packets, most);
        connection.set_send_window(window);
        connection.set_receive_window(var_int(receive.next(path.rtt, Instant::now())));
    }
}
