//! How a file leaves Outgoing: so that never another one is removed than the one that was sent.
//!
//! A file is not unlinked by name after a check, since another may be renamed over it in between.
//! It is renamed first, into a folder of the program's own where nobody else touches it, and looked
//! at there. Its name there says which file it should be and where it came from, so that the next
//! start finishes what a crash left, or undoes it.

use super::error::{Naming, StoreError};
use super::folder::{Folder, Walk};
use super::meta::{FileKind, Meta};
use super::numbered::{self, numbered};
use super::os;
use super::removing::{Entry, Verb};
use super::state::{Aside, StateDir};
use super::sync;
use crate::failpoint::hit;
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files handled between two syncs; also bounds the open folders.
const BATCH: usize = 128;

/// What became of a file that was to leave Outgoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, durably, or was gone already.
    Gone,
    /// Another file stands there now; it was not touched, or put back.
    Changed,
}

/// Takes files out of Outgoing.
#[derive(Debug)]
pub struct Remover {
    outgoing: Arc<Folder>,
    removing: Aside,
    sent: Folder,
    count: AtomicU64,
}

/// A folder that lost an entry, and the time it had before.
struct Touched {
    name: Option<Name>,
    dir: Arc<Dir>,
    modified: Timestamp,
}

impl Remover {
    /// Prepares `.rft/removing` (inside Outgoing's own `.rft` when that is another volume) and
    /// `.rft/sent`. Call [`Remover::recover`] before files are sent.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be made.
    pub fn open(outgoing: Arc<Folder>, state: &StateDir) -> Result<Self, StoreError> {
        let removing = state.beside(&outgoing, "removing")?;
        let sent = Folder::open(&state.path().join("sent"), true)?;
        Ok(Self { outgoing, removing, sent, count: AtomicU64::new(0) })
    }

    /// Finishes, or undoes, what a crash left half done, and says for which files.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be read; a single file that cannot be settled is left
    /// for the next time.
    pub fn recover(&self) -> Result<Vec<(Name, Removed)>, StoreError> {
        let removing = self.removing.of(&self.outgoing)?;
        let leaves = os::entries(&removing.dir).naming("list", || removing.path.display())?;
        let mut settled = Vec::new();
        let mut walk = self.outgoing.walk();
        for leaf in &leaves {
            let Some((entry, name)) = Entry::parse(&removing.dir, leaf) else { continue };
            let Ok(found) = os::stat(&removing.dir, leaf) else { continue };
            hit("start.removing");
            let done = if entry.is(&found) {
                self.finish(&removing.dir, entry.verb, leaf, &name).map(|()| Removed::Gone)
            } else {
                self.put_back(&mut walk, &removing.dir, leaf, &name).map(|()| Removed::Changed)
            };
            hit("start.removed");
            if let Ok(removed) = done {
                settled.push((name, removed));
            }
        }
        Entry::drop_lone_names(&removing.dir, &leaves);
        Ok(settled)
    }

    /// Removes files and links that the peer holds. Each goes only if it is still
    /// [`Meta::same_file`]. The times of the folders that held them are put back, so that a folder
    /// which is sent after its files arrives with the time it had.
    pub fn remove(&self, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
        self.leave(Verb::Delete, batch)
    }

    /// The same, into `.rft/sent/` under the same name (or `name (1).ext`) instead of away.
    pub fn archive(&self, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
        self.leave(Verb::Archive, batch)
    }

