use crate::config::Folders;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::Timestamp;
use crate::store::StateDir;
use crate::store::incoming::compare::MAX_READ;
use crate::store::incoming::publish::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

struct Rig {
    base: tempfile::TempDir,
    state: Option<StateDir>,
    ledger: Option<Ledger>,
    incoming: Incoming,
}

// A multiple of the 100 ns that Windows keeps.
const OLD: Timestamp = Timestamp { seconds: 1_000_000_000, nanos: 500 };

fn rig() -> Rig {
    rig_in(tempfile::tempdir().unwrap())
}

fn rig_in(base: tempfile::TempDir) -> Rig {
    let folders = Folders::in_dir(base.path());
    let state = StateDir::open(&folders).unwrap();
    let ledger = Ledger::open(&state).unwrap();
    let incoming = Incoming::open(&folders.incoming, &state).unwrap();
    Rig { base, state: Some(state), ledger: Some(ledger), incoming }
}

impl Rig {
    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    fn publish(&self, on_conflict: OnConflict, batch: Vec<Arrived>) -> Vec<Outcome> {
        publish(&self.incoming, self.ledger(), on_conflict, batch)
    }

    fn one(&self, on_conflict: OnConflict, arrived: Arrived) -> Outcome {
        self.publish(on_conflict, vec![arrived]).pop().unwrap()
    }

    fn path(&self, text: &str) -> PathBuf {
        self.base.path().join("Incoming").join(text)
    }

    fn put(&self, text: &str, content: &str) {
        std::fs::create_dir_all(self.path(text).parent().unwrap()).unwrap();
        std::fs::write(self.path(text), content).unwrap();
    }

    fn staged(&self) -> usize {
        std::fs::read_dir(self.base.path().join(".rft/stage")).unwrap().count()
    }

