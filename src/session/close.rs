//! The meaning of a connection's end (protocol.md section 3.4). Pure.
//!
//! Until the peer has proved that it knows the password, an attacker may have caused the end. So an
//! unauthenticated end neither ends the process nor counts as a wrong password. There is one
//! exception, which cannot be authenticated: the responder's refusal of this side's proof.

use super::error::AuthError;
use super::installation::Clash;
use crate::cause;
use crate::crypto::handshake::Role;
use crate::transport::close_code::CloseCode;
use quinn::ConnectionError;
use quinn_proto::TransportErrorCode;

/// TLS alert 120, no_application_protocol, as a QUIC error (RFC 9001 section 4.8).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The progress of a handshake at the moment when its connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakePhase {
    /// TLS is not up. The keys of Initial packets are public (RFC 9001 section 5.2), so an attacker
    /// who sees the first packet can forge an end.
    Tls,
    /// TLS is up; neither side has proved that it knows the password.
    Hello,
    /// The initiator has sent its proof (M3) and waits for the responder's proof.
    Proof,
    /// The peer has proved that it knows the password.
    Proven,
}

/// The end of a connection, without the reason phrase: the phrase is the peer's text, and is never
/// shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The peer's application closed it (CONNECTION_CLOSE 0x1d) with this code.
    Application(u64),
    /// The peer's QUIC closed it (CONNECTION_CLOSE 0x1c) with this code.
    Transport(u64),
    /// The peer says that there is no common version, of QUIC (Version Negotiation) or of the
    /// protocol (TLS alert 120).
    OtherVersion,
    /// This side found no common ALPN protocol.
    OtherProtocol,
    /// The connection is open, and the peer gave up the handshake's stream.
    Stream,
    /// This side closed it, or it timed out, or a stateless reset arrived.
    Lost,
}

impl From<&ConnectionError> for Close {
    fn from(error: &ConnectionError) -> Self {
        let other_protocol = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
        match error {
            ConnectionError::VersionMismatch => Self::OtherVersion,
            ConnectionError::ConnectionClosed(close) if close.error_code == other_protocol => {
                Self::OtherVersion
            }
            ConnectionError::TransportError(error) if error.code == other_protocol => {
                Self::OtherProtocol
            }
            ConnectionError::ConnectionClosed(close) => Self::Transport(close.error_code.into()),
            ConnectionError::ApplicationClosed(close) => Self::Application(close.error_code.into()),
            ConnectionError::TransportError(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => Self::Lost,
        }
    }
}

/// The meaning of an end for this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The connection is lost, and nothing more is known.
    Lost,
    /// The peer's address seems to run another program or another version.
    OtherVersion,
    /// The responder did not accept this side's proof.
    Refused,
    /// The responder was reachable and did not answer this side's proof.
    Unanswered,
    /// The responder accepts no guess now.
    Busy,
    /// Another connection is kept.
    Duplicate,
    /// The responder is this very process.
    Itself,
    /// The peer keeps its session with another installation, or another process of this one.
    Clash(Clash),
    /// An authenticated initiator could not unwrap the session keys.
    KeysRefused,
}

