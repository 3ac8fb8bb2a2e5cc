use crate::config::Folders;
use crate::proto::message::Timestamp;
use crate::store::outgoing::remove::take::TakeOutcome;
use crate::store::outgoing::remove::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

struct Rig {
    base: tempfile::TempDir,
    outgoing: Arc<Folder>,
    remover: Remover,
    _state: StateDir,
}

fn rig() -> Rig {
    let base = tempfile::tempdir().unwrap();
    let folders = Folders::in_dir(base.path());
    let state = StateDir::open(&folders).unwrap();
    let outgoing = Arc::new(Folder::open(&folders.outgoing, true).unwrap());
    let remover = Remover::open(Arc::clone(&outgoing), &state).unwrap();
    Rig { base, outgoing, remover, _state: state }
}

impl Rig {
    fn path(&self, text: &str) -> PathBuf {
        self.base.path().join(text)
    }

    fn put(&self, text: &str, content: &str) -> Sent {
        let path = self.path("Outgoing").join(text);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        let name = name(text);
        let meta = self.outgoing.stat(&name).unwrap();
        Sent { name, meta, hash: Some(*blake3::hash(content.as_bytes()).as_bytes()) }
    }

    fn left_over(&self) -> usize {
        std::fs::read_dir(self.path(".rft/removing")).unwrap().count()
    }
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn sent_files_are_removed_and_their_folder_keeps_its_time() {
    let rig = rig();
    let batch: Vec<_> = (0..300).map(|i| rig.put(&format!("d/e{}/f{i}", i % 9), "x")).collect();
    let before = rig.outgoing.stat(&name("d/e1")).unwrap().modified;
    std::thread::sleep(std::time::Duration::from_millis(20));
    let results = rig.remover.remove(&batch);
    assert!(results.into_iter().all(|result| result.unwrap() == Removed::Gone));
    assert_eq!(rig.outgoing.stat(&name("d/e1")).unwrap().modified, before);
    assert!(rig.outgoing.list(Some(&name("d/e1"))).unwrap().is_empty());
    assert_eq!(rig.left_over(), 0);
    assert_eq!(rig.remover.remove(&batch[..1])[0].clone().unwrap(), Removed::Gone);
    assert_eq!(rig.remover.remove_folder(&name("d")).unwrap(), Removed::Changed);
    assert_eq!(rig.remover.remove_folder(&name("d/e1")).unwrap(), Removed::Gone);
    assert_eq!(rig.remover.remove_folder(&name("d/e1")).unwrap(), Removed::Gone);
}

#[test]
fn another_file_at_that_name_stays() {
    let rig = rig();
    let mut batch = vec![rig.put("d/a", "old"), rig.put("b", "old"), rig.put("c", "old")];
    std::fs::write(rig.path("Outgoing/new"), "new").unwrap();
    std::fs::rename(rig.path("Outgoing/new"), rig.path("Outgoing/d/a")).unwrap();
    batch[1].meta.size += 1;
    let results = rig.remover.remove(&batch);
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [Removed::Changed, Removed::Changed, Removed::Gone]);
    assert_eq!(read(&rig.path("Outgoing/d/a")), "new");
    assert_eq!(read(&rig.path("Outgoing/b")), "old");
}

#[test]
fn a_file_renamed_over_it_after_the_check_is_put_back() {
    // The state after a lost race: `removing` has another file under the name of the record.
    let rig = rig();
    let Sent { name, meta, .. } = rig.put("d/a.txt", "sent");
    let entry = RemovalRecord::new(Verb::Delete, 0, &name, &meta);
    std::fs::write(rig.path(".rft/removing").join(entry.leaf()), "other").unwrap();
    assert_eq!(rig.remover.recover().unwrap(), [(name, Removed::Changed)]);
    assert_eq!(read(&rig.path("Outgoing/d/a.txt")), "sent");
    assert_eq!(read(&rig.path("Outgoing/d/a (1).txt")), "other");
    assert_eq!(rig.left_over(), 0);
}

