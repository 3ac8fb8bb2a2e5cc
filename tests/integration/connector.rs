//! Peers that must find each other, or must not: real endpoints on loopback.

mod client_hello;
mod installations;

use crate::harness::MEASURING;
use crate::harness::connector::{self, Peer, TIMEOUT, settle};
use crate::harness::peer::free_port;
use crate::harness::relay::{BOTH, Relay, Side, Way};
use rft::config::PeerAddress;
use rft::internals::crypto::EXPORTER_LABEL;
use rft::internals::crypto::handshake::{ChannelBinding, M1_LEN, M3_LEN, PeerId, Responder};
use rft::internals::crypto::password::PasswordKey;
use rft::internals::peering::Fatal;
use rft::internals::proto::message::Control;
use rft::internals::transport::tls;
use std::net::SocketAddr;
use std::time::Duration;

fn start(local: SocketAddr, peer: Option<SocketAddr>, key: [u8; 32]) -> Peer {
    connector::start(connector::config(local, peer), key)
}

fn pair() -> (SocketAddr, SocketAddr) {
    let a = SocketAddr::from(([127, 0, 0, 1], free_port()));
    (a, SocketAddr::from(([127, 0, 0, 2], a.port())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_start_together_agree_on_one_session() {
    for _ in 0..10 {
        let (at, bt) = pair();
        let (mut a, mut b) = (start(at, Some(bt), [1; 32]), start(bt, Some(at), [1; 32]));
        let (sa, mut sb) = settle(&mut a, &mut b).await;
        assert_ne!(sa.0.role(), sb.0.role());
        sa.0.tell(&Control::Backlog { files: 3, bytes: 4 }).await.unwrap();
        let heard = tokio::time::timeout(TIMEOUT, sb.1.recv()).await.unwrap();
        assert_eq!(heard, Some(Control::Backlog { files: 3, bytes: 4 }));
        // No second session shows up while both dials end.
        let more = tokio::time::timeout(Duration::from_millis(300), a.sessions.recv()).await;
        assert!(more.is_err(), "a second session replaced the first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_found_whenever_it_starts() {
    let (at, bt) = pair();
    let mut dialler = start(at, Some(bt), [1; 32]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut listener = start(bt, None, [1; 32]);
    let (s, l) = settle(&mut dialler, &mut listener).await;
    assert_eq!(s.0.remote_address(), listener.local);
    assert_eq!(l.0.remote_address(), dialler.local);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_takes_over_at_once() {
    let (at, bt) = pair();
    let mut listener = start(at, None, [1; 32]);
    let mut first = start(bt, Some(at), [1; 32]);
    let (old, _) = settle(&mut listener, &mut first).await;
    // The first peer vanishes without a message; another process of it dials from another address.
    let elsewhere = SocketAddr::from(([127, 0, 0, 3], free_port()));
    let mut second = start(elsewhere, Some(at), [1; 32]);
    let (new, theirs) = settle(&mut listener, &mut second).await;
    assert_eq!(new.0.id(), theirs.0.id());
    let reason = tokio::time::timeout(Duration::from_secs(2), old.0.closed())
        .await
        .expect("the old session ends");
    assert_eq!(reason, rft::status::SessionEnd::Superseded);
}

/// A peer that is killed during a handshake and restarted connects again before the deadline of the
/// old handshake (10 s).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_handshake_is_restarted() {
    let (at, bt) = pair();
    let link = Relay::start(1, at, bt);
    link.edit_both(|line| line.delay = Duration::from_millis(100));
    let (_first, mut second) = (start(bt, None, [1; 32]), start(pair().1, None, [1; 32]));
    let mut dialler = start(at, Some(link.facing_a()), [1; 32]);
    // The connection is almost established. Its first message reaches another process.
    let begun = tokio::time::Instant::now();
    while link.counts(Way::BToA).delivered_packets == 0 {
        assert!(begun.elapsed() < TIMEOUT, "no answer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    link.replace(Side::B, second.local);
    let replaced = tokio::time::Instant::now();
    settle(&mut dialler, &mut second).await;
    let took = replaced.elapsed();
    assert!(took < Duration::from_secs(8), "a session came only after {took:?}");
}

/// Everything that a responder holds for one initiator. The tests drop none of it: the end of a
/// stream or connection would be an answer.
struct Open {
    _connection: quinn::Connection,
    _streams: (quinn::SendStream, quinn::RecvStream),
}

/// On a long path a new session probes the path while it has nothing to send, and is quiet
/// afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_probes_a_long_path_once() {
    let (at, bt) = pair();
    let link = Relay::start(1, at, bt);
    link.edit_both(|line| line.delay = Duration::from_millis(100));
    let mut responder = start(bt, None, [1; 32]);
    let mut initiator = start(at, Some(link.facing_a()), [1; 32]);
    let _sessions = settle(&mut initiator, &mut responder).await;
    let bytes = || [Way::AToB, Way::BToA].map(|way| link.counts(way).bytes);
    let (begun, deadline) = (bytes(), tokio::time::Instant::now() + TIMEOUT);
    let looked = || bytes().into_iter().zip(begun).all(|(now, begun)| now - begun > 80_000);
    let mut last = bytes();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = bytes();
        // Only keep-alives remain.
        let quiet = now.into_iter().zip(last).all(|(now, last)| now - last < 5_000);
        if quiet && looked() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{begun:?}, {last:?}, {now:?}");
        last = now;
    }
    assert!(
        last.into_iter().zip(begun).all(|(now, begun)| now - begun < 250_000),
        "{begun:?}, {last:?}"
    );
}

/// Bytes of the headers of IPv4 and UDP.
const HEADERS: usize = 28;
/// MTUs of a path: the smallest that QUIC runs on, common ones, those around the old limit of a
/// datagram (2,048 bytes), and jumbo frames.
const MTUS: [usize; 20] = [
    1280, 1281, 1400, 1492, 1500, 1501, 1600, 2000, 2047, 2048, 2076, 2083, 2084, 2106, 2200, 2304,
    3000, 4352, 8999, 9000,
];

/// Starts two peers over a link with a round-trip time of 30 ms that drops packets larger than
/// `mtus` (A to B, B to A), and waits until both have probed the path. Returns an error that
/// describes what failed.
async fn probe_at(mtus: [usize; 2]) -> Result<(), String> {
    let (at, bt) = pair();
    let link = Relay::start(1, at, bt);
    for (way, mtu) in BOTH.into_iter().zip(mtus) {
        link.edit(way, |line| {
            (line.delay, line.largest) = (Duration::from_millis(15), mtu - HEADERS)
        });
    }
    let mut responder = start(bt, None, [1; 32]);
    let mut initiator = start(at, Some(link.facing_a()), [1; 32]);
    let ((at_initiator, mut initiator_hears), (at_responder, mut responder_hears)) =
        settle(&mut initiator, &mut responder).await;
    let bytes = || [Way::AToB, Way::BToA].map(|way| link.counts(way).bytes);
    let (begun, deadline) = (bytes(), tokio::time::Instant::now() + TIMEOUT);
    let mut last = begun;
    loop {
        tokio::select! {
            reason = at_initiator.closed() => return Err(format!("the initiator lost the session: {reason}")),
            reason = at_responder.closed() => return Err(format!("the responder lost the session: {reason}")),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        let now = bytes();
        let quiet = now.into_iter().zip(last).all(|(now, last)| now - last < 5_000);
        if quiet && now.into_iter().zip(begun).all(|(now, begun)| now - begun > 60_000) {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("the probe does not end: {begun:?}, {last:?}, {now:?}"));
        }
        last = now;
    }
    for (from, to) in [(&at_initiator, &mut responder_hears), (&at_responder, &mut initiator_hears)]
    {
        let message = Control::Backlog { files: 5, bytes: 6 };
        from.tell(&message).await.map_err(|error| error.to_string())?;
        let heard = tokio::time::timeout(TIMEOUT, to.recv()).await;
        if heard != Ok(Some(message)) {
            return Err(format!("a message did not arrive: {heard:?}"));
        }
    }
    Ok(())
}

/// The path probe of an idle session does not end it on any path: with equal MTUs, with different
/// ones, and with a smaller MTU of a link in the middle, which drops the packet, as the relay does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_holds_on_a_path_of_any_mtu() {
    let equal = MTUS.map(|mtu| [mtu, mtu]);
    let unequal =
        [[1280, 9000], [9000, 1280], [1500, 9000], [9000, 2100], [2084, 2083], [4352, 9000]];
    for part in [&equal[..], &unequal].concat().chunks(9) {
        let mut paths = tokio::task::JoinSet::new();
        for mtus in part.iter().copied() {
            paths.spawn(async move { (mtus, probe_at(mtus).await) });
        }
        let ended: Vec<_> =
            paths.join_all().await.into_iter().filter(|(_, result)| result.is_err()).collect();
        assert!(ended.is_empty(), "MTU from A to B, from B to A, and the failure: {ended:#?}");
    }
}

/// Serves initiators as a responder with this key until one of them has sent its proof.
async fn until_proof(responder: &quinn::Endpoint, key: [u8; 32]) -> Open {
    // The initiator continues only one of several overlapping attempts. The others may never end.
    let mut tries = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Some(incoming) = responder.accept() => {
                tries.spawn(async move {
                    let connection = incoming.await.ok()?;
                    proof(&connection, key).await.map(|_streams| Open { _connection: connection, _streams })
                });
            }
            Some(done) = tries.join_next() => {
                if let Ok(Some(open)) = done {
                    return open;
                }
            }
        }
    }
}

async fn proof(
    connection: &quinn::Connection,
    key: [u8; 32],
) -> Option<(quinn::SendStream, quinn::RecvStream)> {
    let rng = &mut rand::rngs::SysRng;
    let (mut send, mut recv) = connection.accept_bi().await.ok()?;
    let mut exported = [0; 96];
    connection.export_keying_material(&mut exported, EXPORTER_LABEL, b"").unwrap();
    let mut m1 = [0; M1_LEN];
    recv.read_exact(&mut m1).await.ok()?;
    let (key, binding) = (PasswordKey::from_bytes(key), ChannelBinding::from_exporter(&exported));
    let (_, m2) = Responder::on_m1(&key, &binding, PeerId::random(rng).unwrap(), &m1, rng).unwrap();
    send.write_all(&m2).await.ok()?;
    recv.read_exact(&mut [0; M3_LEN]).await.ok()?;
    Some((send, recv))
}

/// A link that is cut each time the initiator has just sent its proof says nothing about the
/// password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_die_after_the_proof_are_no_wrong_password() {
    let _alone = MEASURING.lock().await;
    let (at, bt) = pair();
    let link = Relay::start(1, at, bt);
    let dying = quinn::Endpoint::server(
        quinn::ServerConfig::with_crypto(tls::configure().unwrap().server),
        bt,
    );
    let dying = dying.unwrap();
    let mut dialler = start(at, Some(link.facing_a()), [1; 32]);
    // The responder stays silent to the end: a close or a finished stream would be a different
    // case.
    let mut silent = Vec::new();
    for n in 0..3 {
        let proof = tokio::time::timeout(TIMEOUT, until_proof(&dying, [1; 32])).await;
        silent.push(proof.unwrap_or_else(|_| panic!("no proof {n}")));
        link.cut(&BOTH);
        // Long enough for the initiator to give up. The next dial follows; its first packet has
        // 1,200 bytes.
        tokio::time::sleep(Duration::from_millis(3500)).await;
        let before = link.counts(Way::AToB).bytes;
        let begun = tokio::time::Instant::now();
        while link.counts(Way::AToB).bytes < before + 1200 {
            if dialler.run.is_finished() {
                panic!("it gives up after {n}: {:?}", dialler.ends().await);
            }
            assert!(begun.elapsed() < TIMEOUT, "it does not dial after {n}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        link.restore();
    }
    let mut responder = start(pair().1, None, [1; 32]);
    link.replace(Side::B, responder.local);
    settle(&mut dialler, &mut responder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_as_such() {
    let (at, bt) = pair();
    let mut responder = start(at, None, [1; 32]);
    let initiator = start(bt, Some(at), [2; 32]);
    assert!(
        matches!(initiator.ends().await, Fatal::WrongPassword { peer } if peer == responder.local)
    );
    assert!(responder.sessions.try_recv().is_err());
    assert!(!responder.run.is_finished(), "the responder goes on serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_exit_on_auth_failure_a_wrong_password_stops_the_responder() {
    let (at, bt) = pair();
    let mut config = connector::config(at, None);
    config.exit_on_auth_failure = true;
    let responder = connector::start(config, [1; 32]);
    let initiator = start(bt, Some(at), [2; 32]);
    assert!(matches!(responder.ends().await, Fatal::InitiatorRefused { .. }));
    drop(initiator);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_dials_itself_stops() {
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let peer = start(at, Some(at), [1; 32]);
    assert!(matches!(peer.ends().await, Fatal::Itself { peer } if peer == at));
}

/// Over another address, as behind a NAT that leads back. An attacker on the path could also have
/// caused this, so the peer goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_redirected_to_itself_goes_on() {
    let (at, _) = pair();
    let link = Relay::start(1, at, at);
    let mut peer = start(at, Some(link.facing_a()), [1; 32]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(peer.sessions.try_recv().is_err());
    assert!(!peer.run.is_finished());
    assert!(link.counts(Way::BToA).delivered_packets > 0, "no answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresolvable_peer_name_is_an_error() {
    let (at, _) = pair();
    let mut config = connector::config(at, None);
    config.peer = Some(PeerAddress { host: "no such host.invalid".into(), port: at.port() });
    let peer = connector::start(config, [1; 32]);
    assert!(
        matches!(peer.ends().await, Fatal::PeerAddress { host, .. } if host == "no such host.invalid")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_limited_and_the_configured_peer_still_connects() {
    let (at, bt) = pair();
    // The responder knows its peer's address. The strangers come from another one.
    let mut responder = start(at, Some(bt), [1; 32]);
    for n in 0..8 {
        let stranger = SocketAddr::from(([127, 0, 0, 9], free_port()));
        let guess = start(stranger, Some(at), [n + 2; 32]);
        let ended = tokio::time::timeout(Duration::from_secs(2), guess.run).await;
        match ended {
            Ok(result) => assert!(matches!(result.unwrap(), Err(Fatal::WrongPassword { .. }))),
            // Out of guesses: the responder tells it to come back later, so it waits.
            Err(_) => assert!(n >= 4, "guess {n} was told to come back later"),
        }
    }
    let mut honest = start(bt, Some(at), [1; 32]);
    let begun = std::time::Instant::now();
    settle(&mut responder, &mut honest).await;
    assert!(begun.elapsed() < Duration::from_secs(15));
}
