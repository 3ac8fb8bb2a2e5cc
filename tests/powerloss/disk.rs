//! A pure model of a disk, and of the states in which a power loss may leave it.
//!
//! A [`Log`] holds every change in order, each split into its smallest parts, and every sync. A
//! part that a sync covers is durable. Any of the other parts may survive a power loss ([`Loss`]),
//! within three rules that every journaling file system keeps: the names of one folder become
//! durable in order; a page of a file is written whole or not at all; and a rename does not by
//! itself remove the old name before the new one can be reached. So a name may survive without its
//! file's content, content without its name, a folder without the folder above it, and both names
//! of a renamed file. If only the folder of the old name is synced, neither name may survive.

mod fate;

use fate::Fate;
use rft::internals::proto::message::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Files are written to the disk in pages of this many bytes.
const PAGE: u64 = 4096;

/// The number of a file, folder or link, independent of its names. It is never reused.
pub type Node = u64;
/// The root folder.
pub const ROOT: Node = 0;

/// The smallest part of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A name is created, and replaces any earlier entry of that name.
    Enter {
        dir: Node,
        leaf: OsString,
        node: Node,
    },
    /// A name is removed. In a rename, it is removed only together with the part at index
    /// `renamed`, which created the new name.
    Leave {
        dir: Node,
        leaf: OsString,
        renamed: Option<usize>,
    },
    Write {
        node: Node,
        offset: u64,
        data: Vec<u8>,
    },
    Length {
        node: Node,
        length: u64,
    },
    /// Permission bits (`None`: unchanged) and modification time.
    Attributes {
        node: Node,
        mode: Option<u32>,
        modified: Timestamp,
    },
    /// The time of a link, which becomes durable with the folder that holds it.
    LinkTime {
        dir: Node,
        node: Node,
        modified: Timestamp,
    },
}

/// The parts that a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cover {
    File(Node),
    Data(Node),
    Names(Node),
    Volume(u32),
}

/// A sync, with the last failpoint before it and the path that was synced, which identify its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sync {
    pub cover: Cover,
    pub place: &'static str,
    pub path: PathBuf,
}

#[derive(Clone, Debug)]
pub enum Event {
    Part(Part),
    Sync(Sync),
    /// From here on this promise holds.
    Promise(usize),
}

/// The kind and content of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, Node>),
    Link(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Inode {
    pub body: Body,
    pub mode: Option<u32>,
    pub modified: Option<Timestamp>,
    pub volume: u32,
}

/// Everything that happened to a disk.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub events: Vec<Event>,
    /// Nodes that were created since the start, in their initial, empty state.
    pub born: BTreeMap<Node, Inode>,
    /// If set, a sync of the folder that lost a name through a rename also makes the new name
    /// durable.
    pub whole_renames: bool,
}

/// The effect of a power loss on the parts that no sync covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// All are lost.
    All,
    /// None is lost.
    Nothing,
    /// Names survive, content does not: new files are empty.
    Content,
    /// The same, but files keep their lengths, with zeros in place of new content.
    Zeros,
    /// Content survives, names do not.
    Names,
    /// A random selection, with this seed.
    Some(u64),
}

/// The state of a disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    pub nodes: BTreeMap<Node, Inode>,
}

impl Part {
    /// The folder whose order of names this part keeps, if it changes a name.
    fn of_names(&self) -> Option<Node> {
        match self {
            Self::Enter { dir, .. } | Self::Leave { dir, .. } => Some(*dir),
            _ => None,
        }
    }

    fn is_covered(&self, cover: Cover, volume: impl Fn(Node) -> u32) -> bool {
        let (own, content) = match self {
            Self::Enter { dir, .. } | Self::Leave { dir, .. } | Self::LinkTime { dir, .. } => {
                (*dir, false)
            }
            Self::Attributes { node, .. } => (*node, false),
            Self::Write { node, .. } | Self::Length { node, .. } => (*node, true),
        };
        match cover {
            Cover::Volume(number) => volume(own) == number,
            Cover::Data(node) => content && own == node,
            Cover::File(node) | Cover::Names(node) => own == node,
        }
    }
}

/// The parts of a write, one for each page.
pub fn pages(node: Node, offset: u64, data: &[u8]) -> Vec<Part> {
    let (mut parts, mut at, mut rest) = (Vec::new(), offset, data);
    while !rest.is_empty() {
        let length = usize::try_from(PAGE - at % PAGE).unwrap().min(rest.len());
        let (page, after) = rest.split_at(length);
        parts.push(Part::Write { node, offset: at, data: page.to_vec() });
        (at, rest) = (at + length as u64, after);
    }
    parts
}

impl Log {
    /// For each event, the index of the sync after which it is durable.
    pub fn safe_from(&self, start: &Disk) -> Vec<usize> {
        let volume =
            |node| self.born.get(&node).or(start.nodes.get(&node)).map_or(0, |inode| inode.volume);
        let mut safe = vec![usize::MAX; self.events.len()];
        for (at, event) in self.events.iter().enumerate() {
            let Event::Sync(sync) = event else { continue };
            for (before, from) in self.events[..at].iter().zip(&mut safe) {
                let Event::Part(part) = before else { continue };
                if *from == usize::MAX && part.is_covered(sync.cover, volume) {
                    *from = at;
                }
            }
        }
        safe
    }

