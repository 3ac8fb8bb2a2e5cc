//! Dialling: tries the peer's addresses in turn until one answers, then runs the initiator's side
//! of the handshake (protocol.md section 3).

use super::Fatal;
use super::adopt::await_adoption;
use super::backoff::{DialFailures, InFlightDials, NextDial, RetryInterval};
use super::liveness::{CounterReader, Liveness};
use super::resolve::Names;
use super::state::PeeringState;
use crate::crypto::handshake::Role;
use crate::hindrance::Hindrance;
use crate::session::AuthError;
use crate::session::canonical;
use crate::session::close;
use crate::session::close::HandshakePhase;
use crate::session::handshake::{Authenticated, DEADLINE, as_initiator};
use crate::transport::close_code::CloseCode;
use quinn::Connection;
use rand::RngExt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Interval of the liveness checks during a handshake.
const LOOK: Duration = Duration::from_millis(100);
/// A refusal after this time means that the responder's deadline passed. A deliberate refusal comes
/// at once.
const SLOW_LINK: Duration = Duration::from_secs(DEADLINE.as_secs() / 2);

/// Dials whenever a session is needed.
pub(crate) async fn run(
    state: Arc<PeeringState>,
    mut needed: watch::Receiver<bool>,
    authenticated: mpsc::Sender<Authenticated>,
) -> Result<(), Fatal> {
    let Some(peer) = state.peer.clone() else { return Ok(()) };
    let host = peer.host.clone();
    let mut names = Names::look_up(peer, state.local)
        .await
        .map_err(|reason| Fatal::PeerAddress { host, reason })?;
    take_addresses(&state, &names);
    let mut failures = DialFailures::new(Instant::now());
    loop {
        if needed.wait_for(|needed| *needed).await.is_err() {
            return Ok(());
        }
        let wait = failures.wait(Instant::now());
        let dial = async {
            tokio::time::sleep(wait).await;
            connect(&state, &mut names, &mut failures).await
        };
        let connection = tokio::select! {
            connection = dial => connection,
            gone = needed.wait_for(|needed| !*needed) => {
                if gone.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        let remote = canonical(connection.remote_address());
        let pause = match prove(&state, connection, &mut failures).await {
            Ok(done) => {
                if authenticated.send(done).await.is_err() {
                    return Ok(());
                }
                Duration::from_secs(1)
            }
            Err(error) => after(&state, remote, error, &names, &mut failures)?,
        };
        // A session that came by the other way meanwhile ends the pause with the need.
        let _ = tokio::time::timeout(pause, needed.wait_for(|needed| !*needed)).await;
    }
}

/// The progress of a dial.
#[derive(Default)]
struct DialProgress {
    proof_sent: AtomicBool,
    authenticated: AtomicBool,
}

/// Runs the initiator's side of the handshake in a task of its own, so that a panic costs this
/// connection only.
async fn prove(
    state: &Arc<PeeringState>,
    connection: Connection,
    failures: &mut DialFailures,
) -> Result<Authenticated, AuthError> {
    let progress = Arc::new(DialProgress::default());
    // Aborted when this is dropped.
    let mut task = JoinSet::new();
    task.spawn(attempt(state.clone(), connection, progress.clone()));
    let result = match task.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(panic)) => {
            tracing::error!(%panic, "a handshake ended by a bug; please report it");
            Err(AuthError::Lost("a bug".into()))
        }
        None => Err(AuthError::Lost("it was not begun".into())),
    };
    if progress.proof_sent.load(Ordering::Relaxed) {
        failures.proof_sent(Instant::now());
    }
    if progress.authenticated.load(Ordering::Relaxed) {
        failures.peer_authenticated();
    }
    if result.is_ok() {
        failures.accepted();
    }
    result
}

async fn attempt(
    state: Arc<PeeringState>,
    connection: Connection,
    progress: Arc<DialProgress>,
) -> Result<Authenticated, AuthError> {
    let DialProgress { proof_sent, authenticated } = &*progress;
    let handshake = async {
        let (own, settings) = (state.own.process, |peer| state.settings(peer));
        let done = as_initiator(connection.clone(), &state.key, own, proof_sent, settings).await?;
        authenticated.store(true, Ordering::Relaxed);
        await_adoption(&state, done).await
    };
    let begun = Instant::now();
    let check = Mutex::new((CounterReader::new(connection.clone()), Liveness::new(begun)));
    let alive = || {
        let (counters, liveness) = &mut *check.lock().unwrap_or_else(PoisonError::into_inner);
        look(&connection, counters, liveness)
    };
    let given_up = tokio::select! {
        result = handshake => match result {
            // The responder uses the same code when its deadline passes, even if the proof never
            // reached it over a slow path.
            Err(AuthError::WrongPassword) if begun.elapsed() >= SLOW_LINK => Err("the responder gave up"),
            result => Ok(result),
        },
        () = tokio::time::sleep(DEADLINE) => Err("it took too long"),
        () = until_dead(&alive) => Err("the peer fell silent"),
    };
    given_up.unwrap_or_else(|reason| {
        let there = alive();
        connection.close(CloseCode::Authentication.var_int(), b"");
        // The path works in both directions, so the responder had time to answer.
        let unexplained =
            there && proof_sent.load(Ordering::Relaxed) && !authenticated.load(Ordering::Relaxed);
        Err(if unexplained { AuthError::Unanswered } else { AuthError::Lost(reason.into()) })
    })
}

