//! From the stage into Incoming, many entries at once, so that none is ever there in part and none
//! is receipted before it is on stable storage (design.md, "Receipt = durable").
//!
//! Written and synced; then the ledger says "committing" (durably); then the rename; then the
//! folders and the stage are synced; then the ledger says "committed". A crash leaves "committing",
//! and the stage tells the rest: the staged file is there, so the rename is made again; or it is
//! not, so the rename was made.

use super::Incoming;
use super::beside::Beside;
use super::place::{Entry, Placer, Thing};
use super::stage::{Staged, leaf_of};
use crate::config::OnConflict;
use crate::failpoint::fail_point;
use crate::proto::message::{EntryKind, Offer, Outcome, Refusal, TransferId};
use crate::proto::name::{Name, link_stays_inside};
use crate::store::error::{Naming, StoreError};
use crate::store::state::ledger::{Ledger, Received};
use crate::store::tree::meta::FileKind;
use crate::store::tree::{os, sync};
use bytes::Bytes;
use std::collections::{BTreeSet, HashSet};
use std::io;

/// An entry that is whole, and shall stand in Incoming.
#[derive(Debug)]
pub struct Arrived {
    /// What was offered.
    pub offer: Offer,
    /// What came.
    pub content: Content,
    /// BLAKE3 of a file's bytes, checked against the sender's; zero for anything else.
    pub hash: [u8; 32],
}

/// Where an entry's content is.
#[derive(Debug)]
pub enum Content {
    /// In memory: a small file.
    Bytes(Bytes),
    /// In the stage.
    Staged(Staged),
    /// There is none.
    Folder,
    /// In the offer.
    Link,
}

/// How far an entry is.
enum Step {
    /// In the stage, under its leaf, to get this name if nobody takes it meanwhile.
    Ready(Name),
    /// A folder, to be made when the files are placed.
    Folder,
    /// Where it stands.
    Placed(Name),
    /// It will not stand in Incoming, and what is staged of it is dropped.
    Refused(Refusal, String),
}

struct Job {
    offer: Offer,
    /// Its name in Incoming, unless something stands there: in folders that may be beside their own
    /// names.
    name: Name,
    hash: [u8; 32],
    step: Step,
    /// A note stands beside the staged file. It goes when the file is placed, so that until the
    /// ledger says "committing" a crash costs no more of a large file than any other.
    noted: bool,
}

impl Job {
    fn fail(&mut self, error: &StoreError) {
        self.step = Step::Refused(error.refusal(), error.to_string());
    }

    fn entry(&self) -> Entry<'_> {
        let (name, Offer { id, kind, modified, .. }) = (&self.name, &self.offer);
        let thing = match kind {
            EntryKind::Link { target } => Thing::Link { target },
            _ => Thing::File { size: self.offer.size(), hash: &self.hash },
        };
        Entry { id: *id, name, thing, modified: *modified }
    }

    fn received(&self) -> (TransferId, Received) {
        let saved_as = match &self.step {
            Step::Ready(name) | Step::Placed(name) => name.clone(),
            _ => self.name.clone(),
        };
        (self.offer.id, Received { hash: self.hash, saved_as })
    }
}

