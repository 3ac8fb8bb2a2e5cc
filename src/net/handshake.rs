//! The password exchange on a connection's first stream, both sides (protocol.md section 3).

use super::endpoint::CloseCode;
use super::record::{RecordError, RecordReader, RecordWriter};
use super::throttle::Throttle;
use crate::crypto::EXPORTER_LABEL;
use crate::crypto::handshake::{
    ChannelBinding, Established, Guest, HandshakeError, Host, M1_LEN, M2_LEN, M3_LEN, M4_LEN, PeerId, Role,
};
use crate::crypto::password::PasswordKey;
use crate::crypto::seal::RecordKind;
use crate::failpoint::hit;
use crate::proto::message::Settings;
use quinn::{Connection, ConnectionError, ReadExactError, RecvStream, SendStream};
use rand::rngs::SysRng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For everything from a connection's first packet to its last handshake message.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A connection whose other side knows the password.
pub struct Authenticated {
    /// The connection.
    pub connection: Connection,
    /// Who, in which role, and the session's keys.
    pub established: Established,
    /// What the peer said first.
    pub settings: Settings,
    /// The control stream, outward.
    pub writer: RecordWriter,
    /// The control stream, inward.
    pub reader: RecordReader,
}

/// Why a connection did not become authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The connection was lost, or the deadline passed, with nothing said against the password.
    #[error("the connection was lost during the handshake: {0}")]
    Lost(String),
    /// The guest proved itself, and the host, which was there, did not answer that.
    #[error("the peer gave no answer to our proof of the password")]
    Unexplained,
    /// The other side has another password.
    #[error("the password was not accepted")]
    WrongPassword,
    /// The other side does not speak this protocol, or another version.
    #[error("the peer does not speak rft/1: it runs another program or another version on that port")]
    NotRft,
    /// The peer is this process itself.
    #[error("that address leads back to this very rft")]
    Itself,
    /// The host has no guesses left, or too many strangers.
    #[error("the peer takes no more connections just now")]
    Busy,
    /// The other of two crossed connections is kept.
    #[error("another connection to the same peer is kept")]
    Duplicate,
    /// The keys could not be unwrapped (guest).
    #[error("the session keys could not be unwrapped")]
    Unwrap,
    /// The keys could not be wrapped, or the random generator failed (host).
    #[error("the session keys could not be wrapped")]
    Wrap,
    /// The guest could not take the keys (seen by the host).
    #[error("the peer could not take the session keys")]
    KeysRefused,
}

impl AuthError {
    /// Once a side has seen the other's proof, a refusal cannot be about the password: the other side gave up
    /// for another reason, which before authentication has the same code.
    pub(super) fn after_proof(self) -> Self {
        match self {
            Self::WrongPassword => Self::Lost("the peer gave up".into()),
            other => other,
        }
    }
}

/// The guest's side: whoever dialled. `proof_sent` is set when the other side gets something to test a
/// password by, also for a caller that gives up waiting.
///
/// # Errors
/// [`AuthError`]; the connection is then closed.
pub async fn as_guest(
    connection: Connection,
    key: &PasswordKey,
    own: PeerId,
    proof_sent: &AtomicBool,
    settings: impl FnOnce() -> Settings,
) -> Result<Authenticated, AuthError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| from_close(&error))?;
    let binding = binding(&connection)?;
    let (guest, m1) = Guest::start(key, &binding, own, &mut SysRng).map_err(refuse(&connection))?;
    write(&mut send, &m1).await?;
    let m2 = read::<M2_LEN>(&mut recv).await?;
    let (guest, m3) = guest.on_m2(&m2).map_err(refuse(&connection))?;
    // From here on the other side can test one password by what it got.
    proof_sent.store(true, Ordering::Relaxed);
    write(&mut send, &m3).await.map_err(|error| unanswered(&connection, error))?;
    let m4 = read::<M4_LEN>(&mut recv).await.map_err(|error| unanswered(&connection, error))?;
    let established = guest.on_m4(&m4).map_err(refuse(&connection))?;
    hit("handshake.guest_done");
    exchange_settings(connection, established, send, recv, settings()).await
}

/// What it means that a proof got no M4. A connection that died says nothing about the password; an honest host
/// that is there says nothing but M4 or a refusal.
fn unanswered(connection: &Connection, error: AuthError) -> AuthError {
    let died = connection.close_reason().is_some_and(|reason| {
        !matches!(reason, ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_))
    });
    match error {
        AuthError::WrongPassword => AuthError::WrongPassword,
        error if died => error,
        _ => AuthError::Unexplained,
    }
}

