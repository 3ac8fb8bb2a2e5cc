//! Who does not know the password, in thousands: raw datagrams and raw QUIC from many ports.

use quinn::{Connection, ConnectionError};
use rft::crypto::EXPORTER_LABEL;
use rft::crypto::handshake::{ChannelBinding, Guest, M1_LEN, M2_LEN, PeerId};
use rft::crypto::password::PasswordKey;
use rft::net::endpoint::CloseCode;
use rft::net::tls::{self, SERVER_NAME};
use std::collections::{HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two volleys of datagrams: the attack is paced, so that what is measured is the peer, and not how
/// many cores it shares with its attacker.
const PACE: Duration = Duration::from_millis(10);
/// Clients that finish handshakes, each from a port of its own.
const CLIENTS: usize = 100;
/// How long a client waits for a connection.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long it stays on one that it got: all of the host's deadline is never waited for.
const STAY: Duration = Duration::from_secs(3);
/// Ports from which datagrams come that nobody stands behind.
const PORTS: usize = 64;

/// Connections begun, by kind.
#[derive(Debug, Default)]
pub struct Tally {
    /// Initials with noise in them, and of versions that there are not.
    pub noise: AtomicUsize,
    /// Valid first packets that nothing follows.
    pub half_open: AtomicUsize,
    /// By clients that went on if they could.
    pub clients: AtomicUsize,
    /// Of these, how many got as far as a stream.
    pub connected: AtomicUsize,
}

impl Tally {
    pub fn total(&self) -> usize {
        [&self.noise, &self.half_open, &self.clients].map(|n| n.load(Ordering::Relaxed)).iter().sum()
    }
}

/// Goes on until it is dropped.
pub struct Attack {
    pub tally: Arc<Tally>,
    _tasks: JoinSet<()>,
}

impl Attack {
    pub fn start(on: SocketAddr) -> Self {
        let tally = Arc::new(Tally::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(noise(on, tally.clone()));
        tasks.spawn(half_open(on, tally.clone()));
        for n in 0..CLIENTS {
            tasks.spawn(client(n, on, tally.clone()));
        }
        Self { tally, _tasks: tasks }
    }

    /// Waits until so many connections were begun.
    pub async fn reaches(&self, total: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.tally.total() < total && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(self.tally.total() >= total, "{:?}", self.tally);
    }
}

fn endpoint() -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(tls::configure().unwrap().client));
    endpoint
}

fn ports() -> Vec<UdpSocket> {
    (0..PORTS)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect()
}