/// The meaning of `close` in `phase`, for a side in `role`.
pub fn judge(role: Role, phase: HandshakePhase, close: Close) -> Meaning {
    const AUTHENTICATION: u64 = CloseCode::Authentication as u64;
    const DUPLICATE: u64 = CloseCode::Duplicate as u64;
    const BUSY: u64 = CloseCode::Busy as u64;
    const KEYS_REFUSED: u64 = CloseCode::KeysRefused as u64;
    const OCCUPIED: u64 = CloseCode::Occupied as u64;
    const COPIED: u64 = CloseCode::Copied as u64;
    match (role, phase, close) {
        (Role::Initiator, HandshakePhase::Tls, Close::OtherVersion | Close::OtherProtocol) => {
            Meaning::OtherVersion
        }
        (Role::Responder, HandshakePhase::Tls, Close::OtherProtocol) => Meaning::OtherVersion,
        (Role::Initiator, HandshakePhase::Hello, Close::Application(BUSY)) => Meaning::Busy,
        // The only reason for which a responder sends this code before M2.
        (Role::Initiator, HandshakePhase::Hello, Close::Application(DUPLICATE)) => Meaning::Itself,
        (Role::Initiator, HandshakePhase::Proof, Close::Application(AUTHENTICATION)) => {
            Meaning::Refused
        }
        // An honest, reachable responder answers a proof with M4 or with that code. A lost
        // connection tells nothing.
        (
            Role::Initiator,
            HandshakePhase::Proof,
            Close::Application(_) | Close::Transport(_) | Close::OtherVersion | Close::Stream,
        ) => Meaning::Unanswered,
        (_, HandshakePhase::Proven, Close::Application(DUPLICATE)) => Meaning::Duplicate,
        (_, HandshakePhase::Proven, Close::Application(OCCUPIED)) => {
            Meaning::Clash(Clash::Occupied)
        }
        (_, HandshakePhase::Proven, Close::Application(COPIED)) => Meaning::Clash(Clash::Copied),
        (Role::Responder, HandshakePhase::Proven, Close::Application(KEYS_REFUSED)) => {
            Meaning::KeysRefused
        }
        _ => Meaning::Lost,
    }
}

/// The error of a handshake whose connection ended with `error`.
pub(crate) fn ended(role: Role, phase: HandshakePhase, error: &ConnectionError) -> AuthError {
    failure(judge(role, phase, error.into()), || describe(error))
}

/// The error of a handshake whose stream the peer gave up while the connection stays open.
pub(crate) fn gave_up(role: Role, phase: HandshakePhase) -> AuthError {
    failure(judge(role, phase, Close::Stream), || "the peer gave up the stream".into())
}

fn failure(meaning: Meaning, text: impl FnOnce() -> String) -> AuthError {
    match meaning {
        Meaning::Lost => AuthError::Lost(text()),
        Meaning::OtherVersion => AuthError::OtherVersion,
        Meaning::Refused => AuthError::WrongPassword,
        Meaning::Unanswered => AuthError::Unanswered,
        Meaning::Busy => AuthError::Busy,
        Meaning::Duplicate => AuthError::Duplicate,
        Meaning::Itself => AuthError::Itself,
        Meaning::Clash(clash) => AuthError::PeerRefuses(clash),
        Meaning::KeysRefused => AuthError::KeysRefused,
    }
}

