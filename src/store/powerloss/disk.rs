//! Pure: what stands on a disk, and what a loss of power may leave of it.
//!
//! A [`Log`] has every change in order, each in its smallest parts, and every sync. A part that a sync covered is on
//! the disk for good. Of the others a loss of power leaves what it likes ([`Loss`]), within three rules that every
//! file system with a journal keeps to: the names of one folder last in their order; a page of a file is written whole
//! or not at all; and a rename does not by itself take the old name away before the new one can be reached. So a name
//! may last without its file's content, content without its name, a folder without the one above it, and both
//! names of a renamed file; and where only the folder that lost a name is synced, neither of them.

use crate::proto::message::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Files are written to the disk in pages.
const PAGE: u64 = 4096;

/// A file, folder or link, whatever its names are; never used again for another one.
pub(crate) type Node = u64;
/// Where everything begins.
pub(crate) const ROOT: Node = 0;

/// One part of a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// A name is given, in place of whatever had it.
    Enter {
        dir: Node,
        leaf: OsString,
        node: Node,
    },
    /// A name is taken away; by a rename only together with the part at that place of the log.
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
    /// Permission bits (none: left alone) and time.
    Attributes {
        node: Node,
        mode: Option<u32>,
        modified: Timestamp,
    },
    /// A link's time, which is the business of the folder that it is in.
    LinkTime {
        dir: Node,
        node: Node,
        modified: Timestamp,
    },
}

/// What a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cover {
    File(Node),
    Data(Node),
    Names(Node),
    Volume(u32),
}

/// A sync, with what tells it from others: the last failpoint that was passed, and the path of what was synced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sync {
    pub(crate) cover: Cover,
    pub(crate) place: &'static str,
    pub(crate) path: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Part(Part),
    Sync(Sync),
    /// From here on this promise holds.
    Promise(usize),
}

/// What a new node is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, Node>),
    Link(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inode {
    pub(crate) body: Body,
    pub(crate) mode: Option<u32>,
    pub(crate) modified: Option<Timestamp>,
    pub(crate) volume: u32,
}

/// Everything that happened to a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<Event>,
    /// What was made since the start, as it was made: empty.
    pub(crate) born: BTreeMap<Node, Inode>,
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    /// All of it is lost.
    All,
    /// Nothing is lost.
    Nothing,
    /// Names last, content does not: new files are empty.
    Content,
    /// As before, but the files have their lengths, with zeros where nothing stood before.
    Zeros,
    /// Content lasts, names do not.
    Names,
    /// Some of it, by this seed.
    Some(u64),
}

/// What stands on a disk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disk {
    pub(crate) nodes: BTreeMap<Node, Inode>,
}

impl Part {
    /// In the order in which they last: names by folder, content by file.
    fn of_names(&self) -> Option<Node> {
        match self {
            Self::Enter { dir, .. } | Self::Leave { dir, .. } => Some(*dir),
            _ => None,
        }
    }

