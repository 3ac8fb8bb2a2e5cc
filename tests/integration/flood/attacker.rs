//! Thousands of strangers without the password: raw datagrams and raw QUIC from many ports.

use crate::harness::forge::{application_close, first_packet};
use crate::harness::raw::{Noise, binding, client, first_message};
use quinn::{Connection, ConnectionError};
use rft::internals::crypto::handshake::{M1_LEN, M2_LEN};
use rft::internals::transport::close_code::CloseCode;
use rft::internals::transport::tls::SERVER_NAME;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Time between two volleys of datagrams, and between two attempts of a client. It limits the
/// attack, so that the test measures the peer and not the processors that it shares with the
/// attacker.
const INTERVAL: Duration = Duration::from_millis(10);
const CLIENT_INTERVAL: Duration = Duration::from_millis(50);
/// Clients of each kind that is ended at once, each on its own port.
const QUICK: usize = 10;
/// Clients that stay as long as the responder permits: far more than there are slots.
const SLOW: usize = 24;
/// How many of them run at the beginning, so that other clients get slots too.
const SLOW_AT_FIRST: usize = 5;
/// How long a client waits for a connection, or for an answer that should not come.
const TIMEOUT: Duration = Duration::from_millis(700);
const MOMENT: Duration = Duration::from_millis(50);
/// A connection that ends after this time was ended by the responder's deadline of 10 s.
const NEAR_DEADLINE: Duration = Duration::from_secs(8);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(90);
/// Ports that send datagrams without a listener behind them.
const PORTS: usize = 64;

/// Connections that were begun, by kind and result.
#[derive(Debug, Default)]
pub struct Tally {
    /// Initial packets with noise in them, and of unknown versions.
    pub noise: AtomicUsize,
    /// Valid first packets without a second one.
    pub half_open: AtomicUsize,
    /// How many of them were answered with a Retry, which costs the responder no memory.
    pub retries: AtomicUsize,
    /// Valid first packets with CONNECTION_CLOSE 0x1d in them and no client behind them.
    pub closed_first: AtomicUsize,
    /// Dials of clients that continue if they can.
    pub dialled: AtomicUsize,
    /// Connections that these clients have now, and the most that they ever had.
    pub held: AtomicUsize,
    pub held_most: AtomicUsize,
    /// Clients that finished the handshake and then sent nothing, or a byte per second, until the
    /// deadline ended them.
    pub slow_ended: AtomicUsize,
    /// ... that sent far too much and were refused.
    pub oversized_refused: AtomicUsize,
    /// ... that got one of the streams that they wanted, and no datagrams.
    pub streams_denied: AtomicUsize,
    /// ... that guessed and were answered with M2, or told that no guesses are left.
    pub guesses_answered: AtomicUsize,
    /// ... that closed at once, with each code in turn.
    pub closed_at_once: AtomicUsize,
    pub guesses_denied: AtomicUsize,
}

impl Tally {
    pub fn total(&self) -> usize {
        let begun = [&self.noise, &self.half_open, &self.closed_first, &self.dialled];
        begun.map(|n| n.load(Ordering::Relaxed)).iter().sum()
    }

