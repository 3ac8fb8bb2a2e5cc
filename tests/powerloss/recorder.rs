//! Records the calls of one thread for the power-loss tests. Changes are made and recorded; syncs
//! are only recorded.

use crate::disk::{Body, Cover, Disk, Event, Inode, Log, Node, Part, ROOT, Sync, pages};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rft::internals::failpoint;
use rft::internals::proto::message::Timestamp;
use rft::internals::store::{Calls, System, replace_calls};
use rft::internals::store::{FileKind, Meta};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Result};
use std::path::{Path, PathBuf};

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
    static RACE: RefCell<Option<Race>> = const { RefCell::new(None) };
}

/// An action of another program just before this name is renamed.
struct Race {
    leaf: OsString,
    work: Box<dyn FnOnce()>,
}

/// Records everything that happens below one folder.
pub struct Recorder {
    pub log: Log,
    /// The present state.
    pub disk: Disk,
    /// Nodes by the system's device and inode numbers.
    nodes: HashMap<(u64, u64), Node>,
    next: Node,
    /// Folders that are volumes of their own.
    volumes: Vec<PathBuf>,
}

impl Recorder {
    /// Starts to record this thread's calls below `root`, which holds `disk` now, after the events
    /// of `log`.
    pub fn start(root: &Path, log: Log, disk: Disk, volumes: &[&str]) {
        let mut recorder = Self {
            log,
            nodes: HashMap::new(),
            next: 0,
            disk,
            volumes: volumes.iter().map(PathBuf::from).collect(),
        };
        let known = recorder.disk.nodes.keys().chain(recorder.log.born.keys());
        recorder.next = known.max().map_or(0, |node| node + 1);
        recorder.is(ROOT, &System.stat_root(root).unwrap());
        for (path, node) in recorder.disk.tree() {
            let parent = open_dir(&root.join(path.parent().unwrap()));
            recorder.is(node, &System.stat(&parent, path.file_name().unwrap()).unwrap());
        }
        RECORDER.set(Some(recorder));
        replace_calls(Some(&Recorded));
    }

    /// Stops recording.
    pub fn stop() -> Self {
        replace_calls(None);
        RECORDER.take().unwrap()
    }

    /// Records that a promise is given now.
    pub fn promise(number: usize) {
        with(|recorder| recorder.log.events.push(Event::Promise(number)));
    }

    /// Runs `work` just before `leaf` is renamed the next time, as another program might.
    pub fn before_rename(leaf: &OsStr, work: impl FnOnce() + 'static) {
        RACE.set(Some(Race { leaf: leaf.to_owned(), work: Box::new(work) }));
    }

    fn is(&mut self, node: Node, meta: &Meta) {
        self.nodes.insert((meta.identity.device, meta.identity.inode), node);
    }

    fn node(&self, meta: &Meta) -> Option<Node> {
        self.nodes.get(&(meta.identity.device, meta.identity.inode)).copied()
    }

    fn dir(&self, dir: &Dir) -> Option<Node> {
        self.node(&System.stat_dir(dir).ok()?)
    }

    fn file(&self, file: &File) -> Option<Node> {
        self.node(&System.stat_file(file).ok()?)
    }

    fn volume(&self, node: Node) -> u32 {
        self.disk.nodes.get(&node).map_or(0, |inode| inode.volume)
    }

    fn push(&mut self, part: Part) -> usize {
        self.disk.apply(&part);
        self.log.events.push(Event::Part(part));
        self.log.events.len() - 1
    }

