//! A model of Outgoing, its table and a peer, in simulated time. The property test and the fuzz
//! target drive it. Its wall clock may be stepped.

mod step;

pub(crate) use step::ModelStep;
use step::PATHS;

use super::open_files::ASK_INTERVAL;
use super::table::{Now, Table};
use super::timers::DueEntry;
use crate::config::Waits;
use crate::outbox::item::{CleanupOutcome, Item, Retry};
use crate::outbox::watch::settle::{Activity, Moment, WallClock};
use crate::outbox::watch::temp_names;
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::status::Backlog;
use crate::store::{FileIdentity, FileKind, Meta, Writers};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Metadata of a file of `size` bytes that was last touched at `seconds`.
pub(crate) fn file(inode: u64, size: u64, seconds: i64) -> Meta {
    let time = Timestamp { seconds, nanos: 0 };
    Meta {
        kind: FileKind::File,
        size,
        modified: time,
        mode: Some(0o644),
        identity: FileIdentity { device: 1, inode, changed: time },
    }
}

/// Metadata of a folder that was last touched at `seconds`.
pub(crate) fn folder(inode: u64, seconds: i64) -> Meta {
    Meta { kind: FileKind::Folder, size: 4096, ..file(inode, 0, seconds) }
}

/// A valid name.
pub(crate) fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

/// How long a file must be quiet.
pub(crate) const WAIT: Duration = Duration::from_secs(1);

/// All waits. Those of folders are longer than most steps.
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

/// The time `ms` after the start, when the wall clock shows 1,000 s.
pub(crate) fn at(ms: u64) -> Now {
    let seconds = 1000 + i64::try_from(ms / 1000).unwrap();
    Now { mono: Moment(ms * 1_000_000), wall: Some(Timestamp { seconds, nanos: 0 }) }
}

const DIRS: [(&str, u64); 2] = [("d", 900), ("d/e", 901)];

/// The last access to a file by a program.
#[derive(Debug, Clone, Copy)]
struct LastTouch {
    ms: u64,
    /// How long the file must be quiet after it.
    quiet: Duration,
    /// An event reported a close by its writer.
    closed: bool,
}

/// The model.
#[derive(Debug)]
pub(crate) struct OutboxModel {
    table: Table,
    disk: BTreeMap<&'static str, Meta>,
    flight: Vec<Item>,
    refused: BTreeMap<Name, Meta>,
    /// Files that a program has open for writing.
    open: BTreeSet<&'static str>,
    touched: BTreeMap<&'static str, LastTouch>,
    version: u64,
    scan: u32,
    ms: u64,
    clock: WallClock,
    /// The wall clock less the monotonic one, in hours.
    hours: i64,
}

impl OutboxModel {
    pub(crate) fn new() -> Self {
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

    /// Runs all steps, then lets time pass while the peer takes everything. In the end each file
    /// was sent, or was refused as it is.
    ///
    /// # Panics
    /// When an entry was handed out twice at once or too early, or is left over.
    pub(crate) fn live(steps: impl IntoIterator<Item = ModelStep>) {
        let mut model = Self::new();
        model.scan();
        for step in steps {
            model.step(step);
        }
        model.table.events_lost();
        model.open.clear();
        for _ in 0..200 {
            model.ms += 61_000;
            model.scan();
            model.tick();
            model.pop();
            model.deliver(0);
        }
        assert_eq!(model.table.backlog(), Backlog::default());
        let left = model.table.unfinished.names();
        assert_eq!(
            left,
            model
                .disk
                .keys()
                .map(|path| name(path))
                .filter(|n| n.leaf() == b"x.part")
                .collect::<Vec<_>>()
        );
        for (path, meta) in model.disk.iter().filter(|(path, _)| !left.contains(&name(path))) {
            let refused = model.refused.get(&name(path));
            assert!(refused.is_some_and(|old| old.same_file(meta)), "{path} is left");
        }
        assert!(
            model.table.index.pending_in.is_empty() && model.table.index.busy_beneath.is_empty()
        );
        assert!(model.table.index.timers.is_empty() && model.table.index.queue.len() == 0);
        assert!(model.table.delivered_open.is_empty() && model.table.to_clean_up.is_empty());
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
            self.see(path, folder(inode, 1), Activity::Seen, now, self.scan);
        }
        for (path, meta) in self.disk.clone() {
            self.see(path, meta, Activity::Seen, now, self.scan);
        }
        for folder in [None, Some(name("d")), Some(name("d/e"))] {
            self.table.sweep(folder.as_ref(), self.scan);
        }
    }