    /// The process dies here, and comes back.
    fn restart(mut self, on_conflict: OnConflict) -> Self {
        self.ledger = None;
        self.state = None;
        let again = rig_in(self.base);
        again.incoming.recover(again.ledger(), on_conflict).unwrap();
        again
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn offer(n: u8, text: &str, kind: EntryKind) -> Offer {
    let id = TransferId([n; 16]);
    Offer { id, name: name(text), kind, modified: OLD, mode: Some(0o640), inline: true }
}

fn file(n: u8, text: &str, content: &str) -> Arrived {
    Arrived {
        offer: offer(n, text, EntryKind::File { size: content.len() as u64 }),
        content: Content::Bytes(Bytes::copy_from_slice(content.as_bytes())),
        hash: *blake3::hash(content.as_bytes()).as_bytes(),
    }
}

fn folder(n: u8, text: &str) -> Arrived {
    Arrived { offer: offer(n, text, EntryKind::Folder), content: Content::Folder, hash: [0; 32] }
}

fn link(n: u8, text: &str, target: &str) -> Arrived {
    let kind = EntryKind::Link { target: target.into() };
    Arrived { offer: offer(n, text, kind), content: Content::Link, hash: [0; 32] }
}

fn saved(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done { saved_as, .. } => std::str::from_utf8(saved_as.as_bytes()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: &Outcome) -> Refusal {
    match outcome {
        Outcome::Refused { reason, .. } => *reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_links_and_folders_arrive_with_time_and_mode() {
    let rig = rig();
    let staged = rig.incoming.stage(TransferId([9; 16])).unwrap().0;
    staged.write_at(0, b"from the stage, and what an earlier attempt left").unwrap();
    staged.checkpoint(&ChunkSet::prefix(14)).unwrap();
    let large =
        Arrived { content: Content::Staged(staged), ..file(9, "d/large", "from the stage") };
    let mut batch =
        vec![file(1, "d/e/small", "small"), large, folder(3, "d/e"), folder(4, "empty")];
    if cfg!(unix) {
        batch.insert(0, link(2, "d/link", "e/small"));
    }
    for outcome in rig.publish(OnConflict::Rename, batch) {
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    assert_eq!(read(&rig.path("d/e/small")), "small");
    assert_eq!(read(&rig.path("d/large")), "from the stage");
    for entry in ["d/e/small", "d/large", "d/e", "empty"] {
        let meta = rig.incoming.folder().stat(&name(entry)).unwrap();
        assert_eq!(meta.modified, OLD, "{entry}");
        assert!(meta.mode.is_none_or(|mode| mode == 0o640), "{entry}");
    }
    if cfg!(unix) {
        assert_eq!(rig.incoming.folder().read_link(&name("d/link")).unwrap(), b"e/small");
        assert_eq!(rig.incoming.folder().stat(&name("d/link")).unwrap().modified, OLD);
    }
    assert_eq!(rig.staged(), 0);
    let received = rig.ledger().received(TransferId([1; 16])).unwrap().unwrap();
    assert_eq!(received.saved_as, name("d/e/small"));
}

#[test]
fn the_conflict_table() {
    use OnConflict::{Overwrite, Rename, Skip};
    let rig = rig();
    let fresh = || {
        let _ = std::fs::remove_dir_all(rig.path("d"));
        rig.put("d/a.txt", "old");
    };
    for policy in [Rename, Overwrite, Skip] {
        fresh();
        let before = rig.incoming.folder().stat(&name("d/a.txt")).unwrap();
        assert_eq!(saved(&rig.one(policy, file(1, "d/a.txt", "old"))), "d/a.txt");
        // What is the user's stays as it is, unless it is to be replaced.
        let after = rig.incoming.folder().stat(&name("d/a.txt")).unwrap();
        assert_eq!(after.unchanged(&before), policy != Overwrite);
        assert_eq!(after.modified == OLD, policy == Overwrite);
        assert_eq!(std::fs::read_dir(rig.path("d")).unwrap().count(), 1);
    }
    fresh();
    assert_eq!(saved(&rig.one(Rename, file(2, "d/a.txt", "one"))), "d/a (1).txt");
    assert_eq!(saved(&rig.one(Rename, file(3, "d/a.txt", "two"))), "d/a (2).txt");
    // Sent again after its id was forgotten: the numbered one is recognised.
    assert_eq!(saved(&rig.one(Rename, file(4, "d/a.txt", "two"))), "d/a (2).txt");
    assert_eq!(read(&rig.path("d/a.txt")), "old");
    assert_eq!(read(&rig.path("d/a (1).txt")), "one");
    fresh();
    assert_eq!(saved(&rig.one(Overwrite, file(5, "d/a.txt", "new"))), "d/a.txt");
    assert_eq!(read(&rig.path("d/a.txt")), "new");
    fresh();
    assert_eq!(refused(&rig.one(Skip, file(6, "d/a.txt", "new"))), Refusal::Conflict);
    assert_eq!(rig.ledger().received(TransferId([6; 16])).unwrap(), None);
    assert_eq!(read(&rig.path("d/a.txt")), "old");
    // Folders and files in each other's way.
    assert_eq!(saved(&rig.one(Rename, file(7, "d", "new"))), "d (1)");
    for policy in [Overwrite, Skip] {
        assert_eq!(refused(&rig.one(policy, file(8, "d", "new"))), Refusal::InTheWay);
    }
    for policy in [Rename, Overwrite, Skip] {
        assert_eq!(refused(&rig.one(policy, file(9, "d/a.txt/b", "new"))), Refusal::InTheWay);
        assert_eq!(refused(&rig.one(policy, folder(10, "d/a.txt"))), Refusal::InTheWay);
    }
    assert_eq!(saved(&rig.one(Rename, folder(11, "d"))), "d");
    assert_eq!(rig.staged(), 0);
}

#[test]
fn a_content_that_stands_there_under_a_numbered_name_is_not_doubled() {
    let rig = rig();
    let one = |n, content: &str| rig.one(OnConflict::Rename, file(n, "a", content));
    let times = |arrived: Arrived, seconds| {
        let modified = Timestamp { seconds, nanos: 0 };
        Arrived { offer: Offer { modified, ..arrived.offer }, ..arrived }
    };
    rig.put("a", "old");
    assert_eq!(saved(&one(1, "new")), "a (1)");
    // Touched at its source, and sent again under another id.
    let touched = times(file(2, "a", "new"), 1_234_567_890);
    assert_eq!(saved(&rig.one(OnConflict::Rename, touched)), "a (1)");
    assert_eq!(rig.incoming.folder().stat(&name("a (1)")).unwrap().modified, OLD);
    // Of the same size, and with the same beginning and end.
    let large = |middle: u8| {
        let mut content = vec![b'x'; 300_000];
        content[150_123] = middle;
        String::from_utf8(content).unwrap()
    };
    for (n, content) in [(3, large(b'1')), (4, large(b'2')), (5, large(b'1')), (6, large(b'2'))] {
        let large = times(file(n, "large", &content), i64::from(n));
        let expected = if n % 2 == 1 { "large" } else { "large (1)" };
        assert_eq!(saved(&rig.one(OnConflict::Rename, large)), expected);
        assert_eq!(read(&rig.path(expected)), content);
    }
    // Of many, some are compared, and those with its time.
    for n in 1..=MAX_READ + 5 {
        rig.put(&format!("many ({n})"), &format!("{n:03}"));
    }
    rig.put("many", "000");
    let last = MAX_READ + 5;
    let next = format!("many ({})", last + 1);
    assert_eq!(saved(&rig.one(OnConflict::Rename, file(7, "many", &format!("{last:03}")))), next);
    assert_eq!(saved(&rig.one(OnConflict::Rename, file(8, "many", "003"))), "many (3)");
    assert_eq!(saved(&rig.one(OnConflict::Rename, file(9, "many", &format!("{last:03}")))), next);
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn with_mode(arrived: Arrived, mode: Option<u32>) -> Arrived {
    Arrived { offer: Offer { mode, ..arrived.offer }, ..arrived }
}

#[cfg(unix)]
#[test]
fn a_folder_is_private_until_its_own_permissions_arrive() {
    let rig = rig();
    let publish =
        |arrived| assert!(matches!(rig.one(OnConflict::Rename, arrived), Outcome::Done { .. }));
    publish(file(1, "d/e/f", "x"));
    assert_eq!((mode(&rig.path("d")), mode(&rig.path("d/e"))), (0o700, 0o700));
    publish(with_mode(folder(2, "d/e"), Some(0o755)));
    assert_eq!((mode(&rig.path("d")), mode(&rig.path("d/e"))), (0o700, 0o755));
    // It is the user's from then on, who shuts it.
    set_mode(&rig.path("d/e"), 0o700);
    publish(with_mode(folder(3, "d/e"), Some(0o777)));
    assert_eq!(mode(&rig.path("d/e")), 0o700);
    // A restart forgets nothing, and a user who opens a folder himself is left alone.
    let rig = rig.restart(OnConflict::Rename);
    let publish =
        |arrived| assert!(matches!(rig.one(OnConflict::Rename, arrived), Outcome::Done { .. }));
    publish(file(4, "g/f", "x"));
    set_mode(&rig.path("g"), 0o750);
    publish(with_mode(folder(5, "g"), Some(0o777)));
    publish(with_mode(folder(6, "d"), Some(0o711)));
    assert_eq!((mode(&rig.path("d")), mode(&rig.path("g"))), (0o711, 0o750));
    assert!(rig.ledger().filling().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn a_folder_of_the_users_keeps_its_permissions() {
    let rig = rig();
    for (own, sent) in [(0o700, 0o777), (0o755, 0o700), (0o750, 0o555)] {
        let at = format!("own {own:o}");
        std::fs::create_dir(rig.path(&at)).unwrap();
        set_mode(&rig.path(&at), own);
        let batch = vec![file(1, &format!("{at}/f"), &at), with_mode(folder(2, &at), Some(sent))];
        for (mut arrived, n) in batch.into_iter().zip(own..) {
            arrived.offer.id.0[..4].copy_from_slice(&n.to_be_bytes());
            assert!(matches!(rig.one(OnConflict::Rename, arrived), Outcome::Done { .. }));
        }
        assert_eq!(mode(&rig.path(&at)), own);
    }
}

#[cfg(unix)]
#[test]
fn folders_that_are_gone_are_forgotten_and_a_sender_without_modes_gets_the_usual_ones() {
    let rig = rig();
    rig.publish(OnConflict::Rename, vec![file(1, "gone/f", "x"), file(3, "d/f", "z")]);
    std::fs::remove_dir_all(rig.path("gone")).unwrap();
    let rig = rig.restart(OnConflict::Rename);
    assert_eq!(rig.ledger().filling().unwrap(), [name("d")]);
    std::fs::create_dir(rig.path("usual")).unwrap();
    assert!(matches!(
        rig.one(OnConflict::Rename, with_mode(folder(4, "d"), None)),
        Outcome::Done { .. }
    ));
    assert_eq!(mode(&rig.path("d")), mode(&rig.path("usual")));
    assert_eq!(rig.staged(), 0);
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_bad_one_among_many_fails_alone() {
    let rig = rig();
    rig.put("blocked", "a file");
    let mut batch: Vec<_> = (0..100).map(|n| file(n, &format!("d{}/f{n}", n % 90), "x")).collect();
    batch[50] = file(50, "blocked/f50", "x");
    batch[51] = link(51, "l", "/etc/passwd");
    batch[52] = link(52, "d/l", "../../x");
    let short = rig.incoming.stage(TransferId([53; 16])).unwrap().0;
    batch[53] =
        Arrived { content: Content::Staged(short), ..file(53, "short", "more than is there") };
    let outcomes = rig.publish(OnConflict::Rename, batch);
    let expected = [Refusal::InTheWay, Refusal::Link, Refusal::Link, Refusal::Storage];
    for (n, outcome) in outcomes.iter().enumerate() {
        match n {
            50..54 => assert_eq!(refused(outcome), expected[n - 50]),
            _ => assert_eq!(saved(outcome), format!("d{}/f{n}", n % 90)),
        }
    }
    assert_eq!(rig.staged(), 0);
    assert!(rig.ledger().unfinished().unwrap().is_empty());
}

/// Everything up to the ledger's "committing", as [`publish`] does it.
fn until_committing(rig: &Rig, arrived: Arrived) {
    let mut placer = Placer::new(&rig.incoming, OnConflict::Rename);
    let mut jobs = vec![stage(&rig.incoming, &mut placer, arrived, true)];
    sync_stage(&rig.incoming, &mut jobs, false);
    announce(rig.ledger(), &mut placer, &mut jobs);
    assert!(matches!(jobs[0].step, PublishStep::Ready(_)));
}

fn stood_before(rig: &Rig, arrived: Arrived) -> String {
    let before: Vec<_> =
        std::fs::read_dir(rig.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let id = arrived.offer.id;
    assert!(rig.ledger().received(id).unwrap().is_some(), "not received");
    format!("{before:?}")
}

#[test]
fn a_crash_before_the_rename_is_finished_however_old_the_file() {
    for policy in [OnConflict::Rename, OnConflict::Overwrite, OnConflict::Skip] {
        let rig = rig();
        until_committing(&rig, file(1, "d/a", "content"));
        let rig = rig.restart(policy);
        assert_eq!(read(&rig.path("d/a")), "content");
        assert_eq!(rig.incoming.folder().stat(&name("d/a")).unwrap().modified, OLD);
        stood_before(&rig, file(1, "d/a", "content"));
        assert_eq!(rig.staged(), 0);
        drop(rig.restart(policy));
    }
}

#[test]
fn a_crash_doubles_nothing_that_stood_there_before() {
    let rig = rig();
    rig.put("d/a", "content");
    let before = rig.incoming.folder().stat(&name("d/a")).unwrap();
    until_committing(&rig, file(1, "d/a", "content"));
    let rig = rig.restart(OnConflict::Rename);
    assert_eq!(std::fs::read_dir(rig.path("d")).unwrap().count(), 1);
    assert!(rig.incoming.folder().stat(&name("d/a")).unwrap().unchanged(&before));
    let received = rig.ledger().received(TransferId([1; 16])).unwrap().unwrap();
    assert_eq!((received.saved_as, rig.staged()), (name("d/a"), 0));
}

#[test]
fn a_whole_file_that_the_ledger_does_not_know_yet_can_be_resumed() {
    let rig = rig();
    let staged = rig.incoming.stage(TransferId([9; 16])).unwrap().0;
    staged.write_at(0, b"from the stage").unwrap();
    staged.checkpoint(&ChunkSet::prefix(5)).unwrap();
    let large = Arrived { content: Content::Staged(staged), ..file(9, "large", "from the stage") };
    stage(&rig.incoming, &mut Placer::new(&rig.incoming, OnConflict::Rename), large, true);
    let rig = rig.restart(OnConflict::Rename);
    let (staged, held) = rig.incoming.stage(TransferId([9; 16])).unwrap();
    assert_eq!(held, ChunkSet::prefix(5));
    staged.checkpoint(&ChunkSet::prefix(14)).unwrap();
    let large = Arrived { content: Content::Staged(staged), ..file(9, "large", "from the stage") };
    assert_eq!(saved(&rig.one(OnConflict::Rename, large)), "large");
    assert_eq!(rig.staged(), 0);
}

#[test]
fn a_crash_after_the_rename_counts_as_committed() {
    let rig = rig();
    rig.put("d/a", "old");
    until_committing(&rig, file(1, "d/a", "content"));
    let mut placer = Placer::new(&rig.incoming, OnConflict::Rename);
    let arrived = file(1, "d/a", "content");
    let fingerprint = Fingerprint::File { size: 7, hash: &arrived.hash };
    let Offer { id, name: at, modified, .. } = &arrived.offer;
    let entry = StagedEntry { id: *id, name: at, fingerprint, modified: *modified };
    assert_eq!(placer.place(&entry).unwrap(), name("d/a (1)"));
    drop(placer);
    let rig = rig.restart(OnConflict::Rename);
    let received = rig.ledger().received(TransferId([1; 16])).unwrap().unwrap();
    assert_eq!(received.saved_as, name("d/a (1)"));
    assert_eq!(std::fs::read_dir(rig.path("d")).unwrap().count(), 2);
}

#[cfg(unix)]
#[test]
fn a_crash_between_the_halves_of_a_hard_link_doubles_nothing() {
    let rig = rig();
    until_committing(&rig, file(1, "a", "content"));
    let leaf = leaf_of(TransferId([1; 16]));
    std::fs::hard_link(rig.base.path().join(".rft/stage").join(leaf), rig.path("a")).unwrap();
    let rig = rig.restart(OnConflict::Rename);
    assert_eq!(std::fs::read_dir(rig.path("")).unwrap().count(), 1);
    assert_eq!((read(&rig.path("a")).as_str(), rig.staged()), ("content", 0));
}

#[test]
fn recovery_keeps_to_the_policy_and_to_what_can_be_done() {
    let rig = rig();
    until_committing(&rig, file(1, "skipped", "new"));
    until_committing(&rig, file(2, "blocked/x", "new"));
    until_committing(&rig, file(3, "torn", "new"));
    until_committing(&rig, file(4, "fine", "new"));
    rig.put("skipped", "old");
    rig.put("blocked", "a file");
    let torn = rig.base.path().join(".rft/stage").join(leaf_of(TransferId([3; 16])));
    std::fs::write(&torn, "ne").unwrap();
    let rig = rig.restart(OnConflict::Skip);
    for (n, received) in [(1, false), (2, false), (3, false), (4, true)] {
        assert_eq!(rig.ledger().received(TransferId([n; 16])).unwrap().is_some(), received, "{n}");
    }
    assert_eq!(
        (read(&rig.path("skipped")).as_str(), read(&rig.path("fine")).as_str()),
        ("old", "new")
    );
    assert!(!rig.path("torn").exists());
    assert_eq!(rig.staged(), 0);
    assert!(rig.ledger().unfinished().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn no_planted_link_leads_out_of_incoming() {
    use std::os::unix::fs::symlink;
    let rig = rig();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("victim"), "untouched").unwrap();
    symlink(outside.path(), rig.path("out")).unwrap();
    std::fs::create_dir(rig.path("d")).unwrap();
    symlink("../out", rig.path("d/up")).unwrap();
    symlink(outside.path().join("victim"), rig.path("leaf")).unwrap();
    symlink(outside.path().join("made"), rig.path("dangling")).unwrap();
    for policy in [OnConflict::Rename, OnConflict::Overwrite, OnConflict::Skip] {
        let through = |text: &str, n| {
            [
                file(n, &format!("{text}/victim"), "evil"),
                folder(n + 1, &format!("{text}/f")),
                link(n + 2, &format!("{text}/l"), "x"),
            ]
        };
        for arrived in through("out", 1).into_iter().chain(through("d/up", 10)) {
            assert_eq!(refused(&rig.one(policy, arrived)), Refusal::InTheWay);
        }
        for arrived in [folder(20, "out"), folder(21, "leaf")] {
            assert_eq!(refused(&rig.one(policy, arrived)), Refusal::InTheWay);
        }
        // At the link itself: beside it, instead of it, or not at all; never through it.
        for (n, at) in [(30, "leaf"), (31, "dangling"), (32, "out")] {
            rig.one(policy, file(n, at, "untouched"));
            if policy == OnConflict::Overwrite {
                assert!(rig.path(at).symlink_metadata().unwrap().is_file());
            }
        }
    }
    assert_eq!(read(&outside.path().join("victim")), "untouched");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_swapped_in_while_files_arrive_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let rig = rig();
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(rig.path("d")).unwrap();
    std::os::unix::fs::symlink(outside.path(), rig.path("l")).unwrap();
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (d, l, stop) = (rig.path("d"), rig.path("l"), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &d, rustix::fs::CWD, &l, flags).unwrap();
            }
        }
    });
    for n in 0..200 {
        rig.publish(OnConflict::Rename, vec![file(n, &format!("d/f{n}"), "x"), folder(201, "d/g")]);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn more_folders_than_a_process_may_open() {
    let rig = rig();
    for round in 0..2u16 {
        let batch = (0..2000u16)
            .map(|n| {
                let mut arrived = file(0, &format!("d{n}/e/f{round}"), "x");
                arrived.offer.id.0[..4]
                    .copy_from_slice(&(u32::from(round) << 16 | u32::from(n)).to_be_bytes());
                arrived
            })
            .collect();
        let outcomes = rig.publish(OnConflict::Rename, batch);
        let failed = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Done { .. }));
        assert!(failed.is_none(), "{failed:?}");
    }
}

/// Not a test: `cargo test --release publish::tests::speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    for base in ["/dev/shm", "/work"] {
        let Ok(dir) = tempfile::tempdir_in(base) else { continue };
        let rig = rig_in(dir);
        let content = Bytes::from(vec![7; 4096]);
        let hash = *blake3::hash(&content).as_bytes();
        let mut all: Vec<_> = (0..10_000u32)
            .map(|n| {
                let kind = EntryKind::File { size: 4096 };
                let mut offer = offer(0, &format!("d{}/f{n}", n / 100), kind);
                offer.id.0[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
                Arrived { offer, content: Content::Bytes(content.clone()), hash }
            })
            .collect();
        let begun = SystemTime::now();
        while !all.is_empty() {
            let batch = all.split_off(all.len().saturating_sub(512));
            assert!(
                rig.publish(OnConflict::Rename, batch)
                    .iter()
                    .all(|o| matches!(o, Outcome::Done { .. }))
            );
        }
        let took = begun.elapsed().unwrap_or(Duration::ZERO);
        println!(
            "{base}: 10,000 x 4 KiB in {took:?}, {:.0} files/s",
            10_000.0 / took.as_secs_f64()
        );
    }
}
