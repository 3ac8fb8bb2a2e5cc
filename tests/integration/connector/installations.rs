//! More than two installations (state folders) with one password: real endpoints, and whole
//! programs, on loopback.

use crate::harness::connector::{Peer, TIMEOUT, config, settle, start_as};
use crate::harness::files::names;
use crate::harness::peer::{Host, Running, free_port};
use rft::internals::crypto::handshake::PeerId;
use rft::internals::proto::message::InstallationId;
use rft::internals::session::installation::Identity;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Starts the `process` of an `installation` at 127.0.0.`host`. The host 1 listens, all others dial
/// it.
fn start(host: u8, port: u16, process: u8, installation: u8) -> Peer {
    let at = |host| SocketAddr::from(([127, 0, 0, host], port));
    let own = Identity {
        process: PeerId([process; 16]),
        installation: InstallationId([installation; 16]),
    };
    start_as(own, config(at(host), (host != 1).then(|| at(1))), [1; 32])
}

/// The next warning to the user of this peer contains this text.
async fn is_told(peer: &Peer, text: &str) {
    assert!(peer.is_warned_within(TIMEOUT, |_| true).await, "not told: {text}");
    let told = peer.warnings.lock().unwrap().remove(0);
    assert!(told.contains(text), "{told}");
}

/// The process with the greater ID decides which connection becomes the session. Each of the three
/// is the greatest in turn.
const PROCESSES: [[u8; 2]; 4] = [[1, 2], [1, 8], [9, 2], [9, 8]];
const LISTENER: u8 = 5;
const RESPONDER_2: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_installation_is_refused_whichever_id_is_greatest() {
    for [first, second] in PROCESSES {
        let port = free_port();
        let mut at = start(1, port, LISTENER, 1);
        let mut a = start(2, port, first, 2);
        let held = settle(&mut at, &mut a).await;
        let mut b = start(3, port, second, 3);
        is_told(&b, "has a session with another installation").await;
        is_told(&at, "is another installation").await;
        assert!(b.sessions.try_recv().is_err(), "{first}, {second}");
        assert!(at.sessions.try_recv().is_err(), "{first}, {second}");
        drop(held);
    }
}