#[test]
fn a_writer_that_keeps_replacing_the_file_loses_nothing() {
    let rig = rig();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (path, spare) = (rig.path("Outgoing/hot"), rig.path("spare"));
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&spare, "precious").unwrap();
                std::fs::rename(&spare, &path).unwrap();
            }
        }
    });
    for _ in 0..300 {
        let cold = rig.put("cold", "sent");
        let meta = Meta { modified: Timestamp::default(), ..cold.meta };
        let hot = Sent { name: name("hot"), meta, hash: None };
        let results = rig.remover.remove(&[cold, hot]);
        assert_eq!(results[0].clone().unwrap(), Removed::Gone);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(read(&rig.path("Outgoing/hot")), "precious");
    assert_eq!(rig.left_over(), 0);
}

#[test]
fn a_crash_between_rename_and_unlink_is_finished() {
    let rig = rig();
    let long = vec!["a long name"; 40].join("/");
    for (text, verb) in
        [("d/a", Verb::Delete), (long.as_str(), Verb::Delete), ("b/c", Verb::Archive)]
    {
        let sent = rig.put(text, "sent");
        let mut touched = Vec::new();
        let held = rig.remover.removing.of(&rig.outgoing).unwrap().dir;
        let taken = rig.remover.take(&mut rig.outgoing.walk(), &mut touched, &held, verb, &sent);
        assert!(matches!(taken, Ok(TakeOutcome::Held(_))));
        let again = Remover { count: AtomicU64::new(0), ..rig_like(&rig) };
        assert_eq!(again.recover().unwrap(), [(sent.name, Removed::Gone)]);
        assert!(!rig.path("Outgoing").join(text).exists());
        assert_eq!(rig.left_over(), 0);
    }
    assert_eq!(read(&rig.path(".rft/sent/b/c")), "sent");
}

#[test]
fn a_name_file_without_its_record_is_removed_at_the_next_start() {
    let rig = rig();
    for leaf in ["d-0-1-2-3-4-#0123.name", "somebody's.name"] {
        std::fs::write(rig.path(".rft/removing").join(leaf), "d/a").unwrap();
    }
    assert_eq!(rig.remover.recover().unwrap(), []);
    assert!(rig.path(".rft/removing/somebody's.name").exists());
    assert_eq!(rig.left_over(), 1);
}

#[test]
fn a_file_left_by_an_earlier_run_is_not_overwritten() {
    let rig = rig();
    let sent = rig.put("a", "sent");
    let left = rig
        .path(".rft/removing")
        .join(RemovalRecord::new(Verb::Delete, 0, &sent.name, &sent.meta).leaf());
    std::fs::write(&left, "precious").unwrap();
    let again = Remover::open(Arc::clone(&rig.outgoing), &rig._state).unwrap();
    assert_eq!(again.remove(&[sent])[0].clone().unwrap(), Removed::Gone);
    assert_eq!(read(&left), "precious");
    assert_eq!(rig.left_over(), 1);
}

fn rig_like(rig: &Rig) -> Remover {
    Remover {
        outgoing: Arc::clone(&rig.outgoing),
        removing: rig._state.work_dir(&rig.outgoing, "removing").unwrap(),
        archive: Archive::open(&rig.path(".rft/sent")).unwrap(),
        count: AtomicU64::new(0),
    }
}

#[test]
fn the_archive_keeps_every_version() {
    let rig = rig();
    for content in ["one", "two"] {
        let sent = rig.put("d/a.txt", content);
        assert_eq!(rig.remover.archive(&[sent])[0].clone().unwrap(), Removed::Gone);
    }
    assert_eq!(read(&rig.path(".rft/sent/d/a.txt")), "one");
    assert_eq!(read(&rig.path(".rft/sent/d/a (1).txt")), "two");
}