    /// Records a new entry of a folder.
    fn born(&mut self, dir: &Dir, leaf: &OsStr, body: Body) {
        let Some(dir_node) = self.dir(dir) else { return };
        let meta = System.stat(dir, leaf).unwrap();
        let (node, path) = (self.next, self.disk.path_of(dir_node).unwrap_or_default().join(leaf));
        self.next += 1;
        self.is(node, &meta);
        let own = self.volumes.iter().position(|volume| *volume == path);
        let volume = own.map_or(self.volume(dir_node), |own| u32::try_from(own + 1).unwrap());
        let mode = (meta.kind != FileKind::Link).then_some(meta.mode).flatten();
        let inode = Inode { body, mode, modified: None, volume };
        self.log.born.insert(node, inode.clone());
        self.disk.nodes.insert(node, inode);
        self.push(Part::Enter { dir: dir_node, leaf: leaf.to_owned(), node });
    }

    fn leave(&mut self, dir: &Dir, leaf: &OsStr) {
        if let Some(dir) = self.dir(dir) {
            self.push(Part::Leave { dir, leaf: leaf.to_owned(), renamed: None });
        }
    }

    fn sync(&mut self, cover: Cover, node: Node) {
        let path = self.disk.path_of(node).unwrap_or_default();
        self.log.events.push(Event::Sync(Sync { cover, place: failpoint::last(), path }));
    }
}

