//! Permissions of folders.

use super::*;

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn with_mode(arrived: Arrived, mode: Option<u32>) -> Arrived {
    Arrived { offer: Offer { mode, ..arrived.offer }, ..arrived }
}

#[test]
fn a_folder_is_private_until_its_own_permissions_arrive() {
    let rig = rig();
    let publish =
        |arrived| assert!(matches!(rig.one(OnConflict::Rename, arrived), Outcome::Done { .. }));
    publish(file(1, "d/e/f", "x"));
    assert_eq!((mode(&rig.path("d")), mode(&rig.path("d/e"))), (0o700, 0o700));
    publish(with_mode(folder(2, "d/e"), Some(0o755)));
    assert_eq!((mode(&rig.path("d")), mode(&rig.path("d/e"))), (0o700, 0o755));
    // From then on the user may change the permissions.
    set_mode(&rig.path("d/e"), 0o700);
    publish(with_mode(folder(3, "d/e"), Some(0o777)));
    assert_eq!(mode(&rig.path("d/e")), 0o700);
    // A restart keeps the records, and permissions set by the user are kept.
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

#[test]
fn a_folder_of_the_user_keeps_its_permissions() {
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

#[test]
fn missing_folders_are_forgotten_and_a_sender_without_modes_gets_the_usual_ones() {
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

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
