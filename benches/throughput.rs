//! One large file over loopback: bare QUIC with rft's transport settings, then rft whole (read, sealed,
//! opened, hashed, synced, renamed, receipted), in turn, in one process.
//!
//! `cargo bench --bench throughput -- [MIB] [ROUNDS] [DIR]` (1024 MiB, 3 rounds, the system's temporary folder)

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use rft::config::{Bind, Config, PeerAddress};
use rft::crypto::password::PasswordKey;
use rft::event::{Direction, Event, EventSink};
use rft::net::endpoint::Endpoint;
use rft::net::tls::SERVER_NAME;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn config(addr: IpAddr, peer: IpAddr, port: u16, dir: &Path) -> Config {
    let mut config = Config::new(Some(PeerAddress { host: peer.to_string(), port }), port, dir);
    config.bind = Some(Bind { addr, port: Some(port) });
    config.drain = true;
    config
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind((LEFT, 0)).unwrap().local_addr().unwrap().port()
}

async fn bare(size: u64) -> Duration {
    let port = free_port();
    let open = |addr, peer| Endpoint::open(&config(addr, peer, port, Path::new("unused"))).unwrap();
    let (left, right) = (open(LEFT, RIGHT), open(RIGHT, LEFT));
    let server = tokio::spawn(async move {
        let connection = right.quic.accept().await.unwrap().await.unwrap();
        // As a session has it.
        connection.set_receive_window((128u32 << 20).into());
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let mut got = 0;
        while let Some(chunk) = recv.read_chunk(1 << 16, false).await.unwrap() {
            got += chunk.bytes.len() as u64;
        }
        assert_eq!(got, size);
        send.write_all(b"!").await.unwrap();
        send.finish().unwrap();
        connection.closed().await;
    });
    let connection = left.quic.connect(SocketAddr::new(RIGHT, port), SERVER_NAME).unwrap().await.unwrap();
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
    server.await.unwrap();
    elapsed
}

async fn whole(size: u64, dir: &Path) -> Duration {
    let port = free_port();
    let base = dir.join(format!("rft-throughput-{}", std::process::id()));
    let (a, b) = (base.join("a"), base.join("b"));
    std::fs::create_dir_all(a.join("Outgoing")).unwrap();
    let mut random = blake3::Hasher::new().update(b"rft").finalize_xof();
    let mut file = std::fs::File::create(a.join("big")).unwrap();
    std::io::copy(&mut std::io::Read::take(&mut random, size), &mut file).unwrap();
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let sink = EventSink::new(move |event| match event {
        Event::Connected { .. } | Event::FileDone { direction: Direction::Send, .. } => {
            let _ = done.send(Instant::now());
        }
        _ => {}
    });
    let key = || PasswordKey::from_bytes([1; 32]);
    let mut receiving = config(RIGHT, LEFT, port, &b);
    receiving.drain = false;
    let mut sending = config(LEFT, RIGHT, port, &a);
    sending.drain = false;
    let right = tokio::spawn(rft::daemon::run(receiving, key(), EventSink::none(), std::future::pending()));
    let left = tokio::spawn(rft::daemon::run(sending, key(), sink, std::future::pending()));
    finished.recv().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    std::fs::rename(a.join("big"), a.join("Outgoing/big")).unwrap();
    let elapsed = finished.recv().await.unwrap() - begun;
    left.abort();
    right.abort();
    std::fs::remove_dir_all(&base).unwrap();
    elapsed
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |at: usize, default| args.get(at).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (size, rounds) = (number(0, 1024u64) << 20, number(1, 3u64));
    let dir = args.get(2).map_or_else(std::env::temp_dir, Into::into);
    for round in 1..=rounds {
        let run = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let bare = run().block_on(bare(size)).as_secs_f64();
        let whole = run().block_on(whole(size, &dir)).as_secs_f64();
        let rate = |seconds| size as f64 / 1e6 / seconds;
        println!(
            "round {round}: bare QUIC {:.0} MB/s, rft {:.0} MB/s ({:.0} % of bare)",
            rate(bare),
            rate(whole),
            100.0 * bare / whole
        );
    }
}
