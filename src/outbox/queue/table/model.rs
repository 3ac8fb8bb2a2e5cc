//! A folder, a table that follows it, and a peer, in simulated time: what the property test and the
//! fuzz target drive. A wall clock that is stepped belongs to it.

use crate::outbox::Retry;
use crate::outbox::queue::handout::{Due, Finish};
use crate::outbox::queue::open::ASK_AGAIN;
use crate::outbox::queue::table::*;
use crate::outbox::watch::settle::{Signal, WallClock};
use crate::outbox::watch::temp_names;
use crate::proto::codec::Reader;
use crate::store::FileKind;
use crate::store::{Identity, Writers};
use std::time::Duration;

/// A file of that many bytes that was last touched then.
pub(crate) fn file(inode: u64, size: u64, seconds: i64) -> Meta {
    let time = Timestamp { seconds, nanos: 0 };
    Meta {
        kind: FileKind::File,
        size,
        modified: time,
        mode: Some(0o644),
        identity: Identity { device: 1, inode, changed: time },
    }
}

/// A folder that was last touched then.
pub(crate) fn folder(inode: u64, seconds: i64) -> Meta {
    Meta { kind: FileKind::Folder, size: 4096, ..file(inode, 0, seconds) }
}

/// A name that is one.
pub(crate) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

/// How long a file must be quiet.
pub(crate) const WAIT: Duration = Duration::from_secs(1);

/// All waits; those of folders are longer than most steps.
pub(crate) const WAITS: Waits = Waits {
    settle: WAIT,
    after_close: AFTER_CLOSE,
    empty_folder: Duration::from_secs(60),
    emptied_folder: Duration::from_secs(10),
};
const AFTER_CLOSE: Duration = Duration::from_millis(80);

/// An empty table.
pub(crate) fn table() -> Table {
    Table::new([1; 16], WAITS, false)
}

/// `ms` after the start; the wall clock stands at 1,000 s then.
pub(crate) fn at(ms: u64) -> Now {
    let seconds = 1000 + i64::try_from(ms / 1000).unwrap();
    Now { mono: Moment(ms * 1_000_000), wall: Some(Timestamp { seconds, nanos: 0 }) }
}

/// One thing that happens to Outgoing, to the outbox, or to what it handed out.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Somebody writes file `.0`; an event tells that, or only a scan will.
    Write(usize, bool),
    Close(usize),
    Rename(usize, usize),
    Delete(usize, bool),
    Scan,
    Lose,
    Pop,
    Deliver(usize),
    Fail(usize, Retry),
    /// Milliseconds pass.
    Sleep(u64),
    /// The wall clock is set, by that many hours.
    Clock(i64),
}

const RETRIES: [Retry; 6] = [
    Retry::Now,
    Retry::After,
    Retry::Changed,
    Retry::WhenChanged,
    Retry::WhenReadable,
    Retry::WhenFree,
];

impl Step {
    /// The step that these bytes stand for; `None` at their end.
    pub fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let (kind, what) = (bytes.u8().ok()?, bytes.u8().ok()?);
        let (path, other) = (usize::from(what) % PATHS.len(), usize::from(what >> 4) % PATHS.len());
        let (held, told) = (usize::from(what) % 8, what & 0x80 != 0);
        Some(match kind % 16 {
            0..=2 => Self::Write(path, told),
            3 => Self::Close(path),
            4 => Self::Rename(path, other),
            5 => Self::Delete(path, told),
            6 | 7 => Self::Scan,
            8 => Self::Lose,
            9 | 10 => Self::Pop,
            11 => Self::Deliver(held),
            12 => Self::Fail(held, RETRIES[usize::from(what >> 4) % RETRIES.len()]),
            13 | 14 => Self::Sleep(u64::from(what) * 12),
            _ => Self::Clock(i64::from(what) - 128),
        })
    }

    /// Any step.
    #[cfg(test)]
    pub fn any() -> impl proptest::strategy::Strategy<Value = Self> {
        use proptest::prelude::*;
        prop_oneof![
            3 => (0..PATHS.len(), any::<bool>()).prop_map(|(i, told)| Self::Write(i, told)),
            1 => (0..PATHS.len()).prop_map(Self::Close),
            1 => (0..PATHS.len(), 0..PATHS.len()).prop_map(|(a, b)| Self::Rename(a, b)),
            1 => (0..PATHS.len(), any::<bool>()).prop_map(|(i, told)| Self::Delete(i, told)),
            2 => Just(Self::Scan),
            1 => Just(Self::Lose),
            4 => Just(Self::Pop),
            3 => (0..8usize).prop_map(Self::Deliver),
            2 => (0..8usize, 0..RETRIES.len()).prop_map(|(i, r)| Self::Fail(i, RETRIES[r])),
            3 => (0..3000u64).prop_map(Self::Sleep),
            1 => (-72..72i64).prop_map(Self::Clock),
        ]
    }
}

