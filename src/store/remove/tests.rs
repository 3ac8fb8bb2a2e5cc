use super::*;
use crate::config::Folders;
use std::path::{Path, PathBuf};

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

    fn put(&self, text: &str, content: &str) -> (Name, Meta) {
        let path = self.path("Outgoing").join(text);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        let name = name(text);
        let meta = self.outgoing.stat(&name).unwrap();
        (name, meta)
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
fn what_was_sent_goes_and_its_folder_keeps_its_time() {
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
    batch[1].1.size += 1;
    let results = rig.remover.remove(&batch);
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [Removed::Changed, Removed::Changed, Removed::Gone]);
    assert_eq!(read(&rig.path("Outgoing/d/a")), "new");
    assert_eq!(read(&rig.path("Outgoing/b")), "old");
}

#[test]
fn a_file_renamed_over_it_after_the_check_is_put_back() {
    // What stands in `removing` after the race is lost: another file under the entry's name.
    let rig = rig();
    let (name, meta) = rig.put("d/a.txt", "sent");
    let entry = Entry::new(Verb::Delete, 0, &name, &meta);
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
        let (cold, meta) = rig.put("cold", "sent");
        let hot = (name("hot"), Meta { modified: Timestamp::default(), ..meta });
        let results = rig.remover.remove(&[(cold, meta), hot]);
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
    for (text, verb) in [("d/a", Verb::Delete), (long.as_str(), Verb::Delete), ("b/c", Verb::Archive)] {
        let (name, meta) = rig.put(text, "sent");
        let mut touched = Vec::new();
        let held = rig.remover.removing.of(&rig.outgoing).unwrap().dir;
        let taken = rig.remover.take(&mut rig.outgoing.walk(), &mut touched, &held, verb, &name, &meta);
        assert!(matches!(taken, Ok(Taken::Held(_))));
        let again = Remover { count: AtomicU64::new(0), ..rig_like(&rig) };
        assert_eq!(again.recover().unwrap(), [(name, Removed::Gone)]);
        assert!(!rig.path("Outgoing").join(text).exists());
        assert_eq!(rig.left_over(), 0);
    }
    assert_eq!(read(&rig.path(".rft/sent/b/c")), "sent");
}

#[test]
fn a_note_without_its_file_goes_at_the_next_start() {
    let rig = rig();
    for leaf in ["d-0-1-2-3-4-#0123.name", "somebody's.name"] {
        std::fs::write(rig.path(".rft/removing").join(leaf), "d/a").unwrap();
    }
    assert_eq!(rig.remover.recover().unwrap(), []);
    assert!(rig.path(".rft/removing/somebody's.name").exists());
    assert_eq!(rig.left_over(), 1);
}

#[test]
fn what_an_earlier_run_left_is_not_renamed_over() {
    let rig = rig();
    let (name, meta) = rig.put("a", "sent");
    let left = rig.path(".rft/removing").join(Entry::new(Verb::Delete, 0, &name, &meta).leaf());
    std::fs::write(&left, "precious").unwrap();
    let again = Remover::open(Arc::clone(&rig.outgoing), &rig._state).unwrap();
    assert_eq!(again.remove(&[(name, meta)])[0].clone().unwrap(), Removed::Gone);
    assert_eq!(read(&left), "precious");
    assert_eq!(rig.left_over(), 1);
}

fn rig_like(rig: &Rig) -> Remover {
    Remover {
        outgoing: Arc::clone(&rig.outgoing),
        removing: rig._state.beside(&rig.outgoing, "removing").unwrap(),
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
    let batch: Vec<_> = ["d/f", "d/l"].map(|text| (name(text), outgoing.stat(&name(text)).unwrap())).to_vec();
    for result in remover.archive(&batch) {
        assert_eq!(result.unwrap(), Removed::Gone);
    }
    let sent = Folder::open(&folders.state.join("sent"), false).unwrap();
    let kept = sent.stat(&name("d/f")).unwrap();
    assert_eq!((kept.size, kept.modified, kept.mode), (7, batch[0].1.modified, batch[0].1.mode));
    assert_eq!(sent.read_link(&name("d/l")).unwrap(), b"f");
    assert!(outgoing.list(Some(&name("d"))).unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn a_swapped_parent_link_deletes_nothing_outside() {
    let rig = rig();
    let outside = tempfile::tempdir().unwrap();
    let (held, _) = rig.put("d/a", "sent");
    std::fs::rename(rig.path("Outgoing/d"), outside.path().join("d")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("d"), rig.path("Outgoing/d")).unwrap();
    let meta = Folder::open(outside.path(), false).unwrap().stat(&held).unwrap();
    for result in rig.remover.remove(&[(held.clone(), meta)]) {
        assert!(matches!(result, Err(StoreError::InTheWay { .. })));
    }
    assert!(matches!(rig.remover.remove_folder(&held), Err(StoreError::InTheWay { .. })));
    assert_eq!(rig.remover.remove_folder(&name("d")).unwrap(), Removed::Changed);
    assert_eq!(read(&outside.path().join("d/a")), "sent");
}
