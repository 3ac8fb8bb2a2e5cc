use super::*;
use crate::config::Folders;
use std::time::{Duration, SystemTime};

fn incoming(base: &Path) -> (StateDir, Incoming) {
    let folders = Folders::in_dir(base);
    let state = StateDir::open(&folders).unwrap();
    let incoming = Incoming::open(&folders.incoming, &state).unwrap();
    (state, incoming)
}

#[test]
fn space_is_reserved_once() {
    let base = tempfile::tempdir().unwrap();
    let (_state, incoming) = incoming(base.path());
    let half = incoming.folder().free_space().unwrap() / 2;
    let more = half + (1 << 30);
    let id = |n| TransferId([n; 16]);
    let first = incoming.reserve(id(1), half, 0).unwrap();
    assert!(matches!(incoming.reserve(id(2), more, 0), Err(StoreError::NoSpace { .. })));
    drop(first);
    incoming.reserve(id(2), half, 0).unwrap();
    assert!(matches!(incoming.reserve(id(3), 1, u64::MAX), Err(StoreError::NoSpace { .. })));
    incoming.reserve(id(3), 0, u64::MAX).unwrap();
}

/// Waits until Incoming may be counted again.
fn fits_at_last(incoming: &Incoming, n: u8, bytes: u64) -> Reservation {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match incoming.reserve(TransferId([n; 16]), bytes, 0) {
            Ok(reservation) => return reservation,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn incoming_holds_no_more_than_its_limit() {
    let base = tempfile::tempdir().unwrap();
    let (_state, incoming) = incoming(base.path());
    let incoming = incoming.limited(Some(1000));
    let full = |n, bytes| {
        let refused = incoming.reserve(TransferId([n; 16]), bytes, 0);
        matches!(refused, Err(StoreError::Full { limit: 1000, .. }))
    };
    let path = |name: &str| base.path().join("Incoming").join(name);
    std::fs::create_dir_all(path("d/e")).unwrap();
    std::fs::write(path("d/e/f"), [0; 300]).unwrap();
    std::fs::write(path("g"), [0; 300]).unwrap();
    assert!(full(1, 401));
    let first = incoming.reserve(TransferId([1; 16]), 300, 0).unwrap();
    assert!(full(2, 101));
    let second = incoming.reserve(TransferId([2; 16]), 100, 0).unwrap();
    // A file must be removed first; then the next check succeeds by itself.
    drop(second);
    drop(first);
    assert!(full(2, 101));
    std::fs::write(path("first"), [0; 300]).unwrap();
    std::fs::remove_file(path("g")).unwrap();
    drop(fits_at_last(&incoming, 2, 400));
    // A staged file counts for every transfer except its own.
    let id = TransferId([3; 16]);
    let (staged, _) = incoming.stage(id).unwrap();
    let held = fits_at_last(&incoming, 3, 350);
    staged.write_at(0, &[0; 200]).unwrap();
    staged.checkpoint(&ChunkSet::prefix(200)).unwrap();
    drop(held);
    assert!(full(4, 250));
    drop(fits_at_last(&incoming, 3, 380));
}

#[test]
fn bytes_in_the_stage_are_not_reserved_again() {
    let base = tempfile::tempdir().unwrap();
    let (_state, incoming) = incoming(base.path());
    let free = incoming.folder().free_space().unwrap();
    let id = TransferId([1; 16]);
    let size = free + (1 << 30);
    assert!(matches!(incoming.reserve(id, size, 0), Err(StoreError::NoSpace { .. })));
    let (staged, _) = incoming.stage(id).unwrap();
    // A hole needs no disk space, and the reservation counts it as written.
    if staged.write_at(size - (1 << 30), b"x").is_ok() {
        let _held = incoming.reserve(id, size, 0).unwrap();
        incoming.reserve(TransferId([2; 16]), free / 4, 0).unwrap();
    }
}

#[test]
fn staged_files_are_resumed_and_dropped_when_old() {
    let base = tempfile::tempdir().unwrap();
    let (state, incoming) = incoming(base.path());
    let id = TransferId([3; 16]);
    let (staged, held) = incoming.stage(id).unwrap();
    assert!(held.is_empty());
    staged.write_at(0, b"hello").unwrap();
    staged.checkpoint(&ChunkSet::prefix(5)).unwrap();
    drop(staged);
    let (staged, held) = incoming.stage(id).unwrap();
    assert_eq!(held, ChunkSet::prefix(5));
    let mut back = [0; 5];
    staged.read_at(&mut back, 0).unwrap();
    assert_eq!(&back, b"hello");
    drop(staged);
    incoming.discard(id).unwrap();
    incoming.discard(id).unwrap();
    let (_, held) = incoming.stage(id).unwrap();
    assert!(held.is_empty());

    let long_ago = SystemTime::now() - 2 * Duration::from_secs(MAX_UNFINISHED_AGE);
    let age = |path: &Path| {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    };
    let stage = base.path().join(".rft/stage");
    for old in ["old", "old.prefix"] {
        std::fs::write(stage.join(old), "x").unwrap();
        age(&stage.join(old));
    }
    // A crash left a staged file without a checkpoint, and a checkpoint without a file.
    std::fs::write(stage.join("no note"), "x").unwrap();
    std::fs::write(stage.join("no file.prefix"), "x").unwrap();
    let (staged, _) = incoming.stage(id).unwrap();
    staged.write_at(0, b"hello").unwrap();
    staged.checkpoint(&ChunkSet::prefix(5)).unwrap();
    // A complete file has the time of its source.
    age(&stage.join(id.to_string()));
    let ledger = crate::store::Ledger::open(&state).unwrap();
    // At the time of writing the files are not old.
    incoming.sweep(ledger.as_of() - 2 * MAX_UNFINISHED_AGE).unwrap();
    assert!(stage.join("old").exists() && stage.join("old.prefix").exists());
    incoming.recover(&ledger, OnConflict::Rename).unwrap();
    assert_eq!(std::fs::read_dir(&stage).unwrap().count(), 2);
    assert_eq!(incoming.stage(id).unwrap().1, ChunkSet::prefix(5));
}

#[test]
fn the_oldest_unfinished_files_are_dropped_beyond_the_limit() {
    let base = tempfile::tempdir().unwrap();
    let (_state, incoming) = incoming(base.path());
    let at = |n: u8| base.path().join(format!(".rft/stage/{}", TransferId([n; 16])));
    for n in 0..10 {
        let (staged, _) = incoming.stage(TransferId([n; 16])).unwrap();
        staged.write_at(0, b"hello").unwrap();
        staged.checkpoint(&ChunkSet::prefix(5)).unwrap();
        drop(staged);
        let age = Duration::from_secs(1000 - 10 * u64::from(n));
        let file = std::fs::File::options().write(true).open(at(n)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    let _under_way = incoming.reserve(TransferId([1; 16]), 10, 0).unwrap();
    incoming.keep_unfinished(&incoming.stage_dir().unwrap(), 10);
    assert!((0..10).all(|n| at(n).exists()));
    incoming.keep_unfinished(&incoming.stage_dir().unwrap(), 7);
    let kept: Vec<_> = (0..10).filter(|&n| at(n).exists()).collect();
    assert_eq!(kept, [1, 4, 5, 6, 7, 8, 9]);
    assert_eq!(std::fs::read_dir(base.path().join(".rft/stage")).unwrap().count(), 14);
}

#[test]
fn a_staged_file_without_checkpoint_is_removed_with_its_transfer() {
    let base = tempfile::tempdir().unwrap();
    let (_state, incoming) = incoming(base.path());
    let id = TransferId([1; 16]);
    let at = base.path().join(format!(".rft/stage/{id}"));
    let (staged, _) = incoming.stage(id).unwrap();
    staged.write_at(0, b"hello").unwrap();
    assert!(at.exists());
    drop(staged);
    assert!(!at.exists());
    let (staged, _) = incoming.stage(id).unwrap();
    staged.write_at(0, b"hello").unwrap();
    staged.checkpoint(&ChunkSet::prefix(5)).unwrap();
    drop(staged);
    assert!(at.exists());
    // After a restart from the beginning the file cannot be resumed.
    let (staged, held) = incoming.stage(id).unwrap();
    assert_eq!(held, ChunkSet::prefix(5));
    staged.truncate(0).unwrap();
    drop(staged);
    assert_eq!(std::fs::read_dir(base.path().join(".rft/stage")).unwrap().count(), 0);
}