/// Publishes a batch. Each entry has its own outcome, in the same order.
pub fn publish(
    incoming: &Incoming,
    ledger: &Ledger,
    on_conflict: OnConflict,
    batch: Vec<Arrived>,
) -> Vec<Outcome> {
    let at_once = sync::at_once(batch.len());
    let known = Beside::of(ledger, on_conflict, batch.iter().map(|arrived| &arrived.offer));
    let (beside, unknown) =
        known.map_or_else(|error| (Beside::default(), Some(error)), |known| (known, None));
    let mut placer = Placer::new(incoming, on_conflict, beside);
    let mut jobs: Vec<Job> =
        batch.into_iter().map(|arrived| stage(incoming, &mut placer, arrived, !at_once)).collect();
    if let Some(error) = unknown {
        jobs.iter_mut().for_each(|job| job.fail(&error));
    }
    fail_point("publish.staged");
    sync_stage(incoming, &mut jobs, at_once);
    fail_point("publish.synced");
    let filling = announce(ledger, &mut placer, &mut jobs);
    fail_point("publish.committing");
    place_all(&mut placer, &mut jobs, &filling);
    fail_point("publish.durable");
    drop_refused(incoming, ledger, &jobs);
    let placed = |step: &Step| matches!(step, Step::Placed(_));
    let complete: Vec<Name> = {
        let folders = jobs.iter().filter(|job| placed(&job.step) && filling.contains(&job.name));
        folders
            .filter(|job| job.offer.kind == EntryKind::Folder)
            .map(|job| job.name.clone())
            .collect()
    };
    each_or_all(&mut jobs, &complete, placed, |entries, complete| {
        ledger.committed(entries, complete)
    });
    let arrived = jobs.iter().filter(|job| placed(&job.step)).map(|job| &job.offer);
    placer.beside().have_arrived(ledger, arrived.filter(|offer| offer.kind == EntryKind::Folder));
    fail_point("publish.committed");
    jobs.into_iter().map(outcome).collect()
}

/// Tells the ledger, durably, what is about to be placed, and which folders are about to be made
/// for it. Gives those of the offered folders that were made here, now or earlier, and whose
/// permissions may be set.
fn announce(ledger: &Ledger, placer: &mut Placer<'_>, jobs: &mut [Job]) -> HashSet<Name> {
    let mut missing = BTreeSet::new();
    for job in &*jobs {
        match &job.step {
            Step::Ready(name) => placer.missing(name.parent(), &mut missing),
            Step::Folder => placer.missing(Some(job.name.clone()), &mut missing),
            _ => {}
        }
    }
    let missing: Vec<Name> = missing.into_iter().collect();
    if let Err(error) = ledger.are_beside(placer.beside().new_ones()) {
        jobs.iter_mut().for_each(|job| job.fail(&error));
    }
    let ready = |step: &Step| matches!(step, Step::Ready(_) | Step::Folder);
    each_or_all(jobs, &missing, ready, |entries, missing| ledger.committing(entries, missing));
    let folders =
        jobs.iter().filter(|job| matches!(job.step, Step::Folder)).map(|job| job.name.clone());
    let folders: Vec<Name> = folders.collect();
    match ledger.filling_of(folders) {
        Ok(filling) => filling,
        Err(error) => {
            let folders = jobs.iter_mut().filter(|job| matches!(job.step, Step::Folder));
            folders.for_each(|job| job.fail(&error));
            HashSet::new()
        }
    }
}

/// The renames, in the order of arrival (a folder comes after what is in it), then the folders'
/// sync.
fn place_all(placer: &mut Placer<'_>, jobs: &mut [Job], filling: &HashSet<Name>) {
    for job in &mut *jobs {
        let (name, Offer { mode, modified, .. }) = (&job.name, &job.offer);
        let placed = match &job.step {
            Step::Folder => {
                placer.folder(name, *mode, *modified, filling.contains(name)).map(|()| name.clone())
            }
            Step::Ready(_) => placer.place(&job.entry()),
            _ => continue,
        };
        match placed {
            Ok(name) => {
                fail_point("publish.placed");
                if job.noted {
                    drop_note(placer.incoming(), job.offer.id);
                }
                job.step = Step::Placed(name);
            }
            Err(error) => job.fail(&error),
        }
    }
    if let Err(error) = placer.sync() {
        for job in jobs.iter_mut().filter(|job| matches!(job.step, Step::Placed(_))) {
            job.fail(&error);
        }
    }
}

