use super::*;
use crate::config::PeerName;
use crate::event::{Cause, Direction, Event};
use crate::history::HistoryKind;
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use std::time::{SystemTime, UNIX_EPOCH};

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn done(path: &str, direction: Direction, hash: [u8; 32]) -> Event {
    Event::FileDone {
        direction,
        path: name(path),
        size: 4,
        transfer: TransferId([1; 16]),
        blake3: hash,
        elapsed: Duration::from_millis(5),
        offset: 0,
        saved_as: Some(name("saved")),
        checked: false,
    }
}

fn failed(path: &str, error: &str, cause: Cause) -> Event {
    Event::FileFailed {
        direction: Direction::Send,
        path: name(path),
        size: 4,
        transfer: TransferId([1; 16]),
        error: error.to_owned(),
        cause,
        retry: true,
    }
}

/// A process with a history, and its folders.
struct Rig {
    history: Arc<ProcessHistory>,
    peer: PeerHistory,
    _state: StateDir,
    folders: Folders,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new(keep: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(dir.path());
        let state = StateDir::open(&folders).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let history = ProcessHistory::new(&state, InstallationId([3; 16]), now, keep);
        let history = Arc::new(history);
        let peer = PeerHistory::new(&history, PeerName::new("bob"));
        Self { history, peer, _state: state, folders, _dir: dir }
    }

    fn kinds(&self) -> Vec<(HistoryKind, String)> {
        let page = self.history.page(&HistoryQuery::default()).unwrap();
        let fact = |entry: HistoryEntry| (entry.kind, entry.path.to_string());
        page.entries.into_iter().map(fact).collect()
    }
}

#[test]
fn events_become_entries_and_a_failure_that_repeats_is_one() {
    let rig = Rig::new(Duration::from_secs(60));
    let refused = || failed("f", "the disk is full", Cause::Refused(String::new()));
    rig.peer.note(&refused());
    rig.peer.note(&refused());
    rig.peer.note(&failed("f", "it was renamed", Cause::Withdrawn));
    rig.peer.note(&failed("f", "it cannot be read", Cause::Fault(String::new())));
    rig.peer.note(&done("f", Direction::Send, [1; 32]));
    rig.peer.note(&refused());
    rig.peer.note(&Event::FileRemoved {
        path: name("f"),
        size: 4,
        transfer: TransferId([1; 16]),
        archived: true,
    });
    rig.peer.note(&done("d", Direction::Receive, [0; 32]));
    rig.peer.note(&Event::Backlog { direction: Direction::Send, files: 1, bytes: 1 });
    let f = |kind| (kind, "f".to_owned());
    assert_eq!(
        rig.kinds(),
        [
            f(HistoryKind::Refused),
            f(HistoryKind::Failed),
            f(HistoryKind::Sent),
            f(HistoryKind::Refused),
            f(HistoryKind::Archived),
            (HistoryKind::Received, "d".to_owned()),
        ]
    );
    let page = rig.history.page(&HistoryQuery::default()).unwrap();
    assert_eq!(page.installation, Some(InstallationId([3; 16])));
    assert_eq!((page.entries[2].blake3, page.entries[5].blake3), (Some([1; 32]), None));
    assert!(matches!(HistoryAtRest::read(&rig.folders), Err(StoreError::InUse { .. })));
}

#[test]
fn no_history_is_kept_if_none_is_wanted() {
    let rig = Rig::new(Duration::ZERO);
    rig.peer.note(&done("f", Direction::Send, [1; 32]));
    assert_eq!(rig.kinds(), []);
    assert!(!rig.folders.state.join(store::HISTORY).exists());
}

#[test]
fn entries_above_the_limit_are_lost_and_the_others_wait_for_the_disk() {
    let rig = Rig::new(Duration::from_secs(60));
    locked(&rig.history.waiting).bytes = MAX_WAITING - 200;
    for _ in 0..9 {
        rig.peer.note(&done("f", Direction::Send, [1; 32]));
    }
    assert_eq!(locked(&rig.history.waiting).lost, 7);
    rig.history.write().unwrap();
    rig.peer.note(&done("g", Direction::Send, [1; 32]));
    assert_eq!(rig.kinds().len(), 3);
}

#[test]
fn pages_follow_each_other_in_both_orders() {
    let rig = Rig::new(Duration::from_secs(60));
    const COUNT: usize = 8000;
    for n in 0..COUNT {
        rig.peer.note(&done(&format!("{n:05}"), Direction::Send, [1; 32]));
    }
    for newest_first in [false, true] {
        let mut query = HistoryQuery { newest_first, ..HistoryQuery::default() };
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let page = rig.history.page(&query).unwrap();
            found.extend(page.entries.into_iter().map(|entry| entry.path.to_string()));
            pages += 1;
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let mut expected: Vec<_> = (0..COUNT).map(|n| format!("{n:05}")).collect();
        if newest_first {
            expected.reverse();
        }
        assert!(pages > 1 && found == expected, "{pages} pages, {} entries", found.len());
    }
    let page = rig.history.page(&HistoryQuery::default()).unwrap();
    let middle = &page.entries[page.entries.len() / 2];
    let (since, until) = (Some(middle.time), Some(SystemTime::now()));
    let query = HistoryQuery { since, until, ..HistoryQuery::default() };
    let later = rig.history.page(&query).unwrap();
    assert!(later.entries.iter().all(|entry| entry.time >= middle.time));
    assert!(later.entries.contains(middle));
    let query = HistoryQuery { until: since, ..query };
    let query = HistoryQuery { since: None, ..query };
    assert!(!rig.history.page(&query).unwrap().entries.contains(middle));
}
