//! Removing and archiving what was sent while the power fails: a file that the peer does not hold stays, one that is gone
//! does not come back, and what is archived is in the archive once.

use super::host::{Host, Kind, losses, needless_syncs, seeded};
use crate::config::Folders;
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::store::os::recorded::Recorder;
use crate::store::{Folder, Meta, Removed, Remover, StateDir, os};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files in Outgoing, by their numbers. The content is the name.
struct World {
    names: Vec<String>,
    archive: bool,
    /// `Outgoing` is a volume of its own.
    apart: bool,
    /// These were sent, and go together.
    steps: Vec<Vec<usize>>,
}

/// What was said.
#[derive(Clone, Copy)]
enum Promise {
    /// The peer holds it.
    Sent(usize),
    /// The peer was told to forget it.
    Gone(usize),
}

#[derive(Clone, Default)]
struct Known {
    sent: BTreeSet<usize>,
    gone: BTreeSet<usize>,
}

impl Known {
    fn learn(&mut self, promise: Promise) {
        match promise {
            Promise::Sent(n) => self.sent.insert(n),
            Promise::Gone(n) => self.gone.insert(n),
        };
    }

    fn at(&self, host: &Host, promises: &[Promise], cut: usize) -> Self {
        let mut known = self.clone();
        host.log.promised(cut).into_iter().for_each(|number| known.learn(promises[number]));
        known
    }
}

/// The program running.
struct Run<'a> {
    world: &'a World,
    base: PathBuf,
    known: Known,
    promises: Vec<Promise>,
}

impl World {
    fn new(archive: bool, apart: bool) -> Self {
        let long = ["n".repeat(150), "m".repeat(150)].join("/");
        let mut names: Vec<_> =
            ["a", "d/b", "d/e/c", "d/stays", "d/f"].into_iter().map(String::from).collect();
        names.push(long);
        names.extend((0..8).map(|n| format!("many{n}/f")));
        names.push("last".into());
        Self {
            names,
            archive,
            apart,
            steps: vec![vec![0], vec![1, 2], vec![5], vec![4], (6..14).collect(), vec![14]],
        }
    }

    /// With Outgoing as the user left it.
    fn host(&self) -> Host {
        let host = Host::new(if self.apart { &["base/Outgoing"] } else { &[] });
        let filled = host.run(|root| {
            let folders = Folders::in_dir(root.join("base"));
            StateDir::make(&folders).map_err(|error| error.to_string())?;
            let outgoing = Folder::open(&folders.outgoing, false).map_err(|error| error.to_string())?;
            for (n, text) in self.names.iter().enumerate() {
                let name = Name::parse(text.as_bytes()).unwrap();
                let (parent, leaf) = outgoing.walk().make_parent(&name, &mut |_, _| {}).unwrap();
                let file = os::create_new(&parent, &leaf).unwrap();
                os::write_at(&file, text.as_bytes(), 0).unwrap();
                let modified = Timestamp { seconds: 1_000_000_000 + i64::try_from(n).unwrap(), nanos: 0 };
                os::set_file(&file, Some(0o640), modified).unwrap();
            }
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
                    self.run(&again.lose_as(&safe, cut, loss), &known)
                        .unwrap_or_else(|error| panic!("killed at {kill}, lost at {cut}, {loss:?}: {error}"));
                }
            }
        }
    }

    /// Leaves out each kind of sync but those of the start, which are the receiver's matter, and those that
    /// are known to be needed. Gives those without which every promise is kept.
    fn needless_syncs(&self, needed: &mut BTreeSet<Kind>) -> BTreeSet<Kind> {
        let none = Known::default();
        let (host, promises) = self.run(&self.host(), &none).unwrap();
        needless_syncs(&host, host.first_promise(), needed, |host, from| {
            self.first_broken(host, &promises, &none, from, &mut seeded())
        })
    }
}