/// The last one is the name of an unfinished file.
const PATHS: [&str; 7] = ["a", "b", "A", "d/a", "d/b", "d/e/a", "d/e/x.part"];
const DIRS: [(&str, u64); 2] = [("d", 900), ("d/e", 901)];

/// What was last done to a file.
#[derive(Debug, Clone, Copy)]
struct Touched {
    ms: u64,
    /// How long it must rest after that.
    rest: Duration,
    /// Its writer was heard to close it.
    closed: bool,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct World {
    table: Table,
    disk: BTreeMap<&'static str, Meta>,
    flight: Vec<Item>,
    refused: BTreeMap<Name, Meta>,
    /// Files that a program has open for writing.
    open: BTreeSet<&'static str>,
    touched: BTreeMap<&'static str, Touched>,
    version: u64,
    scan: u32,
    ms: u64,
    clock: WallClock,
    /// The wall clock less the monotonic one, in hours.
    hours: i64,
}

impl World {
    pub fn new() -> Self {
        Self {
            table: table(),
            disk: BTreeMap::new(),
            flight: Vec::new(),
            refused: BTreeMap::new(),
            open: BTreeSet::new(),
            touched: BTreeMap::new(),
            version: 0,
            scan: 1,
            ms: 0,
            clock: WallClock::new(Moment(0), Self::wall(0, 0)),
            hours: 0,
        }
    }

    /// Does all steps, then lets it rest while the peer takes everything: each file went out, or
    /// was refused as it is.
    ///
    /// # Panics
    /// When something was handed out twice at once or too early, or is left over.
    pub fn live(steps: impl IntoIterator<Item = Step>) {
        let mut world = Self::new();
        world.scan();
        for step in steps {
            world.step(step);
        }
        world.table.events_lost();
        world.open.clear();
        for _ in 0..200 {
            world.ms += 61_000;
            world.scan();
            world.tick();
            world.pop();
            world.deliver(0);
        }
        assert_eq!(world.table.backlog(), Backlog::default());
        let left = world.table.left.names();
        assert_eq!(
            left,
            world
                .disk
                .keys()
                .map(|path| name(path))
                .filter(|n| n.leaf() == b"x.part")
                .collect::<Vec<_>>()
        );
        for (path, meta) in world.disk.iter().filter(|(path, _)| !left.contains(&name(path))) {
            let refused = world.refused.get(&name(path));
            assert!(refused.is_some_and(|old| old.same_file(meta)), "{path} is left");
        }
        assert!(world.table.below.is_empty() && world.table.busy.is_empty());
        assert!(world.table.timers.is_empty() && world.table.queue.len() == 0);
        assert!(world.table.held.is_empty() && world.table.released.is_empty());
    }

    fn wall(ms: u64, hours: i64) -> Timestamp {
        let nanos = u32::try_from(ms % 1000).unwrap() * 1_000_000;
        Timestamp { seconds: 2_000_000 + i64::try_from(ms / 1000).unwrap() + hours * 3600, nanos }
    }

    fn now(&mut self) -> Now {
        let (mono, wall) = (at(self.ms).mono, Self::wall(self.ms, self.hours));
        Now { mono, wall: self.clock.trusted(mono, wall, WAIT) }
    }

