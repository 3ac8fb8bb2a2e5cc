//! One run of the program from its start.

use super::entries::{EntryBody, TestEntry, id, is_whole, may_be_called};
use super::{Known, Promise, Step, World};
use crate::recorder::{Recorded, Recorder, open_dir};
use rft::config::Folders;
use rft::internals::proto::message::{Outcome, Refusal};
use rft::internals::store::Calls;
use rft::internals::store::Delivered;
use rft::internals::store::publish;
use rft::internals::store::{Incoming, Ledger, StateDir, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One run of the program.
pub struct Run<'a> {
    pub world: &'a World,
    pub root: &'a Path,
    pub known: Known,
    pub promises: Vec<Promise>,
}

impl Run<'_> {
    fn promise(&mut self, promise: Promise) {
        Recorder::promise(self.promises.len());
        self.promises.push(promise);
        self.known.learn(promise);
    }

    pub fn all(&mut self) -> Result<(), String> {
        let told = |error: StoreError| error.to_string();
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
        for (n, entry) in self.world.entries.iter().enumerate() {
            let has = ledger.received(id(n)).map_err(told)?.is_some();
            let forgotten = self.known.forgotten.contains(&n);
            if self.known.stands.contains(&n)
                && !has
                && !forgotten
                && entry.body != EntryBody::Folder
            {
                return Err(format!("{} was received, and is not known", entry.name));
            }
            if has && !forgotten {
                // The program would confirm it to the sender.
                self.promise(Promise::Stands(n));
            }
            if self.known.delivered.contains(&n) && ledger.delivered(id(n)).map_err(told)?.is_none()
            {
                return Err(format!("{} was delivered, and is not known", entry.name));
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
                let path = self.root.join("base/Incoming").join(self.world.entries[*n].name);
                let dir = open_dir(path.parent().unwrap());
                // An earlier run may have removed it already, and another file may have its name.
                let mut is = [Some(*n), self.world.entries[*n].same_as].into_iter().flatten();
                if path.symlink_metadata().is_ok()
                    && is.any(|n| is_whole(&path, n, &self.world.entries[n]))
                {
                    Recorded.unlink(&dir, path.file_name().unwrap()).unwrap();
                }
                Recorded.sync_dir(&dir).unwrap();
                self.promise(Promise::Taken(*n));
                Ok(())
            }
            Step::Forget(numbers) => {
                numbers.iter().for_each(|n| self.promise(Promise::Forgotten(*n)));
                let ids: Vec<_> = numbers.iter().map(|n| id(*n)).collect();
                ledger.forget(&ids).map(|_| ()).map_err(|error| error.to_string())
            }
            Step::Deliver(n) => {
                ledger
                    .mark_delivered(&[(id(*n), Delivered::default())])
                    .map_err(|error| error.to_string())?;
                self.promise(Promise::Delivered(*n));
                Ok(())
            }
            Step::Write(n) if !self.known.leaving.contains(n) => {
                // The result of an unsynced write is unknown.
                self.promise(Promise::Leaving(*n));
                let (entry, incoming) = (&self.world.entries[*n], self.root.join("base/Incoming"));
                let file = Recorded.create_new(&open_dir(&incoming), entry.name.as_ref()).unwrap();
                Recorded.write_at(&file, entry.content(), 0).unwrap();
                Ok(())
            }
            Step::TakeAway(_) | Step::Write(_) => Ok(()),
        }
    }

    fn offer(
        &mut self,
        numbers: &[usize],
        incoming: &Incoming,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let mut batch = Vec::new();
        let wanted = numbers.iter().filter(|n| !self.known.stands.contains(n));
        let mut wanted: Vec<usize> = wanted.copied().collect();
        for &n in &wanted {
            let entry = &self.world.entries[n];
            if ledger.received(id(n)).map_err(|error| error.to_string())?.is_none() {
                batch.push((n, entry.arrived(n, incoming)?));
            }
            if let Some(old) = entry.replaces {
                self.promise(Promise::Leaving(old));
            }
        }
        let offered: Vec<usize> = batch.iter().map(|(n, _)| *n).collect();
        let arrived = batch.into_iter().map(|(_, arrived)| arrived).collect();
        let outcomes = publish(incoming, ledger, self.world.on_conflict, arrived);
        for (n, outcome) in offered.into_iter().zip(outcomes) {
            match (outcome, self.is_kept_out(n)) {
                (Outcome::Done { .. }, None | Some(false)) => {}
                (
                    Outcome::Refused { reason: Refusal::Conflict | Refusal::InTheWay, .. },
                    None | Some(true),
                ) => {
                    wanted.retain(|other| *other != n);
                }
                (other, _) => {
                    return Err(format!("{} ({n}): {other:?}", self.world.entries[n].name));
                }
            }
        }
        for n in wanted {
            self.promise(Promise::Stands(n));
            if let Some(old) = self.world.entries[n].replaces {
                self.promise(Promise::Taken(old));
            }
        }
        Ok(())
    }

    /// Whether this entry must be refused; `None` if an entry in its way may or may not exist.
    fn is_kept_out(&self, n: usize) -> Option<bool> {
        let mut by =
            self.world.entries[n].kept_out_by.iter().filter(|by| !self.known.taken.contains(by));
        let is_there =
            |by: &usize| self.known.stands.contains(by) && !self.known.leaving.contains(by);
        if by.clone().any(is_there) {
            return Some(true);
        }
        by.all(|by| !self.known.leaving.contains(by)).then_some(false)
    }

    /// A folder is private until it has its own permissions, which become durable before its time.
    fn is_shut(&self, incoming: &Path, path: &Path) -> bool {
        let mode = incoming.join(path).symlink_metadata().unwrap().mode();
        let own =
            |entry: &TestEntry| entry.body == EntryBody::Folder && may_be_called(entry.name, path);
        incoming.join(path).is_dir()
            && (mode & 0o777 == 0o700
                || mode & 0o777 == 0o750 && self.world.entries.iter().any(own))
    }

    /// A file of the user that a power loss damaged, before there was a receipt for the same
    /// content.
    fn is_users_own(&self, path: &Path) -> bool {
        let mut entries = self.world.entries.iter().enumerate();
        entries.any(|(n, entry)| {
            let own = entry.same_as.map(|own| Path::new(self.world.entries[own].name));
            own == Some(path) && !self.known.stands.contains(&n)
        })
    }

    /// Checks Incoming against the promises; at the `end` every entry must be there.
    fn check(&self, end: bool) -> Result<(), String> {
        let incoming = self.root.join("base/Incoming");
        let mut found: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
        for path in paths_in(&incoming) {
            let entries = self.world.entries.iter().enumerate();
            let known = entries.filter(|(_, entry)| may_be_called(entry.name, &path));
            let is = known.filter(|(n, entry)| is_whole(&incoming.join(&path), *n, entry));
            let is_above = |entry: &TestEntry| {
                Path::new(entry.name).ancestors().any(|above| {
                    above
                        .to_str()
                        .is_some_and(|above| !above.is_empty() && may_be_called(above, &path))
                })
            };
            let above = self.world.entries.iter().any(is_above);
            match is.map(|(n, _)| n).next() {
                Some(n) => found.entry(n).or_default().push(path),
                None if self.is_users_own(&path) => {}
                None if above && self.is_shut(&incoming, &path) => {}
                None => return Err(format!("{} is none of those that were sent", path.display())),
            }
        }
        let tops = found.iter().filter(|(n, _)| self.world.entries[**n].name.starts_with("d/"));
        let tops: BTreeSet<_> =
            tops.flat_map(|(_, paths)| paths).map(|path| path.iter().next()).collect();
        if tops.len() > 1 {
            return Err(format!("one folder became several: {tops:?}"));
        }
        for (n, entry) in self.world.entries.iter().enumerate() {
            let count = found.get(&n).map_or(0, Vec::len);
            if let Some(own) = entry.same_as {
                let both = count + found.get(&own).map_or(0, Vec::len);
                let must = self.known.stands.contains(&n) && !self.known.leaving.contains(&n);
                if both > 1 || both == 1 && self.known.taken.contains(&n) || both == 0 && must {
                    return Err(format!("{} is there {both} times", entry.name));
                }
                continue;
            }
            let may_be_gone = self.known.leaving.contains(&n) || self.known.taken.contains(&n);
            let stands = self.known.stands.contains(&n);
            let must = !may_be_gone && (stands || end && self.is_kept_out(n) == Some(false));
            if count == 0 && must {
                return Err(format!("{} is lost", entry.name));
            }
            if count == 1 && !stands && self.is_kept_out(n) == Some(true) {
                return Err(format!("{} ({n}) was refused, and is there", entry.name));
            }
            if count > 1 || count == 1 && self.known.taken.contains(&n) {
                return Err(format!("{} is there once more: {:?}", entry.name, found[&n]));
            }
            if let Some(old) = entry.replaces
                && self.known.leaving.contains(&old)
                && !self.known.leaving.contains(&n)
                && count + found.get(&old).map_or(0, Vec::len) != 1
            {
                return Err(format!("of {} there must be one version", entry.name));
            }
        }
        Ok(())
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
