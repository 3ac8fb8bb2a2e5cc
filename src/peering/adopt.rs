//! Adoption: an authenticated connection becomes the session, or is closed as a duplicate or
//! refused (protocol.md section 3.5).

use super::state::{Held, PeeringState};
use super::tie_break;
use super::tie_break::Verdict;
use crate::crypto::seal::RecordKind;
use crate::failpoint::fail_point;
use crate::proto::codec::Malformed;
use crate::proto::message::Control;
use crate::session::AuthError;
use crate::session::handshake::{Authenticated, lost_when_proven};
use crate::session::installation;
use crate::session::{ControlReceiver, Session, canonical};
use crate::transport::close_code::CloseCode;

/// Refuses the connection if this side has a session with another installation. Otherwise the
/// follower waits until the leader adopts the connection.
pub(crate) async fn await_adoption(
    state: &PeeringState,
    mut done: Authenticated,
) -> Result<Authenticated, AuthError> {
    if let Some(clash) = installation::refusal(&done.own, &done.settings) {
        refuse(state, &done, clash);
        return Err(AuthError::WeRefuse(clash));
    }
    if let Some(clash) = installation::refusal(&done.settings, &done.own) {
        // The peer reaches the same verdict and closes the connection. A close by this side would
        // look like a refusal by this side.
        done.connection.closed().await;
        return Err(AuthError::PeerRefuses(clash));
    }
    if tie_break::leads(state.own.process, done.established.peer) {
        return Ok(done);
    }
    match done.reader.message(RecordKind::Control, Control::decode).await {
        Ok(Control::Adopt) => Ok(done),
        Ok(_) => Err(lost_when_proven(&done.connection, done.established.role, Malformed.into())),
        Err(error) => Err(lost_when_proven(&done.connection, done.established.role, error)),
    }
}

fn refuse(state: &PeeringState, done: &Authenticated, clash: installation::Clash) {
    let remote = canonical(done.connection.remote_address());
    tracing::info!(%remote, installation = %done.settings.installation, ?clash, "a second peer is refused");
    done.connection.close(clash.code().var_int(), b"");
    state.tell_clash(clash, Some(done.settings.installation), || clash.told_to_holder(remote));
}

/// The leader decides and the follower obeys. An adopted connection ends the previous session. Both
/// sides refuse a peer if another one has taken its place meanwhile.
pub(crate) async fn adopt(
    state: &PeeringState,
    mut done: Authenticated,
) -> Option<(Session, ControlReceiver)> {
    let peer = done.established.peer;
    let leads = tie_break::leads(state.own.process, peer);
    let displaced = state.is_displaced(peer);
    match tie_break::decide(state.current(), peer, displaced, done.established.role, &done.settings)
    {
        Verdict::Refuse(clash) => {
            refuse(state, &done, clash);
            return None;
        }
        Verdict::Duplicate if leads => {
            tracing::debug!("a second connection to the same peer is closed");
            done.connection.close(CloseCode::Duplicate.var_int(), b"");
            return None;
        }
        Verdict::Adopt | Verdict::Duplicate => {}
    }
    if leads
        && let Err(error) =
            done.writer.send(RecordKind::Control, |out| Control::Adopt.encode(out)).await
    {
        tracing::debug!(%error, "the connection was lost before it was adopted");
        return None;
    }
    fail_point("handshake.adopted");
    state.replace(Held::new(&done));
    let installation = done.settings.installation;
    if installation == state.own.installation {
        let remote = canonical(done.connection.remote_address());
        state.tell_clash(installation::Clash::Copied, Some(installation), || {
            installation::told_of_own_copy(remote)
        });
    }
    let thread = state.quic_thread.clone();
    Some(Session::start(done, state.streams, state.memory, &state.fec, &state.limit, thread))
}
