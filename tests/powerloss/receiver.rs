//! Receiving under power loss: every file with a receipt is in Incoming, no file is ever there in
//! part or twice, and after the sender has offered the rest again, all of them are there.

mod entries;
mod run;

use super::host::{Host, Kind, losses, needless_syncs, seeded};
use entries::{EntryBody, TestEntry, file, large, users};
use rand::RngExt;
use rand::rngs::StdRng;
use rft::config::OnConflict;
use run::Run;
use std::collections::BTreeSet;

/// A step of the two users or the sender. A step that was done is not repeated after a restart.
enum Step {
    /// The sender offers these together.
    Offer(&'static [usize]),
    /// The receiver's user writes a file without a sync.
    Write(usize),
    /// The receiver's user removes a file durably.
    TakeAway(usize),
    /// The sender no longer needs the transfer IDs of these.
    Forget(&'static [usize]),
    /// As a sender that keeps its files: the peer has received this one.
    Deliver(usize),
}

struct World {
    entries: Vec<TestEntry>,
    steps: Vec<Step>,
    on_conflict: OnConflict,
}

/// A promise given to a user or to the peer.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Origin([u8; 16]),
    /// A receipt was given.
    Stands(usize),
    /// It is being removed, replaced or forgotten: until the next promise it may exist or not.
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

impl World {
    fn new(
        on_conflict: OnConflict,
        entries: &[(&'static str, EntryBody)],
        steps: Vec<Step>,
    ) -> Self {
        let entry = |(name, body): &(&'static str, EntryBody)| TestEntry {
            name,
            body: body.clone(),
            replaces: None,
            same_as: None,
            kept_out_by: &[],
        };
        let entries = entries.iter().map(entry);
        Self { entries: entries.collect(), steps, on_conflict }
    }

    /// One run of the program from its start, in which the sender offers everything without a
    /// receipt. Returns the host and the promises of this run, in order.
    fn run(&self, host: &Host, known: &Known) -> Result<(Host, Vec<Promise>), String> {
        host.run(|root| {
            let mut run = Run { world: self, root, known: known.clone(), promises: Vec::new() };
            run.all()?;
            Ok(run.promises)
        })
    }

    /// Runs again after a power loss, and after further ones during that run.
    fn survives(
        &self,
        host: &Host,
        known: &Known,
        depth: u32,
        random: &mut StdRng,
    ) -> Result<(), String> {
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

    /// Tries a power loss at each moment of a run from `from` on. Returns the first broken promise.
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
                    format!(
                        "power lost after {cut} of {} events, {loss:?}: {error}",
                        host.log.events.len()
                    )
                })?;
                tried += 1;
            }
        }
        Ok(tried)
    }
}

