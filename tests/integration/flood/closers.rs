//! Thousands of strangers that only close connections while a file is sent, and their cost in rate,
//! memory and log lines. Two kinds: first packets from forged addresses, and clients that finish
//! TLS before they close.

use super::attacker::{CODES, REASON};
use crate::harness::files::plant_big;
use crate::harness::forge::{application_close, first_packet};
use crate::harness::peer::{Pair, Running};
use crate::harness::raw::client_with;
use rft::internals::transport::tls;
use rft::internals::transport::tls::SERVER_NAME;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Smallest share of the undisturbed rate that the transfer keeps. The flood runs on the same
/// processors.
const MIN_RATE_KEPT: f64 = 0.25;
/// Most log lines about refused connections within a minute (`peering::reports`).
const MAX_LOG_LINES: usize = 30;
/// Forged packets come in volleys that fit the buffer of the socket.
const VOLLEY: u64 = 20;
const VOLLEY_INTERVAL: Duration = Duration::from_millis(10);
/// Concurrent clients: far more than the responder has slots.
const CLIENTS: usize = 64;
/// How long a client waits for a slot. QUIC retransmits a first packet after a second.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(1500);

/// The size of a run.
pub struct Scale {
    /// Least number of closers of each kind.
    pub closers: usize,
    /// Size of one file in bytes. Files are sent one after another while the flood lasts.
    pub file: u64,
    /// Least number of files in each phase.
    pub files: usize,
    /// Options of the sender.
    pub sender: &'static [&'static str],
    /// Most memory, in bytes, that a phase may use beyond an undisturbed transfer.
    pub growth: u64,
    /// Longest time of a phase.
    pub time: Duration,
}

/// Measurements of one phase at the flooded peer.
#[derive(Debug)]
struct Phase {
    closers: usize,
    seconds: f64,
    rates: Vec<f64>,
    peak: u64,
    events: BTreeMap<String, usize>,
    log_lines: usize,
    refusals: usize,
}

impl Phase {
    /// Mean rate over all files, in bytes per second.
    fn rate(&self) -> f64 {
        self.rates.len() as f64 / self.rates.iter().map(|rate| 1.0 / rate).sum::<f64>()
    }

    fn count(&self, event: &str) -> usize {
        self.events.get(event).copied().unwrap_or_default()
    }
}

/// Runs one phase without a flood, one with each kind of closers, and another without. Checks the
/// results and returns a table.
pub async fn measure(scale: &Scale) -> String {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]).with_timeout(scale.time);
    let mut b = pair.b.start(scale.sender).with_timeout(scale.time);
    a.waits_for("connected", |_| true);
    b.waits_for("connected", |_| true);
    let on = SocketAddr::from(([127, 0, 0, 1], pair.a.port));
    let nothing = Arc::new(AtomicUsize::new(usize::MAX));

    let before = phase(&pair, &mut a, scale, &nothing);
    let counter = Arc::<AtomicUsize>::default();
    let mut flood = JoinSet::new();
    flood.spawn_blocking({
        let counter = counter.clone();
        move || forged(on, &counter)
    });
    let first_packets = phase(&pair, &mut a, scale, &counter);
    // The thread ends when the counter's other holder is dropped.
    drop(counter);
    flood.shutdown().await;

    let counter = Arc::<AtomicUsize>::default();
    let mut flood = JoinSet::new();
    let config = quinn::ClientConfig::new(tls::configure().unwrap().client);
    let numbers = Arc::<AtomicUsize>::default();
    for _ in 0..CLIENTS {
        flood.spawn(after_tls(on, config.clone(), numbers.clone(), counter.clone()));
    }
    let handshakes = phase(&pair, &mut a, scale, &counter);
    flood.shutdown().await;
    let after = phase(&pair, &mut a, scale, &nothing);

    let log = fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
    assert!(!log.contains("forged"), "a stranger wrote into the log");
    for peer in [&mut a, &mut b] {
        let sessions =
            peer.events().iter().filter(|seen| seen.event["event"] == "connected").count();
        assert_eq!(sessions, 1, "one session lasts through all of it");
    }
    let phases = [
        ("none, before", before),
        ("first packets", first_packets),
        ("after TLS", handshakes),
        ("none, after", after),
    ];
    let table = table(&phases);
    let [(_, before), floods @ .., (_, after)] = &phases;
    for (kind, phase) in floods {
        check(kind, phase, [before, after], scale, &table);
    }
    for peer in [a, b] {
        peer.stop();
    }
    table
}