#[cfg(target_os = "linux")]
#[test]
fn the_archive_on_another_volume_is_a_copy_with_time_and_mode() {
    let (Ok(other), base) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir().unwrap()) else {
        return;
    };
    let folders = Folders { outgoing: other.path().join("out"), ..Folders::in_dir(base.path()) };
    let state = StateDir::open(&folders).unwrap();
    let outgoing = Arc::new(Folder::open(&folders.outgoing, true).unwrap());
    let remover = Remover::open(Arc::clone(&outgoing), &state).unwrap();
    std::fs::create_dir(folders.outgoing.join("d")).unwrap();
    std::fs::write(folders.outgoing.join("d/f"), "content").unwrap();
    std::os::unix::fs::symlink("f", folders.outgoing.join("d/l")).unwrap();
    let sent =
        |text| Sent { name: name(text), meta: outgoing.stat(&name(text)).unwrap(), hash: None };
    let batch = ["d/f", "d/l"].map(sent);
    for result in remover.archive(&batch) {
        assert_eq!(result.unwrap(), Removed::Gone);
    }
    let sent = Folder::open(&folders.state.join("sent"), false).unwrap();
    let kept = sent.stat(&name("d/f")).unwrap();
    assert_eq!(
        (kept.size, kept.modified, kept.mode),
        (7, batch[0].meta.modified, batch[0].meta.mode)
    );
    assert_eq!(sent.read_link(&name("d/l")).unwrap(), b"f");
    assert!(outgoing.list(Some(&name("d"))).unwrap().is_empty());
}