    /// The disk after a power loss when `cut` events have happened.
    pub fn after_loss(&self, start: &Disk, safe: &[usize], cut: usize, loss: Loss) -> Disk {
        let mut lasts: Vec<Option<Part>> = Vec::with_capacity(cut);
        let mut fate = Fate::new(loss);
        for (at, event) in self.events[..cut].iter().enumerate() {
            let Event::Part(part) = event else {
                lasts.push(None);
                continue;
            };
            let part = if safe[at] < cut { Some(part.clone()) } else { fate.of(part) };
            if let Some(Part::Leave { renamed: Some(entered), .. }) = &part
                && (self.whole_renames || safe[at] >= cut)
            {
                self.reach(*entered, &mut lasts);
            }
            lasts.push(part);
        }
        let mut disk = start.clone();
        disk.nodes.extend(self.born.iter().map(|(node, inode)| (*node, inode.clone())));
        lasts.iter().flatten().for_each(|part| disk.apply(part));
        disk.forget_unreachable();
        disk
    }

    /// Makes a name survive, with the names of the folders above it.
    fn reach(&self, entered: usize, lasts: &mut [Option<Part>]) {
        let mut next = Some(entered);
        while let Some(at) = next {
            let Event::Part(part @ Part::Enter { dir: above, .. }) = &self.events[at] else {
                break;
            };
            lasts[at] = Some(part.clone());
            let names_it = |event: &Event| matches!(event, Event::Part(Part::Enter { node, .. }) if node == above);
            next = self.events[..at].iter().rposition(names_it);
        }
    }

    /// The log without the syncs that match.
    pub fn without(&self, left_out: impl Fn(&Sync) -> bool) -> Self {
        let mut log = self.clone();
        for event in &mut log.events {
            if matches!(event, Event::Sync(sync) if left_out(sync)) {
                // Keeps its index, because parts refer to each other by index.
                *event = Event::Promise(usize::MAX);
            }
        }
        log
    }

    /// The log without promises, which are kept in another list.
    pub fn without_promises(mut self) -> Self {
        for event in &mut self.events {
            if let Event::Promise(number) = event {
                *number = usize::MAX;
            }
        }
        self
    }

    /// The promises given in the first `cut` events.
    pub fn promised(&self, cut: usize) -> BTreeSet<usize> {
        let promised = self.events[..cut].iter().filter_map(|event| match event {
            Event::Promise(number) if *number != usize::MAX => Some(*number),
            _ => None,
        });
        promised.collect()
    }
}

impl Disk {
    pub fn apply(&mut self, part: &Part) {
        let (Part::Enter { dir: node, .. }
        | Part::Leave { dir: node, .. }
        | Part::Write { node, .. }
        | Part::Length { node, .. }
        | Part::Attributes { node, .. }
        | Part::LinkTime { node, .. }) = part;
        let Some(inode) = self.nodes.get_mut(node) else { return };
        match (part, &mut inode.body) {
            (Part::Enter { leaf, node, .. }, Body::Folder(names)) => {
                names.insert(leaf.clone(), *node);
            }
            (Part::Leave { leaf, .. }, Body::Folder(names)) => {
                names.remove(leaf);
            }
            (Part::Write { offset, data, .. }, Body::File(content)) => {
                let offset = usize::try_from(*offset).unwrap();
                let end = offset + data.len();
                content.resize(content.len().max(end), 0);
                content[offset..end].copy_from_slice(data);
            }
            (Part::Length { length, .. }, Body::File(content)) => {
                content.resize(usize::try_from(*length).unwrap(), 0);
            }
            (Part::Attributes { mode, modified, .. }, _) => {
                inode.mode = mode.or(inode.mode);
                inode.modified = Some(*modified);
            }
            (Part::LinkTime { modified, .. }, _) => inode.modified = Some(*modified),
            (part, body) => panic!("{part:?} cannot happen to {body:?}"),
        }
    }

    pub fn names(&self, dir: Node) -> &BTreeMap<OsString, Node> {
        match &self.nodes[&dir].body {
            Body::Folder(names) => names,
            other => panic!("no folder: {other:?}"),
        }
    }

    /// Every path with its node.
    pub fn tree(&self) -> BTreeMap<PathBuf, Node> {
        let (mut tree, mut folders) = (BTreeMap::new(), vec![(PathBuf::new(), ROOT)]);
        while let Some((path, folder)) = folders.pop() {
            for (leaf, node) in self.names(folder) {
                let path = path.join(leaf);
                if matches!(self.nodes[node].body, Body::Folder(_)) {
                    folders.push((path.clone(), *node));
                }
                tree.insert(path, *node);
            }
        }
        tree
    }

    /// One of the paths of a node.
    pub fn path_of(&self, node: Node) -> Option<PathBuf> {
        if node == ROOT {
            return Some(PathBuf::new());
        }
        self.tree().into_iter().find(|(_, other)| *other == node).map(|(path, _)| path)
    }

    fn forget_unreachable(&mut self) {
        let mut reachable: BTreeSet<Node> = self.tree().into_values().collect();
        reachable.insert(ROOT);
        self.nodes.retain(|node, _| reachable.contains(node));
    }

    /// The content of a file.
    #[cfg(test)]
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        match &self.nodes[self.tree().get(path.as_ref())?].body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