/// The host's side: whoever was dialled. A token of `throttle` is used unless the guest proves that
/// it knows the password.
///
/// # Errors
/// [`AuthError`]; the connection is then closed.
pub async fn as_host(
    connection: Connection,
    key: &PasswordKey,
    own: PeerId,
    throttle: &Mutex<Throttle>,
    settings: impl FnOnce() -> Settings,
) -> Result<Authenticated, AuthError> {
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|error| from_close(&error))?;
    let binding = binding(&connection)?;
    let m1 = read::<M1_LEN>(&mut recv).await?;
    Host::peek_m1(&m1, own).map_err(refuse(&connection))?;
    if !throttle.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
        connection.close(CloseCode::Busy.var_int(), b"");
        return Err(AuthError::Busy);
    }
    let (host, m2) = Host::on_m1(key, &binding, own, &m1, &mut SysRng).map_err(refuse(&connection))?;
    write(&mut send, &m2).await?;
    let m3 = read::<M3_LEN>(&mut recv).await?;
    let (established, m4) = host.on_m3(&m3, &mut SysRng).map_err(refuse(&connection))?;
    throttle.lock().unwrap_or_else(PoisonError::into_inner).give_back();
    hit("handshake.host_sure");
    write(&mut send, &m4).await?;
    exchange_settings(connection, established, send, recv, settings()).await
}

async fn exchange_settings(
    connection: Connection,
    established: Established,
    send: SendStream,
    recv: RecvStream,
    own: Settings,
) -> Result<Authenticated, AuthError> {
    let stream = u64::from(quinn::VarInt::from(send.id()));
    let peer_role = established.role.other();
    let (send, sealer) = established.keys.sealer(established.role, send);
    let mut writer = RecordWriter::new(send, sealer);
    let mut reader = RecordReader::new(recv.into(), established.keys.opener(peer_role, stream));
    let lost = |error: RecordError| match connection.close_reason() {
        Some(reason) if established.role == Role::Host && CloseCode::KeysRefused.is_reason_of(&reason) => {
            AuthError::KeysRefused
        }
        Some(reason) => from_close(&reason).after_proof(),
        None => AuthError::Lost(error.to_string()),
    };
    writer.send(RecordKind::Settings, |out| own.encode(out)).await.map_err(lost)?;
    let settings = reader.message(RecordKind::Settings, Settings::decode).await.map_err(lost)?;
    Ok(Authenticated { connection, established, settings, writer, reader })
}

fn binding(connection: &Connection) -> Result<ChannelBinding, AuthError> {
    let mut exported = [0; 96];
    connection
        .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
        .map_err(|_| AuthError::Lost("TLS exported no key".into()))?;
    Ok(ChannelBinding::from_exporter(&exported))
}

/// Closes the connection as the failure asks for, saying no more than its class.
fn refuse(connection: &Connection) -> impl Fn(HandshakeError) -> AuthError + '_ {
    |error| {
        tracing::debug!(peer = %connection.remote_address(), %error, "handshake failed");
        let (code, error) = match error {
            HandshakeError::SelfConnection => (CloseCode::Duplicate, AuthError::Itself),
            HandshakeError::WrongPassword => (CloseCode::Authentication, AuthError::WrongPassword),
            HandshakeError::UnwrapFailed => (CloseCode::KeysRefused, AuthError::Unwrap),
            HandshakeError::WrapFailed | HandshakeError::Rng => (CloseCode::Authentication, AuthError::Wrap),
            _ => (CloseCode::Authentication, AuthError::NotRft),
        };
        connection.close(code.var_int(), b"");
        error
    }
}

async fn write(send: &mut SendStream, message: &[u8]) -> Result<(), AuthError> {
    send.write_all(message).await.map_err(|error| match error {
        quinn::WriteError::ConnectionLost(reason) => from_close(&reason),
        other => AuthError::Lost(other.to_string()),
    })
}

async fn read<const N: usize>(recv: &mut RecvStream) -> Result<[u8; N], AuthError> {
    let mut message = [0; N];
    match recv.read_exact(&mut message).await {
        Ok(()) => Ok(message),
        Err(ReadExactError::ReadError(quinn::ReadError::ConnectionLost(reason))) => Err(from_close(&reason)),
        Err(error) => Err(AuthError::Lost(error.to_string())),
    }
}

/// What a connection's end during the handshake means.
pub fn from_close(error: &ConnectionError) -> AuthError {
    /// TLS alert 120, no_application_protocol, as a QUIC error (RFC 9001 section 4.8).
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let no_alpn = quinn_proto::TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match error {
        ConnectionError::VersionMismatch => AuthError::NotRft,
        ConnectionError::TransportError(inner) if inner.code == no_alpn => AuthError::NotRft,
        ConnectionError::ConnectionClosed(close) if close.error_code == no_alpn => AuthError::NotRft,
        _ if CloseCode::Authentication.is_reason_of(error) => AuthError::WrongPassword,
        _ if CloseCode::Duplicate.is_reason_of(error) => AuthError::Duplicate,
        _ if CloseCode::Busy.is_reason_of(error) => AuthError::Busy,
        _ if CloseCode::KeysRefused.is_reason_of(error) => AuthError::KeysRefused,
        other => AuthError::Lost(other.to_string()),
    }
}