    fn see(&mut self, path: &str, meta: Meta, activity: Activity, now: Now, scan: u32) {
        let name = name(path);
        let shape =
            temp_names::EntryShape { folder: meta.kind == FileKind::Folder, size: meta.size };
        let used_by = temp_names::used_by(name.leaf(), shape);
        if !self.table.leave_alone(&name, &meta, used_by, now.mono, scan) {
            self.table.observe(&name, meta, None, activity, now, scan);
        }
    }

    fn hear(&mut self, path: &'static str, activity: Activity) {
        let now = self.now();
        if !self.table.note(&name(path), activity, now.mono) {
            match self.disk.get(path) {
                Some(meta) => self.see(path, *meta, activity, now, 0),
                None => {
                    self.table.leaves(&name(path), now.mono);
                    self.table.gone(&name(path));
                }
            }
        }
    }

    /// The metadata of the entry that has the name of an item now.
    fn present(&self, item: &Item) -> Option<Meta> {
        let dir = DIRS
            .iter()
            .find(|(path, _)| name(path) == item.name)
            .map(|(_, inode)| folder(*inode, 1));
        self.disk.iter().find(|(path, _)| name(path) == item.name).map(|(_, meta)| *meta).or(dir)
    }

    fn clean_up(&mut self, item: &Item) {
        let outcome = match self.present(item) {
            Some(meta) if meta.same_file(&item.meta) && self.is_open(&item.name) => {
                CleanupOutcome::InUse(Some(meta))
            }
            Some(meta) if item.meta.kind == FileKind::Folder => CleanupOutcome::Changed(Some(meta)),
            Some(meta) if meta.same_file(&item.meta) => {
                self.disk.retain(|path, _| name(path) != item.name);
                CleanupOutcome::Gone
            }
            None => CleanupOutcome::Gone,
            changed => CleanupOutcome::Changed(changed),
        };
        let now = self.now();
        self.table.cleaned_up(item, outcome, now);
    }

    /// The system's answer about writers.
    fn is_open(&self, path: &Name) -> bool {
        self.open.iter().any(|open| name(open) == *path)
    }

    fn tick(&mut self) {
        let now = self.now();
        let again = now.mono.after(ASK_INTERVAL);
        for due in self.table.expire(now.mono, 100) {
            let (DueEntry::Settled(path) | DueEntry::Open(path)) = &due;
            let dir = DIRS.iter().find(|(own, _)| name(own) == *path);
            let file = self.disk.iter().find(|(own, _)| name(own) == *path).map(|(_, meta)| *meta);
            let Some(meta) = file.or(dir.map(|(_, inode)| folder(*inode, 1))) else {
                self.table.found_gone(path);
                continue;
            };
            let open = self.is_open(path);
            match due {
                DueEntry::Settled(path) if self.table.must_ask(&path) && open => {
                    self.table.found_open(&path, now.mono, again);
                    self.table.changed_while_open(&path, meta, now.mono);
                }
                DueEntry::Settled(path) => self.table.checked(&path, meta, now),
                DueEntry::Open(path) => {
                    let writers = if open { Writers::Some } else { Writers::None };
                    self.table.asked(&path, meta, writers, now.mono, again);
                }
            }
        }
        self.table.unfinished.take_news(now.mono);
        for ripe in self.table.maybe_complete() {
            let inode = DIRS.iter().find(|(path, _)| name(path) == ripe).unwrap().1;
            self.table.folder_checked(&ripe, folder(inode, 1), now);
        }
        let released = std::mem::take(&mut self.table.to_clean_up);
        for item in released.into_iter().chain(self.table.take_emptied()) {
            self.clean_up(&item);
        }
    }

