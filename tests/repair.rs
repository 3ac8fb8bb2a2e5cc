//! What a lossy link loses is made again by the receiver: real endpoints on loopback, with a link
//! between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's own helpers

mod harness;

use harness::relay::Relay;
use rft::config::{Bind, Config, Congestion, PeerAddress};
use rft::crypto::handshake::PeerId;
use rft::crypto::password::PasswordKey;
use rft::crypto::seal::RecordKind;
use rft::event::EventSink;
use rft::peering::connector;
use rft::proto::message::InstallationId;
use rft::session::installation::Identity;
use rft::session::{ControlReceiver, Session};
use rft::transport::endpoint::Endpoint;
use rft::transport::fec::Fec;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::sync::mpsc;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Of a file; four go into four packets.
const RECORD: usize = 1100;
const RECORDS: u8 = 4;

struct Peer {
    sessions: mpsc::Receiver<(Session, ControlReceiver)>,
    fec: Fec,
}

fn start(local: SocketAddr, peer: Option<SocketAddr>, congestion: Congestion) -> Peer {
    let dials = u8::from(peer.is_some());
    let peer = peer.map(|peer| PeerAddress { host: peer.ip().to_string(), port: peer.port() });
    let mut config = Config::new(peer, local.port(), "unused");
    config.bind = Some(Bind { addr: local.ip(), port: Some(local.port()) });
    config.congestion = congestion;
    let (adopted, sessions) = mpsc::channel(1);
    let endpoint = Endpoint::open(&config).unwrap();
    let fec = endpoint.fec.clone();
    let process = PeerId::random(&mut rand::rngs::SysRng).unwrap();
    // The same for all that dial, so that one of them may take another's place.
    let own = Identity { process, installation: InstallationId([dials; 16]) };
    tokio::spawn(async move {
        let key = PasswordKey::from_bytes([1; 32]);
        connector::run(&endpoint, &config, key, own, EventSink::none(), adopted).await
    });
    Peer { sessions, fec }
}

impl Peer {
    async fn session(&mut self) -> (Session, ControlReceiver) {
        tokio::time::timeout(TIMEOUT, self.sessions.recv())
            .await
            .expect("a session in time")
            .unwrap()
    }
}

/// The sessions on which both are: a busy machine, or the loss, may have them begin anew.
async fn settle(
    initiator: &mut Peer,
    host: &mut Peer,
) -> ((Session, ControlReceiver), (Session, ControlReceiver)) {
    let (mut from, mut to) = tokio::join!(initiator.session(), host.session());
    while from.0.id() != to.0.id() {
        tokio::select! {
            newer = initiator.session() => from = newer,
            newer = host.session() => to = newer,
        }
    }
    (from, to)
}

/// One file as small files are sent: what is written is all that there is to send. `None` if the
/// session ended meanwhile.
async fn cross(from: &Session, to: &Session) -> Option<()> {
    let (mut writer, _answers) = from.open_file().await.ok()?;
    for n in 0..RECORDS {
        writer.send(RecordKind::Data, |out| out.extend_from_slice(&[n; RECORD])).await.ok()?;
    }
    let (_answer, mut reader) = to.accept_file().await.ok()?;
    for n in 0..RECORDS {
        let (kind, plaintext) = reader.next(RECORD).await.ok()?;
        assert_eq!((kind, &plaintext[..]), (RecordKind::Data, &[n; RECORD][..]));
    }
    Some(())
}

/// Sends files over a link that loses every twentieth packet, until the receiver made one again or
/// `most` have crossed; how many it made.
async fn made_again(congestion: Congestion, most: u32) -> u64 {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (at, bt) =
        (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 2], port)));
    let link = Relay::start(1, at, bt);
    link.edit_both(|line| (line.loss, line.delay) = (0.05, Duration::from_millis(20)));
    let mut host = start(bt, None, Congestion::Bbr);
    let mut initiator = start(at, Some(link.facing_a()), congestion);
    let (mut from, mut to) = settle(&mut initiator, &mut host).await;
    for _ in 0..most {
        if host.fec.recovered_count() > 0 {
            break;
        }
        let crossed =
            tokio::time::timeout(TIMEOUT, cross(&from.0, &to.0)).await.expect("a file in time");
        if crossed.is_none() {
            (from, to) = settle(&mut initiator, &mut host).await;
        }
    }
    host.fec.recovered_count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lossy_link_loses_is_made_again() {
    assert!(made_again(Congestion::Bbr, 1000).await > 0);
}

/// quinn's controller tells nothing of the path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_cubic_nothing_is_repaired() {
    assert_eq!(made_again(Congestion::Cubic, 60).await, 0);
}