impl Run<'_> {
    fn promise(&mut self, promise: Promise) {
        Recorder::promise(self.promises.len());
        self.promises.push(promise);
        self.known.learn(promise);
    }

    fn all(&mut self) -> Result<(), String> {
        let told = |error: crate::store::StoreError| error.to_string();
        let folders = Folders::in_dir(&self.base);
        let state = StateDir::open(&folders).map_err(told)?;
        let outgoing = Arc::new(Folder::open(&folders.outgoing, true).map_err(told)?);
        let remover = Remover::open(Arc::clone(&outgoing), &state).map_err(told)?;
        remover.recover().map_err(told)?;
        self.check()?;
        for step in &self.world.steps {
            let mut batch: Vec<(Name, Meta)> = Vec::new();
            for &n in step {
                let name = Name::parse(self.world.names[n].as_bytes()).unwrap();
                if let Ok(meta) = outgoing.stat(&name) {
                    self.promise(Promise::Sent(n));
                    batch.push((name, meta));
                }
            }
            let left = if self.world.archive { remover.archive(&batch) } else { remover.remove(&batch) };
            for ((name, _), left) in batch.iter().zip(left) {
                if left.map_err(told)? != Removed::Gone {
                    return Err(format!("{name} was not removed"));
                }
                let n = self.world.names.iter().position(|other| other.as_bytes() == name.as_bytes());
                self.promise(Promise::Gone(n.unwrap()));
            }
        }
        self.check()?;
        let removing = if self.world.apart { "Outgoing/.rft/removing" } else { ".rft/removing" };
        match fs::read_dir(self.base.join(removing)).unwrap().count() {
            0 => Ok(()),
            left => Err(format!("{left} files are left in removing")),
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut outgoing = contents(&self.base.join("Outgoing"))?;
        let mut sent = contents(&self.base.join(".rft/sent"))?;
        for (n, name) in self.world.names.iter().enumerate() {
            let there = outgoing.remove(name).unwrap_or(0);
            let kept = sent.remove(name).unwrap_or(0);
            let was_sent = self.known.sent.contains(&n);
            if there > 1 || there == 0 && !was_sent {
                return Err(format!("{name} is in Outgoing {there} times"));
            }
            if there == 1 && self.known.gone.contains(&n) {
                return Err(format!("{name} is in Outgoing again"));
            }
            if kept != usize::from(self.world.archive && there == 0) {
                return Err(format!("{name} is in the archive {kept} times"));
            }
        }
        match outgoing.into_keys().chain(sent.into_keys()).next() {
            None => Ok(()),
            Some(other) => Err(format!("{other:?} is none of the files")),
        }
    }
}

/// How often each content stands in a folder, under its own name or a numbered one.
fn contents(folder: &Path) -> Result<BTreeMap<String, usize>, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name() == Some(OsStr::new(".rft")) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = fs::read_to_string(&path).unwrap();
            if content.is_empty() {
                return Err(format!("{} is empty", path.display()));
            }
            *found.entry(content).or_default() += 1;
        }
    }
    Ok(found)
}

#[test]
fn what_was_sent_goes_once_and_the_rest_stays() {
    World::new(false, false).holds();
}

#[test]
fn what_is_archived_is_there_once() {
    World::new(true, false).holds();
}

#[test]
fn what_is_archived_on_another_volume_is_there_once() {
    World::new(true, true).holds();
}

#[test]
fn kills_before_the_power_fails_take_nothing_away_and_keep_nothing_twice() {
    for (archive, apart) in [(false, false), (true, false), (true, true)] {
        World::new(archive, apart).holds_after_kills();
    }
}

/// Syncs without which the promises hold all the same, by the last failpoint before them.
const SPARE: &[(&str, &str)] = &[
    // Of the note of a long name, which only deleting needs: to archive, the folder is synced again.
    ("archive.placed", "base/.rft/removing"),
];

#[test]
fn no_sync_of_the_sender_may_be_left_out() {
    let (mut needed, mut needless) = (BTreeSet::new(), BTreeSet::new());
    for (archive, apart) in [(false, false), (true, false), (true, true)] {
        needless.extend(World::new(archive, apart).needless_syncs(&mut needed));
    }
    needless.retain(|kind| !needed.contains(kind) && !SPARE.contains(&(kind.0, &kind.1)));
    assert!(needless.is_empty(), "nothing is lost without these syncs: {needless:?}");
}
