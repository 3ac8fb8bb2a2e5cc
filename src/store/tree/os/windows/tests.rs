use crate::store::tree::os::system::*;

const OLD: Timestamp = Timestamp { seconds: 1_000_000_000, nanos: 123_456_700 };

fn folder() -> (tempfile::TempDir, Dir) {
    let dir = tempfile::tempdir().unwrap();
    let held = open_root(dir.path()).unwrap();
    (dir, held)
}

fn read_only(dir: &Dir, leaf: &str, content: &[u8]) {
    let file = create_new(dir, leaf.as_ref()).unwrap();
    write_at(&file, content, 0).unwrap();
    set_file(&file, Some(0o444), OLD).unwrap();
}

#[test]
fn read_only_files_are_renamed_replaced_edited_and_removed() {
    let (dir, held) = folder();
    let path = |leaf: &str| dir.path().join(leaf);
    read_only(&held, "a", b"a");
    assert!(path("a").metadata().unwrap().permissions().readonly());
    rename_new(&held, "a".as_ref(), &held, "b".as_ref()).unwrap();
    let moved = stat(&held, "b".as_ref()).unwrap();
    assert_eq!((moved.modified, moved.size), (OLD, 1));
    assert!(path("b").metadata().unwrap().permissions().readonly());
    read_only(&held, "c", b"c");
    rename_over(&held, "c".as_ref(), &held, "b".as_ref()).unwrap();
    assert_eq!(fs::read(path("b")).unwrap(), b"c");
    assert!(path("b").metadata().unwrap().permissions().readonly());
    drop(open_edit(&held, "b".as_ref()).unwrap());
    read_only(&held, "d", b"d");
    unlink(&held, "d".as_ref()).unwrap();
    unlink(&held, "b".as_ref()).unwrap();
    assert!(entries(&held).unwrap().is_empty());
}

#[test]
fn a_rename_never_replaces_unless_asked() {
    let (dir, held) = folder();
    for leaf in ["a", "b"] {
        fs::write(dir.path().join(leaf), leaf).unwrap();
    }
    make_dir(&held, "d".as_ref(), false).unwrap();
    for taken in ["b", "d"] {
        let error = rename_new(&held, "a".as_ref(), &held, taken.as_ref()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"b");
    rename_over(&held, "a".as_ref(), &held, "b".as_ref()).unwrap();
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"a");
    rename_new(&held, "d".as_ref(), &held, "e".as_ref()).unwrap();
    assert_eq!(stat(&held, "e".as_ref()).unwrap().kind, FileKind::Folder);
    assert_eq!(remove_dir(&held, "b".as_ref()).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    remove_dir(&held, "e".as_ref()).unwrap();
}

#[test]
fn a_file_that_is_being_written_is_busy() {
    let (dir, held) = folder();
    let writer = File::create(dir.path().join("f")).unwrap();
    assert_eq!(open_read(&held, "f".as_ref()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(stat(&held, "f".as_ref()).unwrap().kind, FileKind::File);
    drop(writer);
    assert!(open_read(&held, "f".as_ref()).is_ok());
}

#[test]
fn folders_have_times_and_volumes_have_space() {
    let (_dir, held) = folder();
    make_dir(&held, "d".as_ref(), false).unwrap();
    let inner = open_dir(&held, "d".as_ref()).unwrap();
    set_dir(&inner, Some(0o555), OLD).unwrap();
    assert_eq!(stat_dir(&inner).unwrap().modified, OLD);
    assert!(stat_dir(&inner).unwrap().same_inode(&stat(&held, "d".as_ref()).unwrap()));
    assert!(free_space(&inner, Path::new("")).unwrap() > 0);
}
