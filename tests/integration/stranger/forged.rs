//! Connections that end as no honest peer ends them: in the first packet, which anyone can forge,
//! in the handshake, and through an off-path observer. Each is only a lost connection.

use super::{KEY, MOMENT, connect, start};
use crate::harness::connector::{Peer, TIMEOUT};
use crate::harness::forge::{Forgery, application_close, first_packet, transport_close, varint};
use crate::harness::peer::{PASSWORD, Pair};
use crate::harness::raw::{Noise, binding, client, first_message};
use crate::harness::relay::{BOTH, Relay, Side, Way};
use quinn::VarInt;
use rft::hindrance::{Finding, Hindrance};
use rft::internals::crypto::handshake::{M1_LEN, M2_LEN, PeerId};
use rft::internals::crypto::password::PasswordKey;
use rft::internals::proto::message::Settings;
use rft::internals::session::guess_limit::{GuessLimit, RefillRate};
use rft::internals::session::handshake::{as_initiator, as_responder};
use rft::internals::session::{ControlReceiver, Session};
use rft::internals::transport::close_code::CloseCode;
use rft::internals::transport::tls;
use rft::internals::transport::tls::{ALPN, SERVER_NAME};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// All codes of this protocol, three unassigned ones, one that is a TLS alert, and the largest.
fn codes() -> impl Iterator<Item = u64> {
    (0..=11).chain([0x178, (1 << 62) - 1])
}

/// Control characters that a terminal or a log reader would interpret.
const REASON: &[u8] =
    b"forged\n2026-01-01T00:00:00Z  INFO rft: forged\x1b[2J\x1b]0;forged\x07\xc2\x9b\xe2\x80\xae";

/// First packets that close the connection they open, or hold any other frame.
fn hostile_first_packets() -> Vec<Vec<u8>> {
    let mut noise = Noise::new();
    let mut frames: Vec<_> = codes()
        .flat_map(|code| [application_close(code, REASON), transport_close(code, REASON)])
        .collect();
    // Every frame type, with a body of zeros and of noise, alone and after a PING.
    for kind in (0..=0x40).chain([0x4000, (1 << 62) - 1]) {
        let body = noise.bytes(40);
        frames.push([varint(kind), vec![0; 40]].concat());
        frames.push([&[1], &varint(kind)[..], &body].concat());
    }
    frames.iter().zip(1..).map(|(frames, id)| first_packet(id, frames)).collect()
}

