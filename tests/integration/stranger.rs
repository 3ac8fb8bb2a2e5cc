//! A client without the password, over raw QUIC and raw UDP. It gets the first answer of the
//! exchange and nothing else, costs nothing for long, and disturbs no other peer.

mod forged;
mod slots;

use crate::harness::connector::{self, ANY_PORT, Peer, TIMEOUT};
use crate::harness::raw::{Noise, binding, client, first_message, server_of};
use quinn::{ApplicationClose, Connection, ConnectionError, VarInt};
use rft::hindrance::{Finding, Hindrance};
use rft::internals::crypto::handshake::{M1_LEN, M2_LEN, M4_LEN};
use rft::internals::proto::message::Control;
use rft::internals::transport::close_code::CloseCode;
use rft::internals::transport::tls;
use rft::internals::transport::tls::SERVER_NAME;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// Long enough on loopback to notice an answer that should not come.
const MOMENT: Duration = Duration::from_millis(400);
/// The responder's key.
const KEY: [u8; 32] = [1; 32];
/// The stranger's key.
const GUESS: [u8; 32] = [2; 32];

/// Starts a peer on a free port of loopback.
fn start(peer: Option<SocketAddr>) -> Peer {
    connector::start(connector::config(ANY_PORT, peer), KEY)
}

async fn connect(client: &quinn::Endpoint, to: SocketAddr) -> Connection {
    let connecting = client.connect(to, SERVER_NAME).unwrap();
    tokio::time::timeout(TIMEOUT, connecting).await.expect("an answer in time").unwrap()
}

/// The rest of the stream until it or the connection ends.
async fn rest(recv: &mut quinn::RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = recv.read_chunk(4096, true).await {
            all.extend_from_slice(&chunk.bytes);
        }
    };
    tokio::time::timeout(TIMEOUT, read).await.expect("an end in time");
    all
}

/// How the responder closed the connection.
async fn closed(connection: &Connection) -> ApplicationClose {
    match tokio::time::timeout(TIMEOUT, connection.closed()).await.expect("closed in time") {
        ConnectionError::ApplicationClosed(close) => close,
        other => panic!("closed by {other}"),
    }
}

