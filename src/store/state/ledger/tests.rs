use crate::config::Folders;
use crate::proto::message::Timestamp;
use crate::store::state::ledger::record::{MAX_AGE, encode, too_old};
use crate::store::state::ledger::*;
use std::time::SystemTime;

fn id(n: u8) -> TransferId {
    TransferId([n; 16])
}

fn entry(n: u8) -> (TransferId, Received) {
    let saved_as = Name::parse(format!("d/{n}").as_bytes()).unwrap();
    (id(n), Received { hash: [n; 32], saved_as, checked: n.is_multiple_of(2) })
}

fn state() -> (tempfile::TempDir, StateDir) {
    let base = tempfile::tempdir().unwrap();
    let state = StateDir::open(&Folders::in_dir(base.path())).unwrap();
    (base, state)
}

/// A file that was delivered.
const DELIVERED: Delivered =
    Delivered { changed: Timestamp { seconds: -5, nanos: 7 }, hash: Some([9; 32]) };

#[test]
fn committed_entries_are_received_until_forgotten() {
    let (_base, state) = state();
    let ledger = Ledger::open(&state).unwrap();
    ledger.committing(&[entry(1), entry(2), entry(3)], &[], &[]).unwrap();
    assert_eq!(ledger.received(id(1)).unwrap(), None);
    ledger.committed(&[entry(1), entry(2)], &[], &[]).unwrap();
    ledger.not_committed(&[id(3)]).unwrap();
    assert_eq!([id(1), id(3)].map(|id| ledger.received(id).unwrap()), [Some(entry(1).1), None]);
    ledger.committing(&[entry(4)], &[], &[]).unwrap();
    assert_eq!(ledger.forget(&[id(1), id(4), id(5)]).unwrap(), [id(4), id(5)]);
    assert_eq!(ledger.received(id(1)).unwrap(), None);
    assert!(ledger.unfinished().unwrap().is_empty());
}

fn hook(n: u8) -> PendingHook {
    let (transfer, Received { hash, saved_as, .. }) = entry(n);
    let modified = Timestamp { seconds: -1, nanos: 999_999_999 };
    PendingHook { transfer, size: 5, hash, modified, peer: "bob".into(), saved_as }
}

#[test]
fn a_pending_hook_survives_until_it_is_done() {
    let (_base, state) = state();
    let ledger = Ledger::open(&state).unwrap();
    let entries = [entry(1), entry(2), entry(3)];
    ledger.committing(&entries, &[], &[hook(1), hook(2), hook(3)]).unwrap();
    ledger.committed(&entries[..2], &[], &[]).unwrap();
    // The third one is refused.
    ledger.not_committed(&[id(3)]).unwrap();
    // The sender is done with it, and its hook is still to be run.
    ledger.forget(&[id(1)]).unwrap();
    drop(ledger);
    let ledger = Ledger::open(&state).unwrap();
    assert_eq!(ledger.pending_hooks().unwrap(), [id(1), id(2)]);
    assert_eq!(ledger.pending_hook(id(1)).unwrap(), Some(hook(1)));
    assert_eq!(ledger.received(id(1)).unwrap(), None);
    let name = Name::parse(b"d/1 (1)").unwrap();
    ledger.rename_hook(id(1), &name).unwrap();
    ledger.rename_hook(id(9), &name).unwrap();
    assert_eq!(ledger.pending_hook(id(1)).unwrap().unwrap().saved_as, name);
    ledger.hook_is_done(id(1)).unwrap();
    assert_eq!(ledger.pending_hooks().unwrap(), [id(2)]);
    assert!(ledger.unfinished().unwrap().is_empty() && ledger.filling().unwrap().is_empty());
    assert!(!too_old(&record::encode_hook(&hook(1)), u64::MAX), "it never expires");
}

#[test]
fn unfinished_entries_and_the_origin_survive_a_restart() {
    let (base, state) = state();
    let ledger = Ledger::open(&state).unwrap();
    let origin = ledger.origin();
    ledger.committing(&[entry(1), entry(2)], &[], &[]).unwrap();
    ledger.committed(&[entry(2)], &[], &[]).unwrap();
    ledger.mark_delivered(&[(id(7), DELIVERED), (id(8), Delivered::default())]).unwrap();
    drop(ledger);
    let ledger = Ledger::open(&state).unwrap();
    assert_eq!(ledger.origin(), origin);
    assert!(ledger.moved_aside().is_none());
    assert!(ledger.unfinished().unwrap().contains(&entry(1)));
    assert_eq!(ledger.delivered(id(7)).unwrap(), Some(DELIVERED));
    assert_eq!(ledger.delivered(id(8)).unwrap(), Some(Delivered::default()));
    assert_eq!(ledger.delivered(id(9)).unwrap(), None);
    let outgoing = Folder::open(base.path(), false).unwrap();
    ledger.prune_delivered(&outgoing, &|delivered| delivered == id(8)).unwrap();
    assert!(
        ledger.delivered(id(7)).unwrap().is_none() && ledger.delivered(id(8)).unwrap().is_some()
    );
}