    /// Removes an empty folder; one that is not empty, or no folder, has [`Removed::Changed`].
    ///
    /// # Errors
    /// [`StoreError`] when the system does not let it.
    pub fn remove_folder(&self, name: &Name) -> Result<Removed, StoreError> {
        let mut walk = self.outgoing.walk();
        let (parent, leaf) = match walk.parent(name) {
            Err(StoreError::NotFound { .. }) => return Ok(Removed::Gone),
            other => other?,
        };
        let before = os::stat_dir(&parent).naming("look at", || self.outgoing.shown(name))?;
        match os::remove_dir(&parent, &leaf) {
            Ok(()) => hit("remove.folder"),
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound => Ok(Removed::Gone),
                    // POSIX lets a folder that is not empty be EEXIST too.
                    io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotADirectory => Ok(Removed::Changed),
                    _ => Err(StoreError::new("remove", self.outgoing.shown(name), &error)),
                };
            }
        }
        // A folder that cannot be synced or keeps a new time is still removed.
        let _ = os::sync_dir(&parent);
        let _ = os::set_dir(&parent, None, before.modified);
        Ok(Removed::Gone)
    }

    fn leave(&self, verb: Verb, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
        batch.chunks(BATCH).flat_map(|part| self.leave_some(verb, part)).collect()
    }

    fn leave_some(&self, verb: Verb, batch: &[(Name, Meta)]) -> Vec<Result<Removed, StoreError>> {
        let removing = match self.removing.of(&self.outgoing) {
            Ok(removing) => removing.dir,
            Err(error) => return batch.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut walk = self.outgoing.walk();
        let mut touched = Vec::new();
        let mut taken = Vec::with_capacity(batch.len());
        for (name, meta) in batch {
            taken.push(self.take(&mut walk, &mut touched, &removing, verb, name, meta));
        }
        // Before the peer is told to forget these transfers, they must not come back after a loss of
        // power: what is durably in `removing` will not.
        let synced = sync::folders(touched.iter().map(|touched| &touched.dir));
        hit("remove.synced");
        let results = batch
            .iter()
            .zip(taken)
            .map(|((name, _), taken)| {
                let entry = match taken? {
                    Taken::Held(entry) => entry,
                    Taken::Not(Removed::Gone) => {
                        return match &synced {
                            Ok(()) => Ok(Removed::Gone),
                            Err(error) => Err(StoreError::new("sync", self.outgoing.shown(name), error)),
                        };
                    }
                    Taken::Not(answer) => return Ok(answer),
                };
                let leaf = entry.leaf();
                match &synced {
                    Ok(()) => self.finish(&removing, verb, &leaf, name).map(|()| Removed::Gone),
                    Err(error) => {
                        self.put_back(&mut walk, &removing, &leaf, name)?;
                        Err(StoreError::new("sync", self.outgoing.shown(name), error))
                    }
                }
            })
            .collect();
        for folder in &touched {
            // Best effort: it is a folder's time, not a file.
            let _ = os::set_dir(&folder.dir, None, folder.modified);
        }
        results
    }

    /// Renames one file out of Outgoing and looks which one it was.
    fn take(
        &self,
        walk: &mut Walk<'_>,
        touched: &mut Vec<Touched>,
        removing: &Dir,
        verb: Verb,
        name: &Name,
        meta: &Meta,
    ) -> Result<Taken, StoreError> {
        let shown = || self.outgoing.shown(name);
        let (parent, leaf) = match walk.parent(name) {
            Err(StoreError::NotFound { .. }) => return Ok(Taken::Not(Removed::Gone)),
            other => other?,
        };
        let there = match os::stat(&parent, &leaf) {
            Ok(found) if found.same_file(meta) && found.kind != FileKind::Folder => true,
            Ok(_) => return Ok(Taken::Not(Removed::Changed)),
            // Somebody removed it, which must last too before the peer forgets it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(StoreError::new("look at", shown(), &error)),
        };
        let folder = name.parent();
        if !touched.iter().any(|touched: &Touched| touched.name == folder) {
            let modified = os::stat_dir(&parent).naming("look at", shown)?.modified;
            touched.push(Touched { name: folder, dir: Arc::clone(&parent), modified });
        }
        if !there {
            return Ok(Taken::Not(Removed::Gone));
        }
        let entry = Entry::new(verb, self.count.fetch_add(1, Ordering::Relaxed), name, meta);
        entry.write_name(removing, name).naming("remove", shown)?;
        let held = entry.leaf();
        hit("remove.taking");
        match os::rename_new(&parent, &leaf, removing, &held) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                entry.drop_name(removing);
                return Ok(Taken::Not(Removed::Gone));
            }
            Err(error) => {
                entry.drop_name(removing);
                return Err(StoreError::new("remove", shown(), &error));
            }
        }
        hit("remove.taken");
        let found = os::stat(removing, &held).naming("look at", shown)?;
        if found.same_file(meta) {
            return Ok(Taken::Held(entry));
        }
        self.put_back(walk, removing, &held, name)?;
        Ok(Taken::Not(Removed::Changed))
    }

    /// The last step for a file that is the right one.
    fn finish(&self, removing: &Dir, verb: Verb, held: &OsStr, name: &Name) -> Result<(), StoreError> {
        let shown = || self.outgoing.shown(name);
        match verb {
            Verb::Delete => {
                hit("remove.unlinking");
                os::unlink(removing, held).naming("remove", shown)?;
                hit("remove.unlinked");
            }
            Verb::Archive => self.archive_one(removing, held, name)?,
        }
        Entry::drop_name_of(removing, held);
        Ok(())
    }

    fn put_back(
        &self,
        walk: &mut Walk<'_>,
        removing: &Dir,
        held: &OsStr,
        name: &Name,
    ) -> Result<(), StoreError> {
        place(walk, removing, held, name)
            .and_then(|placed| placed.naming("put back", || self.outgoing.shown(name)))?;
        Entry::drop_name_of(removing, held);
        Ok(())
    }

    fn archive_one(&self, removing: &Dir, held: &OsStr, name: &Name) -> Result<(), StoreError> {
        let mut walk = self.sent.walk();
        hit("archive.placing");
        match place(&mut walk, removing, held, name)? {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            other => {
                hit("archive.placed");
                return other.naming("archive", || self.sent.shown(name));
            }
        }
        let shown = || self.sent.shown(name);
        let copy = OsString::from(format!(".rft-copy-{}", self.count.fetch_add(1, Ordering::Relaxed)));
        let sent = self.sent.root()?;
        copy_one(removing, held, &sent, &copy).naming("archive", shown)?;
        place(&mut walk, &sent, &copy, name)?.naming("archive", shown)?;
        if let Some(parent) = name.parent() {
            let parent = walk.dir(Some(&parent))?;
            os::sync_dir(&parent).naming("sync", shown)?;
        }
        os::sync_dir(&sent).naming("sync", shown)?;
        os::unlink(removing, held).naming("remove", || self.outgoing.shown(name))
    }
}