#[cfg(all(target_os = "linux", feature = "failpoints"))]
#[test]
fn a_failed_copy_leaves_nothing_in_the_archive() {
    let (Ok(other), base) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir().unwrap()) else {
        return;
    };
    let folders = Folders { outgoing: other.path().join("out"), ..Folders::in_dir(base.path()) };
    let state = StateDir::open(&folders).unwrap();
    let outgoing = Arc::new(Folder::open(&folders.outgoing, true).unwrap());
    let remover = Remover::open(Arc::clone(&outgoing), &state).unwrap();
    std::fs::write(folders.outgoing.join("f"), vec![7; 1 << 20]).unwrap();
    let sent = |leaf: &str| {
        let hash = blake3::hash(&std::fs::read(folders.outgoing.join(leaf)).unwrap());
        Sent {
            name: name(leaf),
            meta: outgoing.stat(&name(leaf)).unwrap(),
            hash: Some(*hash.as_bytes()),
        }
    };
    let batch = [sent("f")];
    // The copy fails halfway.
    crate::failpoint::set("os.write=ENOSPC@3");
    let failed = remover.archive(&batch).pop().unwrap();
    if folders.outgoing.join("f").exists() {
        assert!(matches!(failed, Err(StoreError::NoSpace { .. })), "{failed:?}");
        assert_eq!(std::fs::read_dir(folders.state.join("sent")).unwrap().count(), 0);
        assert_eq!(remover.archive(&batch).pop().unwrap().unwrap(), Removed::Gone);
    }
    assert_eq!(std::fs::read(folders.state.join("sent/f")).unwrap(), vec![7; 1 << 20]);
    // The copy of a file that cannot fit is not begun.
    let mut room = Archive::open(&folders.state.join("sent"))
        .unwrap()
        .room(&remover.removing.of(&outgoing).unwrap().dir);
    if room.take(u64::MAX).is_err() {
        std::fs::write(folders.outgoing.join("g"), "g").unwrap();
        let large = sent("g");
        let large = Sent { meta: Meta { size: u64::MAX, ..large.meta }, ..large };
        let refused = remover.archive(&[large]).pop().unwrap();
        assert!(matches!(refused, Err(StoreError::NoSpace { .. })), "{refused:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_swapped_parent_link_deletes_nothing_outside() {
    let rig = rig();
    let outside = tempfile::tempdir().unwrap();
    let held = rig.put("d/a", "sent").name;
    std::fs::rename(rig.path("Outgoing/d"), outside.path().join("d")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("d"), rig.path("Outgoing/d")).unwrap();
    let meta = Folder::open(outside.path(), false).unwrap().stat(&held).unwrap();
    for result in rig.remover.remove(&[Sent { name: held.clone(), meta, hash: None }]) {
        assert!(matches!(result, Err(StoreError::InTheWay { .. })));
    }
    assert!(matches!(rig.remover.remove_folder(&held), Err(StoreError::InTheWay { .. })));
    assert_eq!(rig.remover.remove_folder(&name("d")).unwrap(), Removed::Changed);
    assert_eq!(read(&outside.path().join("d/a")), "sent");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_with_a_writer_is_put_back() {
    let rig = rig();
    for verb in [Verb::Delete, Verb::Archive] {
        let sent = rig.put("d/a", "sent");
        let writer =
            std::fs::OpenOptions::new().append(true).open(rig.path("Outgoing/d/a")).unwrap();
        assert_eq!(
            rig.remover.leave(verb, std::slice::from_ref(&sent))[0].clone().unwrap(),
            Removed::InUse
        );
        assert_eq!(read(&rig.path("Outgoing/d/a")), "sent");
        // The recovery does not complete a removal either while a program has the file open.
        let meta = rig.outgoing.stat(&sent.name).unwrap();
        let leaf = RemovalRecord::new(verb, 7, &sent.name, &meta).leaf();
        std::fs::rename(rig.path("Outgoing/d/a"), rig.path(".rft/removing").join(leaf)).unwrap();
        assert_eq!(rig.remover.recover().unwrap(), [(sent.name.clone(), Removed::Changed)]);
        assert_eq!(read(&rig.path("Outgoing/d/a")), "sent");
        drop(writer);
        assert_eq!(rig.remover.leave(verb, &[sent])[0].clone().unwrap(), Removed::Gone);
        assert_eq!(rig.left_over(), 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_change_whose_time_was_put_back_is_seen() {
    let rig = rig();
    let (touched, changed) = (rig.put("touched", "sent"), rig.put("changed", "sent"));
    let path = rig.path("Outgoing/changed");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "next").unwrap();
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    std::fs::hard_link(rig.path("Outgoing/touched"), rig.path("another name")).unwrap();
    let removed = rig.remover.remove(&[touched, changed.clone()]);
    assert_eq!(
        removed.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
        [Removed::Gone, Removed::Changed]
    );
    assert_eq!(read(&path), "next");
    // Without a hash to compare with, it counts as changed.
    let meta = rig.outgoing.stat(&changed.name).unwrap();
    let unknown = Sent {
        name: changed.name,
        meta: Meta { identity: changed.meta.identity, ..meta },
        hash: None,
    };
    assert_eq!(rig.remover.remove(&[unknown])[0].clone().unwrap(), Removed::Changed);
}

/// The system cannot tell: every query about writers fails.
#[cfg(all(unix, feature = "failpoints"))]
#[test]
fn a_file_whose_writers_are_unknown_is_held_and_checked_again() {
    let rig = rig();
    crate::failpoint::set("os.writers=EIO");
    let on_hold =
        |sent: &Sent| match rig.remover.remove(std::slice::from_ref(sent)).remove(0).unwrap() {
            Removed::OnHold(hold) => hold,
            other => panic!("{other:?}"),
        };
    // The file is unchanged and is removed.
    let sent = rig.put("d/a", "sent");
    let hold = on_hold(&sent);
    assert!(!rig.path("Outgoing/d/a").exists());
    assert_eq!(rig.remover.settle(hold).unwrap(), Removed::Gone);
    assert_eq!(rig.left_over(), 0);
    // A program that had the file open writes to it: the file is put back complete, even if the
    // program sets the time back.
    for keep_time in [false, true] {
        let sent = rig.put("d/a", "sent");
        let path = rig.path("Outgoing/d/a");
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let hold = on_hold(&sent);
        io::Write::write_all(&mut writer, b"more").unwrap();
        if keep_time {
            writer.set_modified(time).unwrap();
        }
        drop(writer);
        assert_eq!(rig.remover.settle(hold).unwrap(), Removed::Changed);
        assert_eq!(read(&path), "more");
        assert_eq!(rig.left_over(), 0);
    }
    // The next start puts the file back. It is offered again, and the peer knows its id.
    let sent = rig.put("d/a", "sent");
    let _hold = on_hold(&sent);
    assert_eq!(rig.remover.recover().unwrap(), [(sent.name, Removed::Changed)]);
    assert_eq!(read(&rig.path("Outgoing/d/a")), "sent");
    crate::failpoint::set("");
}
