use super::*;

#[test]
fn a_second_rft_is_kept_away_until_the_first_is_gone() {
    let base = tempfile::tempdir().unwrap();
    let folders = Folders::in_dir(base.path());
    let first = StateDir::open(&folders).unwrap();
    assert!(matches!(StateDir::open(&folders), Err(StoreError::InUse { .. })));
    drop(first);
    StateDir::open(&folders).unwrap();
}

#[test]
fn a_shared_folder_elsewhere_is_locked_too() {
    let (a, b, shared) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let incoming = shared.path().join("in");
    let mine = Folders { incoming: incoming.clone(), ..Folders::in_dir(a.path()) };
    let theirs = Folders { incoming, ..Folders::in_dir(b.path()) };
    let _first = StateDir::open(&mine).unwrap();
    assert!(matches!(StateDir::open(&theirs), Err(StoreError::InUse { .. })));
}

#[test]
fn a_state_folder_in_incoming_and_an_outgoing_that_is_only_read() {
    let (base, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folders = Folders {
        incoming: base.path().to_owned(),
        outgoing: other.path().to_owned(),
        state: base.path().join(".rft-receive"),
        reads_outgoing: true,
    };
    let first = StateDir::open(&folders).unwrap();
    assert!(matches!(StateDir::open(&folders), Err(StoreError::InUse { .. })));
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
    drop(first);
    StateDir::open(&folders).unwrap();
}

#[test]
fn folders_inside_each_other_are_refused() {
    let base = tempfile::tempdir().unwrap();
    for (outgoing, incoming) in [("x", "x"), ("x", "x/y"), ("x/y", "x")] {
        let folders = Folders {
            outgoing: base.path().join(outgoing),
            incoming: base.path().join(incoming),
            state: base.path().join(".rft"),
            reads_outgoing: false,
        };
        assert!(matches!(StateDir::open(&folders), Err(StoreError::Nested { .. })));
    }
}

#[test]
fn folders_of_its_own_are_private_and_on_the_right_volume() {
    let base = tempfile::tempdir().unwrap();
    let folders = Folders::in_dir(base.path());
    let state = StateDir::open(&folders).unwrap();
    let incoming = Folder::open(&folders.incoming, true).unwrap();
    let beside = state.work_dir(&incoming, "stage").unwrap().of(&incoming).unwrap();
    assert_eq!(beside.path, folders.state.join("stage"));
    assert!(incoming.is_empty().unwrap());
    assert_eq!(std::fs::read_dir(&beside.path).unwrap().count(), 0);
    // A test file that a crash left is removed.
    for folder in [&folders.incoming, &beside.path] {
        std::fs::write(folder.join(PROBE), "").unwrap();
    }
    let again = state.work_dir(&incoming, "stage").unwrap().of(&incoming).unwrap();
    assert_eq!(again.path, beside.path);
    assert!(incoming.is_empty().unwrap());
    assert_eq!(std::fs::read_dir(&beside.path).unwrap().count(), 0);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folders.state), mode(&beside.path)), (0o700, 0o700));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn another_volume_gets_a_hidden_folder_inside() {
    let (Ok(other), base) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir().unwrap()) else {
        return;
    };
    let folders = Folders { incoming: other.path().join("in"), ..Folders::in_dir(base.path()) };
    let state = StateDir::open(&folders).unwrap();
    let incoming = Folder::open(&folders.incoming, true).unwrap();
    let beside = state.work_dir(&incoming, "stage").unwrap().of(&incoming).unwrap();
    let same = state.own.meta.identity.device
        == os::stat_dir(&incoming.root().unwrap()).unwrap().identity.device;
    let expected = if same { &folders.state } else { &folders.incoming.join(HIDDEN) };
    assert_eq!(beside.path, expected.join("stage"));
    assert!(incoming.is_empty().unwrap());
}