    fn scan(&mut self) {
        self.scan += 1;
        let now = self.now();
        for (path, inode) in DIRS {
            self.see(path, folder(inode, 1), Signal::Seen, now, self.scan);
        }
        for (path, meta) in self.disk.clone() {
            self.see(path, meta, Signal::Seen, now, self.scan);
        }
        for folder in [None, Some(name("d")), Some(name("d/e"))] {
            self.table.sweep(folder.as_ref(), self.scan);
        }
    }

    fn see(&mut self, path: &str, meta: Meta, signal: Signal, now: Now, scan: u32) {
        let name = name(path);
        let seen = temp_names::Seen { folder: meta.kind == FileKind::Folder, size: meta.size };
        let used_by = temp_names::used_by(name.leaf(), seen);
        if !self.table.leave_alone(&name, &meta, used_by, now.mono, scan) {
            self.table.observe(&name, meta, None, signal, now, scan);
        }
    }

    fn hear(&mut self, path: &'static str, signal: Signal) {
        let now = self.now();
        if !self.table.note(&name(path), signal, now.mono) {
            match self.disk.get(path) {
                Some(meta) => self.see(path, *meta, signal, now, 0),
                None => {
                    self.table.leaves(&name(path), now.mono);
                    self.table.gone(&name(path));
                }
            }
        }
    }

    fn first_offer(&self, item: &Item) -> Option<Meta> {
        let dir = DIRS
            .iter()
            .find(|(path, _)| name(path) == item.name)
            .map(|(_, inode)| folder(*inode, 1));
        self.disk.iter().find(|(path, _)| name(path) == item.name).map(|(_, meta)| *meta).or(dir)
    }

    fn finish(&mut self, item: &Item) {
        let first_offer = self.first_offer(item);
        let finish = match first_offer {
            Some(meta) if meta.same_file(&item.meta) && self.is_open(&item.name) => {
                Finish::InUse(Some(meta))
            }
            Some(meta) if item.meta.kind == FileKind::Folder => Finish::Changed(Some(meta)),
            Some(meta) if meta.same_file(&item.meta) => {
                self.disk.retain(|path, _| name(path) != item.name);
                Finish::Gone
            }
            None => Finish::Gone,
            changed => Finish::Changed(changed),
        };
        let now = self.now();
        self.table.finished(item, finish, now);
    }

    /// What the system says.
    fn is_open(&self, path: &Name) -> bool {
        self.open.iter().any(|open| name(open) == *path)
    }

    fn tick(&mut self) {
        let now = self.now();
        let again = now.mono.after(ASK_AGAIN);
        for due in self.table.expire(now.mono, 100) {
            let (Due::Settled(path) | Due::Open(path)) = &due;
            let dir = DIRS.iter().find(|(own, _)| name(own) == *path);
            let file = self.disk.iter().find(|(own, _)| name(own) == *path).map(|(_, meta)| *meta);
            let Some(meta) = file.or(dir.map(|(_, inode)| folder(*inode, 1))) else {
                self.table.found_gone(path);
                continue;
            };
            let open = self.is_open(path);
            match due {
                Due::Settled(path) if self.table.must_ask(&path) && open => {
                    self.table.found_open(&path, now.mono, again);
                    self.table.changed_while_open(&path, meta, now.mono);
                }
                Due::Settled(path) => self.table.checked(&path, meta, now),
                Due::Open(path) => {
                    let writers = if open { Writers::Some } else { Writers::None };
                    self.table.asked(&path, meta, writers, now.mono, again);
                }
            }
        }
        self.table.left_to_tell(now.mono);
        for ripe in self.table.ripe() {
            let inode = DIRS.iter().find(|(path, _)| name(path) == ripe).unwrap().1;
            self.table.folder_checked(&ripe, folder(inode, 1), now);
        }
        let released = std::mem::take(&mut self.table.released);
        for item in released.into_iter().chain(self.table.take_emptied()) {
            self.finish(&item);
        }
    }