    fn is_covered(&self, cover: Cover, volume: impl Fn(Node) -> u32) -> bool {
        let (own, content) = match self {
            Self::Enter { dir, .. } | Self::Leave { dir, .. } | Self::LinkTime { dir, .. } => (*dir, false),
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

/// The parts of a write, page by page.
pub(crate) fn pages(node: Node, offset: u64, data: &[u8]) -> Vec<Part> {
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
    /// For each event: from which one on it is on the disk whatever happens.
    pub(crate) fn safe_from(&self, start: &Disk) -> Vec<usize> {
        let volume = |node| self.born.get(&node).or(start.nodes.get(&node)).map_or(0, |inode| inode.volume);
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

    /// The disk after a loss of power when so many events had happened.
    pub(crate) fn after_loss(&self, start: &Disk, safe: &[usize], cut: usize, loss: Loss) -> Disk {
        let mut lasts: Vec<Option<Part>> = Vec::with_capacity(cut);
        let mut fate = Fate::new(loss);
        for (at, event) in self.events[..cut].iter().enumerate() {
            let Event::Part(part) = event else {
                lasts.push(None);
                continue;
            };
            let part = if safe[at] < cut { Some(part.clone()) } else { fate.of(part) };
            if let Some(Part::Leave { renamed: Some(entered), .. }) = &part
                && safe[at] >= cut
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

    /// A name lasts after all, with the names of the folders that it is in.
    fn reach(&self, entered: usize, lasts: &mut [Option<Part>]) {
        let mut next = Some(entered);
        while let Some(at) = next {
            let Event::Part(part @ Part::Enter { dir: above, .. }) = &self.events[at] else { break };
            lasts[at] = Some(part.clone());
            let names_it =
                |event: &Event| matches!(event, Event::Part(Part::Enter { node, .. }) if node == above);
            next = self.events[..at].iter().rposition(names_it);
        }
    }

    /// The same without the syncs that are like one of these.
    pub(crate) fn without(&self, left_out: impl Fn(&Sync) -> bool) -> Self {
        let mut log = self.clone();
        for event in &mut log.events {
            if matches!(event, Event::Sync(sync) if left_out(sync)) {
                // The place stays, since parts are named by their places.
                *event = Event::Promise(usize::MAX);
            }
        }
        log
    }

    /// The same without promises: they are in another list.
    pub(crate) fn without_promises(mut self) -> Self {
        for event in &mut self.events {
            if let Event::Promise(number) = event {
                *number = usize::MAX;
            }
        }
        self
    }

    /// The promises that hold when so many events have happened.
    pub(crate) fn promised(&self, cut: usize) -> BTreeSet<usize> {
        let promised = self.events[..cut].iter().filter_map(|event| match event {
            Event::Promise(number) if *number != usize::MAX => Some(*number),
            _ => None,
        });
        promised.collect()
    }
}

/// Decides what lasts of that which was not synced.
struct Fate {
    loss: Loss,
    random: StdRng,
    /// Of each folder, how many more names last.
    names: HashMap<Node, u32>,
    /// Of each file, whether all, nothing, zeros or some pages last.
    content: HashMap<Node, u32>,
}

impl Fate {
    fn new(loss: Loss) -> Self {
        let seed = if let Loss::Some(seed) = loss { seed } else { 0 };
        Self { loss, random: StdRng::seed_from_u64(seed), names: HashMap::new(), content: HashMap::new() }
    }

    fn of(&mut self, part: &Part) -> Option<Part> {
        let is_name = part.of_names().is_some();
        // The file got longer, and what was to stand there is not written.
        let zeroed = |part: &Part| match part {
            Part::Write { node, offset, data } => {
                Part::Write { node: *node, offset: offset + data.len() as u64, data: Vec::new() }
            }
            other => other.clone(),
        };
        match self.loss {
            Loss::All => None,
            Loss::Nothing => Some(part.clone()),
            Loss::Content => is_name.then(|| part.clone()),
            Loss::Zeros => Some(zeroed(part)),
            Loss::Names => (!is_name).then(|| part.clone()),
            Loss::Some(_) => match part.of_names() {
                Some(dir) => {
                    let random = &mut self.random;
                    let left = self.names.entry(dir).or_insert_with(|| match random.random_range(0..3) {
                        0 => 0,
                        1 => u32::MAX,
                        _ => random.random_range(0..8),
                    });
                    *left = left.checked_sub(1)?;
                    Some(part.clone())
                }
                None => {
                    let (Part::Write { node, .. }
                    | Part::Length { node, .. }
                    | Part::Attributes { node, .. }
                    | Part::LinkTime { node, .. }) = part
                    else {
                        return None;
                    };
                    let random = &mut self.random;
                    match self.content.entry(*node).or_insert_with(|| random.random_range(0..4)) {
                        0 => None,
                        1 => Some(part.clone()),
                        2 => Some(zeroed(part)),
                        _ => self.random.random_bool(0.5).then(|| part.clone()),
                    }
                }
            },
        }
    }
}

impl Disk {
    pub(crate) fn apply(&mut self, part: &Part) {
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

    pub(crate) fn names(&self, dir: Node) -> &BTreeMap<OsString, Node> {
        match &self.nodes[&dir].body {
            Body::Folder(names) => names,
            other => panic!("no folder: {other:?}"),
        }
    }

    /// Everything that has a name, by its paths.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, Node> {
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
    pub(crate) fn path_of(&self, node: Node) -> Option<PathBuf> {
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
    pub(crate) fn file(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        match &self.nodes[self.tree().get(path.as_ref())?].body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(dir: Node, leaf: &str, node: Node) -> Event {
        Event::Part(Part::Enter { dir, leaf: leaf.into(), node })
    }

    fn leave(dir: Node, leaf: &str, renamed: usize) -> Event {
        Event::Part(Part::Leave { dir, leaf: leaf.into(), renamed: Some(renamed) })
    }

    fn write(node: Node, data: &[u8]) -> Event {
        Event::Part(Part::Write { node, offset: 0, data: data.to_vec() })
    }

    fn sync(cover: Cover) -> Event {
        Event::Sync(Sync { cover, place: "", path: PathBuf::new() })
    }

    fn inode(body: Body) -> Inode {
        Inode { body, mode: None, modified: None, volume: 0 }
    }

    fn empty() -> Disk {
        Disk { nodes: BTreeMap::from([(ROOT, inode(Body::Folder(BTreeMap::new())))]) }
    }

    /// Nodes 1 and 2 are folders, 3 and 4 files.
    fn log(events: Vec<Event>) -> Log {
        let folder = || inode(Body::Folder(BTreeMap::new()));
        let file = || inode(Body::File(Vec::new()));
        Log { events, born: BTreeMap::from([(1, folder()), (2, folder()), (3, file()), (4, file())]) }
    }

    fn left(log: &Log, loss: Loss) -> Disk {
        let safe = log.safe_from(&empty());
        log.after_loss(&empty(), &safe, log.events.len(), loss)
    }

    #[test]
    fn only_what_was_synced_lasts_for_sure() {
        let events = vec![enter(ROOT, "f", 3), write(3, b"one"), sync(Cover::File(3)), write(3, b"two")];
        assert_eq!(left(&log(events.clone()), Loss::All).file("f"), None);
        assert_eq!(left(&log(events.clone()), Loss::Nothing).file("f"), Some(&b"two"[..]));
        assert_eq!(left(&log(events.clone()), Loss::Content).file("f"), Some(&b"one"[..]));
        let new = vec![enter(ROOT, "f", 3), write(3, b"one")];
        assert_eq!(left(&log(new), Loss::Zeros).file("f"), Some(&[0; 3][..]));
        assert_eq!(left(&log(events.clone()), Loss::Zeros).file("f"), Some(&b"one"[..]));
        let named = [events, vec![sync(Cover::Names(ROOT))]].concat();
        assert_eq!(left(&log(named.clone()), Loss::All).file("f"), Some(&b"one"[..]));
        let all = [named, vec![sync(Cover::Volume(0))]].concat();
        assert_eq!(left(&log(all.clone()), Loss::All).file("f"), Some(&b"two"[..]));
        let other = log(all).without(|sync| sync.cover == Cover::Volume(0));
        assert_eq!(left(&other, Loss::All).file("f"), Some(&b"one"[..]));
    }

    #[test]
    fn a_name_in_a_folder_without_a_name_is_lost() {
        let events = vec![
            enter(ROOT, "d", 1),
            enter(1, "f", 3),
            write(3, b"x"),
            sync(Cover::File(3)),
            sync(Cover::Names(1)),
        ];
        let disk = left(&log(events.clone()), Loss::All);
        assert_eq!(disk, empty());
        let disk = left(&log([events, vec![sync(Cover::Names(ROOT))]].concat()), Loss::All);
        assert_eq!(disk.file("d/f"), Some(&b"x"[..]));
    }

    #[test]
    fn a_rename_gives_before_it_takes() {
        let folders = vec![enter(ROOT, "a", 1), enter(ROOT, "b", 2), enter(1, "f", 3)];
        let begun = [folders, vec![sync(Cover::Volume(0)), enter(2, "f", 3), leave(1, "f", 4)]].concat();
        let paths = |events: Vec<Event>| {
            let disk = left(&log(events), Loss::All);
            ["a/f", "b/f"].map(|path| disk.file(path).is_some())
        };
        assert_eq!(paths(begun.clone()), [true, false]);
        assert_eq!(paths([begun.clone(), vec![sync(Cover::Names(2))]].concat()), [true, true]);
        assert_eq!(paths([begun, vec![sync(Cover::Names(1))]].concat()), [false, false]);
        // By itself it does not even take it away before the folders above the new name are there.
        let begun = vec![enter(ROOT, "a", 1), enter(1, "f", 3), sync(Cover::Volume(0)), enter(ROOT, "b", 2)];
        let renamed = log([begun, vec![enter(2, "f", 3), leave(1, "f", 4)]].concat());
        for seed in 0..200 {
            let disk = left(&renamed, Loss::Some(seed));
            assert!(disk.file("a/f").is_some() || disk.file("b/f").is_some(), "{seed}");
        }
    }

    #[test]
    fn some_losses_keep_the_order_of_names_and_whole_pages() {
        let names = ["p", "q", "r"];
        let mut events: Vec<_> = names.iter().map(|leaf| enter(ROOT, leaf, 4)).collect();
        events.extend(pages(4, 100, &[7; 9000]).into_iter().map(Event::Part));
        let log = log(events);
        let (mut counts, mut contents) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..200 {
            let disk = left(&log, Loss::Some(seed));
            let there: Vec<_> = names.iter().filter(|leaf| disk.file(leaf).is_some()).collect();
            assert!(names.iter().zip(&there).all(|(name, there)| name == *there), "{there:?}");
            counts.insert(there.len());
            if let Some(content) = disk.file("p") {
                let page = |from: usize, to: usize| {
                    let page = content.get(from..to)?;
                    page.iter().all(|byte| *byte == page[0]).then_some(page[0])
                };
                contents.insert((page(100, 4096), page(4096, 8192), page(8192, 9100)));
            }
        }
        assert_eq!(counts, BTreeSet::from([0, 1, 2, 3]));
        assert!(contents.len() > 6, "{contents:?}");
    }
}
