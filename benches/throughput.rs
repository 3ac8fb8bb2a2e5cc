//! One large file over loopback: bare QUIC with rft's transport settings, in packets of Ethernet's
//! usual size and in jumbo frames, which loopback carries and rft uses where possible; then the
//! whole of rft (read, sealed, opened, hashed, synced, renamed, receipted). They take turns in one
//! process.
//!
//! `cargo bench --bench throughput -- [--link=RATE,DELAY_MS,LOSS_PERCENT] [MIB] [ROUNDS] [DIR]`
//! (1024 MiB, 3 rounds, the system's temporary folder). `--link`: over a relay with these
//! properties, in each direction; RATE is in bytes of UDP payload per second, 0 for no limit.
//!
//! `throughput --serve OWN PEER` and `throughput --send OWN PEER BYTES` are bare QUIC in two
//! processes, for `scripts/bench`: the addresses may be in different network namespaces.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[allow(dead_code)] // it serves the tests too
#[path = "../tests/harness/relay.rs"]
mod relay;

use bytes::Bytes;
use rft::Daemon;
use rft::PasswordKey;
use rft::config::{Bind, Config, PeerAddress};
use rft::event::{Direction, Event, PeerEvent};
use rft::internals::transport::endpoint::Endpoint;
use rft::internals::transport::tls::SERVER_NAME;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn config(own: SocketAddr, peer: SocketAddr, dir: &Path) -> Config {
    let peer = PeerAddress { host: peer.ip().to_string(), port: peer.port() };
    let mut config = Config::new(Some(peer), own.port(), dir);
    config.bind = Some(Bind { addr: own.ip(), port: Some(own.port()) });
    config
}

/// The relay between the two sides, if there is one.
type Line = Option<relay::Line>;

/// Two sides, connected directly or through a relay.
struct Sides {
    left: SocketAddr,
    right: SocketAddr,
    /// The addresses that the left side and the right side send to.
    ahead: (SocketAddr, SocketAddr),
    _relay: Option<relay::Relay>,
}

impl Sides {
    fn new(line: Line) -> Self {
        let free = |ip| std::net::UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap();
        let (left, right) = (free(LEFT), free(RIGHT));
        let relay = line.map(|line| {
            let relay = relay::Relay::start(1, left, right);
            relay.edit_both(|there| *there = line);
            relay
        });
        let ahead =
            relay.as_ref().map_or((right, left), |relay| (relay.facing_a(), relay.facing_b()));
        Self { left, right, ahead, _relay: relay }
    }
}

fn open(own: SocketAddr, peer: SocketAddr) -> Endpoint {
    Endpoint::open(&config(own, peer, Path::new("unused"))).unwrap()
}

/// Receives one stream, acknowledges its end, and returns its length when the peer has closed.
async fn serve(right: Endpoint) -> u64 {
    let incoming = right.quic.accept().await.unwrap();
    let connection =
        right.connection_config.accept(incoming, |factory| factory).unwrap().await.unwrap();
    // The window of a session.
    connection.set_receive_window((16u32 << 20).into());
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    let mut got = 0;
    while let Some(chunk) = recv.read_chunk(1 << 16, false).await.unwrap() {
        got += chunk.bytes.len() as u64;
    }
    send.write_all(b"!").await.unwrap();
    send.finish().unwrap();
    connection.closed().await;
    got
}

/// Sends `size` bytes on one stream: the time from its first byte to the peer's acknowledgement.
async fn send(left: &Endpoint, to: SocketAddr, size: u64, jumbo: bool) -> Duration {
    let dialled = match jumbo {
        true => left.connection_config.connect(&left.quic, to),
        false => left.quic.connect(to, SERVER_NAME),
    };
    let connection = dialled.unwrap().await.unwrap();
    connection.set_send_window(64 << 20);
    let chunk = Bytes::from(vec![7; 256 << 10]);
    let begun = Instant::now();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let mut left_over = size;
    while left_over > 0 {
        let n = left_over.min(chunk.len() as u64);
        send.write_chunk(chunk.slice(..n as usize)).await.unwrap();
        left_over -= n;
    }
    send.finish().unwrap();
    recv.read_to_end(1).await.unwrap();
    let elapsed = begun.elapsed();
    connection.close(0u32.into(), b"");
    left.quic.wait_idle().await;
    elapsed
}