/// Sends files from b to a until there were enough files and enough closers.
fn phase(pair: &Pair, a: &mut Running, scale: &Scale, closers: &AtomicUsize) -> Phase {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let log = pair.a.state().join("rft.log");
    let (events_before, log_before) = (a.events().len(), fs::read_to_string(&log).unwrap().len());
    a.memory();
    let (begun, mut rates, mut peak) = (Instant::now(), Vec::new(), 0);
    while rates.len() < scale.files || closers.load(Ordering::Relaxed) < scale.closers {
        assert!(
            begun.elapsed() < scale.time,
            "{} closers in {:?}",
            closers.load(Ordering::Relaxed),
            scale.time
        );
        let name = format!("file-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let planted = pair.b.dir.join(&name);
        plant_big(&planted, scale.file, rates.len() as u64);
        let expected = sha256(&planted);
        fs::rename(planted, pair.b.outgoing().join(&name)).unwrap();
        let done = a.waits_for("file_done", |event| event["path"] == name.as_str()).event;
        peak = peak.max(a.peak());
        rates.push(scale.file as f64 / done["seconds"].as_f64().unwrap());
        let received = pair.a.incoming().join(&name);
        assert_eq!(sha256(&received), expected, "{name}");
        fs::remove_file(received).unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut events = BTreeMap::new();
    for seen in &a.events()[events_before..] {
        *events.entry(seen.event["event"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let log = fs::read_to_string(&log).unwrap();
    let written = log.get(log_before..).expect("a flood does not turn the log over");
    Phase {
        closers: closers.load(Ordering::Relaxed),
        seconds,
        rates,
        peak,
        events,
        log_lines: written.lines().count(),
        refusals: written.matches("an incoming connection was not accepted").count(),
    }
}

fn sha256(path: &Path) -> [u8; 32] {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut HashWriter(&mut hasher)).unwrap();
    hasher.finalize().into()
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Checks a phase with a flood.
fn check(kind: &str, phase: &Phase, alone: [&Phase; 2], scale: &Scale, table: &str) {
    let peak = alone.map(|alone| alone.peak).into_iter().min().unwrap();
    assert!(phase.peak.saturating_sub(peak) < scale.growth, "{kind}: memory\n{table}");
    let rate = alone.map(Phase::rate).into_iter().fold(0.0, f64::max);
    assert!(phase.rate() >= MIN_RATE_KEPT * rate, "{kind}: rate\n{table}");
    // No client guessed, so the user is told nothing.
    let told = ["auth_failed", "warning", "disconnected", "connected", "error"]
        .map(|event| phase.count(event));
    assert_eq!(told, [0; 5], "{kind}: {:?}\n{table}", phase.events);
    let minutes = 1 + (phase.seconds / 60.0) as usize;
    assert!(phase.refusals <= MAX_LOG_LINES * (minutes + 1), "{kind}: lines\n{table}");
}

fn table(phases: &[(&str, Phase)]) -> String {
    let mut text = String::from(
        "closers         number  seconds  files  MB/s  slowest  peak RSS, MiB  log lines  refusals  events\n",
    );
    for (kind, phase) in phases {
        let closers = if phase.closers == usize::MAX { 0 } else { phase.closers };
        let events: Vec<_> =
            phase.events.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(
            text,
            "{kind:<14} {closers:>7} {:>8.1} {:>6} {:>5.0} {:>8.0} {:>14.1} {:>10} {:>9}  {}",
            phase.seconds,
            phase.rates.len(),
            phase.rate() / 1e6,
            phase.rates.iter().copied().fold(f64::INFINITY, f64::min) / 1e6,
            phase.peak as f64 / f64::from(1 << 20),
            phase.log_lines,
            phase.refusals,
            events.join(", ")
        )
        .unwrap();
    }
    text
}

/// A loopback address that belongs to no socket, another one for each number.
fn address(n: u64) -> SocketAddr {
    let n = n as u32;
    (Ipv4Addr::from_bits(0x7f10_0000 | n & 0x000f_ffff), 0).into()
}

/// First packets with nothing but CONNECTION_CLOSE 0x1d, each from its own address and port.
fn forged(on: SocketAddr, sent: &Arc<AtomicUsize>) {
    for n in 0.. {
        if n % VOLLEY == 0 {
            std::thread::sleep(VOLLEY_INTERVAL);
        }
        let packet = first_packet(n, &application_close(n % CODES, REASON));
        UdpSocket::bind(address(n)).unwrap().send_to(&packet, on).unwrap();
        sent.fetch_add(1, Ordering::Relaxed);
        if Arc::strong_count(sent) == 1 {
            return;
        }
    }
}

/// Clients one after another, each with its own address and port, that close once TLS is up.
async fn after_tls(
    on: SocketAddr,
    config: quinn::ClientConfig,
    numbers: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
) {
    loop {
        let n = numbers.fetch_add(1, Ordering::Relaxed) as u64;
        let endpoint = client_with(config.clone(), address(n));
        let connecting = endpoint.connect(on, SERVER_NAME).unwrap();
        if let Ok(Ok(connection)) = tokio::time::timeout(CLIENT_TIMEOUT, connecting).await {
            let code = closed.fetch_add(1, Ordering::Relaxed) as u64 % CODES;
            connection.close(quinn::VarInt::from_u64(code).unwrap(), REASON);
            drop(connection);
            let _ = tokio::time::timeout(CLIENT_TIMEOUT, endpoint.wait_idle()).await;
        }
    }
}