    fn count(&self, outcome: Option<fn(&Self) -> &AtomicUsize>) {
        if let Some(outcome) = outcome {
            outcome(self).fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The counter for the end of a client's connection.
type Outcome = Option<fn(&Tally) -> &AtomicUsize>;

/// A running attack. Dropping it stops it.
pub struct Attack {
    pub tally: Arc<Tally>,
    slow: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Attack {
    pub fn start(on: SocketAddr) -> Self {
        let (tally, slow) = (Arc::new(Tally::default()), Arc::new(Semaphore::new(SLOW_AT_FIRST)));
        let mut tasks = JoinSet::new();
        tasks.spawn(noise(on, tally.clone()));
        tasks.spawn(half_open(on, tally.clone()));
        tasks.spawn(closes_first(on, tally.clone()));
        for n in 0..SLOW {
            let (tally, slow) = (tally.clone(), slow.clone());
            tasks.spawn(async move {
                let _turn = slow.acquire().await;
                if n % 2 == 0 {
                    each(on, tally, mute).await
                } else {
                    each(on, tally, byte_a_second).await
                }
            });
        }
        for _ in 0..QUICK {
            tasks.spawn(each(on, tally.clone(), oversized));
            tasks.spawn(each(on, tally.clone(), streams));
            tasks.spawn(each(on, tally.clone(), guess));
            tasks.spawn(each(on, tally.clone(), closes_at_once));
        }
        Self { tally, slow, _tasks: tasks }
    }

    /// From now on all slow clients run at once.
    pub fn takes_all_places(&self) {
        self.slow.add_permits(SLOW);
    }

    /// Waits until `is_so` holds.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Tally) -> bool) {
        let deadline = Instant::now() + MAX_WAIT;
        while !is_so(&self.tally) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.tally);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn ports() -> Vec<UdpSocket> {
    let open = |_| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    (0..PORTS).map(open).collect()
}

/// Datagrams that resemble first packets.
async fn noise(on: SocketAddr, tally: Arc<Tally>) {
    let (ports, mut noise) = (ports(), Noise::new());
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tick.tick().await;
        for n in 0..6 {
            let mut datagram = noise.bytes(1200);
            // Version 1 or an unknown one; a destination ID of 8 bytes, a source ID, no token, a
            // length.
            let version = if n < 4 { [0, 0, 0, 1] } else { [0x1a, 0x2a, 0x3a, 0x4a] };
            datagram[0] = 0xc0 | datagram[0] & 0x0f;
            datagram[1..5].copy_from_slice(&version);
            datagram[5] = 8;
            datagram[14] = 0;
            datagram[15] = 0;
            datagram[16..18].copy_from_slice(&(0x4000_u16 | (1200 - 18)).to_be_bytes());
            if ports[noise.below(PORTS)].send_to(&datagram, on).is_ok() {
                tally.noise.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Number of close codes: all of the protocol, and three unassigned ones.
pub const CODES: u64 = 12;
/// The reason phrase of a closing connection, with control characters in it.
pub const REASON: &[u8] = b"closed\nforged\x1b[2J";

/// First packets that close the connection they open, with all codes of the protocol.
async fn closes_first(on: SocketAddr, tally: Arc<Tally>) {
    let ports = ports();
    let mut tick = tokio::time::interval(INTERVAL);
    for id in 0.. {
        if id % 6 == 0 {
            tick.tick().await;
        }
        let packet = first_packet(id, &application_close(id % CODES, REASON));
        if ports[id as usize % PORTS].send_to(&packet, on).is_ok() {
            tally.closed_first.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// First packets of real clients that dialled another socket: no client reads the answers.
async fn half_open(on: SocketAddr, tally: Arc<Tally>) {
    let (ports, client) = (ports(), client());
    let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = trap.local_addr().unwrap();
    let (mut pending, mut seen) = (VecDeque::new(), HashMap::new());
    let mut datagram = vec![0; 2048];
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tick.tick().await;
        for _ in 0..4 {
            pending.push_back(client.connect(to, SERVER_NAME).unwrap());
        }
        while let Ok((length, _)) = trap.try_recv_from(&mut datagram) {
            // The destination ID identifies a connection. Both packets of a ClientHello are sent
            // for some connections, only the first for every other one, and no close.
            let id = datagram.get(6..6 + usize::from(datagram[5])).unwrap_or_default().to_vec();
            let nth = seen.len();
            let (nth, packets) = seen.entry(id).or_insert((nth, 0));
            *packets += 1;
            if length < 1200 || *packets > 1 + *nth % 2 {
                continue;
            }
            if ports[*nth % PORTS].send_to(&datagram[..length], on).is_ok() && *packets == 1 {
                tally.half_open.fetch_add(1, Ordering::Relaxed);
            }
        }
        for port in &ports {
            // A long header of type 3, Retry (RFC 9000 section 17.2.5).
            while let Ok(length) = port.recv(&mut datagram) {
                let retry = length > 0 && datagram[0] & 0xf0 == 0xf0;
                tally.retries.fetch_add(usize::from(retry), Ordering::Relaxed);
            }
        }
        // The trap receives each packet within a moment.
        while pending.len() > 50 {
            pending.pop_front();
        }
    }
}

/// Clients of one kind, one after another from one port.
async fn each<F: Future<Output = Outcome> + Send>(
    on: SocketAddr,
    tally: Arc<Tally>,
    nuisance: impl Fn(Connection) -> F,
) {
    let endpoint = client();
    loop {
        tokio::time::sleep(CLIENT_INTERVAL).await;
        tally.dialled.fetch_add(1, Ordering::Relaxed);
        let Ok(connecting) = endpoint.connect(on, SERVER_NAME) else { return };
        let Ok(Ok(connection)) = tokio::time::timeout(TIMEOUT, connecting).await else { continue };
        let held = tally.held.fetch_add(1, Ordering::Relaxed) + 1;
        tally.held_most.fetch_max(held, Ordering::Relaxed);
        let outcome = nuisance(connection).await;
        tally.held.fetch_sub(1, Ordering::Relaxed);
        tally.count(outcome);
    }
}

/// A client that sends nothing.
async fn mute(connection: Connection) -> Outcome {
    let begun = Instant::now();
    let ended = connection.closed().await;
    let by_deadline =
        CloseCode::Authentication.is_reason_of(&ended) && begun.elapsed() >= NEAR_DEADLINE;
    by_deadline.then_some(|tally| &tally.slow_ended)
}

/// A well-formed beginning, sent at a byte per second.
async fn byte_a_second(connection: Connection) -> Outcome {
    let (_, m1) = first_message([2; 32], &binding(&connection));
    let (mut send, _recv) = connection.open_bi().await.ok()?;
    let speak = async {
        for byte in m1 {
            let _ = send.write_all(&[byte]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = speak => None,
        outcome = mute(connection.clone()) => outcome,
    }
}

/// A client that wants nothing.
async fn closes_at_once(connection: Connection) -> Outcome {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let code = NEXT.fetch_add(1, Ordering::Relaxed) as u64 % CODES;
    connection.close(quinn::VarInt::from_u64(code).unwrap(), REASON);
    Some(|tally| &tally.closed_at_once)
}

/// As much data as the responder accepts.
async fn oversized(connection: Connection) -> Outcome {
    let (mut send, _recv) = connection.open_bi().await.ok()?;
    while send.write_all(&[b'R'; 16 * M1_LEN]).await.is_ok() {}
    let refused = CloseCode::Authentication.is_reason_of(&connection.closed().await);
    refused.then_some(|tally| &tally.oversized_refused)
}

/// As many streams of both kinds as the responder grants.
async fn streams(connection: Connection) -> Outcome {
    let mut sent = 0;
    let (mut first, _recv) = connection.open_bi().await.ok()?;
    first.write_all(b"RFT1").await.ok()?;
    let second = tokio::time::timeout(MOMENT, connection.open_bi());
    let uni = tokio::time::timeout(MOMENT, connection.open_uni());
    let (second, uni) = tokio::join!(second, uni);
    // The connection keeps the last datagram only, and no task reads it.
    while connection.max_datagram_size().is_some_and(|most| most <= 9 << 10) && sent < 100 {
        sent += 1;
        connection.send_datagram(vec![0; 1000].into()).ok()?;
    }
    let denied = second.is_err() && uni.is_err();
    (denied && connection.close_reason().is_none()).then_some(|tally| &tally.streams_denied)
}

/// A wrong password.
async fn guess(connection: Connection) -> Outcome {
    match tokio::time::timeout(MOMENT * 20, guess_once(&connection)).await.ok()? {
        (true, _) => Some(|tally| &tally.guesses_answered),
        (_, Some(ended)) if CloseCode::Busy.is_reason_of(&ended) => {
            Some(|tally| &tally.guesses_denied)
        }
        _ => None,
    }
}

/// Whether the responder answered the guess, and how the connection ended.
async fn guess_once(connection: &Connection) -> (bool, Option<ConnectionError>) {
    let (initiator, m1) = first_message([2; 32], &binding(connection));
    let Ok((mut send, mut recv)) = connection.open_bi().await else { return (false, None) };
    let mut m2 = [0; M2_LEN];
    let answered = send.write_all(&m1).await.is_ok() && recv.read_exact(&mut m2).await.is_ok();
    if answered {
        let (_, m3) = initiator.on_m2(&m2).unwrap();
        let _ = send.write_all(&m3).await;
    }
    (answered, Some(connection.closed().await))
}

/// Guesses until the responder accepts no more.
pub async fn use_up_all_guesses(on: SocketAddr) {
    let mut tried = JoinSet::new();
    for _ in 0..8 {
        tried.spawn(async move {
            let endpoint = client();
            for _ in 0..20 {
                let Ok(Ok(connection)) =
                    tokio::time::timeout(TIMEOUT, endpoint.connect(on, SERVER_NAME).unwrap()).await
                else {
                    continue;
                };
                let ended = tokio::time::timeout(TIMEOUT * 4, guess_once(&connection)).await;
                if ended.is_ok_and(|(_, ended)| {
                    ended.is_some_and(|error| CloseCode::Busy.is_reason_of(&error))
                }) {
                    return true;
                }
            }
            false
        });
    }
    let busy = tried.join_all().await;
    assert!(busy.contains(&true), "the guesses do not end");
}
