//! The password exchange on a connection's first stream, both sides (protocol.md section 3).

use super::close;
use super::close::HandshakePhase;
use super::error::AuthError;
use super::guess_limit::GuessLimit;
use super::record::{RecordError, RecordReader, RecordWriter};
use crate::crypto::EXPORTER_LABEL;
use crate::crypto::handshake::{
    ChannelBinding, Established, HandshakeError, Initiator, M1_LEN, M2_LEN, M3_LEN, M4_LEN, PeerId,
    Responder, Role,
};
use crate::crypto::password::PasswordKey;
use crate::crypto::seal::RecordKind;
use crate::failpoint::fail_point;
use crate::proto::message::Settings;
use crate::transport::close_code::CloseCode;
use quinn::{Connection, RecvStream, SendStream};
use rand::rngs::SysRng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum time from a connection's first packet to its last handshake message.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A connection whose peer has proved that it knows the password.
pub struct Authenticated {
    /// The connection.
    pub connection: Connection,
    /// The peer, this side's role, and the session's keys.
    pub established: Established,
    /// This side's settings.
    pub own: Settings,
    /// The peer's settings.
    pub settings: Settings,
    /// Writer of the control stream.
    pub writer: RecordWriter,
    /// Reader of the control stream.
    pub reader: RecordReader,
}

/// The initiator's side. `proof_sent` is set before the proof is sent, which lets the other side
/// test one password; the caller reads it even if it gives up waiting.
///
/// # Errors
/// [`AuthError`]; the connection is then closed.
pub async fn as_initiator(
    connection: Connection,
    key: &PasswordKey,
    own: PeerId,
    proof_sent: &AtomicBool,
    settings: impl FnOnce(PeerId) -> Settings,
) -> Result<Authenticated, AuthError> {
    let over = |phase| over(&connection, Role::Initiator, phase);
    let (mut send, mut recv) =
        connection.open_bi().await.map_err(|_| over(HandshakePhase::Hello))?;
    let binding = binding(&connection)?;
    let (initiator, m1) =
        Initiator::start(key, &binding, own, &mut SysRng).map_err(refuse(&connection))?;
    send.write_all(&m1).await.map_err(|_| over(HandshakePhase::Hello))?;
    let mut m2 = [0; M2_LEN];
    recv.read_exact(&mut m2).await.map_err(|_| over(HandshakePhase::Hello))?;
    let (initiator, m3) = initiator.on_m2(&m2).map_err(refuse(&connection))?;
    // From here on the other side can test one password.
    proof_sent.store(true, Ordering::Relaxed);
    send.write_all(&m3).await.map_err(|_| over(HandshakePhase::Proof))?;
    let mut m4 = [0; M4_LEN];
    recv.read_exact(&mut m4).await.map_err(|_| over(HandshakePhase::Proof))?;
    let established = initiator.on_m4(&m4).map_err(refuse(&connection))?;
    fail_point("handshake.initiator_done");
    let own = settings(established.peer);
    exchange_settings(connection, established, send, recv, own).await
}

/// The responder's side. A token of `guesses` is used, unless the initiator proves that it knows
/// the password.
///
/// # Errors
/// [`AuthError`]; the connection is then closed.
pub async fn as_responder(
    connection: Connection,
    key: &PasswordKey,
    own: PeerId,
    guesses: &Mutex<GuessLimit>,
    settings: impl FnOnce(PeerId) -> Settings,
) -> Result<Authenticated, AuthError> {
    let over = |phase| over(&connection, Role::Responder, phase);
    let (mut send, mut recv) =
        connection.accept_bi().await.map_err(|_| over(HandshakePhase::Hello))?;
    let binding = binding(&connection)?;
    let mut m1 = [0; M1_LEN];
    recv.read_exact(&mut m1).await.map_err(|_| over(HandshakePhase::Hello))?;
    Responder::peek_m1(&m1, own).map_err(refuse(&connection))?;
    if !guesses.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
        connection.close(CloseCode::Busy.var_int(), b"");
        return Err(AuthError::Busy);
    }
    let (responder, m2) =
        Responder::on_m1(key, &binding, own, &m1, &mut SysRng).map_err(refuse(&connection))?;
    send.write_all(&m2).await.map_err(|_| over(HandshakePhase::Hello))?;
    let mut m3 = [0; M3_LEN];
    recv.read_exact(&mut m3).await.map_err(|_| over(HandshakePhase::Hello))?;
    let (established, m4) = responder.on_m3(&m3, &mut SysRng).map_err(refuse(&connection))?;
    guesses.lock().unwrap_or_else(PoisonError::into_inner).give_back();
    fail_point("handshake.responder_sure");
    send.write_all(&m4).await.map_err(|_| over(HandshakePhase::Proven))?;
    let own = settings(established.peer);
    exchange_settings(connection, established, send, recv, own).await
}

/// The error of a handshake whose stream has ended.
fn over(connection: &Connection, role: Role, phase: HandshakePhase) -> AuthError {
    match connection.close_reason() {
        Some(reason) => close::ended(role, phase, &reason),
        None => close::gave_up(role, phase),
    }
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
    let lost = |error| lost_when_proven(&connection, established.role, error);
    writer.send(RecordKind::Settings, |out| own.encode(out)).await.map_err(lost)?;
    let settings = reader.message(RecordKind::Settings, Settings::decode).await.map_err(lost)?;
    Ok(Authenticated { connection, established, own, settings, writer, reader })
}

/// The error of an authenticated connection that is lost before its adoption.
pub(crate) fn lost_when_proven(
    connection: &Connection,
    role: Role,
    error: RecordError,
) -> AuthError {
    match error {
        RecordError::Malformed(_) => {
            connection.close(CloseCode::Protocol.var_int(), b"");
            AuthError::Malformed
        }
        _ => over(connection, role, HandshakePhase::Proven),
    }
}

fn binding(connection: &Connection) -> Result<ChannelBinding, AuthError> {
    let mut exported = [0; 96];
    connection
        .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
        .map_err(|_| AuthError::Lost("TLS exported no key".into()))?;
    Ok(ChannelBinding::from_exporter(&exported))
}

/// Closes the connection with the failure's code, which tells no more than its class.
fn refuse(connection: &Connection) -> impl Fn(HandshakeError) -> AuthError + '_ {
    |error| {
        // Strangers can cause any number of these.
        tracing::trace!(peer = %connection.remote_address(), %error, "handshake failed");
        let (code, error) = match error {
            HandshakeError::SelfConnection => (CloseCode::Duplicate, AuthError::Itself),
            HandshakeError::WrongPassword => (CloseCode::Authentication, AuthError::WrongPassword),
            HandshakeError::UnwrapFailed => (CloseCode::KeysRefused, AuthError::Unwrap),
            HandshakeError::WrapFailed | HandshakeError::Rng => {
                (CloseCode::Authentication, AuthError::Wrap)
            }
            _ => (CloseCode::Authentication, AuthError::OtherVersion),
        };
        connection.close(code.var_int(), b"");
        error
    }
}
