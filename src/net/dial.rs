//! Dialling: the peer's addresses in turn, again and again, until one answers; then the guest's part
//! of the handshake (protocol.md section 3).

use super::Fatal;
use super::endpoint::CloseCode;
use super::handshake::{AuthError, Authenticated, DEADLINE, as_guest, from_close};
use super::liveness::{Counters, Liveness};
use super::names::Names;
use super::redial::{Cadence, Tries, Trouble, Verdict};
use super::rendezvous::{Shared, await_adoption};
use super::session::canonical;
use crate::event::Event;
use quinn::Connection;
use rand::RngExt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// How often a connection is looked at before it is a session.
const LOOK: Duration = Duration::from_millis(100);
/// A refusal that took so long was the host's deadline. One that is meant comes at once.
const SLOW_LINK: Duration = Duration::from_secs(DEADLINE.as_secs() / 2);

/// Dials whenever a session is needed.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut needed: watch::Receiver<bool>,
    authenticated: mpsc::Sender<Authenticated>,
) -> Result<(), Fatal> {
    let Some(peer) = shared.peer.clone() else { return Ok(()) };
    let host = peer.host.clone();
    let mut names =
        Names::look_up(peer, shared.local).await.map_err(|reason| Fatal::PeerAddress { host, reason })?;
    shared.guard.set_named(names.addresses());
    let mut trouble = Trouble::new(Instant::now());
    loop {
        if needed.wait_for(|needed| *needed).await.is_err() {
            return Ok(());
        }
        let wait = trouble.wait(Instant::now());
        let dial = async {
            tokio::time::sleep(wait).await;
            connect(&shared, &mut names).await
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
        let remote = connection.as_ref().map_or_else(|(at, _)| *at, |c| canonical(c.remote_address()));
        let result = match connection {
            Err((_, error)) => Err(error),
            Ok(connection) => prove(&shared, connection, &mut trouble).await,
        };
        let pause = match result {
            Ok(done) => {
                if authenticated.send(done).await.is_err() {
                    return Ok(());
                }
                Duration::from_secs(1)
            }
            Err(error) => after(&shared, remote, error, &mut trouble)?,
        };
        // A session that came by the other way meanwhile ends the pause with the need.
        let _ = tokio::time::timeout(pause, needed.wait_for(|needed| !*needed)).await;
    }
}

async fn prove(
    shared: &Shared,
    connection: Connection,
    trouble: &mut Trouble,
) -> Result<Authenticated, AuthError> {
    let (proof_sent, authenticated) = (AtomicBool::new(false), AtomicBool::new(false));
    let handshake = async {
        let settings = || shared.settings();
        let done = as_guest(connection.clone(), &shared.key, shared.own, &proof_sent, settings).await?;
        authenticated.store(true, Ordering::Relaxed);
        await_adoption(shared, done).await
    };
    let (begun, liveness) = (Instant::now(), Mutex::new(Liveness::new(Instant::now())));
    let alive = || look(&connection, &mut liveness.lock().unwrap_or_else(PoisonError::into_inner));
    let given_up = tokio::select! {
        result = handshake => match result {
            // The host says the same when its deadline passes, which may be over a link so slow that it never saw
            // our proof.
            Err(AuthError::WrongPassword) if begun.elapsed() >= SLOW_LINK => Err("the host gave up"),
            result => Ok(result),
        },
        () = tokio::time::sleep(DEADLINE) => Err("it took too long"),
        () = until_dead(&alive) => Err("the peer fell silent"),
    };
    let (proof_sent, authenticated) = (proof_sent.into_inner(), authenticated.into_inner());
    if proof_sent {
        trouble.proved(Instant::now());
    }
    if authenticated {
        trouble.over();
    }
    given_up.unwrap_or_else(|reason| {
        let there = alive();
        connection.close(CloseCode::Authentication.var_int(), b"");
        // A host that hears us, and that we hear, has had its time to answer.
        let unexplained = there && proof_sent && !authenticated;
        Err(if unexplained { AuthError::Unexplained } else { AuthError::Lost(reason.into()) })
    })
}

/// Whether the peer hears us, and we hear it.
fn look(connection: &Connection, liveness: &mut Liveness) -> bool {
    let now = Instant::now();
    liveness.look(Counters::of(connection), now);
    liveness.alive(connection.rtt(), now)
}

async fn until_dead(alive: &impl Fn() -> bool) {
    while alive() {
        tokio::time::sleep(LOOK).await;
    }
}

/// How long to wait before the next dial.
fn after(
    shared: &Shared,
    remote: SocketAddr,
    error: AuthError,
    trouble: &mut Trouble,
) -> Result<Duration, Fatal> {
    tracing::info!(%remote, %error, "dialling did not lead to a session");
    let first = !shared.had_session();
    match error {
        AuthError::NotRft if first => return Err(Fatal::NotRft { peer: remote }),
        AuthError::Unwrap if first => return Err(Fatal::Unwrap { peer: remote }),
        AuthError::Itself if trouble.is_news() => {
            let text = "the peer's address leads back to this very rft; waiting for the peer to dial";
            shared.events.warn(None, text);
        }
        _ => {}
    }
    match trouble.verdict(&error) {
        Verdict::Again(wait) => Ok(jittered(wait)),
        Verdict::Refused(wait) => {
            shared.events.emit(Event::AuthFailed { peer: remote });
            if first {
                return Err(Fatal::WrongPassword { peer: remote });
            }
            Ok(jittered(wait))
        }
    }
}

/// Tries the addresses in turn until a QUIC handshake completes. Tries overlap, so that a lost packet
/// or a long round trip does not hold up the next one; all but the first that answers are dropped.
async fn connect(shared: &Shared, names: &mut Names) -> Result<Connection, (SocketAddr, AuthError)> {
    let mut cadence = Cadence::new(Instant::now());
    let mut answers = JoinSet::new();
    let mut tries = Tries::new();
    let mut turn = 0;
    loop {
        if names.refresh() {
            shared.guard.set_named(names.addresses());
        }
        let found = names.addresses();
        let (addr, count) = (found[turn % found.len()], found.len());
        turn += 1;
        match shared.jumbo.connect(&shared.endpoint, addr) {
            Ok(connecting) => {
                let answer = async move { (addr, tokio::time::timeout(DEADLINE, connecting).await) };
                tries.push(answers.spawn(answer)).as_ref().map(AbortHandle::abort);
            }
            Err(error) => tracing::info!(%addr, %error, "cannot dial"),
        }
        let wait = cadence.next(Instant::now(), count, shared.had_session());
        let next = tokio::time::Instant::now() + jittered(wait);
        loop {
            tokio::select! {
                Some(done) = answers.join_next() => match done {
                    Ok((_, Ok(Ok(connection)))) => return Ok(connection),
                    Ok((addr, Ok(Err(error)))) => match from_close(&error) {
                        AuthError::Lost(reason) => tracing::debug!(%addr, %reason, "no answer"),
                        error => return Err((addr, error)),
                    },
                    Ok((_, Err(_))) | Err(_) => {}
                },
                () = tokio::time::sleep_until(next) => break,
            }
        }
    }
}

/// Between 85 % and 115 %: two peers that lost each other do not dial in step for ever.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.85..1.15))
}
