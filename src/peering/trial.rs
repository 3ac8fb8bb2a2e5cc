//! A handshake for `rft check`: whether the program at a port speaks this protocol version. It ends
//! before the password, so it is no guess.

use crate::crypto::handshake::Role;
use crate::hindrance::Hindrance;
use crate::session::AuthError;
use crate::session::close::{self, HandshakePhase};
use crate::transport::close_code::CloseCode;
use crate::transport::endpoint::Endpoint;
use std::net::SocketAddr;
use std::time::Duration;

/// QUIC does not repeat a dial's first packet soon, so a lost one costs a dial.
const DIALS: u32 = 3;
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens a connection to `to` and closes it.
///
/// # Errors
/// [`Hindrance::OtherVersion`], or [`Hindrance::NoHandshake`] if no dial is completed.
pub(crate) async fn try_handshake(endpoint: &Endpoint, to: SocketAddr) -> Result<(), Hindrance> {
    for _ in 0..DIALS {
        let Ok(connecting) = endpoint.connection_config.connect(&endpoint.quic, to) else { break };
        match tokio::time::timeout(DIAL_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => {
                connection.close(CloseCode::Goodbye.var_int(), b"");
                // The peer need not keep the connection until its timeout.
                let _ = tokio::time::timeout(DIAL_TIMEOUT, endpoint.quic.wait_idle()).await;
                return Ok(());
            }
            Ok(Err(error)) => {
                let error = close::ended(Role::Initiator, HandshakePhase::Tls, &error);
                if matches!(error, AuthError::OtherVersion) {
                    return Err(Hindrance::OtherVersion);
                }
                tracing::info!(%to, %error, "a handshake failed");
            }
            Err(_) => {}
        }
    }
    Err(Hindrance::NoHandshake)
}
