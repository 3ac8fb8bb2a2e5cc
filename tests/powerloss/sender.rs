//! Removing, archiving and keeping sent files under power loss: a file that the peer lacks stays, a
//! removed file does not come back, an archived file is in the archive once, and a kept file is not
//! sent again.

mod entries;
mod run;

use super::host::{Host, Kind, losses, needless_syncs, seeded};
use entries::{EntryBody, TestEntry};
use rand::RngExt;
use rand::rngs::StdRng;
use rft::config::{AfterSend, Folders};
use rft::internals::store::StateDir;
use run::Run;
use std::collections::BTreeSet;

/// The entries of Outgoing, and the steps of the run.
struct World {
    entries: Vec<TestEntry>,
    after_send: AfterSend,
    /// `Outgoing` is a volume of its own.
    apart: bool,
    steps: Vec<Step>,
}

enum Step {
    /// The peer has received these, and they are removed together.
    Send(Vec<usize>),
    /// The user replaces an entry while the peer receives it.
    ReplaceFirst(usize),
    /// The user replaces an entry while it is being removed.
    ReplaceInRemoval(usize),
    /// The peer has received this one, but a program has it open for writing when it is to be
    /// removed.
    OpenInRemoval(usize),
    /// The user removes one.
    TakeAway(usize),
}

/// A promise given to a user or to the peer.
#[derive(Clone, Copy)]
enum Promise {
    /// The peer has received it.
    Sent(usize),
    /// The peer was told to forget it.
    Done(usize),
    /// The user is putting it there.
    Placing(usize),
    /// The user has put it there.
    Placed(usize),
    /// The user is removing it, without a promise when that becomes durable.
    TakingAway(usize),
}

#[derive(Clone, Default)]
struct Known {
    sent: BTreeSet<usize>,
    done: BTreeSet<usize>,
    placing: BTreeSet<usize>,
    placed: BTreeSet<usize>,
    taking_away: BTreeSet<usize>,
}

impl Known {
    fn learn(&mut self, promise: Promise) {
        match promise {
            Promise::Sent(n) => self.sent.insert(n),
            Promise::Done(n) => self.done.insert(n),
            Promise::Placing(n) => self.placing.insert(n),
            Promise::Placed(n) => self.placed.insert(n),
            Promise::TakingAway(n) => self.taking_away.insert(n),
        };
    }

    fn at(&self, host: &Host, promises: &[Promise], cut: usize) -> Self {
        let mut known = self.clone();
        host.log.promised(cut).into_iter().for_each(|number| known.learn(promises[number]));
        known
    }
}

/// Only files, few and many at once.
fn files(after_send: AfterSend, apart: bool) -> World {
    let long = ["n".repeat(150), "m".repeat(150)].join("/");
    let mut names: Vec<_> =
        ["a", "d/b", "d/e/c", "d/stays", "d/f"].into_iter().map(String::from).collect();
    names.push(long);
    names.extend((0..8).map(|n| format!("many{n}/f")));
    names.push("last".into());
    let steps = [vec![0], vec![1, 2], vec![5], vec![4], (6..14).collect(), vec![14]];
    World {
        entries: names.into_iter().map(|name| TestEntry::new(name, EntryBody::File)).collect(),
        after_send,
        apart,
        steps: steps.into_iter().map(Step::Send).collect(),
    }
}

/// Links, folders, and entries that their user replaces or removes meanwhile.
fn changing(after_send: AfterSend, apart: bool) -> World {
    let replacing =
        |name: &str, body, old| TestEntry { replaces: Some(old), ..TestEntry::new(name, body) };
    let entries = vec![
        TestEntry::new("link", EntryBody::Link),
        TestEntry::new("d/deep/link", EntryBody::Link),
        TestEntry::new("d/deep/f", EntryBody::File),
        TestEntry::new("d/deep", EntryBody::Folder),
        TestEntry::new("d", EntryBody::Folder),
        TestEntry::new("empty", EntryBody::Folder),
        TestEntry::new("first", EntryBody::File),
        replacing("first", EntryBody::File, 6),
        TestEntry::new("e/within", EntryBody::File),
        replacing("e/within", EntryBody::File, 8),
        TestEntry::new("e/to file", EntryBody::Link),
        replacing("e/to file", EntryBody::File, 10),
        TestEntry::new("to link", EntryBody::File),
        replacing("to link", EntryBody::Link, 12),
        TestEntry::new("e/stays", EntryBody::Link),
        TestEntry::new("open", EntryBody::File),
        TestEntry::new("e/open", EntryBody::File),
    ];
    let steps = vec![
        Step::Send(vec![0, 5]),
        Step::ReplaceFirst(7),
        Step::TakeAway(0),
        Step::ReplaceInRemoval(9),
        Step::ReplaceInRemoval(11),
        Step::ReplaceInRemoval(13),
        Step::OpenInRemoval(15),
        Step::OpenInRemoval(16),
        Step::Send(vec![1, 2]),
        Step::Send(vec![3]),
        Step::Send(vec![4]),
        Step::Send(vec![9, 11, 15]),
        Step::Send(vec![7]),
    ];
    World { entries, after_send, apart, steps }
}