async fn bare(size: u64, line: Line, jumbo: bool) -> Duration {
    let sides = Sides::new(line);
    let (left, right) = (open(sides.left, sides.ahead.0), open(sides.right, sides.ahead.1));
    let server = tokio::spawn(serve(right));
    let elapsed = send(&left, sides.ahead.0, size, jumbo).await;
    assert_eq!(server.await.unwrap(), size);
    elapsed
}

/// `--serve OWN PEER` and `--send OWN PEER BYTES`.
fn one_side(option: &str, args: &[String]) {
    let addr = |at: usize| args[at].parse().expect("an address with a port");
    let (own, peer): (SocketAddr, SocketAddr) = (addr(0), addr(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = open(own, peer);
        if option == "--serve" {
            println!("listening");
            println!("{} bytes", serve(endpoint).await);
        } else {
            let size = args[2].parse().expect("a number of bytes");
            println!("{:.6} s", send(&endpoint, peer, size, true).await.as_secs_f64());
        }
    });
}

async fn whole(size: u64, line: Line, dir: &Path) -> Duration {
    let sides = Sides::new(line);
    let base = dir.join(format!("rft-throughput-{}", std::process::id()));
    let (a, b) = (base.join("a"), base.join("b"));
    std::fs::create_dir_all(a.join("Outgoing")).unwrap();
    let mut random = blake3::Hasher::new().update(b"rft").finalize_xof();
    let mut file = std::fs::File::create(a.join("big")).unwrap();
    std::io::copy(&mut std::io::Read::take(&mut random, size), &mut file).unwrap();
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let observer = move |told: PeerEvent| match told.event {
        Event::Connected { .. } | Event::FileDone { direction: Direction::Send, .. } => {
            let _ = done.send(Instant::now());
        }
        _ => {}
    };
    let key = || PasswordKey::from_bytes([1; 32]);
    let receiving = config(sides.right, sides.ahead.1, &b);
    let sending = config(sides.left, sides.ahead.0, &a);
    let right = Daemon::start(receiving, key(), |_| {}).unwrap();
    let left = Daemon::start(sending, key(), observer).unwrap();
    finished.recv().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    std::fs::rename(a.join("big"), a.join("Outgoing/big")).unwrap();
    let elapsed = finished.recv().await.unwrap() - begun;
    for side in [&left, &right] {
        side.stop();
        side.wait().await.unwrap();
    }
    std::fs::remove_dir_all(&base).unwrap();
    elapsed
}

/// `--link=RATE,DELAY_MS,LOSS_PERCENT`.
fn parse_line(words: &str) -> relay::Line {
    let numbers: Vec<f64> =
        words.split(',').map(|word| word.parse().expect("three numbers")).collect();
    let [rate, delay, loss] = numbers[..] else { panic!("--link has three numbers") };
    relay::Line {
        rate: (rate > 0.0).then_some(rate as u64),
        delay: Duration::from_secs_f64(delay / 1000.0),
        loss: loss / 100.0,
        ..relay::Line::default()
    }
}

fn main() {
    let (options, args): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let line = options.iter().find_map(|option| option.strip_prefix("--link=")).map(parse_line);
    if let Some(side) = options.iter().find(|option| *option == "--serve" || *option == "--send") {
        return one_side(side, &args);
    }
    let number =
        |at: usize, default| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (size, rounds) = (number(0, 1024u64) << 20, number(1, 3u64));
    let dir = args.get(2).map_or_else(std::env::temp_dir, Into::into);
    for round in 1..=rounds {
        let run = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let rate = |seconds| size as f64 / 1e6 / seconds;
        let bare = |jumbo| run().block_on(bare(size, line, jumbo)).as_secs_f64();
        let (usual, jumbo) = (bare(false), bare(true));
        let whole = run().block_on(whole(size, line, &dir)).as_secs_f64();
        println!(
            "round {round}: bare QUIC {:.0} MB/s in packets of 1,452 bytes, {:.0} MB/s in jumbo frames; rft {:.0} MB/s ({:.0} % and {:.0} %)",
            rate(usual),
            rate(jumbo),
            rate(whole),
            100.0 * usual / whole,
            100.0 * jumbo / whole
        );
    }
}
