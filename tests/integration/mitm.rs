//! The man in the middle. Certificates prove nothing here, so an attacker on the path can terminate
//! TLS on both sides and forward the contents. The handshake is bound to the TLS connection, so it
//! must fail on both sides, although both know the password. Without such an attacker it must
//! succeed.

use crate::harness::connector::{self, ANY_PORT, Peer, TIMEOUT};
use rft::internals::crypto::handshake::{M1_LEN, M2_LEN, M3_LEN};
use rft::internals::peering::Fatal;
use rft::internals::transport::close_code::CloseCode;
use rft::internals::transport::tls;
use rft::internals::transport::tls::SERVER_NAME;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// The password key of both peers.
const KEY: [u8; 32] = [7; 32];

/// Starts a peer on a free port of loopback.
fn start(peer: Option<SocketAddr>) -> Peer {
    connector::start(connector::config(ANY_PORT, peer), KEY)
}

/// Connections and bytes that the relay forwarded.
#[derive(Default)]
struct Passed {
    connections: AtomicUsize,
    from_initiator: AtomicUsize,
    from_responder: AtomicUsize,
}

/// How the relay reacts when one of its two connections is closed.
#[derive(Clone, Copy, PartialEq)]
enum OnClose {
    /// It closes the other one with the same code.
    PassOn,
    /// It lets the other one fall silent and drops it without a reason.
    Swallow,
    /// It closes the other one with a code that makes the initiator dial again at once.
    Disguise,
}

/// Terminates TLS towards the initiator, opens a new TLS connection to the responder, and forwards
/// every byte of every stream. Returns the address to dial.
fn relay(responder: SocketAddr, on_close: OnClose) -> (SocketAddr, Arc<Passed>, AbortHandle) {
    let tls = tls::configure().unwrap();
    let mut endpoint = quinn::Endpoint::server(
        quinn::ServerConfig::with_crypto(tls.server),
        SocketAddr::from(([127, 0, 0, 1], 0)),
    )
    .unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(tls.client));
    let local = endpoint.local_addr().unwrap();
    let passed = Arc::new(Passed::default());
    let counters = passed.clone();
    let serving = tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let (endpoint, counters) = (endpoint.clone(), counters.clone());
            tokio::spawn(async move {
                let Ok(initiator) = incoming.await else { return };
                let Ok(responder) = endpoint.connect(responder, SERVER_NAME).unwrap().await else {
                    return;
                };
                counters.connections.fetch_add(1, Ordering::SeqCst);
                pass_streams(initiator, responder, counters, on_close).await;
            });
        }
    });
    (local, passed, serving.abort_handle())
}

async fn pass_streams(
    initiator: quinn::Connection,
    responder: quinn::Connection,
    passed: Arc<Passed>,
    on_close: OnClose,
) {
    loop {
        let (streams, other, from_initiator) = tokio::select! {
            Ok(streams) = initiator.accept_bi() => (streams, &responder, true),
            Ok(streams) = responder.accept_bi() => (streams, &initiator, false),
            reason = initiator.closed() => return end(&responder, &reason, on_close),
            reason = responder.closed() => return end(&initiator, &reason, on_close),
        };
        let Ok((there, back)) = other.open_bi().await else { return };
        let (forward, backward) = ((streams.1, there), (back, streams.0));
        tokio::spawn(copy(forward.0, forward.1, passed.clone(), from_initiator));
        tokio::spawn(copy(backward.0, backward.1, passed.clone(), !from_initiator));
    }
}

async fn copy(
    mut from: quinn::RecvStream,
    mut to: quinn::SendStream,
    passed: Arc<Passed>,
    from_initiator: bool,
) {
    let counter = if from_initiator { &passed.from_initiator } else { &passed.from_responder };
    while let Ok(Some(chunk)) = from.read_chunk(1 << 16, true).await {
        counter.fetch_add(chunk.bytes.len(), Ordering::SeqCst);
        if to.write_chunk(chunk.bytes).await.is_err() {
            return;
        }
    }
}

fn end(other: &quinn::Connection, reason: &quinn::ConnectionError, on_close: OnClose) {
    match reason {
        quinn::ConnectionError::ApplicationClosed(close) if on_close == OnClose::PassOn => {
            other.close(close.error_code, &close.reason);
        }
        _ if on_close == OnClose::Disguise => other.close(CloseCode::Duplicate.var_int(), b""),
        _ => other.close(CloseCode::Goodbye.var_int(), b""),
    }
}

async fn refused(initiator: Peer, responder: &mut Peer, relay: SocketAddr) {
    let Peer { mut sessions, run, auth_failures, .. } = initiator;
    let ended = tokio::time::timeout(TIMEOUT, run).await.expect("an end in time").unwrap();
    assert!(matches!(ended, Err(Fatal::WrongPassword { peer }) if peer == relay), "{ended:?}");
    assert_eq!(auth_failures.load(Ordering::SeqCst), 1);
    assert!(
        sessions.recv().await.is_none(),
        "the initiator got a session through the man in the middle"
    );
    assert!(
        responder.sessions.try_recv().is_err(),
        "the responder got a session through the man in the middle"
    );
    assert!(!responder.run.is_finished(), "the responder goes on serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attacker_that_ends_tls_on_both_sides_is_refused_by_both() {
    let mut responder = start(None);
    let (relay, passed, serving) = relay(responder.local, OnClose::PassOn);
    refused(start(Some(relay)), &mut responder, relay).await;
    responder.counts_auth_failures(1).await;
    // The relay carried M1, M2 and M3 whole. The responder did not answer M3.
    assert_eq!(passed.connections.load(Ordering::SeqCst), 1);
    assert_eq!(passed.from_initiator.load(Ordering::SeqCst), M1_LEN + M3_LEN);
    assert_eq!(passed.from_responder.load(Ordering::SeqCst), M2_LEN);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attacker_that_hides_the_refusal_gets_three_attempts() {
    let mut responder = start(None);
    let (relay, passed, serving) = relay(responder.local, OnClose::Swallow);
    refused(start(Some(relay)), &mut responder, relay).await;
    assert_eq!(passed.connections.load(Ordering::SeqCst), 3);
    // Three wrong guesses of one source within a minute are first reported once.
    responder.counts_auth_failures(1).await;
    assert_eq!(passed.from_responder.load(Ordering::SeqCst), 3 * M2_LEN);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attacker_that_disguises_the_refusal_gets_three_attempts() {
    let mut responder = start(None);
    let (relay, passed, serving) = relay(responder.local, OnClose::Disguise);
    refused(start(Some(relay)), &mut responder, relay).await;
    assert_eq!(passed.connections.load(Ordering::SeqCst), 3);
    serving.abort();
}

/// The control: forwarding packets without terminating TLS does no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_packets_without_ending_tls_does_no_harm() {
    let mut responder = start(None);
    let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(responder.local).await.unwrap();
    let relay = front.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut there, mut here) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut initiator = None;
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut there) => {
                    initiator = Some(from);
                    let _ = back.send(&there[..length]).await;
                }
                Ok(length) = back.recv(&mut here) => if let Some(initiator) = initiator {
                    let _ = front.send_to(&here[..length], initiator).await;
                },
            }
        }
    });
    let mut initiator = start(Some(relay));
    let both = async {
        (initiator.sessions.recv().await.unwrap(), responder.sessions.recv().await.unwrap())
    };
    let (at_initiator, at_responder) =
        tokio::time::timeout(TIMEOUT, both).await.expect("a session in time");
    assert_eq!(at_initiator.0.id(), at_responder.0.id());
    assert_eq!(at_initiator.0.remote_address(), relay);
    serving.abort();
}
