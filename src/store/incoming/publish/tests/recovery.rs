//! A crash at each step, and the next start.

use super::*;

/// Runs all steps of [`publish`] up to the ledger's "committing".
pub(super) fn until_committing(rig: &Rig, arrived: Arrived) {
    let mut placer = Placer::new(&rig.incoming, OnConflict::Rename, NumberedFolders::default());
    let mut jobs = vec![stage(&mut placer, arrived, true)];
    sync_stage(&mut placer, &mut jobs, false);
    announce(rig.ledger(), &mut placer, &mut jobs);
    assert!(matches!(jobs[0].step, PublishStep::Ready(_)));
}

fn assert_received(rig: &Rig, id: TransferId) {
    assert!(rig.ledger().received(id).unwrap().is_some(), "not received");
}

#[test]
fn a_crash_before_the_rename_is_finished_however_old_the_file() {
    for policy in [OnConflict::Rename, OnConflict::Overwrite, OnConflict::Skip] {
        let rig = rig();
        until_committing(&rig, file(1, "d/a", "content"));
        let rig = rig.restart(policy);
        assert_eq!(read(&rig.path("d/a")), "content");
        assert_eq!(rig.incoming.folder().stat(&name("d/a")).unwrap().modified, OLD);
        assert_received(&rig, TransferId([1; 16]));
        assert_eq!(rig.staged(), 0);
        drop(rig.restart(policy));
    }
}

#[test]
fn a_crash_duplicates_no_existing_file() {
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
    stage(
        &mut Placer::new(&rig.incoming, OnConflict::Rename, NumberedFolders::default()),
        large,
        true,
    );
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
    let mut placer = Placer::new(&rig.incoming, OnConflict::Rename, NumberedFolders::default());
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
fn a_crash_between_the_halves_of_a_hard_link_duplicates_nothing() {
    let rig = rig();
    until_committing(&rig, file(1, "a", "content"));
    let leaf = leaf_of(TransferId([1; 16]));
    std::fs::hard_link(rig.base.path().join(".rft/stage").join(leaf), rig.path("a")).unwrap();
    let rig = rig.restart(OnConflict::Rename);
    assert_eq!(std::fs::read_dir(rig.path("")).unwrap().count(), 1);
    assert_eq!((read(&rig.path("a")).as_str(), rig.staged()), ("content", 0));
}

#[test]
fn recovery_follows_the_policy_and_drops_damaged_entries() {
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
