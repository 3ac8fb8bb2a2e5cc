//! For tests of a loss of power: the changes of this thread, made and written down, and the syncs,
//! written down only. See `store::powerloss`.

use super::system;
use crate::failpoint;
use crate::proto::message::Timestamp;
use crate::store::powerloss::disk::{
    Body, Cover, Disk, Event, Inode, Log, Node, Part, ROOT, Sync, pages,
};
use crate::store::tree::meta::{FileKind, Meta};
use cap_std::fs::Dir;
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

/// What somebody else does just before this name is renamed.
struct Race {
    leaf: OsString,
    work: Box<dyn FnOnce()>,
}

/// Writes down what happens below one folder.
pub(crate) struct Recorder {
    pub(crate) log: Log,
    /// As it is now.
    pub(crate) disk: Disk,
    /// By the numbers that the system has for them.
    nodes: HashMap<(u64, u64), Node>,
    next: Node,
    /// Folders that are volumes of their own.
    volumes: Vec<PathBuf>,
}

impl Recorder {
    /// From now on, what this thread does below `root` is written down behind `log`. There stands
    /// `disk` now.
    pub(crate) fn start(root: &Path, log: Log, disk: Disk, volumes: &[&str]) {
        let mut recorder = Self {
            log,
            nodes: HashMap::new(),
            next: 0,
            disk,
            volumes: volumes.iter().map(PathBuf::from).collect(),
        };
        let known = recorder.disk.nodes.keys().chain(recorder.log.born.keys());
        recorder.next = known.max().map_or(0, |node| node + 1);
        recorder.is(ROOT, &system::stat_root(root).unwrap());
        for (path, node) in recorder.disk.tree() {
            let parent = system::open_root(&root.join(path.parent().unwrap())).unwrap();
            recorder.is(node, &system::stat(&parent, path.file_name().unwrap()).unwrap());
        }
        RECORDER.set(Some(recorder));
    }

    /// Ends it.
    pub(crate) fn stop() -> Self {
        RECORDER.take().unwrap()
    }

    /// A promise is given at this moment.
    pub(crate) fn promise(number: usize) {
        with(|recorder| recorder.log.events.push(Event::Promise(number)));
    }

    /// Somebody else does this just before `leaf` is renamed the next time.
    pub(crate) fn before_rename(leaf: &OsStr, work: impl FnOnce() + 'static) {
        RACE.set(Some(Race { leaf: leaf.to_owned(), work: Box::new(work) }));
    }

    fn is(&mut self, node: Node, meta: &Meta) {
        self.nodes.insert((meta.identity.device, meta.identity.inode), node);
    }

    fn node(&self, meta: &Meta) -> Option<Node> {
        self.nodes.get(&(meta.identity.device, meta.identity.inode)).copied()
    }

    fn dir(&self, dir: &Dir) -> Option<Node> {
        self.node(&system::stat_dir(dir).ok()?)
    }

    fn file(&self, file: &File) -> Option<Node> {
        self.node(&system::stat_file(file).ok()?)
    }

    fn volume(&self, node: Node) -> u32 {
        self.disk.nodes.get(&node).map_or(0, |inode| inode.volume)
    }

    fn push(&mut self, part: Part) -> usize {
        self.disk.apply(&part);
        self.log.events.push(Event::Part(part));
        self.log.events.len() - 1
    }

