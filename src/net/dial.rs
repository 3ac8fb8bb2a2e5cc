//! Dialling: the peer's addresses in turn, again and again, until one answers; then the guest's part
//! of the handshake (protocol.md section 3).

use super::Fatal;
use super::handshake::{AuthError, Authenticated, DEADLINE, as_guest, from_close};
use super::rendezvous::{Shared, await_adoption};
use super::session::canonical;
use super::tls::SERVER_NAME;
use crate::config::PeerAddress;
use crate::event::Event;
use quinn::Connection;
use rand::RngExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Between the first two tries.
const FIRST_PACE: Duration = Duration::from_millis(200);
/// Between tries later, so that a link that comes back is used within two seconds.
const PACE: Duration = Duration::from_millis(1500);
/// Between tries after [`LONG`].
const LAZY_PACE: Duration = Duration::from_secs(8);
/// A peer that was not there for so long is not expected this second.
const LONG: Duration = Duration::from_secs(3600);
/// A name is looked up anew after this.
const NAME_AGE: Duration = Duration::from_secs(30);
/// Tries that wait for an answer at once; over a link of one second each takes that long.
const MAX_TRIES: usize = 8;
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
    let mut names = Names { peer, found: Vec::new(), at: None };
    names
        .resolve(&shared)
        .await
        .map_err(|reason| Fatal::PeerAddress { host: names.peer.host.clone(), reason })?;
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
    match tokio::time::timeout(DEADLINE, handshake).await {
        // The host says the same when its deadline passes, which may be over a link so slow that it never saw
        // our proof. A refusal comes at once.
        Ok(Err(AuthError::WrongPassword)) if begun.elapsed() >= SLOW_LINK => {
            if proof_sent.load(Ordering::Relaxed) {
                return Err(AuthError::Unexplained);
            }
            Err(AuthError::Lost("the host gave up".into()))
        }
        Ok(result) => result,
        Err(_) => {
            connection.close(super::endpoint::CloseCode::Authentication.var_int(), b"");
            if proof_sent.load(Ordering::Relaxed) && !authenticated.load(Ordering::Relaxed) {
                return Err(AuthError::Unexplained);
            }
            Err(AuthError::Lost("it took too long".into()))
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

/// The peer's addresses, looked up again when they are old.
struct Names {
    peer: PeerAddress,
    found: Vec<SocketAddr>,
    at: Option<Instant>,
}

impl Names {
    async fn resolve(&mut self, shared: &Shared) -> Result<(), String> {
        if self.at.is_some_and(|at| at.elapsed() < NAME_AGE) {
            return Ok(());
        }
        let found = tokio::net::lookup_host((self.peer.host.as_str(), self.peer.port)).await;
        let found: Vec<_> = found.map_err(|error| error.to_string())?.collect();
        let usable: Vec<_> = found.iter().copied().filter(|addr| can_send(shared.local, *addr)).collect();
        if usable.is_empty() {
            return Err(match found.is_empty() {
                true => "the name has no address".into(),
                false => format!("its addresses cannot be reached from {}; see --bind", shared.local),
            });
        }
        shared.guard.set_named(usable.iter().map(SocketAddr::ip));
        self.found = usable;
        self.at = Some(Instant::now());
        Ok(())
    }
}

fn can_send(local: SocketAddr, to: SocketAddr) -> bool {
    match local {
        SocketAddr::V4(_) => to.is_ipv4(),
        SocketAddr::V6(v6) => to.is_ipv6() || v6.ip().is_unspecified(),
    }
}

/// Tries the addresses in turn until a QUIC handshake completes. Tries overlap, so that a lost packet
/// or a long round trip does not hold up the next one; all but the first that answers are dropped.
async fn connect(shared: &Shared, names: &mut Names) -> Result<Connection, (SocketAddr, AuthError)> {
    let begin = Instant::now();
    let mut pace = FIRST_PACE;
    let mut tries = JoinSet::new();
    let mut turn = 0;
    loop {
        if let Err(error) = names.resolve(shared).await {
            tracing::info!(peer = %names.peer.host, %error, "name not found; the addresses from before stay");
        }
        let addr = names.found[turn % names.found.len()];
        turn += 1;
        if tries.len() < MAX_TRIES {
            match shared.endpoint.connect(addr, SERVER_NAME) {
                Ok(connecting) => {
                    tries.spawn(async move { (addr, tokio::time::timeout(DEADLINE, connecting).await) });
                }
                Err(error) => tracing::info!(%addr, %error, "cannot dial"),
            }
        }
        let next = tokio::time::Instant::now() + jittered(pace) / names.found.len().try_into().unwrap_or(1);
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
        let most = if begin.elapsed() < LONG { PACE } else { LAZY_PACE };
        pace = (pace * 3 / 2).min(most);
    }
}

/// Between 75 % and 125 %: two peers that lost each other do not dial in step for ever.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.75..1.25))
}