/// Small batches, synced file by file, with actions of the users in between.
fn few() -> World {
    let entries = [
        ("a", file("a of the first")),
        ("new/deep/b", file("b")),
        ("new/link", EntryBody::Link("deep/b")),
        ("new/deep", EntryBody::Folder),
        ("empty", EntryBody::Folder),
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
    World::new(OnConflict::Rename, &entries, steps)
}

/// Large batches, synced by volume, and name conflicts.
fn many() -> World {
    let entries = [
        ("d/a", file("a")),
        ("d/b", file("b")),
        ("d/e/c", file("c")),
        ("d/f/d", file("d")),
        ("d/h/i/e", file("e")),
        ("l", EntryBody::Link("d/a")),
        ("d/e", EntryBody::Folder),
        ("d/g", large(9)),
        ("d/a", file("another a")),
    ];
    let steps = vec![Step::Offer(&[0, 1, 2, 3, 4, 5, 6, 7]), Step::TakeAway(1), Step::Offer(&[8])];
    World::new(OnConflict::Rename, &entries, steps)
}

/// A file in the place of a folder, which its user removes before the folder is complete.
fn beside() -> World {
    let things = [
        ("d", file("in the way")),
        ("d/a", file("a")),
        ("d/e/b", large(5)),
        ("d/l", EntryBody::Link("a")),
        ("d/e", EntryBody::Folder),
        ("d", EntryBody::Folder),
    ];
    let steps = vec![
        Step::Offer(&[0]),
        Step::Offer(&[1]),
        Step::TakeAway(0),
        Step::Offer(&[2, 3]),
        Step::Offer(&[4, 5]),
    ];
    World::new(OnConflict::Rename, &things, steps)
}

/// Existing files are replaced by other files, by links and folders, and by the same file again. A
/// folder is not replaced.
fn replacing() -> World {
    let entries = [
        ("d/a", file("old")),
        ("d/a", file("new")),
        ("d/a", large(3)),
        ("l", EntryBody::Link("d/a")),
        ("l", file("was a link")),
        ("k", file("becomes a link")),
        ("k", EntryBody::Link("l")),
        ("f", EntryBody::Folder),
        ("f", file("a folder is in the way")),
        ("same", file("the same")),
        ("same", file("the same")),
    ];
    let steps = vec![
        Step::Offer(&[0, 3, 7]),
        Step::Offer(&[1, 4, 5]),
        Step::Offer(&[2, 8]),
        Step::Offer(&[6, 9]),
        Step::Offer(&[10]),
    ];
    let mut world = World::new(OnConflict::Overwrite, &entries, steps);
    for (new, old) in [(1, 0), (2, 1), (4, 3), (6, 5), (10, 9)] {
        world.entries[new].replaces = Some(old);
    }
    world.entries[8].kept_out_by = &[7];
    world
}

/// Existing files stay, and a refused file arrives when its place is free.
fn skipping() -> World {
    let entries = [
        ("d/a", file("first")),
        ("d/a", file("another")),
        ("d/a", large(3)),
        ("l", EntryBody::Link("d/a")),
        ("l", EntryBody::Link("d")),
        ("f", EntryBody::Folder),
        ("f", file("a folder is in the way")),
        ("same", users("the same")),
        ("same", file("the same")),
    ];
    let steps = vec![
        Step::Offer(&[0, 3, 5]),
        Step::Offer(&[1]),
        Step::Offer(&[2, 4, 6]),
        Step::Write(7),
        Step::Offer(&[8]),
        Step::TakeAway(8),
        Step::TakeAway(0),
        Step::Offer(&[2]),
        Step::Offer(&[1]),
    ];
    let mut world = World::new(OnConflict::Skip, &entries, steps);
    world.entries[8].same_as = Some(7);
    for (refused, by) in [(1, &[0, 2][..]), (2, &[0, 1]), (4, &[3]), (6, &[5]), (8, &[7])] {
        world.entries[refused].kept_out_by = by;
    }
    world
}

impl World {
    /// A run on a new host, with a power loss at each moment, and further ones during recovery.
    fn holds(&self) {
        let mut random = seeded();
        let (host, promises) = self.run(&Host::new(&[]), &Known::default()).unwrap();
        let tried =
            self.first_broken(&host, &promises, &Known::default(), 0, 2, &mut random).unwrap();
        eprintln!("{tried} losses in {} events", host.log.events.len());
    }

    /// The program is killed at each moment and restarted on unsynced data, and then the power
    /// fails.
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
                        .unwrap_or_else(|error| {
                            panic!("killed at {kill}, lost at {cut}, {loss:?}: {error}")
                        });
                }
            }
        }
    }

    /// Leaves out each kind of sync, except those in `needed`, in a run and in the run after a kill
    /// between the first file's rename and its sync. Adds the kinds without which a promise breaks
    /// to `needed`, and returns the others.
    fn needless_syncs(&self, needed: &mut BTreeSet<Kind>) -> BTreeSet<Kind> {
        let none = Known::default();
        let (host, promises) = self.run(&Host::new(&[]), &none).unwrap();
        // The first rename of all is the program's own test of the folder.
        let kill = host.renames().nth(1).unwrap();
        let known = Self::known_at(&host, &promises, &none, kill);
        let (again, promised) = self.run(&host.killed(kill), &known).unwrap();
        let mut needless = BTreeSet::new();
        for (host, promises, known, from) in
            [(host, promises, none, 0), (again, promised, known, kill)]
        {
            needless.extend(needless_syncs(&host, from, needed, |host, from| {
                self.first_broken(host, &promises, &known, from, 0, &mut seeded()).map(|_| ())
            }));
        }
        needless
    }
}

#[test]
fn small_batches_are_not_lost_or_duplicated() {
    few().holds();
}

#[test]
fn large_batches_are_not_lost_or_duplicated() {
    many().holds();
}

#[test]
fn a_folder_beside_a_file_is_one_folder() {
    beside().holds();
}

#[test]
fn one_version_of_a_replaced_file_exists() {
    replacing().holds();
}

#[test]
fn existing_files_stay_and_refused_files_are_absent() {
    skipping().holds();
}

#[test]
fn a_kill_before_a_power_loss_breaks_no_promise() {
    [few(), many(), beside(), replacing(), skipping()].iter().for_each(World::holds_after_kills);
}

/// Syncs without which all promises still hold, by the last failpoint before them.
const SPARE: &[(&str, &str)] = &[
    // redb's own syncs while it makes a new ledger: one of them is enough, because the ledger is
    // still empty.
    ("", "base/.rft/ledger.redb"),
    ("", "base/.rft/ledger.redb.new"),
    ("ledger.committing", "base/.rft/ledger.redb.new"),
    ("ledger.open", "base/.rft/ledger.redb.new"),
    ("ledger.made", "base/.rft/ledger.redb"),
    ("ledger.committing", "base/.rft/ledger.redb"),
    // The checkpoint of a large file is a hint: without this sync, bytes may be sent again.
    ("stage.created", "base/.rft/stage/"),
];

#[test]
fn every_sync_of_the_receiver_is_needed() {
    let (mut needed, mut needless) = (BTreeSet::new(), BTreeSet::new());
    for world in [few(), many(), beside(), replacing(), skipping()] {
        needless.extend(world.needless_syncs(&mut needed));
    }
    needless.retain(|kind| !needed.contains(kind) && !SPARE.contains(&(kind.0, &kind.1)));
    assert!(needless.is_empty(), "nothing is lost without these syncs: {needless:?}");
}