/// Opens a folder that the test itself changes, for [`Recorded`].
pub fn open_dir(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

fn with<T>(work: impl FnOnce(&mut Recorder) -> T) -> T {
    RECORDER.with_borrow_mut(|recorder| work(recorder.as_mut().unwrap()))
}

/// Inode numbers survive a power loss, so the node's number stands in for them.
fn seen(mut meta: Meta) -> Meta {
    meta.identity.inode = with(|recorder| recorder.node(&meta)).unwrap_or(meta.identity.inode);
    meta
}

/// The recorded calls of this thread.
pub struct Recorded;

impl Calls for Recorded {
    fn stat_root(&self, path: &Path) -> Result<Meta> {
        System.stat_root(path).map(seen)
    }

    fn stat(&self, dir: &Dir, leaf: &OsStr) -> Result<Meta> {
        System.stat(dir, leaf).map(seen)
    }

    fn stat_file(&self, file: &File) -> Result<Meta> {
        System.stat_file(file).map(seen)
    }

    fn stat_dir(&self, dir: &Dir) -> Result<Meta> {
        System.stat_dir(dir).map(seen)
    }

    fn open_read(&self, dir: &Dir, leaf: &OsStr) -> Result<(File, Meta)> {
        System.open_read(dir, leaf).map(|(file, meta)| (file, seen(meta)))
    }

    fn open_edit(&self, dir: &Dir, leaf: &OsStr) -> Result<(File, Meta)> {
        System.open_edit(dir, leaf).map(|(file, meta)| (file, seen(meta)))
    }

    fn make_dir(&self, dir: &Dir, leaf: &OsStr, private: bool) -> Result<()> {
        System.make_dir(dir, leaf, private)?;
        with(|recorder| recorder.born(dir, leaf, Body::Folder(BTreeMap::new())));
        Ok(())
    }

    fn remove_dir(&self, dir: &Dir, leaf: &OsStr) -> Result<()> {
        System.remove_dir(dir, leaf)?;
        with(|recorder| recorder.leave(dir, leaf));
        Ok(())
    }

    fn create_new(&self, dir: &Dir, leaf: &OsStr) -> Result<File> {
        let file = System.create_new(dir, leaf)?;
        with(|recorder| recorder.born(dir, leaf, Body::File(Vec::new())));
        Ok(file)
    }

    fn write_at(&self, file: &File, data: &[u8], offset: u64) -> Result<()> {
        System.write_at(file, data, offset)?;
        with(|recorder| {
            let Some(node) = recorder.file(file) else { return };
            pages(node, offset, data).into_iter().for_each(|page| {
                recorder.push(page);
            });
        });
        Ok(())
    }

    fn set_len(&self, file: &File, length: u64) -> Result<()> {
        System.set_len(file, length)?;
        with(|recorder| {
            let node = recorder.file(file);
            node.map(|node| recorder.push(Part::Length { node, length }))
        });
        Ok(())
    }

    fn make_link(&self, dir: &Dir, leaf: &OsStr, target: &[u8]) -> Result<()> {
        System.make_link(dir, leaf, target)?;
        with(|recorder| recorder.born(dir, leaf, Body::Link(target.to_vec())));
        Ok(())
    }

    fn rename_new(&self, from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> Result<()> {
        rename(from, old, to, new, System::rename_new)
    }

    fn rename_own(&self, from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> Result<()> {
        rename(from, old, to, new, System::rename_own)
    }

    fn rename_over(&self, from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> Result<()> {
        rename(from, old, to, new, System::rename_over)
    }

    fn unlink(&self, dir: &Dir, leaf: &OsStr) -> Result<()> {
        System.unlink(dir, leaf)?;
        with(|recorder| recorder.leave(dir, leaf));
        Ok(())
    }

    fn set_file(&self, file: &File, mode: Option<u32>, modified: Timestamp) -> Result<()> {
        System.set_file(file, mode, modified)?;
        with(|recorder| {
            let node = recorder.file(file);
            node.map(|node| recorder.push(Part::Attributes { node, mode, modified }))
        });
        Ok(())
    }

    fn set_dir(&self, dir: &Dir, mode: Option<u32>, modified: Timestamp) -> Result<()> {
        System.set_dir(dir, mode, modified)?;
        with(|recorder| {
            let node = recorder.dir(dir);
            node.map(|node| recorder.push(Part::Attributes { node, mode, modified }))
        });
        Ok(())
    }

    fn set_link(&self, dir: &Dir, leaf: &OsStr, modified: Timestamp) -> Result<()> {
        System.set_link(dir, leaf, modified)?;
        with(|recorder| {
            let Some(dir) = recorder.dir(dir) else { return };
            let node = recorder.disk.names(dir)[leaf];
            recorder.push(Part::LinkTime { dir, node, modified });
        });
        Ok(())
    }

    fn sync_file(&self, file: &File) -> Result<()> {
        with(|recorder| {
            recorder.file(file).into_iter().for_each(|node| recorder.sync(Cover::File(node), node))
        });
        Ok(())
    }

    fn sync_data(&self, file: &File) -> Result<()> {
        with(|recorder| {
            recorder.file(file).into_iter().for_each(|node| recorder.sync(Cover::Data(node), node))
        });
        Ok(())
    }

    fn sync_dir(&self, dir: &Dir) -> Result<()> {
        with(|recorder| {
            recorder.dir(dir).into_iter().for_each(|node| recorder.sync(Cover::Names(node), node))
        });
        Ok(())
    }

    fn sync_volume(&self, dir: &Dir) -> Result<bool> {
        with(|recorder| {
            let node = recorder.dir(dir);
            node.into_iter()
                .for_each(|node| recorder.sync(Cover::Volume(recorder.volume(node)), node));
        });
        Ok(true)
    }
}

fn rename(
    from: &Dir,
    old: &OsStr,
    to: &Dir,
    new: &OsStr,
    renamed: impl FnOnce(&System, &Dir, &OsStr, &Dir, &OsStr) -> Result<()>,
) -> Result<()> {
    let race = RACE.with_borrow_mut(|race| race.take_if(|race| race.leaf == old));
    race.into_iter().for_each(|race| (race.work)());
    with(|recorder| {
        let (from_node, to_node) = (recorder.dir(from).unwrap(), recorder.dir(to).unwrap());
        if recorder.volume(from_node) != recorder.volume(to_node) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        renamed(&System, from, old, to, new)?;
        let node = recorder.disk.names(from_node)[old];
        let entered = recorder.push(Part::Enter { dir: to_node, leaf: new.to_owned(), node });
        recorder.push(Part::Leave { dir: from_node, leaf: old.to_owned(), renamed: Some(entered) });
        Ok(())
    })
}
