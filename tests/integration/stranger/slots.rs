//! Strangers that want the slots for unauthenticated connections.

use super::{GUESS, KEY, MOMENT, connect, start};
use crate::harness::connector::TIMEOUT;
use crate::harness::raw::{self, client, client_at, initial_dcid, is_retry};
use quinn::Connection;
use rft::internals::crypto::handshake::PeerId;
use rft::internals::crypto::password::PasswordKey;
use rft::internals::proto::message::Settings;
use rft::internals::session::AuthError;
use rft::internals::session::handshake::as_initiator;
use rft::internals::transport::tls::SERVER_NAME;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The initiator's part of the handshake, as an honest peer with this key plays it.
async fn prove(connection: &Connection, key: [u8; 32]) -> Result<(), AuthError> {
    let settings = |_| Settings { streams: 1, ..Settings::default() };
    let own = PeerId::random(&mut rand::rngs::SysRng).unwrap();
    let (key, sent) = (PasswordKey::from_bytes(key), AtomicBool::new(false));
    as_initiator(connection.clone(), &key, own, &sent, settings).await.map(drop)
}

/// Guesses from many ports of this address until the responder accepts no more. Then holds every
/// slot for as long as the responder permits.
async fn besiege(responder: SocketAddr, from: SocketAddr, held: Arc<AtomicUsize>) {
    while !matches!(
        prove(&connect(&client_at(from), responder).await, GUESS).await,
        Err(AuthError::Busy)
    ) {}
    let mut holders = JoinSet::new();
    for _ in 0..12 {
        let held = held.clone();
        holders.spawn(async move {
            let client = client_at(from);
            loop {
                let connecting = client.connect(responder, SERVER_NAME).unwrap();
                if let Ok(Ok(connection)) = tokio::time::timeout(MOMENT, connecting).await {
                    held.fetch_add(1, Ordering::SeqCst);
                    connection.closed().await;
                    held.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
    }
    while holders.join_next().await.is_some() {}
}

/// First packets from this address with no listener behind it, as with a spoofed source address.
async fn knock_and_run(responder: SocketAddr, from: SocketAddr) {
    let (trap, client) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), client());
    let address = UdpSocket::bind(from).await.unwrap();
    let mut packet = [0; 2048];
    for _ in 0..50 {
        let _pending = client.connect(trap.local_addr().unwrap(), SERVER_NAME).unwrap();
        let length = trap.recv(&mut packet).await.unwrap();
        address.send_to(&packet[..length], responder).await.unwrap();
    }
}

/// Behind the same NAT, or on the same host; the peer itself cannot be dialled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_at_the_peers_address_does_not_keep_the_peer_out() {
    let port = std::net::UdpSocket::bind("127.0.0.2:0").unwrap().local_addr().unwrap().port();
    let named = SocketAddr::from(([127, 0, 0, 2], port));
    let responder = start(Some(named));
    let held = Arc::new(AtomicUsize::new(0));
    let siege =
        tokio::spawn(besiege(responder.local, SocketAddr::from(([127, 0, 0, 2], 0)), held.clone()));
    let deadline = Instant::now() + TIMEOUT;
    while held.load(Ordering::SeqCst) < 4 {
        assert!(!siege.is_finished() && Instant::now() < deadline, "the siege comes to nothing");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    knock_and_run(responder.local, named).await;
    let begun = Instant::now();
    let client = client_at(named);
    loop {
        let connecting = client.connect(responder.local, SERVER_NAME).unwrap();
        if let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(1), connecting).await
            && prove(&connection, KEY).await.is_ok()
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "the peer is kept out");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    siege.abort();
    assert!(!responder.run.is_finished());
}

/// The two Initial packets of a dial, caught on the path.
async fn client_hello(client: &quinn::Endpoint, trap: &UdpSocket) -> [Vec<u8>; 2] {
    let _dial = client.connect(trap.local_addr().unwrap(), SERVER_NAME).unwrap();
    let mut halves = Vec::new();
    let mut packet = [0; 2048];
    while halves.len() < 2 {
        let length = trap.recv(&mut packet).await.unwrap();
        let is_of_this_dial = halves.first().is_none_or(|first: &Vec<u8>| {
            initial_dcid(first) == initial_dcid(&packet[..length]) && first[..] != packet[..length]
        });
        // An earlier dial that was given up may still send its close.
        if is_of_this_dial && length >= 1200 {
            halves.push(packet[..length].to_vec());
        }
    }
    halves.try_into().unwrap()
}

/// Sends a packet to the responder and returns the answer.
async fn answer(socket: &UdpSocket, packet: &[u8], responder: SocketAddr) -> Vec<u8> {
    socket.send_to(packet, responder).await.unwrap();
    let mut answer = [0; 2048];
    let length =
        tokio::time::timeout(TIMEOUT, socket.recv(&mut answer)).await.expect("an answer").unwrap();
    answer[..length].to_vec()
}

/// The second packet of a ClientHello arrives after the first was answered with a Retry, when there
/// is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_half_of_a_client_hello_holds_no_place() {
    let responder = start(None);
    let (client, free) = (client(), || UdpSocket::bind("127.0.0.1:0"));
    let crowd = [connect(&client, responder.local).await, connect(&client, responder.local).await];
    let mut late = Vec::new();
    for _ in 0..3 {
        let (dialler, trap, socket) = (raw::client(), free().await.unwrap(), free().await.unwrap());
        let [first, second] = client_hello(&dialler, &trap).await;
        assert!(is_retry(&answer(&socket, &first, responder.local).await));
        late.push((socket, second));
    }
    for connection in crowd {
        connection.close(0u32.into(), b"");
    }
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let (dialler, trap, socket) = (raw::client(), free().await.unwrap(), free().await.unwrap());
        let [first, _] = client_hello(&dialler, &trap).await;
        if !is_retry(&answer(&socket, &first, responder.local).await) {
            break;
        }
        assert!(Instant::now() < deadline, "there is no room again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (socket, second) in late {
        // A packet that took a slot would be acknowledged.
        assert!(is_retry(&answer(&socket, &second, responder.local).await));
    }
    responder.stays_unmoved(0).await;
}