/// Datagrams that look like first packets, from a fixed seed.
async fn noise(on: SocketAddr, tally: Arc<Tally>) {
    let ports = ports();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut tick = tokio::time::interval(PACE);
    loop {
        tick.tick().await;
        for n in 0..6 {
            let mut datagram: Vec<u8> =
                std::iter::repeat_with(|| next().to_le_bytes()[3]).take(1200).collect();
            // Version 1 and one that there is not; a destination id of 8 bytes, a source id, no token, a length.
            let version = if n < 4 { [0, 0, 0, 1] } else { [0x1a, 0x2a, 0x3a, 0x4a] };
            datagram[0] = 0xc0 | datagram[0] & 0x0f;
            datagram[1..5].copy_from_slice(&version);
            datagram[5] = 8;
            datagram[14] = 0;
            datagram[15] = 0;
            datagram[16..18].copy_from_slice(&(0x4000_u16 | (1200 - 18)).to_be_bytes());
            let port = &ports[usize::try_from(next()).unwrap() % PORTS];
            if port.send_to(&datagram, on).is_ok() {
                tally.noise.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// First packets of real clients, which were meant for somebody else: nothing ever answers the answer.
async fn half_open(on: SocketAddr, tally: Arc<Tally>) {
    let (ports, client) = (ports(), endpoint());
    let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = trap.local_addr().unwrap();
    let (mut pending, mut seen) = (VecDeque::new(), HashSet::new());
    let mut datagram = vec![0; 2048];
    let mut tick = tokio::time::interval(PACE);
    loop {
        tick.tick().await;
        for _ in 0..4 {
            pending.push_back(client.connect(to, SERVER_NAME).unwrap());
        }
        while let Ok((length, _)) = trap.try_recv_from(&mut datagram) {
            // Its destination id names a connection: each one once, and no closing words.
            let id = datagram.get(6..6 + usize::from(datagram[5])).unwrap_or_default().to_vec();
            if length < 1200 || !seen.insert(id) {
                continue;
            }
            if ports[seen.len() % PORTS].send_to(&datagram[..length], on).is_ok() {
                tally.half_open.fetch_add(1, Ordering::Relaxed);
            }
        }
        // The trap hears of each in a moment.
        while pending.len() > 50 {
            pending.pop_front();
        }
    }
}

/// One client after another from one port, each with its own way to be a nuisance.
async fn client(n: usize, on: SocketAddr, tally: Arc<Tally>) {
    let endpoint = endpoint();
    for turn in n.. {
        tally.clients.fetch_add(1, Ordering::Relaxed);
        let Ok(connecting) = endpoint.connect(on, SERVER_NAME) else { return };
        let Ok(Ok(connection)) = tokio::time::timeout(PATIENCE, connecting).await else { continue };
        tally.connected.fetch_add(1, Ordering::Relaxed);
        let nuisance = async {
            match turn % 5 {
                0 => drop(guess(&connection).await),
                1 => slow(&connection).await,
                2 => oversized(&connection).await,
                3 => streams(&connection).await,
                _ => drop(connection.closed().await),
            }
        };
        let _ = tokio::time::timeout(STAY, nuisance).await;
    }
}

/// A wrong password. Gives how the connection ended.
async fn guess(connection: &Connection) -> Option<ConnectionError> {
    let mut exported = [0; 96];
    connection.export_keying_material(&mut exported, EXPORTER_LABEL, b"").unwrap();
    let rng = &mut rand::rngs::SysRng;
    let own = PeerId::random(rng).unwrap();
    let binding = ChannelBinding::from_exporter(&exported);
    let (guest, m1) = Guest::start(&PasswordKey::from_bytes([2; 32]), &binding, own, rng).unwrap();
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    send.write_all(&m1).await.ok()?;
    let mut m2 = [0; M2_LEN];
    if recv.read_exact(&mut m2).await.is_ok() {
        let (_, m3) = guest.on_m2(&m2).unwrap();
        let _ = send.write_all(&m3).await;
    }
    Some(connection.closed().await)
}

/// A byte a second.
async fn slow(connection: &Connection) {
    let Ok((mut send, _recv)) = connection.open_bi().await else { return };
    while send.write_all(b"R").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// As much as is taken.
async fn oversized(connection: &Connection) {
    let Ok((mut send, _recv)) = connection.open_bi().await else { return };
    while send.write_all(&[b'R'; 16 * M1_LEN]).await.is_ok() {}
}

/// As many streams as there are.
async fn streams(connection: &Connection) {
    let mut open = Vec::new();
    while let Ok(mut stream) = connection.open_bi().await {
        let _ = stream.0.write_all(b"RFT1").await;
        open.push(stream);
    }
}

/// Guesses until the host takes no more.
pub async fn use_up_all_guesses(on: SocketAddr) {
    let mut tried = JoinSet::new();
    for _ in 0..8 {
        tried.spawn(async move {
            let endpoint = endpoint();
            for _ in 0..20 {
                let Ok(Ok(connection)) =
                    tokio::time::timeout(PATIENCE, endpoint.connect(on, SERVER_NAME).unwrap()).await
                else {
                    continue;
                };
                let ended = tokio::time::timeout(STAY, guess(&connection)).await;
                if ended.is_ok_and(|ended| ended.is_some_and(|error| CloseCode::Busy.is_reason_of(&error))) {
                    return true;
                }
            }
            false
        });
    }
    let busy = tried.join_all().await;
    assert!(busy.contains(&true), "the guesses do not end");
}