/// Sends first packets, each from another port, no faster than they are answered.
fn sends(packets: &[Vec<u8>], to: SocketAddr) {
    let ports: Vec<_> = (0..32).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (packet, port) in packets.iter().zip(ports.iter().cycle()) {
        port.send_to(packet, to).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// An honest peer gets a session there.
async fn lets_its_peer_in(responder: &mut Peer) {
    let mut initiator = start(Some(responder.local));
    let (at_initiator, at_responder) = tokio::join!(initiator.session(), responder.session());
    assert_eq!(at_initiator.0.id(), at_responder.0.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_first_packet_ends_a_peer_or_counts_as_a_guess() {
    // One peer that listens, and one that dials an address without a listener.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut responder, dialler) = (start(None), start(Some(nobody.local_addr().unwrap())));
    let packets = hostile_first_packets();
    for peer in [&responder, &dialler] {
        let (packets, to) = (packets.clone(), peer.local);
        // Most packets find all slots taken. Therefore three rounds, in each of which another code
        // comes first.
        for round in 0..3 {
            let mut packets = packets.clone();
            packets.rotate_left(round * 5);
            tokio::task::spawn_blocking(move || sends(&packets, to)).await.unwrap();
            tokio::time::sleep(MOMENT).await;
        }
        drop(packets);
    }
    assert!(!responder.run.is_finished() && !dialler.run.is_finished());
    lets_its_peer_in(&mut responder).await;
    for peer in [responder, dialler] {
        assert_eq!(peer.auth_failures.load(Ordering::SeqCst), 0);
        peer.stays_unmoved(0).await;
    }
}

/// Each code alone, at a peer with a free slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_first_packet_with_any_code_is_a_lost_connection() {
    let mut responders = Vec::new();
    for (code, id) in codes().zip(1000..) {
        let responder = start(None);
        for frames in [application_close(code, REASON), transport_close(code, REASON)] {
            UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .send_to(&first_packet(id, &frames), responder.local)
                .unwrap();
        }
        responders.push(responder);
    }
    tokio::time::sleep(MOMENT).await;
    for responder in responders {
        responder.stays_unmoved(0).await;
    }
}

/// An initiator that finishes TLS and closes before M1, after it, or after M2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_initiator_that_closes_with_any_code_is_a_lost_connection() {
    let client = client();
    for code in codes() {
        let responder = start(None);
        for phase in 0..3 {
            let connection = connect(&client, responder.local).await;
            let (_initiator, m1) = first_message(KEY, &binding(&connection));
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            if phase > 0 {
                send.write_all(&m1).await.unwrap();
            }
            if phase > 1 {
                recv.read_exact(&mut [0; M2_LEN]).await.unwrap();
            }
            connection.close(VarInt::from_u64(code).unwrap(), REASON);
        }
        responder.stays_unmoved(0).await;
    }
}

/// A responder that closes once TLS is up, or after M1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_responder_that_closes_before_the_proof_is_a_lost_connection() {
    let mut initiators = Vec::new();
    for code in codes() {
        for after_m1 in [false, true] {
            let tls = tls::configure().unwrap();
            let server = quinn::ServerConfig::with_crypto(tls.server);
            let server =
                quinn::Endpoint::server(server, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let initiator = start(Some(server.local_addr().unwrap()));
            let closed = async {
                loop {
                    let Ok(connection) = server.accept().await.unwrap().await else { continue };
                    if after_m1 {
                        let Ok((_, mut recv)) = connection.accept_bi().await else { continue };
                        if recv.read_exact(&mut [0; M1_LEN]).await.is_err() {
                            continue;
                        }
                    }
                    connection.close(VarInt::from_u64(code).unwrap(), REASON);
                    return;
                }
            };
            tokio::time::timeout(TIMEOUT, closed).await.expect("a dial in time");
            initiators.push((initiator, server));
        }
    }
    tokio::time::sleep(MOMENT).await;
    for (initiator, _server) in initiators {
        initiator.stays_unmoved(0).await;
    }
}

/// An off-path observer that answers each first packet before the responder can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgeries_of_an_off_path_observer_end_no_dial() {
    let mut all = tokio::task::JoinSet::new();
    for forgery in
        [Forgery::Authentication, Forgery::KeysRefused, Forgery::Alert, Forgery::Versions]
    {
        all.spawn(dials_until_nobody_forges(forgery));
    }
    all.join_all().await;
}

async fn dials_until_nobody_forges(forgery: Forgery) {
    let mut responder = start(None);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let link = Relay::start(1, nobody, responder.local);
    link.edit(Way::AToB, |line| line.forgery = Some(forgery.answer()));
    let mut initiator = start(Some(link.facing_a()));
    link.replace(Side::A, initiator.local);
    if matches!(forgery, Forgery::Authentication | Forgery::KeysRefused) {
        until(|| link.counts(Way::AToB).forged >= 6, &initiator).await;
        assert_eq!(initiator.warnings.lock().unwrap().len(), 0, "{forgery:?}");
    } else {
        let finding = Finding { hindrance: Hindrance::OtherVersion, address: link.facing_a() };
        assert!(initiator.is_told_within(TIMEOUT, finding).await, "{forgery:?}");
    }
    link.edit(Way::AToB, |line| line.forgery = None);
    let (at_initiator, _at_responder) =
        soon(&mut initiator, &mut responder, forgery, "first").await;

    // The same after a session: the forgery does not delay the next dial by half a minute either.
    link.cut(&BOTH);
    link.edit(Way::AToB, |line| line.forgery = Some(forgery.answer()));
    at_initiator.0.close(CloseCode::Goodbye);
    let forged = link.counts(Way::AToB).forged;
    until(|| link.counts(Way::AToB).forged >= forged + 3, &initiator).await;
    link.edit(Way::AToB, |line| line.forgery = None);
    link.restore();
    let (again, _) = soon(&mut initiator, &mut responder, forgery, "again").await;
    assert_ne!(again.0.id(), at_initiator.0.id());
    assert!(!initiator.run.is_finished() && !responder.run.is_finished());
    for peer in [initiator, responder] {
        assert_eq!(peer.auth_failures.load(Ordering::SeqCst), 0, "{forgery:?}");
    }
}

type Sides = ((Session, ControlReceiver), (Session, ControlReceiver));

/// The next session begins soon, without a pause.
async fn soon(initiator: &mut Peer, responder: &mut Peer, forgery: Forgery, which: &str) -> Sides {
    let both = async { (initiator.session().await, responder.session().await) };
    let both = tokio::time::timeout(Duration::from_secs(5), both).await;
    both.unwrap_or_else(|_| panic!("{forgery:?}: no session came ({which})"))
}

async fn until(is_so: impl Fn() -> bool, peer: &Peer) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(!peer.run.is_finished(), "the peer ended");
        assert!(Instant::now() < deadline, "it does not come to that");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// QUIC keeps a closed connection, some 20 kB, for a few round trips, and the connection keeps its
/// slot until then. A first packet that closes its connection creates none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_held_until_quic_has_let_go_of_the_connection() {
    /// The slots for strangers, and two connections that end while they are counted.
    const MAX_SENT: usize = 8 + 2;
    let mut responder = start(None);
    let (quic, to) = (responder.quic.clone(), responder.local);
    let packets: Vec<_> =
        (0..3000).map(|id| first_packet(id, &application_close(0, b""))).collect();
    let flood = tokio::task::spawn_blocking(move || sends(&packets, to));
    let mut most = 0;
    while !flood.is_finished() {
        most = most.max(quic.open_connections());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(most, 0, "connections of packets that only close one");
    // Many finished handshakes that are closed at once.
    let mut closers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        closers.spawn(async move {
            let (client, begun, mut closed) = (client(), Instant::now(), 0);
            while begun.elapsed() < Duration::from_secs(3) {
                let connecting = client.connect(to, SERVER_NAME).unwrap();
                if let Ok(Ok(connection)) = tokio::time::timeout(MOMENT, connecting).await {
                    connection.close(0u32.into(), b"");
                    closed += 1;
                }
            }
            closed
        });
    }
    let mut closed = 0;
    while !closers.is_empty() {
        most = most.max(quic.open_connections());
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(done) = closers.try_join_next() {
            closed += done.unwrap();
        }
    }
    assert!((1..=MAX_SENT).contains(&most), "{most} connections at once");
    assert!(closed >= 40, "only {closed} got in");
    // All slots become free again.
    lets_its_peer_in(&mut responder).await;
    let deadline = Instant::now() + TIMEOUT;
    while quic.open_connections() > 1 {
        assert!(Instant::now() < deadline, "{} connections are left", quic.open_connections());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A peer that knows the password may receive nothing (protocol.md section 4.5). Neither that nor
/// its sudden end changes anything for the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_grants_no_stream_ends_nothing() {
    let mut responder = start(None);
    let client = client();
    let connection = connect(&client, responder.local).await;
    let settings = |_| Settings::default();
    let (key, sent) = (PasswordKey::from_bytes(KEY), AtomicBool::new(false));
    let done = as_initiator(connection.clone(), &key, PeerId([0; 16]), &sent, settings).await;
    drop(done.unwrap());
    connection.close(CloseCode::Protocol.var_int(), b"");
    lets_its_peer_in(&mut responder).await;
    responder.stays_unmoved(0).await;
}

/// Names in certificates mean nothing (protocol.md section 1), so a certificate without a name is
/// valid too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_without_a_name_is_accepted() {
    let made = rcgen::generate_simple_self_signed(Vec::<String>::new()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut crypto = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key.into())
    .unwrap();
    crypto.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(crypto).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let nameless = quinn::Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let _initiator = start(Some(nameless.local_addr().unwrap()));
    let authenticated = async {
        let connection = nameless.accept().await.unwrap().await.unwrap();
        let (key, own) = (PasswordKey::from_bytes(KEY), PeerId([0; 16]));
        let guesses = Mutex::new(GuessLimit::new(RefillRate::Unknown, Instant::now()));
        let settings = |_| Settings { streams: 1, ..Settings::default() };
        as_responder(connection, &key, own, &guesses, settings).await.map(drop)
    };
    tokio::time::timeout(TIMEOUT, authenticated).await.expect("in time").unwrap();
}