/// Whether packets arrive in both directions.
fn look(connection: &Connection, counters: &mut CounterReader, liveness: &mut Liveness) -> bool {
    let now = Instant::now();
    liveness.look(counters.read(None), now);
    liveness.alive(connection.rtt(), now)
}

async fn until_dead(alive: &impl Fn() -> bool) {
    while alive() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the other parts of the connector the peer's present addresses.
fn take_addresses(state: &PeeringState, names: &Names) {
    state.admission.set_named(names.addresses());
    state.findings().set_addresses(names.addresses());
}

/// The wait before the next dial.
fn after(
    state: &PeeringState,
    remote: SocketAddr,
    error: AuthError,
    names: &Names,
    failures: &mut DialFailures,
) -> Result<Duration, Fatal> {
    tracing::info!(%remote, %error, "dialling did not lead to a session");
    let first = !state.had_session();
    match error {
        // Only a peer that has proved that it knows the password can end this process.
        AuthError::Malformed if first => return Err(Fatal::Malformed { peer: remote }),
        AuthError::Unwrap if first => return Err(Fatal::Unwrap { peer: remote }),
        AuthError::OtherVersion => note_another_version(state, remote, failures),
        AuthError::PeerRefuses(clash) => {
            state.findings().dialled(remote, Hindrance::Occupied);
            state.tell_clash(clash, None, || clash.told_to_refused(remote));
        }
        // The packets of such a dial do not leave this host, so no attacker on a path can cause
        // this.
        AuthError::Itself if first && names.lead_only_here() => {
            return Err(Fatal::Itself { peer: remote });
        }
        AuthError::Itself if failures.is_first_self_answer() => {
            let text =
                "the peer's address leads back to this very rft; waiting for the peer to dial";
            state.events.warn(None, text);
        }
        _ => {}
    }
    match failures.verdict(&error) {
        NextDial::Again(wait) => Ok(jittered(wait)),
        NextDial::Refused(wait) => {
            state.findings().dialled(remote, Hindrance::WrongPassword);
            state.auth_failed(remote);
            if first {
                return Err(Fatal::WrongPassword { peer: remote });
            }
            Ok(jittered(wait))
        }
    }
}

/// Counts it as a hindrance if it continues: before TLS is up such an answer can be forged.
fn note_another_version(state: &PeeringState, remote: SocketAddr, failures: &mut DialFailures) {
    if failures.answered_as_another(Instant::now()) {
        state.findings().dialled(remote, Hindrance::OtherVersion);
    }
}

/// Dials the addresses in turn until a QUIC handshake completes. Dials overlap, so that a lost
/// packet or a long round trip does not delay the next one; the first to answer wins, and the
/// others are dropped. A dial that fails before TLS is up is followed by another, whatever the
/// error: an attacker on the path can forge it.
async fn connect(
    state: &PeeringState,
    names: &mut Names,
    failures: &mut DialFailures,
) -> Connection {
    let mut interval = RetryInterval::new(Instant::now());
    let mut answers = JoinSet::new();
    let mut tries = InFlightDials::new();
    let mut turn = 0;
    loop {
        if names.refresh() {
            take_addresses(state, names);
        }
        state.findings().name_resolves(names.resolves());
        let found = names.addresses();
        let (addr, count) = (found[turn % found.len()], found.len());
        turn += 1;
        match state.connection_config.connect(&state.endpoint, addr) {
            Ok(connecting) => {
                let answer =
                    async move { (addr, tokio::time::timeout(DEADLINE, connecting).await) };
                tries.push(answers.spawn(answer)).as_ref().map(AbortHandle::abort);
            }
            Err(error) => tracing::info!(%addr, %error, "cannot dial"),
        }
        let wait = interval.next(Instant::now(), count, state.had_session());
        let next = tokio::time::Instant::now() + jittered(wait);
        loop {
            tokio::select! {
                Some(done) = answers.join_next() => match done {
                    Ok((_, Ok(Ok(connection)))) => return connection,
                    Ok((addr, Ok(Err(error)))) => {
                        let error = close::ended(Role::Initiator, HandshakePhase::Tls, &error);
                        tracing::debug!(%addr, %error, "no answer");
                        if matches!(error, AuthError::OtherVersion) {
                            note_another_version(state, canonical(addr), failures);
                        }
                    }
                    Ok((_, Err(_))) | Err(_) => {}
                },
                () = tokio::time::sleep_until(next) => break,
            }
        }
    }
}

/// Adds jitter of 15 %, so that two peers that lost each other do not keep dialling at the same
/// moments.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.85..1.15))
}
