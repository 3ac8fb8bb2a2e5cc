//! Connecting to the peer: dialling, accepting, the handshake, and one session in the end
//! (protocol.md section 3).

use super::admission::PendingConnection;
use super::adopt::{adopt, await_adoption};
use super::liveness::Liveness;
use super::state::PeeringState;
use super::waiting::{Silence, SilenceNews, WaitingNews};
use super::{Fatal, diagnose, dial};
use crate::config::Config;
use crate::crypto::handshake::Role;
use crate::crypto::password::PasswordKey;
use crate::event::{Event, EventSink};
use crate::session::close;
use crate::session::close::HandshakePhase;
use crate::session::handshake::{Authenticated, DEADLINE, as_responder};
use crate::session::installation::Identity;
use crate::session::{AuthError, ControlReceiver, Session, canonical};
use crate::transport;
use crate::transport::close_code::CloseCode;
use crate::transport::endpoint::Endpoint;
use quinn::Connection;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Sessions in the order of their adoption. Each ends the previous one.
pub type Sessions = mpsc::Receiver<(Session, ControlReceiver)>;

/// Listens, dials the configured peer, and sends each adopted session to `sessions`, until the
/// receiver is dropped or an error ends the process.
///
/// # Errors
/// [`Fatal`] when another attempt would fail for the same reason.
pub async fn run(
    endpoint: &Endpoint,
    config: &Config,
    key: PasswordKey,
    own: Identity,
    events: EventSink,
    sessions: mpsc::Sender<(Session, ControlReceiver)>,
) -> Result<(), Fatal> {
    let state = Arc::new(PeeringState::new(endpoint, config, key, own, events));
    let (needed, watch_needed) = watch::channel(true);
    let (authenticated, mut arrivals) = mpsc::channel(8);
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(state.clone(), authenticated.clone()));
    if state.peer.is_some() {
        tasks.spawn(diagnose::run(state.clone(), watch_needed.clone()));
        tasks.spawn(dial::run(state.clone(), watch_needed, authenticated));
    }
    let mut news = News::new();
    let mut next = Instant::now() + Liveness::BUSY_INTERVAL;
    loop {
        tokio::select! {
            Some(arrival) = arrivals.recv() => {
                if let Some(session) = adopt(&state, arrival).await
                    && sessions.send(session).await.is_err() {
                        return Ok(());
                    }
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok(result) => result?,
                Err(panic) => return Err(Fatal::Internal(panic.to_string())),
            },
            () = tokio::time::sleep_until(next.into()) => {}
            () = closed(state.connection()) => {}
            () = sessions.closed() => return Ok(()),
        }
        let alive;
        (alive, next) = state.check();
        needed.send_if_modified(|needed| std::mem::replace(needed, !alive) == alive);
        if let Some(earlier) = news.tell(&state) {
            next = next.min(earlier);
        }
        state.tell_failures();
    }
}

/// Completes when the connection closes; never without one.
async fn closed(connection: Option<Connection>) {
    match connection {
        Some(connection) => drop(connection.closed().await),
        None => std::future::pending().await,
    }
}

/// Tells the user that the peer is not connected or does not answer, and why.
struct News {
    waiting: WaitingNews,
    silence: Silence,
}

impl News {
    fn new() -> Self {
        Self { waiting: WaitingNews::new(Instant::now()), silence: Silence::default() }
    }

    /// Emits the events that are due. Returns when to call this again, if that is known.
    fn tell(&mut self, state: &PeeringState) -> Option<Instant> {
        let now = Instant::now();
        let Some((peer, missing, rtt)) = state.silence() else {
            self.silence.is_over();
            self.tell_waiting(state, now);
            return None;
        };
        match self.silence.look(peer, missing, rtt, now) {
            Some(SilenceNews::Begins(elapsed)) => {
                state.events.emit(Event::Silent { peer, host: state.host(), elapsed });
            }
            Some(SilenceNews::Ends(elapsed)) => {
                state.events.emit(Event::Heard { peer, host: state.host(), elapsed });
            }
            None => {}
        }
        if !self.silence.is_told() {
            self.waiting.is_over(now);
        } else if state.findings().verdict().is_some() {
            self.tell_waiting(state, now);
        }
        Silence::next(missing, rtt, now)
    }