/// A sentence on a connection's end. It leaves out the reason phrase, which is the peer's text.
pub fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::VersionMismatch => "the peer speaks another version of QUIC".into(),
        ConnectionError::ConnectionClosed(close) => {
            format!(
                "the peer's QUIC closed it: {} (code {:#x})",
                close.error_code,
                u64::from(close.error_code)
            )
        }
        ConnectionError::ApplicationClosed(close) => {
            format!("the peer closed it with code {:#x}", u64::from(close.error_code))
        }
        ConnectionError::TransportError(error) => {
            format!("this side's QUIC closed it: {}", cause::without_number(&error.to_string()))
        }
        ConnectionError::Reset => "the peer was restarted".into(),
        ConnectionError::TimedOut => "nothing came from the peer any more".into(),
        ConnectionError::LocallyClosed => "this side closed it".into(),
        ConnectionError::CidsExhausted => "no connection ids are left".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{ApplicationClose, ConnectionClose, VarInt};

    const PHASES: [HandshakePhase; 4] =
        [HandshakePhase::Tls, HandshakePhase::Hello, HandshakePhase::Proof, HandshakePhase::Proven];
    const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];

    fn closes() -> Vec<Close> {
        let application =
            (0..=0x20).chain([0x178, u64::from(u32::MAX), (1 << 62) - 1]).map(Close::Application);
        let transport =
            (0..=0x20).chain(0x100..=0x1ff).chain([(1 << 62) - 1]).map(Close::Transport);
        let others = [Close::OtherVersion, Close::OtherProtocol, Close::Stream, Close::Lost];
        application.chain(transport).chain(others).collect()
    }

    /// The rows other than "lost" for each role: phase, end and meaning.
    fn table(role: Role) -> Vec<(HandshakePhase, Close, Meaning)> {
        let application = |code: CloseCode| Close::Application(code as u64);
        let authentication = application(CloseCode::Authentication);
        let mut rows = vec![
            (HandshakePhase::Proven, application(CloseCode::Duplicate), Meaning::Duplicate),
            (
                HandshakePhase::Proven,
                application(CloseCode::Occupied),
                Meaning::Clash(Clash::Occupied),
            ),
            (HandshakePhase::Proven, application(CloseCode::Copied), Meaning::Clash(Clash::Copied)),
        ];
        match role {
            Role::Responder => rows.extend([
                (HandshakePhase::Tls, Close::OtherProtocol, Meaning::OtherVersion),
                (HandshakePhase::Proven, application(CloseCode::KeysRefused), Meaning::KeysRefused),
            ]),
            Role::Initiator => {
                rows.extend([
                    (HandshakePhase::Tls, Close::OtherVersion, Meaning::OtherVersion),
                    (HandshakePhase::Tls, Close::OtherProtocol, Meaning::OtherVersion),
                    (HandshakePhase::Hello, application(CloseCode::Busy), Meaning::Busy),
                    (HandshakePhase::Hello, application(CloseCode::Duplicate), Meaning::Itself),
                    (HandshakePhase::Proof, authentication, Meaning::Refused),
                ]);
                let unanswered = closes().into_iter().filter(|close| {
                    ![authentication, Close::OtherProtocol, Close::Lost].contains(close)
                });
                rows.extend(
                    unanswered.map(|close| (HandshakePhase::Proof, close, Meaning::Unanswered)),
                );
            }
        }
        rows
    }

    #[test]
    fn every_end_in_every_phase_has_its_meaning() {
        for role in ROLES {
            let table = table(role);
            for phase in PHASES {
                for close in closes() {
                    let row = table.iter().find(|row| (row.0, row.1) == (phase, close));
                    let expected = row.map_or(Meaning::Lost, |row| row.2);
                    assert_eq!(
                        judge(role, phase, close),
                        expected,
                        "{role:?}, {phase:?}, {close:?}"
                    );
                }
            }
        }
    }

    /// Only authenticated ends, and the refusal of a proof, may end a process or count as a wrong
    /// password.
    #[test]
    fn an_unauthenticated_end_is_never_fatal() {
        for role in ROLES {
            for phase in PHASES {
                for close in closes() {
                    let grave = matches!(
                        judge(role, phase, close),
                        Meaning::Refused | Meaning::Unanswered | Meaning::KeysRefused
                    );
                    let may = match role {
                        // It has finished TLS with the sender of the close, and has sent its proof.
                        Role::Initiator => phase == HandshakePhase::Proof,
                        // The initiator has proved that it knows the password.
                        Role::Responder => phase == HandshakePhase::Proven,
                    };
                    assert!(may || !grave, "{role:?}, {phase:?}, {close:?}");
                    let clash = matches!(judge(role, phase, close), Meaning::Clash(_));
                    assert!(
                        phase == HandshakePhase::Proven || !clash,
                        "{role:?}, {phase:?}, {close:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_reason_phrase_is_shown_nowhere() {
        let reason = || bytes::Bytes::from_static(b"\x1b]0;forged\x07\nforged");
        let application = |code: u32| {
            ConnectionError::ApplicationClosed(ApplicationClose {
                error_code: VarInt::from_u32(code),
                reason: reason(),
            })
        };
        let transport = |error_code| {
            ConnectionError::ConnectionClosed(ConnectionClose {
                error_code,
                frame_type: None,
                reason: reason(),
            })
        };
        let transports = [
            TransportErrorCode::NO_ERROR,
            TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL),
            TransportErrorCode::crypto(40),
        ];
        for error in (0..9).map(application).chain(transports.map(transport)) {
            for text in [describe(&error), crate::session::describe(&error)] {
                assert!(!text.contains("forged"), "{text}");
            }
            for (role, phase) in
                ROLES.into_iter().flat_map(|role| PHASES.map(|phase| (role, phase)))
            {
                let text = ended(role, phase, &error).to_string();
                assert!(!text.contains("forged"), "{role:?}, {phase:?}: {text}");
            }
        }
    }
}
