//! Two processes in one, over loopback.

use super::*;
use crate::config::{Bind, PeerAddress};
use crate::error::ErrorKind;
use crate::event::Direction;
use crate::status::{PeerStatus, SessionEnd, SessionRole, Totals};
use std::fs;
use std::path::Path;
use tokio::time::timeout;

/// The state of a busy process.
pub(crate) fn sample() -> Status {
    serde_json::from_str(include_str!("../cli/output/busy.json")).unwrap()
}

const LONG: Duration = Duration::from_secs(60);

/// A side that dials `peer`, or only waits. The system chooses its own port.
fn config(dir: &Path, peer: Option<u16>) -> Config {
    let peer = peer.map(|port| PeerAddress { host: "127.0.0.1".into(), port });
    let mut config = Config::new(peer, 1, dir);
    config.bind = Some(Bind { addr: [127, 0, 0, 1].into(), port: Some(0) });
    config
}

fn start(config: Config) -> Handle {
    Daemon::start(config, PasswordKey::from_bytes([1; 32]), |_| {}).unwrap()
}

async fn next(events: &mut EventReceiver, is: impl Fn(&Event) -> bool) -> PeerEvent {
    let next = async {
        loop {
            let event = events.recv().await.expect("the process runs");
            if is(&event.event) {
                return event;
            }
        }
    };
    timeout(LONG, next).await.expect("the event comes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_tells_the_state_and_its_changes_until_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let waiting = start(config(&a, None));
    let port = waiting.status().local.port();
    let dialling = start(config(&b, Some(port)));
    let (mut events, mut others) = (dialling.subscribe(), waiting.subscribe());
    let status = waiting.status();
    assert!(status.peers.len() == 1 && port != 0);
    assert_eq!(status.peers[0].name, PeerName::new("peer"));

    fs::write(dir.path().join("f"), "hello").unwrap();
    fs::rename(dir.path().join("f"), b.join("Outgoing/f")).unwrap();
    let sent = |event: &Event| {
        matches!(event, Event::FileDone { direction: Direction::Send, path, .. }
            if path.to_string() == "f")
    };
    let done = next(&mut events, sent).await;
    assert_eq!(done.peer, Some(PeerName::new("127.0.0.1")));
    let (one, none) = (Totals { files: 1, folders: 0, bytes: 5 }, Totals::default());
    let counts = |peer: &PeerStatus| (peer.send.since_start, peer.receive.since_start);
    let peer = &dialling.status().peers[0];
    assert_eq!(counts(peer), (one, none));
    let session = peer.session.as_ref().unwrap();
    assert_eq!((session.role, session.address.port()), (SessionRole::Initiator, port));
    // The receipt leaves before the receiver's own event.
    next(&mut others, |event| matches!(event, Event::FileDone { .. })).await;
    let peer = &waiting.status().peers[0];
    assert_eq!(counts(peer), (none, one));
    assert_eq!(peer.session.as_ref().unwrap().id, session.id);

    dialling.stop();
    assert_eq!(timeout(LONG, dialling.wait()).await.unwrap().unwrap(), Finished::Stopped);
    while events.recv().await.is_some() {}
    let last = dialling.status();
    assert_eq!((last.peers[0].send.in_all, last.peers[0].session.is_none()), (one, true));
    assert_eq!(last.peers[0].last_end.as_ref().unwrap().reason, SessionEnd::Stopped);
    // The lock of the folder is free.
    let again = start(config(&b, Some(port)));
    let continued = &again.status().peers[0];
    assert_eq!((continued.send.in_all, continued.send.since_start), (one, none));
    let mut events = again.subscribe();
    let error = Daemon::start(config(&b, None), PasswordKey::from_bytes([1; 32]), |_| {});
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Folders);

    assert!(timeout(LONG, again.moves_on()).await.unwrap() && !dialling.moves_on().await);
    // The last handle that is dropped stops its process too.
    let other = again.clone();
    drop(again);
    // The session may have begun before this test subscribed.
    if other.status().peers[0].session.is_none() {
        next(&mut events, |event| matches!(event, Event::Connected { .. })).await;
    }
    drop(other);
    timeout(LONG, async { while events.recv().await.is_some() {} }).await.unwrap();
    waiting.stop();
    timeout(LONG, waiting.wait()).await.unwrap().unwrap();
}

/// What a watchdog asks is not answered while the thread that drives QUIC is stuck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_thread_gives_no_sign_of_life() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path(), None));
    assert!(timeout(LONG, running.moves_on()).await.unwrap());
    let (stuck, freed) = (Duration::from_millis(300), Duration::from_secs(2));
    running.pulse.as_ref().unwrap().block_quic_thread(freed);
    assert!(timeout(stuck, running.moves_on()).await.is_err(), "it is stuck");
    assert!(timeout(LONG, running.moves_on()).await.unwrap(), "it is free again");
    running.stop();
    timeout(LONG, running.wait()).await.unwrap().unwrap();
    assert!(!running.moves_on().await);
}

/// Nothing holds a connection whose session is over, so the end waits for no timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_does_not_linger() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = start(config(&dir.path().join("a"), None));
    let port = waiting.status().local.port();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let dialling = start(config(&dir.path().join("b"), Some(port)));
        while dialling.status().peers[0].session.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        dialling.stop();
        timeout(LONG, dialling.wait()).await.unwrap().unwrap();
        best = best.min(begun.elapsed());
    }
    assert!(best < LINGER, "{best:?}");
    waiting.stop();
    timeout(LONG, waiting.wait()).await.unwrap().unwrap();
}
