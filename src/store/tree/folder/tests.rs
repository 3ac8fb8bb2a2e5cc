use crate::store::tree::folder::*;

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

#[test]
fn lists_opens_and_looks_at_entries() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    std::fs::write(dir.path().join("a/b/f"), "hello").unwrap();
    let folder = Folder::open(dir.path(), false).unwrap();
    let meta = folder.stat(&name("a/b/f")).unwrap();
    assert_eq!((meta.kind, meta.size), (FileKind::File, 5));
    assert!(folder.open_file(&name("a/b/f")).unwrap().1.unchanged(&meta));
    let listed = folder.list(Some(&name("a/b"))).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].leaf.as_deref().unwrap(), b"f");
    assert!(listed[0].meta.unchanged(&meta));
    assert_eq!(folder.list(None).unwrap()[0].meta.kind, FileKind::Folder);
    assert!(!folder.is_empty().unwrap());
    assert!(matches!(folder.stat(&name("a/x")), Err(StoreError::NotFound { .. })));
    assert!(matches!(folder.stat(&name("a/b/f/x")), Err(StoreError::InTheWay { .. })));
    assert!(matches!(folder.open_file(&name("a")), Err(StoreError::InTheWay { .. })));
    assert!(matches!(folder.list(Some(&name("a/b/f"))), Err(StoreError::InTheWay { .. })));
}

#[test]
fn a_missing_folder_is_made_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x/y");
    assert!(matches!(Folder::open(&path, false), Err(StoreError::NotFound { .. })));
    assert!(Folder::open(&path, true).unwrap().is_empty().unwrap());
    assert!(path.is_dir());
}

#[test]
fn no_name_leads_into_the_programs_own_folder_in_any_case() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path(), false).unwrap();
    assert!(matches!(folder.stat(&name(".RFT")), Err(StoreError::Name { .. })));
    assert!(matches!(folder.stat(&name(".Rft/stage/x")), Err(StoreError::Name { .. })));
    assert!(matches!(folder.stat(&name("a/.RFT")), Err(StoreError::NotFound { .. })));
}

#[cfg(unix)]
#[test]
fn no_link_is_followed_anywhere() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
    std::os::unix::fs::symlink("../out", dir.path().join("real/up")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("leaf")).unwrap();
    let folder = Folder::open(dir.path(), false).unwrap();
    for through in ["out/secret", "real/up/secret"] {
        let through = name(through);
        assert!(matches!(folder.stat(&through), Err(StoreError::InTheWay { .. })));
        assert!(matches!(folder.open_file(&through), Err(StoreError::InTheWay { .. })));
        assert!(matches!(folder.read_link(&through), Err(StoreError::InTheWay { .. })));
        let made = folder.walk().make_parent(&through, &mut |_, _| {}).map(|_| ());
        assert!(matches!(made, Err(StoreError::InTheWay { .. })));
    }
    assert!(matches!(folder.list(Some(&name("out"))), Err(StoreError::InTheWay { .. })));
    assert!(matches!(folder.open_file(&name("leaf")), Err(StoreError::InTheWay { .. })));
    assert_eq!(folder.stat(&name("leaf")).unwrap().kind, FileKind::Link);
    assert_eq!(folder.read_link(&name("real/up")).unwrap(), b"../out");
}

#[cfg(unix)]
#[test]
fn a_fifo_is_seen_but_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let folder = Folder::open(dir.path(), false).unwrap();
    assert_eq!(folder.stat(&name("fifo")).unwrap().kind, FileKind::Other);
    assert!(matches!(folder.open_file(&name("fifo")), Err(StoreError::InTheWay { .. })));
}