/// Stands between a dialling peer and the responder: only the first packet passes, and after a
/// Retry the first one again. `held` counts the responder's acknowledgements.
async fn pass_on_half(front: UdpSocket, responder: SocketAddr, held: Arc<AtomicUsize>) {
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(responder).await.unwrap();
    let (mut packet, mut answer) = ([0; 2048], [0; 2048]);
    let (mut dialler, mut passes, mut acknowledged) = (None, true, false);
    loop {
        tokio::select! {
            Ok((length, from)) = front.recv_from(&mut packet) => {
                dialler = Some(from);
                if std::mem::take(&mut passes) {
                    back.send(&packet[..length]).await.unwrap();
                }
            }
            Ok(length) = back.recv(&mut answer) => {
                if is_retry(&answer[..length]) {
                    passes = true;
                    front.send_to(&answer[..length], dialler.unwrap()).await.unwrap();
                } else if !std::mem::replace(&mut acknowledged, true) {
                    held.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}

/// Slow: waits for the handshake deadline of ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_client_hellos_from_a_hundred_ports_do_not_keep_a_peer_out() {
    const PORTS: usize = 100;
    const PLACES: usize = 8;
    let mut responder = start(None);
    let (strangers, held) = (client(), Arc::new(AtomicUsize::new(0)));
    let (mut dials, mut relays) = (Vec::new(), JoinSet::new());
    for _ in 0..PORTS {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = front.local_addr().unwrap();
        relays.spawn(pass_on_half(front, responder.local, held.clone()));
        dials.push(strangers.connect(to, SERVER_NAME).unwrap());
    }
    let deadline = Instant::now() + TIMEOUT;
    while held.load(Ordering::SeqCst) < PLACES {
        assert!(Instant::now() < deadline, "the places are not taken: {held:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = Instant::now();
    let mut honest = start(Some(responder.local));
    let (session, _control) = responder.session().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    assert_eq!(session.key_exchange(), "X25519MLKEM768");
    let _ = honest.session().await;
    assert!(held.load(Ordering::SeqCst) <= PLACES, "{held:?}");
}