    fn pop(&mut self) {
        let Some(item) = self.table.pop() else { return };
        // The one who opens it to read it asks the system first.
        if self.is_open(&item.name) {
            let (first_offer, now) = (self.first_offer(&item), self.now());
            self.table.failed(&item, Retry::Open, first_offer, now);
            return;
        }
        assert!(self.flight.iter().all(|other| other.name != item.name), "{} twice", item.name);
        assert!(!item.name.leaf().ends_with(b".part"), "{} is unfinished", item.name);
        assert!(!self.table.holds_unfinished(&item.name), "{} holds an unfinished file", item.name);
        // Nothing that is still as it was offered was touched a moment ago, whatever the clock
        // says.
        if let Some((path, meta)) = self.disk.iter().find(|(path, _)| name(path) == item.name)
            && *meta == item.meta
        {
            let Touched { ms, rest, .. } = self.touched[path];
            let rested = Duration::from_millis(self.ms - ms);
            assert!(rested >= rest, "{path} goes {rested:?} after it was touched, not {rest:?}");
        }
        self.flight.push(item);
    }

    fn deliver(&mut self, at: usize) {
        if at < self.flight.len() {
            let item = self.flight.remove(at);
            if let Some(item) = self.table.delivered(item) {
                self.finish(&item);
            }
        }
    }

    fn fail(&mut self, at: usize, retry: Retry) {
        if at < self.flight.len() {
            let item = self.flight.remove(at);
            let (first_offer, now) = (self.first_offer(&item), self.now());
            self.table.failed(&item, retry, first_offer, now);
            if retry == Retry::WhenChanged {
                self.refused.insert(item.name.clone(), item.meta);
            }
        }
    }

    fn write(&mut self, path: &'static str, told: bool) {
        self.version += 1;
        let inode = self.disk.get(path).map_or(100 + self.version, |m| m.identity.inode);
        let mut meta = file(inode, self.version, 0);
        meta.modified = Self::wall(self.ms, self.hours);
        meta.identity.changed = meta.modified;
        self.disk.insert(path, meta);
        self.open.insert(path);
        // What no event tells, after a close, is taken for what copying programs do last.
        let closed = !told && self.touched.get(path).is_some_and(|touched| touched.closed);
        let rest = if closed { AFTER_CLOSE } else { WAIT };
        self.touched.insert(path, Touched { ms: self.ms, rest, closed });
        if told {
            self.hear(path, Signal::Written);
        }
    }

    fn rename(&mut self, from: &'static str, to: &'static str) {
        if let Some(mut meta) = self.disk.remove(from) {
            self.version += 1;
            meta.identity.changed = Self::wall(self.ms, self.hours);
            meta.identity.changed.nanos += u32::try_from(self.version).unwrap();
            self.disk.insert(to, meta);
            let open = self.open.remove(from);
            self.open.remove(to);
            if open {
                self.open.insert(to);
            }
            self.touched.insert(to, Touched { ms: self.ms, rest: Duration::ZERO, closed: false });
            self.hear(from, Signal::Seen);
            self.hear(to, Signal::Moved);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(i, told) => self.write(PATHS[i], told),
            Step::Close(i) => {
                self.open.remove(PATHS[i]);
                if let Some(touched) = self.touched.get_mut(PATHS[i]) {
                    touched.closed = true;
                    // One that has rested already may be on its way.
                    if Duration::from_millis(self.ms - touched.ms) < touched.rest {
                        (touched.ms, touched.rest) = (self.ms, AFTER_CLOSE.min(touched.rest));
                    }
                }
                self.hear(PATHS[i], Signal::Closed);
            }
            Step::Rename(a, b) => self.rename(PATHS[a], PATHS[b]),
            Step::Delete(i, told) => {
                self.disk.remove(PATHS[i]);
                self.open.remove(PATHS[i]);
                if told {
                    self.table.gone(&name(PATHS[i]));
                }
            }
            Step::Scan => self.scan(),
            Step::Lose => self.table.events_lost(),
            Step::Pop => self.pop(),
            Step::Deliver(i) => self.deliver(i),
            Step::Fail(i, retry) => self.fail(i, retry),
            Step::Sleep(ms) => self.ms += ms,
            Step::Clock(hours) => self.hours = (self.hours + hours).clamp(-100_000, 100_000),
        }
        self.tick();
    }
}