/// Finishes what a crash left between "committing" and "committed". An entry that cannot be placed
/// now is not received: its sender offers it again, and hears why.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be used or Incoming not be synced.
pub(crate) fn recover(
    incoming: &Incoming,
    ledger: &Ledger,
    on_conflict: OnConflict,
) -> Result<(), StoreError> {
    let (mut committed, mut dropped, mut partial) = (Vec::new(), Vec::new(), Vec::new());
    let mut placer = Placer::new(incoming, on_conflict, Beside::default());
    for (id, received) in ledger.unfinished()? {
        fail_point("recover.entry");
        match place_again(incoming, &mut placer, id, &received) {
            Ok(Some(saved_as)) => {
                drop_note(incoming, id);
                committed.push((id, Received { saved_as, ..received }));
            }
            // A later attempt at the same transfer was under way: it can be resumed.
            Ok(None) => partial.push(id),
            Err(error) => {
                tracing::warn!(%error, "a file that had arrived cannot be placed; it is asked for again");
                dropped.push(id);
            }
        }
    }
    placer.sync()?;
    fail_point("recover.placed");
    // One that the user has opened meanwhile stays known: that may be lost with the power, and come
    // again.
    let mut folders = ledger.filling()?;
    folders.retain(|name| placer.is_gone(name));
    ledger.committed(&committed, &folders)?;
    ledger.prune_beside(|name| placer.is_gone(name))?;
    fail_point("recover.committed");
    ledger.not_committed(&partial)?;
    ledger.not_committed(&dropped)?;
    fail_point("recover.dropping");
    for id in dropped {
        incoming.discard(id)?;
    }
    Ok(())
}

/// The name of what was placed before or is placed now; `None` when what is staged is not that
/// entry.
fn place_again(
    incoming: &Incoming,
    placer: &mut Placer<'_>,
    id: TransferId,
    received: &Received,
) -> Result<Option<Name>, StoreError> {
    let stage = incoming.stage_dir()?;
    let (leaf, name) = (leaf_of(id), &received.saved_as);
    let staged = match os::stat(&stage.dir, &leaf) {
        Ok(staged) => staged,
        // Only the rename takes it away while the ledger says "committing".
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            placer.was_placed(name)?;
            return Ok(Some(name.clone()));
        }
        Err(error) => return Err(StoreError::new("look at", stage.path.display(), &error)),
    };
    let modified = staged.modified;
    if staged.kind == FileKind::Link {
        let target = os::read_link(&stage.dir, &leaf).naming("read", || stage.path.display())?;
        let thing = Thing::Link { target: &target };
        return placer.place(&Entry { id, name, thing, modified }).map(Some);
    }
    if !is_whole(incoming, id, received)? {
        return Ok(None);
    }
    let thing = Thing::File { size: staged.size, hash: &received.hash };
    placer.place(&Entry { id, name, thing, modified }).map(Some)
}

/// Whether the staged file is the one that the ledger was told of.
fn is_whole(incoming: &Incoming, id: TransferId, received: &Received) -> Result<bool, StoreError> {
    let stage = incoming.stage_dir()?;
    let shown = || stage.path.join(leaf_of(id)).display().to_string();
    let (file, _) = os::open_read(&stage.dir, &leaf_of(id)).naming("read", shown)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).naming("read", shown)?;
    Ok(*hasher.finalize().as_bytes() == received.hash)
}

/// Into the stage, with its time and permissions, and with `sync` onto stable storage. The file is
/// closed then: a batch has more files than a process may have open.
fn stage(incoming: &Incoming, placer: &mut Placer<'_>, arrived: Arrived, sync: bool) -> Job {
    let Arrived { offer, content, hash } = arrived;
    let name = placer.real_name(&offer.name, &offer.kind);
    let noted = matches!(&content, Content::Staged(staged) if staged.is_noted());
    let finish = |mut staged: Staged| {
        staged.finish(offer.size(), offer.mode, offer.modified)?;
        if sync { staged.sync() } else { Ok(()) }
    };
    let staged = match content {
        Content::Folder => return Job { offer, name, hash, step: Step::Folder, noted },
        Content::Link => stage_link(incoming, &offer),
        Content::Staged(staged) => finish(staged),
        Content::Bytes(bytes) => incoming
            .stage_dir()
            .and_then(|stage| Staged::create(&stage, offer.id))
            .and_then(|staged| {
                fail_point("publish.small_created");
                staged.write_at(0, &bytes)?;
                finish(staged)
            }),
    };
    let mut job = Job { offer, name, hash, step: Step::Folder, noted };
    match staged {
        Ok(()) => job.step = Step::Ready(placer.likely_name(&job.entry())),
        Err(error) => job.fail(&error),
    }
    job
}