enum Taken {
    Held(Entry),
    Not(Removed),
}

/// Renames into a tree at `name`, or at the next numbered name that is free.
fn place(walk: &mut Walk<'_>, from: &Dir, held: &OsStr, name: &Name) -> Result<io::Result<()>, StoreError> {
    for number in 0..=numbered::MOST {
        let Some(candidate) = numbered(name, number) else { break };
        let (parent, leaf) = walk.make_parent(&candidate, &mut |_, _| {})?;
        match os::rename_new(from, held, &parent, &leaf) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return Ok(other),
        }
    }
    Ok(Err(io::ErrorKind::AlreadyExists.into()))
}

/// Copies a file or a link to another volume, whole and synced, under a hidden name.
fn copy_one(from: &Dir, held: &OsStr, to: &Dir, leaf: &OsStr) -> io::Result<()> {
    // A crash may have left one of that number.
    match os::unlink(to, leaf) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let meta = os::stat(from, held)?;
    if meta.kind == FileKind::Link {
        os::make_link(to, leaf, &os::read_link(from, held)?)?;
        return os::set_link(to, leaf, meta.modified);
    }
    let (source, meta) = os::open_read(from, held)?;
    let mut copy = os::create_new(to, leaf)?;
    let length = io::copy(&mut source.take(meta.size), &mut copy)?;
    if length != meta.size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    os::set_file(&copy, meta.mode, meta.modified)?;
    os::sync_file(&copy)
}

#[cfg(test)]
mod tests {
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

    fn rig_like(rig: &Rig) -> Remover {
        Remover {
            outgoing: Arc::clone(&rig.outgoing),
            removing: rig._state.beside(&rig.outgoing, "removing").unwrap(),
            sent: Folder::open(rig.remover.sent.path(), false).unwrap(),
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
        let batch: Vec<_> =
            ["d/f", "d/l"].map(|text| (name(text), outgoing.stat(&name(text)).unwrap())).to_vec();
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
}