/// The same without an earlier session: both dial at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_simultaneous_dials_gets_the_session() {
    for [first, second] in PROCESSES {
        let port = free_port();
        let mut diallers = [start(2, port, first, 2), start(3, port, second, 3)];
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut at = start(1, port, LISTENER, 1);
        let (session, _control) = at.session().await;
        let refused = &mut diallers[usize::from(session.remote_address().ip() == RESPONDER_2)];
        is_told(refused, "has a session with another installation").await;
        assert!(at.sessions.try_recv().is_err(), "{first}, {second}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_does_not_flap_whichever_id_is_greatest() {
    for [first, second] in PROCESSES {
        let port = free_port();
        let mut at = start(1, port, LISTENER, 1);
        let mut a = start(2, port, first, 2);
        let held = settle(&mut at, &mut a).await;
        let mut b = start(3, port, second, 2);
        let taken = settle(&mut at, &mut b).await;
        drop(held);
        is_told(&a, "the state folder is in use by two programs").await;
        is_told(&at, "a copy of the present peer's state folder").await;
        for peer in [&mut at, &mut a, &mut b] {
            assert!(peer.sessions.try_recv().is_err(), "{first}, {second}");
        }
        drop(taken);
    }
}

/// Hosts of one network that share a port and a password.
struct Network {
    base: tempfile::TempDir,
    port: u16,
}

impl Network {
    fn new() -> Self {
        Self { base: tempfile::tempdir().unwrap(), port: free_port() }
    }

    /// A host at 127.0.0.`n` that dials 127.0.0.1.
    fn host(&self, name: &str, n: u8) -> Host {
        let bind = format!("127.0.0.{n}");
        Host::new(self.base.path().join(name), &bind, "127.0.0.1", self.port)
    }
}

fn listening(host: &Host) -> Running {
    let mut running = host.listen(&[]);
    running.waits_for("listening", |_| true);
    running
}

fn count(running: &mut Running, name: &str) -> usize {
    running.events().iter().filter(|seen| seen.event["event"] == name).count()
}

fn warns(running: &mut Running, text: &str) {
    running.has_or_waits_for("warning", |event| {
        event["message"].as_str().is_some_and(|message| message.contains(text))
    });
}

fn warnings(running: &mut Running, text: &str) -> usize {
    let events = running.events().iter().filter(|seen| seen.event["event"] == "warning");
    let messages = events.filter_map(|seen| seen.event["message"].as_str());
    messages.filter(|message| message.contains(text)).count()
}

/// A session belongs to two installations. While it lives, a third installation is refused, and
/// both sides are told.
#[test]
fn a_second_peer_of_one_password_is_refused_and_told_why() {
    let net = Network::new();
    let (at, first, second) = (net.host("at", 1), net.host("first", 2), net.host("second", 3));
    let mut l = listening(&at);
    let mut a = first.start(&[]);
    a.waits_for("connected", |_| true);
    l.waits_for("connected", |_| true);
    fs::write(second.outgoing().join("from-second"), "s").unwrap();
    let mut b = second.start(&[]);
    // Time for dozens of takeovers, and for the second dial of the refused peer.
    let taken = b.sees_within(Duration::from_secs(7), |event| event["event"] == "connected");
    assert!(taken.is_none(), "the second one got in: {:#?}", b.events());
    for n in 0..20 {
        fs::write(at.outgoing().join(format!("{n:02}")), format!("{n}")).unwrap();
    }
    for _ in 0..20 {
        a.waits_for("file_done", |event| event["direction"] == "receive");
    }
    for running in [&mut a, &mut l] {
        assert_eq!((count(running, "connected"), count(running, "disconnected")), (1, 0));
    }
    warns(&mut b, "has a session with another installation");
    warns(&mut l, "is another installation");
    for running in [&mut b, &mut l] {
        assert_eq!(warnings(running, "another installation"), 1, "{:#?}", running.events());
    }
    assert_eq!(names(&first.incoming()).len(), 20);
    assert_eq!(names(&second.incoming()), [""; 0]);
    assert_eq!(names(&at.incoming()), [""; 0]);
    assert_eq!(names(&second.outgoing()), ["from-second"]);
}

/// When the first peer leaves, the refused one connects without a further action.
#[cfg(unix)]
#[test]
fn a_refused_peer_is_taken_when_the_first_one_has_left() {
    let net = Network::new();
    let (at, first, second) = (net.host("at", 1), net.host("first", 2), net.host("second", 3));
    let mut l = listening(&at);
    let mut a = first.start(&[]);
    a.waits_for("connected", |_| true);
    let mut b = second.start(&[]);
    warns(&mut b, "has a session with another installation");
    a.stop();
    b.waits_for("connected", |_| true);
    l.waits_for("connected", |_| true);
}

/// A process that is killed and restarted is the same installation.
#[test]
fn a_killed_program_takes_its_session_over_at_once() {
    let net = Network::new();
    let (at, first) = (net.host("at", 1), net.host("first", 2));
    let mut l = listening(&at);
    let mut a = first.start(&[]);
    let old = a.waits_for("connected", |_| true);
    l.waits_for("connected", |_| true);
    a.kill();
    let mut a = first.start(&[]);
    let dialling = a.waits_for("listening", |_| true);
    let new = a.waits_for("connected", |_| true);
    let took = new.at.duration_since(dialling.at);
    // A refused peer would come back after five seconds.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(new.event["installation"], old.event["installation"], "that of the listener");
    l.waits_for("connected", |event| event["session"] == new.event["session"]);
    assert_eq!(warnings(&mut l, "installation") + warnings(&mut l, "state folder"), 0);
}

/// Two programs with copies of one state folder do not replace each other for ever: one of them is
/// told.
#[test]
fn a_copied_state_folder_is_reported_and_does_not_flap() {
    let net = Network::new();
    let (at, first, copy) = (net.host("at", 1), net.host("first", 2), net.host("copy", 3));
    let mut l = listening(&at);
    let mut a = first.start(&[]);
    a.waits_for("connected", |_| true);
    a.kill();
    fs::create_dir(copy.state()).unwrap();
    fs::copy(first.state().join("ledger.redb"), copy.state().join("ledger.redb")).unwrap();
    let mut a = first.start(&[]);
    a.waits_for("connected", |_| true);
    let mut b = copy.start(&[]);
    b.waits_for("connected", |_| true);
    a.waits_for("disconnected", |_| true);
    warns(&mut a, "the state folder is in use by two programs");
    warns(&mut l, "a copy of the present peer's state folder");
    let flapped = b.sees_within(Duration::from_secs(7), |event| event["event"] == "disconnected");
    assert!(flapped.is_none(), "{:#?}", b.events());
    assert_eq!(count(&mut a, "connected"), 1, "{:#?}", a.events());
    assert_eq!(warnings(&mut a, "two programs"), 1, "{:#?}", a.events());
}

/// The other host's command, run on this one by mistake.
#[test]
fn a_program_that_dials_itself_says_so_and_stops() {
    let net = Network::new();
    let events = net.host("itself", 1).start(&[]).ends(3);
    let reason = events.last().unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("leads back to this very rft"), "{reason}");
}