/// The one refusal for every failure.
fn refusal() -> ApplicationClose {
    ApplicationClose {
        error_code: VarInt::from_u32(CloseCode::Authentication as u32),
        reason: "".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guess_is_answered_with_m2_and_nothing_more() {
    let responder = start(None);
    let client = client();
    let connection = connect(&client, responder.local).await;
    let (initiator, m1) = first_message(GUESS, &binding(&connection));
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&m1).await.unwrap();
    let mut m2 = [0; M2_LEN];
    recv.read_exact(&mut m2).await.unwrap();
    // The responder waits for the proof and reveals nothing.
    assert!(tokio::time::timeout(MOMENT, recv.read_chunk(1, true)).await.is_err());
    assert_eq!(connection.close_reason(), None);
    let (_, m3) = initiator.on_m2(&m2).unwrap();
    send.write_all(&m3).await.unwrap();
    assert_eq!(rest(&mut recv).await, b"");
    assert_eq!(closed(&connection).await, refusal());
    responder.stays_unmoved(1).await;
}

/// The control for the test above: the same client with the password gets M4 and the responder's
/// settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_the_password_gets_m4() {
    let responder = start(None);
    let client = client();
    let connection = connect(&client, responder.local).await;
    let (initiator, m1) = first_message(KEY, &binding(&connection));
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&m1).await.unwrap();
    let mut m2 = [0; M2_LEN];
    recv.read_exact(&mut m2).await.unwrap();
    let (initiator, m3) = initiator.on_m2(&m2).unwrap();
    send.write_all(&m3).await.unwrap();
    let mut m4 = [0; M4_LEN];
    recv.read_exact(&mut m4).await.unwrap();
    initiator.on_m4(&m4).unwrap();
    let settings =
        tokio::time::timeout(TIMEOUT, recv.read_chunk(4096, true)).await.expect("in time");
    assert!(settings.unwrap().is_some());
    responder.stays_unmoved(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshake_messages_fail_on_another_connection() {
    let responder = start(None);
    let client = client();
    let (one, other) =
        (connect(&client, responder.local).await, connect(&client, responder.local).await);
    // Made for one connection and replayed on the other.
    let (initiator, m1) = first_message(KEY, &binding(&one));
    let (mut send, mut recv) = other.open_bi().await.unwrap();
    send.write_all(&m1).await.unwrap();
    let mut m2 = [0; M2_LEN];
    recv.read_exact(&mut m2).await.unwrap();
    let (_, m3) = initiator.on_m2(&m2).unwrap();
    send.write_all(&m3).await.unwrap();
    assert_eq!(rest(&mut recv).await, b"");
    assert_eq!(closed(&other).await, refusal());
    responder.stays_unmoved(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_answered_with_nothing() {
    let responder = start(None);
    let client = client();
    type Spoil = (&'static str, fn(&mut [u8; M1_LEN]));
    let spoil: [Spoil; 5] = [
        ("another protocol", |m1| m1[..4].copy_from_slice(b"GET ")),
        ("the responder's role", |m1| m1[4] = b'R'),
        ("another suite", |m1| m1[5] = 0x7f),
        ("flags", |m1| m1[7] = 1),
        ("a share that is no group element", |m1| m1[40..].fill(0xff)),
    ];
    for (what, spoil) in spoil {
        let connection = connect(&client, responder.local).await;
        let (_, mut m1) = first_message(KEY, &binding(&connection));
        spoil(&mut m1);
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&m1).await.unwrap();
        assert_eq!(rest(&mut recv).await, b"", "{what}");
        assert_eq!(closed(&connection).await, refusal(), "{what}");
    }
    // A truncated message cannot be judged, and ends like all others.
    let connection = connect(&client, responder.local).await;
    let (_, m1) = first_message(KEY, &binding(&connection));
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&m1[..M1_LEN - 1]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(rest(&mut recv).await, b"");
    assert_eq!(closed(&connection).await, refusal());
    responder.stays_unmoved(0).await;
}

/// Slow: waits for the handshake deadline of ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_blocks_the_answers_fills_no_memory() {
    /// The receive window promised to strangers, plus a margin for data that the responder has
    /// read.
    const MAX_SENT: usize = (64 << 10) + 2 * M1_LEN;
    let responder = start(None);
    let mut client = client();
    // The client does not let M2 through, so the responder waits and reads no further.
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(0u32.into()).receive_window(0u32.into()).send_window(1 << 30);
    let mut config = quinn::ClientConfig::new(tls::configure().unwrap().client);
    config.transport_config(Arc::new(transport));
    client.set_default_client_config(config);
    let connection = connect(&client, responder.local).await;
    let (_initiator, m1) = first_message(GUESS, &binding(&connection));
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&m1).await.unwrap();
    let mut taken = M1_LEN;
    let fill = async {
        while let Ok(n) = send.write(&[0; 8 << 10]).await {
            taken += n;
        }
    };
    tokio::time::timeout(TIMEOUT, fill).await.expect("an end in time");
    assert!(taken <= MAX_SENT, "{taken} bytes were taken");
    assert_eq!(closed(&connection).await, refusal());
    responder.stays_unmoved(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_name_fails_in_tls() {
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let responder = start(None);
    for alpn in [&[b"h3".to_vec()][..], &[b"rft/2".to_vec()], &[]] {
        // No root certificate is needed: the responder refuses before it sends its certificate.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut crypto = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        crypto.alpn_protocols = alpn.to_vec();
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
        let client = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = client.connect_with(config, responder.local, SERVER_NAME).unwrap();
        let refused = tokio::time::timeout(TIMEOUT, connecting).await.expect("an answer in time");
        let Err(ConnectionError::ConnectionClosed(close)) = refused else { panic!("{refused:?}") };
        assert_eq!(
            close.error_code,
            quinn_proto::TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL)
        );
    }
    responder.stays_unmoved(0).await;
}

/// A peer that dials a responder of a later version reports that address once and keeps dialling:
/// before TLS is up, anyone on the path could have sent that answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_responder_of_another_version_is_reported_and_dialled_again() {
    let later = server_of(b"rft/2", ANY_PORT);
    let address = later.local_addr().unwrap();
    let dials = Arc::new(AtomicUsize::new(0));
    let counter = dials.clone();
    tokio::spawn(async move {
        while let Some(incoming) = later.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            // No common protocol: TLS fails here.
            let _ = incoming.await;
        }
    });
    let initiator = start(Some(address));
    let finding = Finding { hindrance: Hindrance::OtherVersion, address };
    assert!(initiator.is_told_within(TIMEOUT, finding).await, "{:?}", initiator.hindrances);
    let so_far = dials.load(Ordering::SeqCst);
    assert!(so_far >= 5, "{so_far} dials");
    let deadline = Instant::now() + TIMEOUT;
    while dials.load(Ordering::SeqCst) < so_far + 2 {
        assert!(Instant::now() < deadline, "it does not dial any more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*initiator.hindrances.lock().unwrap(), [finding], "told once");
    initiator.stays_unmoved(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_only_one_stream() {
    let responder = start(None);
    let client = client();
    let connection = connect(&client, responder.local).await;
    let (_initiator, m1) = first_message(GUESS, &binding(&connection));
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    for answered in [false, true] {
        if answered {
            send.write_all(&m1).await.unwrap();
            recv.read_exact(&mut [0; M2_LEN]).await.unwrap();
        }
        let second = tokio::time::timeout(MOMENT, connection.open_bi());
        let uni = tokio::time::timeout(MOMENT, connection.open_uni());
        let (second, uni) = tokio::join!(second, uni);
        assert!(second.is_err(), "a second stream, answered: {answered}");
        assert!(uni.is_err(), "a unidirectional stream, answered: {answered}");
        // The connection keeps the last of them, and no task reads it.
        assert!(
            connection.max_datagram_size().is_none_or(|most| most <= 9 << 10),
            "large datagrams"
        );
        assert_eq!(connection.close_reason(), None);
    }
    responder.stays_unmoved(0).await;
}

/// Slow: waits for the handshake deadline of ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_ends_at_the_deadline() {
    let responder = start(None);
    let client = client();
    let begun = Instant::now();
    let (mute, halting, hiding) = (
        connect(&client, responder.local).await,
        connect(&client, responder.local).await,
        connect(&client, responder.local).await,
    );
    let (_, m1) = first_message(GUESS, &binding(&halting));
    let (mut send, _recv) = halting.open_bi().await.unwrap();
    send.write_all(&m1[..M1_LEN / 2]).await.unwrap();
    let (_, m1) = first_message(GUESS, &binding(&hiding));
    let (mut send_m1, mut recv) = hiding.open_bi().await.unwrap();
    send_m1.write_all(&m1).await.unwrap();
    recv.read_exact(&mut [0; M2_LEN]).await.unwrap();
    for (what, connection) in [("no stream", mute), ("half of M1", halting), ("no M3", hiding)] {
        assert_eq!(closed(&connection).await, refusal(), "{what}");
        let after = begun.elapsed();
        assert!((9..14).contains(&after.as_secs()), "{what}: closed after {after:?}");
    }
    assert_eq!(rest(&mut recv).await, b"");
    responder.stays_unmoved(0).await;
}

/// Datagrams that resemble QUIC more or less, from a fixed seed.
fn garbage() -> impl Iterator<Item = Vec<u8>> {
    let mut noise = Noise::new();
    (0..3000).map(move |n| {
        let length = noise.below(1500);
        let mut datagram = noise.bytes(length);
        match (n % 4, datagram.get_mut(..5)) {
            // An Initial of version 1, one of an unknown version, and a short header.
            (1, Some(head)) => head.copy_from_slice(&[0xc3, 0, 0, 0, 1]),
            (2, Some(head)) => head.copy_from_slice(&[0xc3, 0x1a, 0x2a, 0x3a, 0x4a]),
            (3, Some(head)) => head[0] = 0x40 | head[0] & 0x3f,
            _ => {}
        }
        datagram
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_datagrams_do_not_disturb_a_session() {
    let mut responder = start(None);
    let mut initiator = start(Some(responder.local));
    let (at_responder, mut heard) = responder.session().await;
    let (at_initiator, _control) = initiator.session().await;
    assert_eq!(at_responder.id(), at_initiator.id());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (n, datagram) in garbage().enumerate() {
        // ICMP errors on this socket do not matter.
        let _ = socket.send_to(&datagram, responder.local).await;
        let _ = socket.send_to(&datagram, initiator.local).await;
        if n % 100 == 0 {
            let message = Control::Backlog { files: n as u64, bytes: 1 };
            at_initiator.tell(&message).await.unwrap();
            let arrived = tokio::time::timeout(TIMEOUT, heard.recv()).await.expect("heard in time");
            assert_eq!(arrived, Some(message));
        }
    }
    assert!(
        tokio::time::timeout(MOMENT, at_responder.closed()).await.is_err(),
        "the session ended"
    );
    responder.stays_unmoved(0).await;
    initiator.stays_unmoved(0).await;
}