    fn pop(&mut self) {
        let Some(item) = self.table.pop() else { return };
        // The reader asks the system when it opens the file.
        if self.is_open(&item.name) {
            let (present, now) = (self.present(&item), self.now());
            self.table.failed(&item, Retry::Open, present, now);
            return;
        }
        assert!(self.flight.iter().all(|other| other.name != item.name), "{} twice", item.name);
        assert!(!item.name.leaf().ends_with(b".part"), "{} is unfinished", item.name);
        assert!(!self.table.holds_unfinished(&item.name), "{} holds an unfinished file", item.name);
        // A file that is unchanged since its offer was quiet before, by any wall clock.
        if let Some((path, meta)) = self.disk.iter().find(|(path, _)| name(path) == item.name)
            && *meta == item.meta
        {
            let LastTouch { ms, quiet, .. } = self.touched[path];
            let rested = Duration::from_millis(self.ms - ms);
            assert!(rested >= quiet, "{path} is sent {rested:?} after a touch, not {quiet:?}");
        }
        self.flight.push(item);
    }

    fn deliver(&mut self, at: usize) {
        if at < self.flight.len() {
            let item = self.flight.remove(at);
            if let Some(item) = self.table.delivered(item) {
                self.clean_up(&item);
            }
        }
    }

    fn fail(&mut self, at: usize, retry: Retry) {
        if at < self.flight.len() {
            let item = self.flight.remove(at);
            let (present, now) = (self.present(&item), self.now());
            self.table.failed(&item, retry, present, now);
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
        // An unreported write after a close is taken for the last call of a copying program.
        let closed = !told && self.touched.get(path).is_some_and(|touched| touched.closed);
        let quiet = if closed { AFTER_CLOSE } else { WAIT };
        self.touched.insert(path, LastTouch { ms: self.ms, quiet, closed });
        if told {
            self.hear(path, Activity::Written);
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
            self.touched
                .insert(to, LastTouch { ms: self.ms, quiet: Duration::ZERO, closed: false });
            self.hear(from, Activity::Seen);
            self.hear(to, Activity::Moved);
        }
    }

    fn step(&mut self, step: ModelStep) {
        match step {
            ModelStep::Write(i, told) => self.write(PATHS[i], told),
            ModelStep::Close(i) => {
                self.open.remove(PATHS[i]);
                if let Some(touched) = self.touched.get_mut(PATHS[i]) {
                    touched.closed = true;
                    // A file that was quiet for long enough may be in flight.
                    if Duration::from_millis(self.ms - touched.ms) < touched.quiet {
                        (touched.ms, touched.quiet) = (self.ms, AFTER_CLOSE.min(touched.quiet));
                    }
                }
                self.hear(PATHS[i], Activity::Closed);
            }
            ModelStep::Rename(a, b) => self.rename(PATHS[a], PATHS[b]),
            ModelStep::Delete(i, told) => {
                self.disk.remove(PATHS[i]);
                self.open.remove(PATHS[i]);
                if told {
                    self.table.gone(&name(PATHS[i]));
                }
            }
            ModelStep::Scan => self.scan(),
            ModelStep::Lose => self.table.events_lost(),
            ModelStep::Urgent(i, on) => drop(self.table.set_urgent(&name(PATHS[i]), on)),
            ModelStep::Cancel(i, can_move) => self.cancel(PATHS[i], can_move),
            ModelStep::Pop => self.pop(),
            ModelStep::Deliver(i) => self.deliver(i),
            ModelStep::Fail(i, retry) => self.fail(i, retry),
            ModelStep::Sleep(ms) => self.ms += ms,
            ModelStep::Clock(hours) => self.hours = (self.hours + hours).clamp(-100_000, 100_000),
        }
        self.tick();
    }
}