#[test]
fn after_an_error_it_is_opened_again_with_all_entries() {
    let (_base, state) = state();
    let ledger = Ledger::open(&state).unwrap();
    ledger.committing(&[entry(1), entry(2), entry(3)], &[], &[]).unwrap();
    // None of these changes is synced, so the opened file has none of them.
    ledger.committed(&[entry(1), entry(2)], &[], &[]).unwrap();
    ledger.forget(&[id(2)]).unwrap();
    for _ in 0..2 {
        ledger.db.fail();
        assert_eq!(
            [id(1), id(2), id(3)].map(|id| ledger.received(id).unwrap()),
            [Some(entry(1).1), None, None]
        );
        assert_eq!(ledger.unfinished().unwrap(), [entry(3)]);
    }
    ledger.db.fail();
    ledger.committed(&[entry(3)], &[], &[]).unwrap();
    assert_eq!(ledger.received(id(3)).unwrap(), Some(entry(3).1));
}

#[test]
fn while_it_cannot_be_opened_nothing_is_forgotten() {
    let (base, state) = state();
    let ledger = Ledger::open(&state).unwrap();
    ledger.committing(&[entry(1), entry(2)], &[], &[]).unwrap();
    let (file, aside) = (state.path().join(LEDGER), base.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    ledger.db.fail();
    assert!(matches!(ledger.received(id(1)), Err(StoreError::NotFound { .. })));
    // The first change need not be durable and is kept in memory. The second must be durable: it
    // fails, and is kept in memory as well.
    ledger.committed(&[entry(1)], &[], &[]).unwrap();
    assert!(ledger.not_committed(&[id(2)]).is_err());
    assert!(ledger.committing(&[entry(4)], &[], &[]).is_err());
    // No new file is created in its place, and another ledger is not accepted.
    assert!(!file.exists());
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(ledger.received(id(1)).unwrap(), Some(entry(1).1));
    assert!(ledger.unfinished().unwrap().is_empty());
    let other = tempfile::tempdir().unwrap();
    let other = StateDir::open(&Folders::in_dir(other.path())).unwrap();
    drop(Ledger::open(&other).unwrap());
    std::fs::rename(other.path().join(LEDGER), &file).unwrap();
    ledger.db.fail();
    assert!(matches!(ledger.received(id(1)), Err(StoreError::Ledger { .. })));
}

#[test]
fn old_entries_are_dropped_and_unfinished_ones_stay() {
    let (mut value, as_of) = (Vec::new(), 2_000_000_000);
    let old = as_of - MAX_AGE;
    encode(&mut value, RecordState::Committed, old - 1, &entry(1).1);
    assert!(too_old(&value, as_of));
    encode(&mut value, RecordState::Committed, old, &entry(1).1);
    assert!(!too_old(&value, as_of));
    encode(&mut value, RecordState::Committing, old - 1, &entry(1).1);
    assert!(!too_old(&value, as_of));
}

#[test]
fn a_clock_that_is_years_ahead_forgets_nothing() {
    let (_base, state) = state();
    let ledger = Ledger::open(&state).unwrap();
    ledger.committing(&[entry(1)], &[], &[]).unwrap();
    ledger.committed(&[entry(1)], &[], &[]).unwrap();
    drop(ledger);
    // The file's time says that the last run was ten years ago, as after a jump of the clock.
    let path = state.path().join(LEDGER);
    let before = SystemTime::now() - std::time::Duration::from_secs(10 * 365 * 86_400);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    let ledger = Ledger::open(&state).unwrap();
    assert_eq!(ledger.as_of(), seconds(before));
    assert_eq!(ledger.received(id(1)).unwrap(), Some(entry(1).1));
}

/// The file of a ledger with a few hundred entries, after an orderly exit.
fn sample(state: &StateDir) -> Vec<u8> {
    let ledger = Ledger::open(state).unwrap();
    for n in 0..=255 {
        ledger.committing(&[entry(n)], &[], &[]).unwrap();
    }
    ledger.committed(&(0..200).map(entry).collect::<Vec<_>>(), &[], &[]).unwrap();
    ledger.mark_delivered(&[(id(1), DELIVERED)]).unwrap();
    drop(ledger);
    std::fs::read(state.path().join(LEDGER)).unwrap()
}

/// With any content of the file, the ledger opens and works, and returns no invented entry.
fn survives(state: &StateDir, bytes: &[u8]) -> bool {
    std::fs::write(state.path().join(LEDGER), bytes).unwrap();
    let ledger = Ledger::open(state).unwrap();
    for n in 0..=255 {
        let found = ledger.received(id(n)).unwrap();
        assert!(found.is_none() || found == Some(entry(n).1), "{n}");
    }
    ledger.committing(&[entry(3)], &[], &[]).unwrap();
    ledger.committed(&[entry(3)], &[], &[]).unwrap();
    assert_eq!(ledger.received(id(3)).unwrap(), Some(entry(3).1));
    if let Some(aside) = ledger.moved_aside() {
        assert_eq!(std::fs::read(aside).unwrap().len(), bytes.len());
        std::fs::remove_file(aside).unwrap();
        return false;
    }
    true
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_new_one_made() {
    let (_base, state) = state();
    let whole = sample(&state);
    assert!(survives(&state, &whole));
    assert!(survives(&state, b""));
    for length in [1, 9, 100, 511, 512, 4095, 4096, whole.len() / 2, whole.len() - 1] {
        survives(&state, &whole[..length]);
    }
    assert!(!survives(&state, &[0x5a; 10_000]));
    let mut aside = 0;
    for at in (0..512).step_by(7).chain((512..whole.len()).step_by(whole.len() / 150)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        aside += usize::from(!survives(&state, &flipped));
    }
    assert!(aside > 0, "no flip was noticed");
}

#[test]
fn a_file_that_cannot_be_opened_is_not_called_damaged() {
    let (_base, state) = state();
    std::fs::create_dir(state.path().join(LEDGER)).unwrap();
    assert!(Ledger::open(&state).is_err());
    assert!(state.path().join(LEDGER).is_dir());
}

#[test]
fn entries_that_are_never_forgotten_are_limited_in_number() {
    let (_base, state) = state();
    let mut ledger = Ledger::open(&state).unwrap();
    ledger.max_entries = 3;
    ledger.committed(&[entry(1), entry(2), entry(3)], &[], &[]).unwrap();
    assert!(matches!(ledger.received(id(4)), Err(StoreError::LedgerFull { .. })));
    assert_eq!(ledger.received(id(3)).unwrap(), Some(entry(3).1));
    ledger.forget(&[id(3)]).unwrap();
    assert_eq!(ledger.received(id(4)).unwrap(), None);
}

/// The child of [`a_kill_at_any_write_damages_nothing`]: writes entries until it is killed.
#[test]
#[cfg(feature = "failpoints")]
#[ignore = "only as a child"]
fn works_until_it_is_killed() {
    let Some(dir) = std::env::var_os("RFT_TEST_LEDGER") else { return };
    let state = StateDir::open(&Folders::in_dir(PathBuf::from(dir))).unwrap();
    let ledger = Ledger::open(&state).unwrap();
    assert_eq!(ledger.moved_aside(), None);
    for n in 0..1_000_000_u32 {
        let batch: Vec<_> =
            (0..n % 40).map(|k| (id_of(n % 7 * 50 + k), entry(k as u8).1)).collect();
        let ids: Vec<_> = batch.iter().map(|(id, _)| *id).collect();
        ledger.committing(&batch, &[], &[]).unwrap();
        ledger.committed(&batch, &[], &[]).unwrap();
        if n % 3 == 0 {
            ledger.forget(&ids).unwrap();
        }
        if n % 5 == 0 {
            ledger
                .mark_delivered(&ids.iter().map(|id| (*id, DELIVERED)).collect::<Vec<_>>())
                .unwrap();
        }
    }
}

#[cfg(feature = "failpoints")]
fn id_of(n: u32) -> TransferId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_le_bytes());
    TransferId(id)
}

/// Runs [`works_until_it_is_killed`] in a process of its own, which the failpoint `rule` kills.
#[cfg(feature = "failpoints")]
fn work_until(dir: &Path, rule: &str) -> std::process::Output {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "store::state::ledger::tests::works_until_it_is_killed"])
        .env("RFT_TEST_LEDGER", dir)
        .env("RFT_FAILPOINTS", rule)
        .output()
        .unwrap()
}

#[test]
#[cfg(feature = "failpoints")]
fn a_kill_at_any_write_damages_nothing() {
    for kind in ["write", "sync"] {
        for (first, again) in (1..=40).flat_map(|first| [(first, 1 + first % 13), (first, 40)]) {
            let base = tempfile::tempdir().unwrap();
            for time in [first, again, 200] {
                let done = work_until(base.path(), &format!("ledger.{kind}=kill@{time}"));
                let said = String::from_utf8_lossy(&done.stdout);
                assert!(done.status.code().is_none(), "{kind} {first}, {again}, {time}: {said}");
            }
        }
    }
}
