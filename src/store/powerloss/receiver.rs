//! Receiving while the power fails: what a receipt was given for stands in Incoming, nothing is ever there in part or
//! twice, and when the sender has offered the rest again all of it is there.

use super::host::{Host, Kind, losses, seeded};
use crate::config::{Folders, OnConflict};
use crate::proto::message::{EntryKind, Offer, Outcome, Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::os::recorded::Recorder;
use crate::store::{Arrived, Content, Incoming, Ledger, StateDir, numbered, os, publish};
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of a large file, so much is there and noted before the rest comes.
const NOTED: usize = 5000;

/// What is sent. Its number is part of its transfer's id, and of its time.
#[derive(Clone)]
struct Thing {
    name: &'static str,
    what: What,
    /// The thing of that number, when that is what `OnConflict::Overwrite` replaces.
    replaces: Option<usize>,
}

#[derive(Clone, PartialEq, Debug)]
enum What {
    File(Vec<u8>),
    /// Through the stage, with a note at [`NOTED`].
    Large(Vec<u8>),
    Link(&'static str),
    Folder,
}

/// One step of the two users and the sender. What was done is not done again after a restart.
enum Step {
    /// Offers these together.
    Offer(&'static [usize]),
    /// The receiver's user takes one away, durably.
    TakeAway(usize),
    /// The sender is done with these.
    Forget(&'static [usize]),
    /// As a sender that keeps its files: the peer holds this.
    Deliver(usize),
}

struct World {
    things: Vec<Thing>,
    steps: Vec<Step>,
    on_conflict: OnConflict,
}

/// What was said to somebody, and is held to.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Origin([u8; 16]),
    /// A receipt.
    Stands(usize),
    /// Now or in a moment it is taken away, replaced, forgotten: until the next it may be or not.
    Leaving(usize),
    Taken(usize),
    Forgotten(usize),
    Delivered(usize),
}

/// All promises so far.
#[derive(Clone, Default, Debug)]
struct Known {
    origin: Option<[u8; 16]>,
    stands: BTreeSet<usize>,
    leaving: BTreeSet<usize>,
    taken: BTreeSet<usize>,
    forgotten: BTreeSet<usize>,
    delivered: BTreeSet<usize>,
}

impl Known {
    fn learn(&mut self, promise: Promise) {
        match promise {
            Promise::Origin(origin) => self.origin = Some(origin),
            Promise::Stands(n) => drop(self.stands.insert(n)),
            Promise::Leaving(n) => drop(self.leaving.insert(n)),
            Promise::Taken(n) => drop(self.taken.insert(n)),
            Promise::Forgotten(n) => drop(self.forgotten.insert(n)),
            Promise::Delivered(n) => drop(self.delivered.insert(n)),
        }
    }
}

fn id(n: usize) -> TransferId {
    TransferId([u8::try_from(n + 1).unwrap(); 16])
}

fn time(n: usize) -> Timestamp {
    Timestamp { seconds: 1_000_000_000 + i64::try_from(n).unwrap(), nanos: 5 }
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

impl Thing {
    fn content(&self) -> &[u8] {
        match &self.what {
            What::File(content) | What::Large(content) => content,
            What::Link(_) | What::Folder => &[],
        }
    }

    fn offer(&self, n: usize) -> Offer {
        let kind = match self.what {
            What::File(_) | What::Large(_) => EntryKind::File { size: self.content().len() as u64 },
            What::Link(target) => EntryKind::Link { target: target.into() },
            What::Folder => EntryKind::Folder,
        };
        let mode = Some(if self.what == What::Folder { 0o750 } else { 0o640 });
        Offer { id: id(n), name: name(self.name), kind, modified: time(n), mode, inline: true }
    }

    /// As the inbox hands it over.
    fn arrived(&self, n: usize, incoming: &Incoming) -> Result<Arrived, String> {
        let content = match &self.what {
            What::File(content) => Content::Bytes(Bytes::copy_from_slice(content)),
            What::Large(content) => Content::Staged(stage(n, content, incoming).map_err(|e| e.to_string())?),
            What::Link(_) => Content::Link,
            What::Folder => Content::Folder,
        };
        let hash = match self.what {
            What::File(_) | What::Large(_) => *blake3::hash(self.content()).as_bytes(),
            What::Link(_) | What::Folder => [0; 32],
        };
        Ok(Arrived { offer: self.offer(n), content, hash })
    }
}

/// A large file: what is there from before is used when it is right, the rest written, a note made on the way.
fn stage(
    n: usize,
    content: &[u8],
    incoming: &Incoming,
) -> Result<crate::store::Staged, crate::store::StoreError> {
    let (mut staged, there) = incoming.stage(id(n))?;
    let mut there = usize::try_from(there).unwrap();
    let mut before = vec![0; there];
    staged.read_at(&mut before, 0)?;
    if content.get(..there) != Some(&before[..]) {
        staged.truncate(0)?;
        there = 0;
    }
    if there < NOTED {
        staged.write_at(there as u64, &content[there..NOTED])?;
        staged.checkpoint(NOTED as u64)?;
        there = NOTED;
    }
    staged.write_at(there as u64, &content[there..])?;
    Ok(staged)
}

impl World {
    fn new(on_conflict: OnConflict, things: &[(&'static str, What)], steps: Vec<Step>) -> Self {
        let things = things.iter().map(|(name, what)| Thing { name, what: what.clone(), replaces: None });
        Self { things: things.collect(), steps, on_conflict }
    }

    /// One run of the program, from its start on, in which the sender offers what it has no receipt for. The host
    /// and the promises of this run, in the order of their numbers.
    fn run(&self, host: &Host, known: &Known) -> Result<(Host, Vec<Promise>), String> {
        host.run(|root| {
            let mut run = Run { world: self, root, known: known.clone(), promises: Vec::new() };
            run.all()?;
            Ok(run.promises)
        })
    }

    /// Runs again after a loss, and after further ones in that run.
    fn survives(&self, host: &Host, known: &Known, depth: u32, random: &mut StdRng) -> Result<(), String> {
        let (after, promises) = self.run(host, known)?;
        if depth == 0 {
            return Ok(());
        }
        let safe = after.log.safe_from(&after.start);
        for _ in 0..2 {
            let cut = random.random_range(0..=after.log.events.len());
            let loss = losses(0, random)[random.random_range(0..3)];
            let known = Self::known_at(&after, &promises, known, cut);
            let lost = after.lose_as(&safe, cut, loss);
            self.survives(&lost, &known, depth - 1, random)
                .map_err(|error| format!("then at {cut}, {loss:?}: {error}"))?;
        }
        Ok(())
    }

    fn known_at(host: &Host, promises: &[Promise], before: &Known, cut: usize) -> Known {
        let mut known = before.clone();
        host.log.promised(cut).into_iter().for_each(|number| known.learn(promises[number]));
        known
    }

    /// A loss of power at each moment of a run from one on; the first promise that is broken.
    fn first_broken(
        &self,
        host: &Host,
        promises: &[Promise],
        known: &Known,
        from: usize,
        depth: u32,
        random: &mut StdRng,
    ) -> Result<u32, String> {
        let safe = host.log.safe_from(&host.start);
        let mut tried = 0;
        for cut in host.moments(random).into_iter().filter(|cut| *cut >= from) {
            let known = Self::known_at(host, promises, known, cut);
            for loss in losses(cut, random) {
                let lost = host.lose_as(&safe, cut, loss);
                let depth = if tried % 8 == 0 { depth } else { 0 };
                self.survives(&lost, &known, depth, random).map_err(|error| {
                    format!("power lost after {cut} of {} events, {loss:?}: {error}", host.log.events.len())
                })?;
                tried += 1;
            }
        }
        Ok(tried)
    }
}

/// The program running.
struct Run<'a> {
    world: &'a World,
    root: &'a Path,
    known: Known,
    promises: Vec<Promise>,
}

impl Run<'_> {
    fn promise(&mut self, promise: Promise) {
        Recorder::promise(self.promises.len());
        self.promises.push(promise);
        self.known.learn(promise);
    }

    fn all(&mut self) -> Result<(), String> {
        let told = |error: crate::store::StoreError| error.to_string();
        let folders = Folders::in_dir(self.root.join("base"));
        let state = StateDir::open(&folders).map_err(told)?;
        let ledger = Ledger::open(&state).map_err(told)?;
        let incoming = Incoming::open(&folders.incoming, &state).map_err(told)?;
        incoming.recover(&ledger, self.world.on_conflict).map_err(told)?;
        if let Some(origin) = self.known.origin {
            if ledger.moved_aside().is_some() {
                return Err("the ledger is damaged".into());
            }
            if origin != ledger.origin() {
                return Err("the sender is another one".into());
            }
        }
        self.promise(Promise::Origin(ledger.origin()));
        for (n, thing) in self.world.things.iter().enumerate() {
            let has = ledger.received(id(n)).map_err(told)?.is_some();
            let forgotten = self.known.forgotten.contains(&n);
            if self.known.stands.contains(&n) && !has && !forgotten && thing.what != What::Folder {
                return Err(format!("{} was received, and is not known", thing.name));
            }
            if has && !forgotten {
                // So it would tell the sender.
                self.promise(Promise::Stands(n));
            }
            if self.known.delivered.contains(&n) && !ledger.is_delivered(id(n)).map_err(told)? {
                return Err(format!("{} was delivered, and is not known", thing.name));
            }
        }
        self.check(false)?;
        for step in &self.world.steps {
            self.step(step, &incoming, &ledger)?;
        }
        self.check(true)?;
        match fs::read_dir(folders.state.join("stage")).unwrap().count() {
            0 => Ok(()),
            left => Err(format!("{left} files are left in the stage")),
        }
    }

    fn step(&mut self, step: &Step, incoming: &Incoming, ledger: &Ledger) -> Result<(), String> {
        match step {
            Step::Offer(numbers) => self.offer(numbers, incoming, ledger),
            Step::TakeAway(n) if !self.known.taken.contains(n) => {
                self.promise(Promise::Leaving(*n));
                let path = self.root.join("base/Incoming").join(self.world.things[*n].name);
                let dir = os::open_root(path.parent().unwrap()).unwrap();
                let _ = os::unlink(&dir, path.file_name().unwrap());
                os::sync_dir(&dir).unwrap();
                self.promise(Promise::Taken(*n));
                Ok(())
            }
            Step::Forget(numbers) => {
                numbers.iter().for_each(|n| self.promise(Promise::Forgotten(*n)));
                let ids: Vec<_> = numbers.iter().map(|n| id(*n)).collect();
                ledger.forget(&ids).map(|_| ()).map_err(|error| error.to_string())
            }
            Step::Deliver(n) => {
                ledger.mark_delivered(&[id(*n)]).map_err(|error| error.to_string())?;
                self.promise(Promise::Delivered(*n));
                Ok(())
            }
            Step::TakeAway(_) => Ok(()),
        }
    }

    fn offer(&mut self, numbers: &[usize], incoming: &Incoming, ledger: &Ledger) -> Result<(), String> {
        let mut batch = Vec::new();
        let wanted = numbers.iter().filter(|n| !self.known.stands.contains(n));
        let wanted: Vec<usize> = wanted.copied().collect();
        for &n in &wanted {
            let thing = &self.world.things[n];
            if ledger.received(id(n)).map_err(|error| error.to_string())?.is_none() {
                batch.push(thing.arrived(n, incoming)?);
            }
            if let Some(old) = thing.replaces {
                self.promise(Promise::Leaving(old));
            }
        }
        for outcome in publish(incoming, ledger, self.world.on_conflict, batch) {
            if !matches!(outcome, Outcome::Done { .. }) {
                return Err(format!("{outcome:?}"));
            }
        }
        for n in wanted {
            self.promise(Promise::Stands(n));
            if let Some(old) = self.world.things[n].replaces {
                self.promise(Promise::Taken(old));
            }
        }
        Ok(())
    }

    /// Whether Incoming is as it was promised; in the `end` everything is there.
    fn check(&self, end: bool) -> Result<(), String> {
        let incoming = self.root.join("base/Incoming");
        let mut found: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
        for path in paths_in(&incoming) {
            let things = self.world.things.iter().enumerate();
            let known = things.filter(|(_, thing)| may_be_called(thing.name, &path));
            let is = known.filter(|(n, thing)| is_whole(&incoming.join(&path), *n, thing));
            let above = self.world.things.iter().any(|thing| Path::new(thing.name).starts_with(&path));
            match is.map(|(n, _)| n).next() {
                Some(n) => found.entry(n).or_default().push(path),
                None if above && incoming.join(&path).is_dir() => {}
                None => return Err(format!("{} is none of those that were sent", path.display())),
            }
        }
        for (n, thing) in self.world.things.iter().enumerate() {
            let count = found.get(&n).map_or(0, Vec::len);
            let may_be_gone = self.known.leaving.contains(&n) || self.known.taken.contains(&n);
            let must = !may_be_gone && (self.known.stands.contains(&n) || end);
            if count == 0 && must {
                return Err(format!("{} is lost", thing.name));
            }
            if count > 1 || count == 1 && self.known.taken.contains(&n) {
                return Err(format!("{} is there once more: {:?}", thing.name, found[&n]));
            }
            if let Some(old) = thing.replaces
                && self.known.leaving.contains(&old)
                && !self.known.leaving.contains(&n)
                && count + found.get(&old).map_or(0, Vec::len) != 1
            {
                return Err(format!("of {} there must be one version", thing.name));
            }
        }
        Ok(())
    }
}

fn may_be_called(sent: &str, path: &Path) -> bool {
    let names = (0..3).filter_map(|number| numbered::numbered(&name(sent), number));
    names.into_iter().any(|name| name.as_bytes() == path.as_os_str().as_encoded_bytes())
}

fn is_whole(path: &Path, n: usize, thing: &Thing) -> bool {
    let meta = path.symlink_metadata().unwrap();
    let timed = (meta.mtime(), meta.mtime_nsec()) == (time(n).seconds, i64::from(time(n).nanos));
    timed
        && match &thing.what {
            What::Folder => meta.is_dir() && meta.mode() & 0o777 == 0o750,
            What::Link(target) => meta.is_symlink() && fs::read_link(path).unwrap() == Path::new(target),
            What::File(content) | What::Large(content) => {
                meta.is_file() && meta.mode() & 0o777 == 0o640 && fs::read(path).unwrap() == *content
            }
        }
}

/// Everything below a folder.
fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let (mut paths, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(folder.join(&path)).unwrap() {
            let entry = entry.unwrap();
            let path = path.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths
}

fn file(text: &str) -> What {
    What::File(text.as_bytes().to_vec())
}

fn large(byte: u8) -> What {
    What::Large(vec![byte; 2 * NOTED])
}

/// Small batches, whose syncs are one by one; what the users do in between.
fn few() -> World {
    let things = [
        ("a", file("a of the first")),
        ("new/deep/b", file("b")),
        ("new/link", What::Link("deep/b")),
        ("new/deep", What::Folder),
        ("empty", What::Folder),
        ("large", large(7)),
        ("a", file("another a")),
    ];
    let steps = vec![
        Step::Offer(&[0]),
        Step::TakeAway(0),
        Step::Deliver(0),
        Step::Offer(&[1, 2, 3]),
        Step::Offer(&[4]),
        Step::Forget(&[1, 2]),
        Step::Offer(&[5]),
        Step::Offer(&[6]),
    ];
    World::new(OnConflict::Rename, &things, steps)
}

/// Large batches, whose syncs are those of the volume, and conflicts.
fn many() -> World {
    let things = [
        ("d/a", file("a")),
        ("d/b", file("b")),
        ("d/e/c", file("c")),
        ("d/f/d", file("d")),
        ("d/h/i/e", file("e")),
        ("l", What::Link("d/a")),
        ("d/e", What::Folder),
        ("d/g", large(9)),
        ("d/a", file("another a")),
    ];
    let steps = vec![Step::Offer(&[0, 1, 2, 3, 4, 5, 6, 7]), Step::TakeAway(1), Step::Offer(&[8])];
    World::new(OnConflict::Rename, &things, steps)
}

/// What is there is replaced.
fn replacing() -> World {
    let things = [("d/a", file("old")), ("d/a", file("new")), ("d/a", large(3))];
    let mut world = World::new(
        OnConflict::Overwrite,
        &things,
        vec![Step::Offer(&[0]), Step::Offer(&[1]), Step::Offer(&[2])],
    );
    world.things[1].replaces = Some(0);
    world.things[2].replaces = Some(1);
    world
}

impl World {
    /// A run on a new host, with a loss of power at each moment, and more of them while it recovers.
    fn holds(&self) {
        let mut random = seeded();
        let (host, promises) = self.run(&Host::new(&[]), &Known::default()).unwrap();
        let tried = self.first_broken(&host, &promises, &Known::default(), 0, 2, &mut random).unwrap();
        eprintln!("{tried} losses in {} events", host.log.events.len());
    }

    /// The program is killed at each moment and started again on what was not synced, and then the power fails.
    fn holds_after_kills(&self) {
        let mut random = seeded();
        let (host, promises) = self.run(&Host::new(&[]), &Known::default()).unwrap();
        for kill in host.kills(&mut random) {
            let known = Self::known_at(&host, &promises, &Known::default(), kill);
            let (again, promises) = self.run(&host.killed(kill), &known).unwrap();
            let safe = again.log.safe_from(&again.start);
            for _ in 0..3 {
                let cut = random.random_range(kill..=again.log.events.len());
                let known = Self::known_at(&again, &promises, &known, cut);
                for loss in losses(cut, &mut random) {
                    self.survives(&again.lose_as(&safe, cut, loss), &known, 0, &mut random)
                        .unwrap_or_else(|error| panic!("killed at {kill}, lost at {cut}, {loss:?}: {error}"));
                }
            }
        }
    }

    /// Leaves out each kind of sync, but for those that are known to be needed: in a run, and in the one after a
    /// kill between the first file's rename and its sync. `needed` is told those without which a promise is
    /// broken; gives the others.
    fn needless_syncs(&self, needed: &mut BTreeSet<Kind>) -> BTreeSet<Kind> {
        let none = Known::default();
        let (host, promises) = self.run(&Host::new(&[]), &none).unwrap();
        // The very first rename is the program's own trial.
        let kill = host.renames().nth(1).unwrap();
        let known = Self::known_at(&host, &promises, &none, kill);
        let (again, promised) = self.run(&host.killed(kill), &known).unwrap();
        let mut needless = BTreeSet::new();
        for (host, promises, known, from) in [(host, promises, none, 0), (again, promised, known, kill)] {
            for (kind, from) in host.syncs(from) {
                if needed.contains(&kind) {
                    continue;
                }
                match self.first_broken(&host.without(&kind), &promises, &known, from, 0, &mut seeded()) {
                    Ok(_) => needless.insert(kind),
                    Err(broken) => {
                        eprintln!("without the sync of {} after {:?}: {broken}", kind.1, kind.0);
                        needed.insert(kind)
                    }
                };
            }
        }
        needless
    }
}

#[test]
fn one_by_one_nothing_is_lost_or_doubled() {
    few().holds();
}

#[test]
fn many_at_once_are_not_lost_or_doubled() {
    many().holds();
}

#[test]
fn of_what_is_replaced_one_version_stands() {
    replacing().holds();
}

#[test]
fn what_was_killed_before_the_power_failed_is_no_worse_off() {
    [few(), many(), replacing()].iter().for_each(World::holds_after_kills);
}

/// Syncs without which the promises hold all the same, by the last failpoint before them.
const SPARE: &[(&str, &str)] = &[
    // redb's own, while a new ledger is made: any one of them would do, as there is nothing to keep yet.
    ("", "base/.rft/ledger.redb"),
    ("", "base/.rft/ledger.redb.new"),
    ("ledger.committing", "base/.rft/ledger.redb.new"),
    ("ledger.open", "base/.rft/ledger.redb.new"),
    ("ledger.made", "base/.rft/ledger.redb"),
    ("ledger.committing", "base/.rft/ledger.redb"),
    // The note of how much of a large file is there is a hint: without this sync it may cost bytes.
    ("stage.created", "base/.rft/stage/"),
];

#[test]
fn no_sync_may_be_left_out() {
    let (mut needed, mut needless) = (BTreeSet::new(), BTreeSet::new());
    for world in [few(), many(), replacing()] {
        needless.extend(world.needless_syncs(&mut needed));
    }
    needless.retain(|kind| !needed.contains(kind) && !SPARE.contains(&(kind.0, &kind.1)));
    assert!(needless.is_empty(), "nothing is lost without these syncs: {needless:?}");
}