/// Whatever becomes of it: a note without a file is dropped at the next start.
fn drop_note(incoming: &Incoming, id: TransferId) {
    if let Ok(stage) = incoming.stage_dir() {
        let _: io::Result<()> = os::unlink(&stage.dir, &Staged::hint_leaf(id));
    }
}

fn stage_link(incoming: &Incoming, offer: &Offer) -> Result<(), StoreError> {
    let EntryKind::Link { target } = &offer.kind else {
        return Err(StoreError::Link { path: incoming.folder().shown(&offer.name) });
    };
    if !link_stays_inside(&offer.name, target) {
        return Err(StoreError::Link { path: incoming.folder().shown(&offer.name) });
    }
    let (stage, leaf) = (&incoming.stage_dir()?.dir, leaf_of(offer.id));
    let made = match os::make_link(stage, &leaf, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            os::unlink(stage, &leaf).and_then(|()| os::make_link(stage, &leaf, target))
        }
        made => made,
    };
    made.map_err(|_| StoreError::Link { path: incoming.folder().shown(&offer.name) })?;
    os::set_link(stage, &leaf, offer.modified)
        .naming("set the time of", || incoming.folder().shown(&offer.name))
}

/// The staged names to stable storage, and with `at_once` the files too. Without the names, a loss
/// of power could take a staged file whose ledger entry stays, which would mean that it was placed.
fn sync_stage(incoming: &Incoming, jobs: &mut [Job], at_once: bool) {
    if !jobs.iter().any(|job| matches!(job.step, Step::Ready(_))) {
        return;
    }
    let synced = incoming.stage_dir().and_then(|stage| {
        let synced = match at_once {
            true => os::sync_volume(&stage.dir).and_then(|all| match all {
                true => Ok(()),
                false => Err(io::ErrorKind::Unsupported.into()),
            }),
            false => os::sync_dir(&stage.dir),
        };
        synced.naming("sync", || stage.path.display())
    });
    if let Err(error) = synced {
        for job in jobs.iter_mut().filter(|job| matches!(job.step, Step::Ready(_))) {
            job.fail(&error);
        }
    }
}

/// Tells the ledger of all entries at this step, folders aside, and of these folders; when it
/// cannot be told, all of the entries fail.
fn each_or_all(
    jobs: &mut [Job],
    folders: &[Name],
    at: impl Fn(&Step) -> bool,
    tell: impl FnOnce(&[(TransferId, Received)], &[Name]) -> Result<(), StoreError>,
) {
    let told = jobs.iter().filter(|job| at(&job.step) && job.offer.kind != EntryKind::Folder);
    let entries: Vec<_> = told.map(Job::received).collect();
    if entries.is_empty() && folders.is_empty() {
        return;
    }
    if let Err(error) = tell(&entries, folders) {
        jobs.iter_mut().filter(|job| at(&job.step)).for_each(|job| job.fail(&error));
    }
}

/// Drops what is staged of refused entries, after the ledger has forgotten them: in the other order
/// a crash would take them for received.
fn drop_refused(incoming: &Incoming, ledger: &Ledger, jobs: &[Job]) {
    let refused: Vec<_> = jobs
        .iter()
        .filter(|job| matches!(job.step, Step::Refused(..)))
        .map(|job| job.offer.id)
        .collect();
    if refused.is_empty() {
        return;
    }
    if let Err(error) = ledger.not_committed(&refused) {
        tracing::warn!(%error, "refused files stay in the stage");
        return;
    }
    fail_point("publish.refused");
    for id in refused {
        if let Err(error) = incoming.discard(id) {
            tracing::warn!(%error, "a refused file stays in the stage");
        }
    }
}

fn outcome(job: Job) -> Outcome {
    match job.step {
        Step::Placed(saved_as) => Outcome::Done { hash: job.hash, saved_as },
        Step::Refused(reason, detail) => Outcome::Refused { reason, detail },
        Step::Ready(_) | Step::Folder => {
            Outcome::Refused { reason: Refusal::Storage, detail: "it was not placed".into() }
        }
    }
}

#[cfg(test)]
mod tests;
