//! The records of programs that are to be run for published files.

use super::recovery::until_committing;
use super::*;

fn hooked(n: u8, text: &str, content: &str) -> Arrived {
    Arrived { hook: ArrivedHook::Pending(PeerName::new("bob")), ..file(n, text, content) }
}

/// The names of the files whose hooks are pending.
fn pending(rig: &Rig) -> Vec<String> {
    let ids = rig.ledger().pending_hooks().unwrap().into_iter();
    let name = |id| rig.ledger().pending_hook(id).unwrap().unwrap().saved_as.to_string();
    let mut names: Vec<_> = ids.map(name).collect();
    names.sort();
    names
}

#[test]
fn a_published_file_has_a_record_and_a_refused_one_has_none() {
    let rig = rig();
    rig.put("taken", "other");
    let batch = vec![hooked(1, "d/a", "one"), hooked(2, "taken", "two"), file(3, "plain", "x")];
    let outcomes = rig.publish(OnConflict::Skip, batch);
    assert_eq!((saved(&outcomes[0]), refused(&outcomes[1])), ("d/a", Refusal::Conflict));
    assert_eq!(pending(&rig), ["d/a"]);
    let hook = rig.ledger().pending_hook(TransferId([1; 16])).unwrap().unwrap();
    assert_eq!((hook.size, hook.peer.as_str(), hook.modified), (3, "bob", OLD));
    assert_eq!(hook.hash, *blake3::hash(b"one").as_bytes());
    // It has the name that the file got.
    rig.one(OnConflict::Rename, hooked(4, "taken", "four"));
    assert_eq!(pending(&rig), ["d/a", "taken (1)"]);
}

#[test]
fn a_crash_keeps_the_record_of_a_placed_file_and_drops_that_of_another() {
    let rig = rig();
    until_committing(&rig, hooked(1, "a", "one"));
    assert_eq!(pending(&rig), ["a"]);
    // Another program takes the name meanwhile.
    rig.put("a", "other");
    let rig = rig.restart(OnConflict::Rename);
    assert_eq!((pending(&rig), read(&rig.path("a (1)"))), (vec!["a (1)".into()], "one".into()));
    until_committing(&rig, hooked(2, "b", "two"));
    rig.put("b", "other");
    let rig = rig.restart(OnConflict::Skip);
    assert_eq!(pending(&rig), ["a (1)"]);
}

#[test]
fn a_checked_file_is_known_as_such() {
    let rig = rig();
    let outcome =
        rig.one(OnConflict::Rename, Arrived { hook: ArrivedHook::Passed, ..file(1, "a", "one") });
    assert!(matches!(outcome, Outcome::Done { checked: true, .. }), "{outcome:?}");
    assert!(rig.ledger().received(TransferId([1; 16])).unwrap().unwrap().checked);
    until_committing(&rig, Arrived { hook: ArrivedHook::Passed, ..file(2, "b", "two") });
    let rig = rig.restart(OnConflict::Rename);
    assert!(rig.ledger().received(TransferId([2; 16])).unwrap().unwrap().checked);
    assert!(pending(&rig).is_empty());
}
