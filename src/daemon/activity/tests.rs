use super::*;
use crate::proto::message::InstallationId;
use crate::status::{SessionEnd, SessionRole};

fn started(direction: Direction, id: u8) -> Event {
    let (path, transfer) = (Name::parse(&[b'a' + id]).unwrap(), TransferId([id; 16]));
    Event::FileStarted { direction, path, size: 10, transfer, offset: 2 }
}

fn done(direction: Direction, id: u8) -> Event {
    Event::FileDone {
        direction,
        path: Name::parse(&[b'a' + id]).unwrap(),
        size: 10,
        transfer: TransferId([id; 16]),
        blake3: [1; 32],
        elapsed: Duration::ZERO,
        offset: 2,
        saved_as: None,
        checked: false,
    }
}

fn connected() -> Event {
    Event::Connected {
        peer: ([127, 0, 0, 1], 1).into(),
        role: SessionRole::Initiator,
        session: String::new(),
        kx: "",
        installation: InstallationId([1; 16]),
        version: String::new(),
        host: String::new(),
    }
}

fn disconnected() -> Event {
    let (peer, reason) = (([127, 0, 0, 1], 1).into(), SessionEnd::TimedOut);
    Event::Disconnected { peer, reason }
}

fn bytes(activity: &PeerActivity) -> Vec<u64> {
    activity.in_flight(10, Instant::now()).0.iter().map(|file| file.bytes).collect()
}

fn left(activity: &PeerActivity, direction: Direction, files: u64, bytes: u64) -> (u64, u64) {
    let status = activity.direction(direction, Some(Backlog { files, bytes }), Instant::now());
    (status.files_left, status.bytes_left)
}

#[test]
fn events_add_up_to_counters_and_files_in_flight() {
    let (activity, now) = (PeerActivity::new(Default::default(), Instant::now()), Instant::now());
    for event in [started(Direction::Send, 1), started(Direction::Receive, 1)] {
        activity.note(&event, now);
    }
    let (path, transfer) = (Name::parse(b"b").unwrap(), TransferId([1; 16]));
    let direction = Direction::Receive;
    let progress = Event::FileProgress { direction, path, transfer, bytes: 7, size: 10 };
    activity.note(&progress, now);
    assert_eq!(bytes(&activity), [2, 7]);
    assert_eq!(activity.in_flight(1, now).1, 1);
    activity.note(&done(Direction::Send, 1), now);
    // Without a start: the progress of a file that a disconnection hid.
    activity.note(&done(Direction::Send, 2), now);
    assert_eq!(bytes(&activity), [7]);
    assert_eq!(activity.sent(), Totals { files: 2, folders: 0, bytes: 20 });
    assert_eq!(activity.direction(direction, None, now).since_start, Totals::default());
    activity.note(&connected(), now);
    activity.note(&connected(), now);
    activity.note(&disconnected(), now);
    assert!(bytes(&activity).is_empty());
    activity.note(&progress, now);
    assert_eq!(bytes(&activity), [7], "of the newer session");
    activity.note(&done(Direction::Receive, 1), now);
    let received = activity.direction(direction, None, now);
    assert_eq!(received.since_start, Totals { files: 1, folders: 0, bytes: 10 });
    // Twice 8 bytes, in half a second at least.
    assert_eq!(activity.direction(Direction::Send, None, now).rate, 32);
}

#[test]
fn the_bytes_left_shrink_while_a_file_crosses() {
    let (activity, now) = (PeerActivity::new(Default::default(), Instant::now()), Instant::now());
    let of = |files, bytes| left(&activity, Direction::Send, files, bytes);
    assert_eq!(of(2, 25), (2, 25));
    activity.note(&started(Direction::Send, 1), now);
    assert_eq!(of(2, 25), (2, 23));
    let (path, transfer) = (Name::parse(b"b").unwrap(), TransferId([1; 16]));
    let direction = Direction::Send;
    let progress = Event::FileProgress { direction, path, transfer, bytes: 7, size: 10 };
    activity.note(&progress, now);
    assert_eq!(of(2, 25), (2, 18));
    activity.note(&done(Direction::Send, 1), now);
    assert_eq!(of(2, 25), (1, 15), "the backlog still has the file");
    activity.note(&Event::Backlog { direction, files: 1, bytes: 15 }, now);
    assert_eq!(of(1, 15), (1, 15));
    // The outbox knows of the next file's end before the backlog is told again.
    activity.note(&done(Direction::Send, 2), now);
    assert_eq!(of(0, 0), (0, 5), "no file is taken off twice");
    activity.note(&disconnected(), now);
    assert_eq!(of(4, 9), (4, 9), "the backlog now");
}

#[test]
fn a_late_progress_of_a_session_that_ended_leaves_nothing_in_flight() {
    let (activity, now) = (PeerActivity::new(Default::default(), Instant::now()), Instant::now());
    for event in [connected(), started(Direction::Receive, 1), disconnected()] {
        activity.note(&event, now);
    }
    let (path, transfer) = (Name::parse(b"b").unwrap(), TransferId([1; 16]));
    let direction = Direction::Receive;
    let late = Event::FileProgress { direction, path, transfer, bytes: 7, size: 10 };
    activity.note(&late, now);
    assert!(bytes(&activity).is_empty() && !activity.is_active());
}

#[test]
fn counts_continue_those_of_earlier_processes_and_folders_are_apart() {
    let saved = SavedTotals { files: 300, folders: 7, bytes: 9, last: 50 };
    let activity = PeerActivity::new([SavedTotals::default(), saved], Instant::now());
    let before = activity.direction(Direction::Receive, None, Instant::now());
    assert_eq!(before.last, UNIX_EPOCH.checked_add(Duration::from_secs(50)));
    let mut folder = done(Direction::Receive, 1);
    if let Event::FileDone { blake3, size, .. } = &mut folder {
        (*blake3, *size) = ([0; 32], 0);
    }
    for event in [folder, done(Direction::Receive, 2)] {
        activity.note(&event, Instant::now());
    }
    let now = activity.direction(Direction::Receive, None, Instant::now());
    assert_eq!(now.in_all, Totals { files: 301, folders: 8, bytes: 19 });
    assert_eq!(now.since_start, Totals { files: 1, folders: 1, bytes: 10 });
    let [sent, received] = activity.to_save();
    assert_eq!((sent, received.files, received.folders), (SavedTotals::default(), 301, 8));
    assert!(received.last > 50);
}

#[test]
fn a_silence_lasts_until_the_peer_is_heard_or_another_session_begins() {
    let now = Instant::now();
    let activity = PeerActivity::new(Default::default(), now);
    let (peer, host, elapsed) = (([192, 0, 2, 1], 4000).into(), None, Duration::from_secs(3));
    let later = now + Duration::from_secs(2);
    for end in [Event::Heard { peer, host: None, elapsed }, connected(), disconnected()] {
        let host = host.clone();
        activity.note(&Event::Silent { peer, host, elapsed }, now + elapsed);
        assert_eq!(activity.silent_for(later + elapsed), Some(Duration::from_secs(5)));
        activity.note(&end, later + elapsed);
        assert_eq!(activity.silent_for(later + elapsed), None, "{end:?}");
    }
}