/// `--after-send`, and whether Outgoing is a volume of its own.
const WAYS: [(AfterSend, bool); 4] = [
    (AfterSend::Delete, false),
    (AfterSend::Archive, false),
    (AfterSend::Archive, true),
    (AfterSend::Keep, false),
];

fn all_worlds() -> impl Iterator<Item = World> {
    WAYS.into_iter()
        .flat_map(|(after_send, apart)| [files(after_send, apart), changing(after_send, apart)])
}

impl World {
    /// The entry that this one replaces.
    fn replaced_by(&self, new: usize) -> usize {
        self.entries[new].replaces.unwrap()
    }

    /// A host with Outgoing as the user left it.
    fn host(&self) -> Host {
        let host = Host::new(if self.apart { &["base/Outgoing"] } else { &[] });
        let filled = host.run(|root| {
            let folders = Folders::in_dir(root.join("base"));
            StateDir::make(&folders).map_err(|error| error.to_string())?;
            let first = |(_, entry): &(usize, &TestEntry)| entry.replaces.is_none();
            let entries = self.entries.iter().enumerate().filter(first);
            entries.for_each(|(n, entry)| entry.put(n, &folders.outgoing));
            Ok(())
        });
        filled.unwrap().0.settled()
    }

    fn run(&self, host: &Host, known: &Known) -> Result<(Host, Vec<Promise>), String> {
        host.run(|root| {
            let base = root.join("base");
            let mut run = Run { world: self, base, known: known.clone(), promises: Vec::new() };
            run.all()?;
            Ok(run.promises)
        })
    }

    fn first_broken(
        &self,
        host: &Host,
        promises: &[Promise],
        known: &Known,
        from: usize,
        random: &mut StdRng,
    ) -> Result<(), String> {
        let safe = host.log.safe_from(&host.start);
        for cut in host.moments(random).into_iter().filter(|cut| *cut >= from) {
            let known = known.at(host, promises, cut);
            for loss in losses(cut, random) {
                self.run(&host.lose_as(&safe, cut, loss), &known)
                    .map_err(|error| format!("power lost after {cut} events, {loss:?}: {error}"))?;
            }
        }
        Ok(())
    }

    fn holds(&self) {
        let (host, promises) = self.run(&self.host(), &Known::default()).unwrap();
        self.first_broken(&host, &promises, &Known::default(), 0, &mut seeded()).unwrap();
    }

    fn holds_after_kills(&self) {
        let (mut random, none) = (seeded(), Known::default());
        let (host, promises) = self.run(&self.host().with_whole_renames(), &none).unwrap();
        for kill in host.kills(&mut random) {
            let known = none.at(&host, &promises, kill);
            let (again, promises) = self
                .run(&host.killed(kill), &known)
                .unwrap_or_else(|error| panic!("killed after {kill} events: {error}"));
            let safe = again.log.safe_from(&again.start);
            for _ in 0..2 {
                let cut = random.random_range(kill..=again.log.events.len());
                let known = known.at(&again, &promises, cut);
                for loss in losses(cut, &mut random) {
                    self.run(&again.lose_as(&safe, cut, loss), &known).unwrap_or_else(|error| {
                        panic!("killed at {kill}, lost at {cut}, {loss:?}: {error}")
                    });
                }
            }
        }
    }

    /// Leaves out each kind of sync, except those in `needed` and those at the start, which the
    /// receiver's tests cover. Returns the kinds without which every promise holds.
    fn needless_syncs(&self, needed: &mut BTreeSet<Kind>) -> BTreeSet<Kind> {
        let none = Known::default();
        let (host, promises) = self.run(&self.host(), &none).unwrap();
        needless_syncs(&host, host.first_promise(), needed, |host, from| {
            self.first_broken(host, &promises, &none, from, &mut seeded())
        })
    }
}

#[test]
fn sent_files_are_removed_once_and_others_stay() {
    files(AfterSend::Delete, false).holds();
}

#[test]
fn an_archived_file_is_in_the_archive_once() {
    files(AfterSend::Archive, false).holds();
}

#[test]
fn an_archived_file_of_another_volume_is_in_the_archive_once() {
    files(AfterSend::Archive, true).holds();
}

#[test]
fn kept_files_are_not_sent_again() {
    files(AfterSend::Keep, false).holds();
}

#[test]
fn links_and_folders_are_removed_once_and_replaced_entries_stay() {
    WAYS.into_iter().for_each(|(after_send, apart)| changing(after_send, apart).holds());
}

#[test]
fn a_kill_before_a_power_loss_loses_and_duplicates_nothing() {
    all_worlds().for_each(|world| world.holds_after_kills());
}

/// Syncs without which all promises still hold, by the last failpoint before them.
const SPARE: &[(&str, &str)] = &[
    // Only deleting needs the record of a long name: for archiving, the folder is synced again.
    ("archive.placed", "base/.rft/removing"),
];

#[test]
fn every_sync_of_the_sender_is_needed() {
    let (mut needed, mut needless) = (BTreeSet::new(), BTreeSet::new());
    for world in all_worlds() {
        needless.extend(world.needless_syncs(&mut needed));
    }
    needless.retain(|kind| !needed.contains(kind) && !SPARE.contains(&(kind.0, &kind.1)));
    assert!(needless.is_empty(), "nothing is lost without these syncs: {needless:?}");
}
