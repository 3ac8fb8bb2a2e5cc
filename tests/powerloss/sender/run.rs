//! One run of the program from its start.

use super::entries::{EntryBody, TestEntry, count, mark};
use super::{Known, Promise, Step, World};
use crate::recorder::{Recorded, Recorder, open_dir};
use rft::config::{AfterSend, Folders};
use rft::internals::proto::name::Name;
use rft::internals::store::Calls;
use rft::internals::store::{
    Delivered, FileKind, Folder, Ledger, Meta, Removed, Remover, Sent, StateDir, StoreError,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// One run of the program.
pub struct Run<'a> {
    pub world: &'a World,
    pub base: PathBuf,
    pub known: Known,
    pub promises: Vec<Promise>,
}

/// The open parts of the program.
struct Open {
    outgoing: Arc<Folder>,
    remover: Remover,
    /// For a sender that keeps its files.
    ledger: Option<Ledger>,
}

impl Run<'_> {
    fn promise(&mut self, promise: Promise) {
        Recorder::promise(self.promises.len());
        self.promises.push(promise);
        self.known.learn(promise);
    }

    pub fn all(&mut self) -> Result<(), String> {
        let open = self.open().map_err(|error| error.to_string())?;
        self.check(&open)?;
        self.prune(&open).map_err(|error| error.to_string())?;
        for step in &self.world.steps {
            match step {
                Step::Send(numbers) => self.send(numbers, None, &open)?,
                Step::ReplaceFirst(new) => {
                    self.replace(*new);
                    self.send(&[self.world.replaced_by(*new)], None, &open)?;
                }
                Step::ReplaceInRemoval(new) => {
                    self.send(&[self.world.replaced_by(*new)], Some(*new), &open)?;
                }
                Step::OpenInRemoval(n) => self.send_open(*n, &open)?,
                Step::TakeAway(n) => self.take_away(*n),
            }
        }
        self.check(&open)?;
        let removing = if self.world.apart { "Outgoing/.rft/removing" } else { ".rft/removing" };
        match fs::read_dir(self.base.join(removing)).unwrap().count() {
            0 => Ok(()),
            left => Err(format!("{left} files are left in removing")),
        }
    }

    fn open(&self) -> Result<Open, StoreError> {
        let folders = Folders::in_dir(&self.base);
        let state = StateDir::open(&folders)?;
        let outgoing = Arc::new(Folder::open(&folders.outgoing, true)?);
        let remover = Remover::open(Arc::clone(&outgoing), &state)?;
        remover.recover()?;
        let keeps = self.world.after_send == AfterSend::Keep;
        let ledger = keeps.then(|| Ledger::open(&state)).transpose()?;
        Ok(Open { outgoing, remover, ledger })
    }
}