    /// A new entry of a folder.
    fn born(&mut self, dir: &Dir, leaf: &OsStr, body: Body) {
        let Some(dir_node) = self.dir(dir) else { return };
        let meta = system::stat(dir, leaf).unwrap();
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

/// Whether this thread's calls are written down.
pub(crate) fn is_on() -> bool {
    RECORDER.with_borrow(Option::is_some)
}

fn with<T>(work: impl FnOnce(&mut Recorder) -> T) -> T {
    RECORDER.with_borrow_mut(|recorder| work(recorder.as_mut().unwrap()))
}

/// A file keeps its number over a loss of power, so it is the node's.
fn seen(mut meta: Meta) -> Meta {
    meta.identity.inode = with(|recorder| recorder.node(&meta)).unwrap_or(meta.identity.inode);
    meta
}

pub(crate) fn stat_root(path: &Path) -> Result<Meta> {
    system::stat_root(path).map(seen)
}

pub(crate) fn stat(dir: &Dir, leaf: &OsStr) -> Result<Meta> {
    system::stat(dir, leaf).map(seen)
}

pub(crate) fn stat_file(file: &File) -> Result<Meta> {
    system::stat_file(file).map(seen)
}

pub(crate) fn stat_dir(dir: &Dir) -> Result<Meta> {
    system::stat_dir(dir).map(seen)
}

pub(crate) fn open_read(dir: &Dir, leaf: &OsStr) -> Result<(File, Meta)> {
    system::open_read(dir, leaf).map(|(file, meta)| (file, seen(meta)))
}

pub(crate) fn open_edit(dir: &Dir, leaf: &OsStr) -> Result<(File, Meta)> {
    system::open_edit(dir, leaf).map(|(file, meta)| (file, seen(meta)))
}

pub(crate) fn make_dir(dir: &Dir, leaf: &OsStr, private: bool) -> Result<()> {
    system::make_dir(dir, leaf, private)?;
    with(|recorder| recorder.born(dir, leaf, Body::Folder(BTreeMap::new())));
    Ok(())
}

pub(crate) fn remove_dir(dir: &Dir, leaf: &OsStr) -> Result<()> {
    system::remove_dir(dir, leaf)?;
    with(|recorder| recorder.leave(dir, leaf));
    Ok(())
}

pub(crate) fn create_new(dir: &Dir, leaf: &OsStr) -> Result<File> {
    let file = system::create_new(dir, leaf)?;
    with(|recorder| recorder.born(dir, leaf, Body::File(Vec::new())));
    Ok(file)
}

pub(crate) fn write_at(file: &File, data: &[u8], offset: u64) -> Result<()> {
    system::write_at(file, data, offset)?;
    with(|recorder| {
        let Some(node) = recorder.file(file) else { return };
        pages(node, offset, data).into_iter().for_each(|page| {
            recorder.push(page);
        });
    });
    Ok(())
}

pub(crate) fn set_len(file: &File, length: u64) -> Result<()> {
    system::set_len(file, length)?;
    with(|recorder| {
        let node = recorder.file(file);
        node.map(|node| recorder.push(Part::Length { node, length }))
    });
    Ok(())
}

pub(crate) fn make_link(dir: &Dir, leaf: &OsStr, target: &[u8]) -> Result<()> {
    system::make_link(dir, leaf, target)?;
    with(|recorder| recorder.born(dir, leaf, Body::Link(target.to_vec())));
    Ok(())
}

pub(crate) fn rename_new(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> Result<()> {
    rename(from, old, to, new, system::rename_new)
}

pub(crate) fn rename_own(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> Result<()> {
    rename(from, old, to, new, system::rename_own)
}

pub(crate) fn rename_over(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> Result<()> {
    rename(from, old, to, new, system::rename_over)
}

fn rename(
    from: &Dir,
    old: &OsStr,
    to: &Dir,
    new: &OsStr,
    renamed: impl FnOnce(&Dir, &OsStr, &Dir, &OsStr) -> Result<()>,
) -> Result<()> {
    let race = RACE.with_borrow_mut(|race| race.take_if(|race| race.leaf == old));
    race.into_iter().for_each(|race| (race.work)());
    with(|recorder| {
        let (from_node, to_node) = (recorder.dir(from).unwrap(), recorder.dir(to).unwrap());
        if recorder.volume(from_node) != recorder.volume(to_node) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        renamed(from, old, to, new)?;
        let node = recorder.disk.names(from_node)[old];
        let entered = recorder.push(Part::Enter { dir: to_node, leaf: new.to_owned(), node });
        recorder.push(Part::Leave { dir: from_node, leaf: old.to_owned(), renamed: Some(entered) });
        Ok(())
    })
}

pub(crate) fn unlink(dir: &Dir, leaf: &OsStr) -> Result<()> {
    system::unlink(dir, leaf)?;
    with(|recorder| recorder.leave(dir, leaf));
    Ok(())
}

pub(crate) fn set_file(file: &File, mode: Option<u32>, modified: Timestamp) -> Result<()> {
    system::set_file(file, mode, modified)?;
    with(|recorder| {
        let node = recorder.file(file);
        node.map(|node| recorder.push(Part::Attributes { node, mode, modified }))
    });
    Ok(())
}

pub(crate) fn set_dir(dir: &Dir, mode: Option<u32>, modified: Timestamp) -> Result<()> {
    system::set_dir(dir, mode, modified)?;
    with(|recorder| {
        let node = recorder.dir(dir);
        node.map(|node| recorder.push(Part::Attributes { node, mode, modified }))
    });
    Ok(())
}

pub(crate) fn set_link(dir: &Dir, leaf: &OsStr, modified: Timestamp) -> Result<()> {
    system::set_link(dir, leaf, modified)?;
    with(|recorder| {
        let Some(dir) = recorder.dir(dir) else { return };
        let node = recorder.disk.names(dir)[leaf];
        recorder.push(Part::LinkTime { dir, node, modified });
    });
    Ok(())
}

pub(crate) fn sync_file(file: &File) -> Result<()> {
    with(|recorder| {
        recorder.file(file).into_iter().for_each(|node| recorder.sync(Cover::File(node), node))
    });
    Ok(())
}

pub(crate) fn sync_data(file: &File) -> Result<()> {
    with(|recorder| {
        recorder.file(file).into_iter().for_each(|node| recorder.sync(Cover::Data(node), node))
    });
    Ok(())
}

pub(crate) fn sync_dir(dir: &Dir) -> Result<()> {
    with(|recorder| {
        recorder.dir(dir).into_iter().for_each(|node| recorder.sync(Cover::Names(node), node))
    });
    Ok(())
}

pub(crate) fn sync_volume(dir: &Dir) -> Result<bool> {
    with(|recorder| {
        let node = recorder.dir(dir);
        node.into_iter().for_each(|node| recorder.sync(Cover::Volume(recorder.volume(node)), node));
    });
    Ok(true)
}
