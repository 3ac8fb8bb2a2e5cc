//! Folders whose name another entry has in Incoming.

use super::*;

/// A file has the name of a folder, which arrives in parts, with restarts and a crash in between.
#[test]
fn a_folder_whose_name_a_file_has_gets_a_numbered_name_with_all_its_files() {
    let mut rig = rig();
    rig.put("x/d", "in the way");
    rig.put("x/d (1)", "this one too");
    let all = |rig: &Rig, batch| {
        let outcomes = rig.publish(OnConflict::Rename, batch);
        outcomes.iter().map(saved).map(str::to_owned).collect::<Vec<_>>()
    };
    let two = vec![file(1, "x/d/a", "a"), file(2, "x/d/e/b", "b")];
    assert_eq!(all(&rig, two), ["x/d (2)/a", "x/d (2)/e/b"]);
    rig = rig.restart(OnConflict::Rename);
    for gone in ["x/d", "x/d (1)"] {
        std::fs::remove_file(rig.path(gone)).unwrap();
    }
    rig = rig.restart(OnConflict::Rename);
    // As a large file: staged, and placed after a restart.
    let staged = stage_and_commit(&rig, file(3, "x/d/c", "c"));
    rig = rig.restart(OnConflict::Rename);
    assert_eq!(saved_as(&rig, staged), "x/d (2)/c");
    assert_eq!(
        all(&rig, vec![link(4, "x/d/l", "e/b"), folder(5, "x/d/e")]),
        ["x/d (2)/l", "x/d (2)/e"]
    );
    // The same file again, and the folder itself.
    assert_eq!(all(&rig, vec![file(6, "x/d/a", "a"), folder(7, "x/d")]), ["x/d (2)/a", "x/d (2)"]);
    assert_eq!(read(&rig.path("x/d (2)/l")), "b");
    assert!(!rig.path("x/d").exists());
    assert_eq!(all(&rig, vec![file(8, "x/d/a", "of another folder")]), ["x/d/a"]);
    rig = rig.restart(OnConflict::Rename);
    assert_eq!(all(&rig, vec![file(9, "x/d/b", "of another folder")]), ["x/d/b"]);
    assert_eq!(rig.staged(), 0);
}

/// While the other entry has the folder's name, the record in the ledger does not matter. Without
/// it, a folder that the user removed is not created again.
#[test]
fn a_numbered_folder_is_found_again_or_begun_anew() {
    let mut rig = rig();
    rig.put("d", "in the way");
    let one = |rig: &Rig, n, name: &str| {
        saved(&rig.one(OnConflict::Rename, file(n, name, name))).to_owned()
    };
    assert_eq!(one(&rig, 1, "d/a"), "d (1)/a");
    assert_eq!(saved(&rig.one(OnConflict::Rename, folder(2, "d"))), "d (1)");
    assert_eq!(one(&rig, 3, "d/b"), "d (1)/b");
    std::fs::remove_dir_all(rig.path("d (1)")).unwrap();
    rig.put("d (1)", "now this is a file");
    assert_eq!(one(&rig, 4, "d/c"), "d (2)/c");
    std::fs::remove_dir_all(rig.path("d (2)")).unwrap();
    std::fs::remove_file(rig.path("d")).unwrap();
    rig = rig.restart(OnConflict::Rename);
    assert_eq!(one(&rig, 5, "d/e"), "d/e");
    // A file has the folder's name, in a folder that itself has another name than offered.
    rig.put("f", "in the way");
    rig.put("f (1)/g", "in the way");
    assert_eq!(one(&rig, 6, "f/g/h"), "f (1)/g (1)/h");
    for on_conflict in [OnConflict::Overwrite, OnConflict::Skip] {
        assert_eq!(refused(&rig.one(on_conflict, file(7, "f/i", "i"))), Refusal::InTheWay);
    }
}

/// Stages an entry and announces it to the ledger; then the process dies before the rename.
fn stage_and_commit(rig: &Rig, arrived: Arrived) -> TransferId {
    let id = arrived.offer.id;
    let known = NumberedFolders::of(rig.ledger(), OnConflict::Rename, [&arrived.offer].into_iter())
        .unwrap();
    let mut placer = Placer::new(&rig.incoming, OnConflict::Rename, known);
    let mut jobs = [stage(&mut placer, arrived, true)];
    announce(rig.ledger(), &mut placer, &mut jobs);
    id
}

fn saved_as(rig: &Rig, id: TransferId) -> String {
    rig.ledger().received(id).unwrap().unwrap().saved_as.to_string()
}