impl Run<'_> {
    fn outgoing(&self) -> PathBuf {
        self.base.join("Outgoing")
    }

    fn stands(&self, n: usize) -> bool {
        self.world.entries[n].stands(n, &self.outgoing())
    }

    /// The peer has received those of these entries that exist, and they are removed. Just before
    /// the last step, the entry is replaced by `replaced_by`.
    fn send(
        &mut self,
        numbers: &[usize],
        replaced_by: Option<usize>,
        open: &Open,
    ) -> Result<(), String> {
        let told = |error: StoreError| error.to_string();
        let mut batch: Vec<(usize, (Name, Meta))> = Vec::new();
        for &n in numbers.iter().filter(|n| self.stands(**n)) {
            let name = self.world.entries[n].name();
            let meta = open.outgoing.stat(&name).map_err(told)?;
            if let Some(ledger) = &open.ledger
                && ledger.delivered(mark(&name, &meta)).map_err(told)?.is_some()
            {
                continue;
            }
            batch.push((n, (name, meta)));
        }
        let (numbers, batch): (Vec<usize>, Vec<(Name, Meta)>) = batch.into_iter().unzip();
        numbers.iter().for_each(|n| self.promise(Promise::Sent(*n)));
        let replaced_by = replaced_by.filter(|_| !batch.is_empty());
        if let Some(new) = replaced_by {
            self.promise(Promise::Placing(new));
            let (entry, outgoing) = (self.world.entries[new].clone(), self.outgoing());
            if open.ledger.is_some() {
                // With a ledger, nothing is renamed.
                entry.put(new, &outgoing);
            } else {
                let leaf = entry.name.rsplit('/').next().unwrap().to_owned();
                Recorder::before_rename(leaf.as_ref(), move || entry.put(new, &outgoing));
            }
        }
        let left = self.finish(&batch, open).map_err(told)?;
        let stays = replaced_by.is_some() && open.ledger.is_none();
        let expected = if stays { Removed::Changed } else { Removed::Gone };
        for (n, left) in numbers.into_iter().zip(left) {
            if left != expected {
                return Err(format!("{}: {left:?}", self.world.entries[n].name));
            }
            self.promise(replaced_by.map_or(Promise::Done(n), Promise::Placed));
        }
        Ok(())
    }

    /// The peer has received this entry, but a program has it open for writing: it stays.
    fn send_open(&mut self, n: usize, open: &Open) -> Result<(), String> {
        if open.ledger.is_some() || !self.stands(n) {
            return Ok(());
        }
        let entry = &self.world.entries[n];
        let told = |error: StoreError| error.to_string();
        let meta = open.outgoing.stat(&entry.name()).map_err(told)?;
        let writer =
            fs::File::options().append(true).open(self.outgoing().join(&entry.name)).unwrap();
        self.promise(Promise::Sent(n));
        let left = self.finish(&[(entry.name(), meta)], open).map_err(told)?;
        let stays = left == [Removed::InUse] && self.stands(n);
        drop(writer);
        if stays { Ok(()) } else { Err(format!("{} is open: {left:?}", entry.name)) }
    }

    /// As the outbox does it: files and links before folders.
    fn finish(&self, batch: &[(Name, Meta)], open: &Open) -> Result<Vec<Removed>, StoreError> {
        if let Some(ledger) = &open.ledger {
            let marks: Vec<_> =
                batch.iter().map(|(name, meta)| (mark(name, meta), Delivered::default())).collect();
            ledger.mark_delivered(&marks)?;
            return Ok(vec![Removed::Gone; batch.len()]);
        }
        let (folders, rest): (Vec<(Name, Meta)>, Vec<_>) =
            batch.iter().cloned().partition(|(_, meta)| meta.kind == FileKind::Folder);
        let sent = |(name, meta)| Sent { name, meta, hash: None };
        let rest: Vec<_> = rest.into_iter().map(sent).collect();
        let left = match self.world.after_send {
            AfterSend::Archive => open.remover.archive(&rest),
            _ => open.remover.remove(&rest),
        };
        let folders = folders.iter().map(|(name, _)| open.remover.remove_folder(name));
        left.into_iter().chain(folders).collect()
    }

    /// The user replaces an entry by this one.
    fn replace(&mut self, new: usize) {
        if self.stands(self.world.replaced_by(new)) {
            self.promise(Promise::Placing(new));
            self.world.entries[new].put(new, &self.outgoing());
            self.promise(Promise::Placed(new));
        }
    }

    /// The user removes a kept entry without a sync.
    fn take_away(&mut self, n: usize) {
        if self.stands(n) {
            self.promise(Promise::TakingAway(n));
            let path = self.outgoing().join(&self.world.entries[n].name);
            let parent = open_dir(path.parent().unwrap());
            Recorded.unlink(&parent, path.file_name().unwrap()).unwrap();
        }
    }

    fn check(&self, open: &Open) -> Result<(), String> {
        let outgoing = count(&self.outgoing(), &self.world.entries)?;
        let archive = count(&self.base.join(".rft/sent"), &self.world.entries)?;
        let keeps = open.ledger.is_some();
        for (n, entry) in self.world.entries.iter().enumerate() {
            let of = |counts: &BTreeMap<usize, usize>, n| counts.get(&n).copied().unwrap_or(0);
            let (there, name) = (of(&outgoing, n), format!("{} ({n})", entry.name));
            let is = |set: &BTreeSet<usize>| set.contains(&n);
            let next = self.world.entries.iter().position(|other| other.replaces == Some(n));
            let replaced = next.is_some_and(|next| self.known.placing.contains(&next));
            // Absent before the user puts it there.
            let was_put = entry.replaces.is_none() || is(&self.known.placed);
            let may_be_gone =
                is(&self.known.sent) && !keeps || is(&self.known.taking_away) || replaced;
            if there > 1 || there == 0 && was_put && !may_be_gone {
                return Err(format!("{name} is in Outgoing {there} times"));
            }
            let by_now =
                |next| self.known.placed.contains(&next) || self.known.done.contains(&next);
            if there == 1 && (is(&self.known.done) && !keeps || next.is_some_and(by_now)) {
                return Err(format!("{name} is in Outgoing again"));
            }
            if let Some(next) = next.filter(|next| replaced && !self.known.sent.contains(next))
                && there + of(&outgoing, next) != 1
            {
                return Err(format!("of {name} there must be one version"));
            }
            // The archive makes folders again for the files in them.
            let kept = if entry.body == EntryBody::Folder { 0 } else { of(&archive, n) };
            let goes =
                self.world.after_send == AfterSend::Archive && entry.body != EntryBody::Folder;
            let may = goes && there == 0 && is(&self.known.sent) && !replaced;
            let must = may && (was_put || is(&self.known.done));
            if kept > usize::from(may) || kept < usize::from(must) {
                return Err(format!("{name} is in the archive {kept} times"));
            }
            if let Some(ledger) = &open.ledger.as_ref().filter(|_| there == 1) {
                let told = |error: StoreError| error.to_string();
                let meta = open.outgoing.stat(&entry.name()).map_err(told)?;
                let delivered =
                    ledger.delivered(mark(&entry.name(), &meta)).map_err(told)?.is_some();
                if delivered && !is(&self.known.sent) || !delivered && is(&self.known.done) {
                    return Err(format!("{name} is delivered, says the ledger: {delivered}"));
                }
            }
        }
        Ok(())
    }

    /// The ledger forgets absent entries, as at the end of the first scan.
    fn prune(&self, open: &Open) -> Result<(), StoreError> {
        let Some(ledger) = &open.ledger else { return Ok(()) };
        let standing = self.world.entries.iter().enumerate().filter(|(n, _)| self.stands(*n));
        let mark = |(_, entry): (_, &TestEntry)| {
            Ok(mark(&entry.name(), &open.outgoing.stat(&entry.name())?))
        };
        let marks = standing.map(mark).collect::<Result<BTreeSet<_>, StoreError>>()?;
        ledger.prune_delivered(&open.outgoing, &|id| marks.contains(&id))
    }
}
