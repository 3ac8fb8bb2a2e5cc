//! An entry arrives where another one exists.

use super::*;
use crate::store::incoming::compare::MAX_COMPARED;

#[test]
fn each_conflict_policy_has_its_outcome() {
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
        // The user's file stays unchanged, except with the policy overwrite.
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
    assert_eq!(saved(&rig.one(Rename, file(9, "d/a.txt/b", "new"))), "d/a (1).txt/b");
    assert_eq!(saved(&rig.one(Rename, folder(10, "d/a.txt"))), "d/a (1).txt");
    for policy in [Overwrite, Skip] {
        assert_eq!(refused(&rig.one(policy, file(9, "d/a.txt/c", "new"))), Refusal::InTheWay);
        assert_eq!(refused(&rig.one(policy, folder(12, "d/a.txt"))), Refusal::InTheWay);
    }
    assert_eq!(saved(&rig.one(Rename, folder(11, "d"))), "d");
    assert_eq!(rig.staged(), 0);
}

#[test]
fn content_that_exists_under_a_numbered_name_is_not_duplicated() {
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
    // If there are many, some are compared, and those with the same time.
    for n in 1..=MAX_COMPARED + 5 {
        rig.put(&format!("many ({n})"), &format!("{n:03}"));
    }
    rig.put("many", "000");
    let last = MAX_COMPARED + 5;
    let next = format!("many ({})", last + 1);
    assert_eq!(saved(&rig.one(OnConflict::Rename, file(7, "many", &format!("{last:03}")))), next);
    assert_eq!(saved(&rig.one(OnConflict::Rename, file(8, "many", "003"))), "many (3)");
    assert_eq!(saved(&rig.one(OnConflict::Rename, file(9, "many", &format!("{last:03}")))), next);
}
