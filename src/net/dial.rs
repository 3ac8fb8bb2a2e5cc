//! Dialling: the peer's addresses in turn, again and again, until one answers; then the guest's part
//! of the handshake (protocol.md section 3).

use super::Fatal;
use super::handshake::{AuthError, Authenticated, DEADLINE, as_guest, from_close};
use super::names::Names;
use super::rendezvous::{Shared, await_adoption};
use super::session::canonical;
use super::tls::SERVER_NAME;
use crate::event::Event;
use quinn::Connection;
use rand::RngExt;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Between the first two tries.
const FIRST_PACE: Duration = Duration::from_millis(200);
/// Between tries later, so that a link that comes back is used within two seconds, handshake and all.
const PACE: Duration = Duration::from_secs(1);
/// Between tries after [`LONG`], when there was never a session.
const LAZY_PACE: Duration = Duration::from_secs(8);
/// A peer that was not there for so long is not expected this second.
const LONG: Duration = Duration::from_secs(3600);
/// Tries that wait for an answer at once; over a link of one second each takes that long. One more
/// takes the place of the oldest.
const MAX_TRIES: usize = 16;
/// A connection on which nothing comes for this long, and three round trips, before it is a session is
/// given up for a new one.
const SILENCE: Duration = Duration::from_millis(2500);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Wait after a host that said no to the password, doubled each time: a fake host gets a guess for
/// every dial.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// A refusal that took so long was the host's deadline.
const SLOW_LINK: Duration = Duration::from_secs(DEADLINE.as_secs() / 2);
/// Proofs that may go unanswered before that counts as a refusal.
const MAX_UNEXPLAINED: u32 = 3;

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
    let mut trouble = Trouble::default();
    loop {
        if needed.wait_for(|needed| *needed).await.is_err() {
            return Ok(());
        }
        let connection = tokio::select! {
            connection = connect(&shared, &mut names) => connection,
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
            Ok(connection) => prove(&shared, connection).await,
        };
        let pause = match result {
            Ok(done) => {
                trouble = Trouble::default();
                if authenticated.send(done).await.is_err() {
                    return Ok(());
                }
                Duration::from_secs(1)
            }
            Err(error) => trouble.after(&shared, remote, error)?,
        };
        // A session that came by the other way meanwhile ends the pause with the need.
        let _ = tokio::time::timeout(pause, needed.wait_for(|needed| !*needed)).await;
    }
}

async fn prove(shared: &Shared, connection: Connection) -> Result<Authenticated, AuthError> {
    let proof_sent = AtomicBool::new(false);
    let authenticated = AtomicBool::new(false);
    let handshake = async {
        let settings = || shared.settings();
        let done = as_guest(connection.clone(), &shared.key, shared.own, &proof_sent, settings).await?;
        authenticated.store(true, Ordering::Relaxed);
        await_adoption(shared, done).await
    };
    let begun = Instant::now();
    let reason = tokio::select! {
        // The host says the same when its deadline passes, which may be over a link so slow that it never saw
        // our proof. A refusal comes at once.
        result = handshake => match result {
            Err(AuthError::WrongPassword) if begun.elapsed() >= SLOW_LINK => "the host gave up",
            result => return result,
        },
        () = tokio::time::sleep(DEADLINE) => "it took too long",
        () = silence(&connection) => "the peer fell silent",
    };
    connection.close(super::endpoint::CloseCode::Authentication.var_int(), b"");
    if proof_sent.load(Ordering::Relaxed) && !authenticated.load(Ordering::Relaxed) {
        return Err(AuthError::Unexplained);
    }
    Err(AuthError::Lost(reason.into()))
}

/// Returns when nothing comes any more.
async fn silence(connection: &Connection) {
    let (mut count, mut heard) = (0, Instant::now());
    while heard.elapsed() < SILENCE + connection.rtt() * 3 {
        tokio::time::sleep(LOOK).await;
        let now = connection.stats().udp_rx.datagrams;
        if now != count {
            (count, heard) = (now, Instant::now());
        }
    }
}

/// Failures so far, and what they mean.
#[derive(Default)]
struct Trouble {
    lost: u32,
    refused: u32,
    unexplained: u32,
    told_self: bool,
}

impl Trouble {
    /// How long to wait before the next dial.
    fn after(&mut self, shared: &Shared, remote: SocketAddr, error: AuthError) -> Result<Duration, Fatal> {
        tracing::info!(%remote, %error, "dialling did not lead to a session");
        let first = !shared.had_session();
        match error {
            AuthError::WrongPassword => return self.refused(shared, remote),
            AuthError::Unexplained => {
                self.unexplained += 1;
                if self.unexplained >= MAX_UNEXPLAINED {
                    return self.refused(shared, remote);
                }
            }
            AuthError::NotRft if first => return Err(Fatal::NotRft { peer: remote }),
            AuthError::Unwrap if first => return Err(Fatal::Unwrap { peer: remote }),
            AuthError::Itself => {
                if !std::mem::replace(&mut self.told_self, true) {
                    let text = "the peer's address leads back to this very rft; waiting for the peer to dial";
                    shared.events.warn(None, text);
                }
                return Ok(Duration::from_secs(10));
            }
            AuthError::Busy | AuthError::NotRft | AuthError::Unwrap => return Ok(Duration::from_secs(5)),
            AuthError::Duplicate => return Ok(Duration::from_secs(1)),
            AuthError::Lost(_) | AuthError::Wrap | AuthError::KeysRefused => {}
        }
        self.lost = (self.lost + 1).min(4);
        Ok(jittered(FIRST_PACE * 2u32.pow(self.lost)))
    }

    fn refused(&mut self, shared: &Shared, remote: SocketAddr) -> Result<Duration, Fatal> {
        shared.events.emit(Event::AuthFailed { peer: remote });
        if !shared.had_session() {
            return Err(Fatal::WrongPassword { peer: remote });
        }
        self.refused = (self.refused + 1).min(5);
        Ok(jittered(AFTER_REFUSAL * 2u32.pow(self.refused - 1)))
    }
}

/// Tries the addresses in turn until a QUIC handshake completes. Tries overlap, so that a lost packet
/// or a long round trip does not hold up the next one; all but the first that answers are dropped.
async fn connect(shared: &Shared, names: &mut Names) -> Result<Connection, (SocketAddr, AuthError)> {
    let begin = Instant::now();
    let mut pace = FIRST_PACE;
    let mut tries = JoinSet::new();
    let mut handles = VecDeque::new();
    let mut turn = 0;
    loop {
        if names.refresh() {
            shared.guard.set_named(names.addresses());
        }
        let found = names.addresses();
        let (addr, count) = (found[turn % found.len()], found.len());
        turn += 1;
        match shared.endpoint.connect(addr, SERVER_NAME) {
            Ok(connecting) => {
                let answer = async move { (addr, tokio::time::timeout(DEADLINE, connecting).await) };
                handles.push_back(tries.spawn(answer));
                if handles.len() > MAX_TRIES {
                    handles.pop_front().as_ref().map(AbortHandle::abort);
                }
            }
            Err(error) => tracing::info!(%addr, %error, "cannot dial"),
        }
        let next = tokio::time::Instant::now() + jittered(pace) / count.try_into().unwrap_or(1);
        loop {
            tokio::select! {
                Some(done) = tries.join_next() => match done {
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
        let lazy = begin.elapsed() >= LONG && !shared.had_session();
        pace = (pace * 3 / 2).min(if lazy { LAZY_PACE } else { PACE });
    }
}

/// Between 75 % and 125 %: two peers that lost each other do not dial in step for ever.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.75..1.25))
}