/// The real program never shows the reason phrases of strangers, neither those in first packets nor
/// those inside TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reason_phrase_is_shown() {
    let pair = Pair::new();
    let port = pair.a.port.to_string();
    // Without the options of the harness: messages for people, and the log on the terminal.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rft"));
    command.args(["-vv", "--bind", &pair.a.bind, "--dir"]).arg(&pair.a.dir).args(["listen", &port]);
    command.env("RFT_PASSWORD", PASSWORD);
    let running = crate::harness::peer::Running::spawn(command);
    let (at, log) =
        (SocketAddr::from(([127, 0, 0, 1], pair.a.port)), pair.a.state().join("rft.log"));
    let deadline = Instant::now() + TIMEOUT;
    let told = |text: &str| text.matches("an incoming connection was not accepted").count();
    let so_far = || told(&fs::read_to_string(&log).unwrap_or_default());
    let client = client();
    for n in 1.. {
        let connecting = client.connect(at, SERVER_NAME).unwrap();
        // The program may not listen yet.
        let Ok(Ok(connection)) = tokio::time::timeout(MOMENT, connecting).await else {
            assert!(Instant::now() < deadline, "it does not listen");
            continue;
        };
        connection.close(VarInt::from_u32(CloseCode::KeysRefused as u32), REASON);
        for frames in [application_close(0, REASON), transport_close(0x178, REASON)] {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&first_packet(n, &frames), at).unwrap();
        }
        break;
    }
    while so_far() < 1 {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(MOMENT).await;
    let (_, screen) = tokio::task::spawn_blocking(move || running.killed()).await.unwrap();
    let log = fs::read_to_string(&log).unwrap();
    assert!(told(&screen) >= 1, "{screen:?}");
    for text in [&log, &screen] {
        assert!(!text.contains("forged"), "{text:?}");
        assert_eq!(text.chars().find(|c| c.is_control() && *c != '\n'), None, "{text:?}");
    }
}