    fn tell_waiting(&mut self, state: &PeeringState, now: Instant) {
        let finding = state.findings().verdict();
        let Some((occasion, elapsed)) = self.waiting.due(finding, now) else { return };
        let local = transport::socket::reachable_addresses(state.local);
        let peer = state.host();
        state.events.emit(Event::Waiting { peer, local, finding, elapsed, occasion });
    }
}

/// Accepts connections within the limits of [`super::admission`], and runs the responder's side of
/// each handshake.
async fn accept(
    state: Arc<PeeringState>,
    authenticated: mpsc::Sender<Authenticated>,
) -> Result<(), Fatal> {
    let mut handshakes = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = state.endpoint.accept() => incoming,
            Some(ended) = handshakes.join_next() => {
                match ended {
                    Ok(result) => result?,
                    // A bug in one handshake must not end the others.
                    Err(panic) => tracing::error!(%panic, "a handshake ended by a bug; please report it"),
                }
                continue;
            }
        };
        let Some(incoming) = incoming else { return Ok(()) };
        let Some(pending) = state.admission.admit(incoming) else { continue };
        let (state, authenticated) = (state.clone(), authenticated.clone());
        handshakes.spawn(async move {
            let remote = canonical(pending.remote());
            match welcome(&state, pending).await {
                Ok(done) => {
                    let _ = authenticated.send(done).await;
                    Ok(())
                }
                Err(error) => responder_failed(&state, remote, error),
            }
        });
    }
}

/// Takes a connection from its first packet to adoption, within [`DEADLINE`].
async fn welcome(
    state: &PeeringState,
    pending: PendingConnection,
) -> Result<Authenticated, AuthError> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let (connecting, guesses, slot) = pending.accept(&state.admission, &state.connection_config)?;
    let connecting = within(deadline, connecting).await?;
    let connection =
        connecting.map_err(|error| close::ended(Role::Responder, HandshakePhase::Tls, &error))?;
    let settings = |peer| state.settings(peer);
    let proof = as_responder(connection.clone(), &state.key, state.own.process, guesses, settings);
    let proven = within(deadline, proof).await.and_then(|proven| proven);
    // The close code does not tell a stranger the cause. A connection that is already closed keeps
    // its code.
    let done =
        proven.inspect_err(|_| connection.close(CloseCode::Authentication.var_int(), b""))?;
    // The peer has proved that it knows the password, so the connection no longer counts as
    // pending.
    slot.release();
    within(deadline, await_adoption(state, done)).await?
}

async fn within<T>(
    deadline: tokio::time::Instant,
    work: impl Future<Output = T>,
) -> Result<T, AuthError> {
    tokio::time::timeout_at(deadline, work)
        .await
        .map_err(|_| AuthError::Lost("it took too long".into()))
}

fn responder_failed(
    state: &PeeringState,
    remote: SocketAddr,
    error: AuthError,
) -> Result<(), Fatal> {
    if let Some(left_out) = state.may_log() {
        tracing::info!(%remote, %error, left_out, "an incoming connection was not accepted");
    }
    if let Some(text) = state.admission.alarm() {
        state.events.warn(None, text);
    }
    match error {
        AuthError::WrongPassword => {
            state.auth_failed(remote);
            if state.exit_on_auth_failure {
                return Err(Fatal::InitiatorRefused { peer: remote });
            }
        }
        AuthError::OtherVersion if state.admission.may_warn(Instant::now()) => {
            let text = format!(
                "a program at {remote} sends packets to this port that are not rft/1; they are ignored"
            );
            state.events.warn(None, text);
        }
        AuthError::PeerRefuses(clash) => {
            state.tell_clash(clash, None, || clash.told_to_refused(remote));
        }
        AuthError::Wrap => return Err(Fatal::Wrap),
        AuthError::KeysRefused if !state.had_session() => {
            return Err(Fatal::KeysRefused { peer: remote });
        }
        _ => {}
    }
    Ok(())
}
