mod conflicts;
#[cfg(unix)]
mod folders;
mod hooks;
#[cfg(unix)]
mod links;
#[cfg(unix)]
mod numbered_folders;
mod recovery;

use crate::config::Folders;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::Timestamp;
use crate::store::StateDir;
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

    /// The process dies here and starts again.
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
        hook: ArrivedHook::None,
    }
}

fn folder(n: u8, text: &str) -> Arrived {
    Arrived {
        offer: offer(n, text, EntryKind::Folder),
        content: Content::Folder,
        hash: [0; 32],
        hook: ArrivedHook::None,
    }
}

fn link(n: u8, text: &str, target: &str) -> Arrived {
    let kind = EntryKind::Link { target: target.into() };
    Arrived {
        offer: offer(n, text, kind),
        content: Content::Link,
        hash: [0; 32],
        hook: ArrivedHook::None,
    }
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

/// Files that were placed in a folder that is no longer there are lost, so they get no receipt.
#[cfg(unix)]
#[test]
fn a_folder_that_is_moved_away_in_the_middle_of_a_batch_gets_no_receipts() {
    for (path, back) in [("Incoming", true), ("Incoming", false), (".rft/stage", true)] {
        let rig = rig();
        let mut placer = Placer::new(&rig.incoming, OnConflict::Rename, NumberedFolders::default());
        let mut jobs = vec![stage(&mut placer, file(1, "a", "content"), true)];
        let filling = announce(rig.ledger(), &mut placer, &mut jobs);
        let (path, aside) = (rig.base.path().join(path), rig.base.path().join("aside"));
        std::fs::rename(&path, aside).unwrap();
        if back {
            std::fs::create_dir(&path).unwrap();
        }
        place_all(&mut placer, &mut jobs, &filling);
        assert!(matches!(jobs[0].step, PublishStep::Refused(..)), "{path:?}");
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
fn one_bad_entry_does_not_fail_its_batch() {
    let rig = rig();
    rig.put("blocked", "a file");
    let mut batch: Vec<_> = (0..100).map(|n| file(n, &format!("d{}/f{n}", n % 90), "x")).collect();
    batch[50] = file(50, "blocked/f50", "x");
    batch[51] = link(51, "l", "/etc/passwd");
    batch[52] = link(52, "d/l", "../../x");
    let short = rig.incoming.stage(TransferId([53; 16])).unwrap().0;
    batch[53] =
        Arrived { content: Content::Staged(short), ..file(53, "short", "more than is there") };
    let outcomes = rig.publish(OnConflict::Skip, batch);
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
                Arrived {
                    offer,
                    content: Content::Bytes(content.clone()),
                    hash,
                    hook: ArrivedHook::None,
                }
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
