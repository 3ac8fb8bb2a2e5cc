//! From the stage into Incoming, many entries at once, so that none is ever there in part and none
//! is receipted before it is on stable storage (design.md, "Receipt = durable").
//!
//! Written and synced; then the ledger says "committing" (durably); then the rename; then the
//! folders and the stage are synced; then the ledger says "committed". A crash leaves "committing",
//! and the stage tells the rest: the staged file is there, so the rename is made again; or it is
//! not, so the rename was made.

use super::Incoming;
use super::compare::{Fingerprint, StagedEntry};
use super::place::Placer;
use super::stage::{Staged, leaf_of};
use crate::config::OnConflict;
use crate::failpoint::fail_point;
use crate::proto::message::{EntryKind, Offer, Outcome, Refusal, TransferId};
use crate::proto::name::{Name, link_stays_inside};
use crate::store::error::{Naming, StoreError};
use crate::store::state::ledger::{Ledger, Received};
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
enum PublishStep {
    /// In the stage, under its leaf, to get this name if nobody takes it meanwhile.
    Ready(Name),
    /// A folder, to be made when the files are placed.
    Folder,
    /// Where it stands.
    Placed(Name),
    /// It will not stand in Incoming, and what is staged of it is dropped.
    Refused(Refusal, String),
}

struct BatchEntry {
    offer: Offer,
    hash: [u8; 32],
    step: PublishStep,
    /// A note stands beside the staged file. It goes when the file is placed, so that until the
    /// ledger says "committing" a crash costs no more of a large file than any other.
    noted: bool,
}

impl BatchEntry {
    fn fail(&mut self, error: &StoreError) {
        self.step = PublishStep::Refused(error.refusal(), error.to_string());
    }

    fn entry(&self) -> StagedEntry<'_> {
        let Offer { id, name, kind, modified, .. } = &self.offer;
        let fingerprint = match kind {
            EntryKind::Link { target } => Fingerprint::Link { target },
            _ => Fingerprint::File { size: self.offer.size(), hash: &self.hash },
        };
        StagedEntry { id: *id, name, fingerprint, modified: *modified }
    }

    fn received(&self) -> (TransferId, Received) {
        let saved_as = match &self.step {
            PublishStep::Ready(name) | PublishStep::Placed(name) => name.clone(),
            _ => self.offer.name.clone(),
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
    let mut placer = Placer::new(incoming, on_conflict);
    let mut jobs: Vec<BatchEntry> =
        batch.into_iter().map(|arrived| stage(incoming, &mut placer, arrived, !at_once)).collect();
    fail_point("publish.staged");
    sync_stage(incoming, &mut jobs, at_once);
    fail_point("publish.synced");
    let filling = announce(ledger, &mut placer, &mut jobs);
    fail_point("publish.committing");
    place_all(&mut placer, &mut jobs, &filling);
    fail_point("publish.durable");
    drop_refused(incoming, ledger, &jobs);
    let placed = |step: &PublishStep| matches!(step, PublishStep::Placed(_));
    let complete: Vec<Name> = {
        let folders =
            jobs.iter().filter(|job| placed(&job.step) && filling.contains(&job.offer.name));
        folders
            .filter(|job| job.offer.kind == EntryKind::Folder)
            .map(|job| job.offer.name.clone())
            .collect()
    };
    each_or_all(&mut jobs, &complete, placed, |entries, complete| {
        ledger.committed(entries, complete)
    });
    fail_point("publish.committed");
    jobs.into_iter().map(outcome).collect()
}

/// Tells the ledger, durably, what is about to be placed, and which folders are about to be made
/// for it. Gives those of the offered folders that were made here, now or earlier, and whose
/// permissions may be set.
fn announce(ledger: &Ledger, placer: &mut Placer<'_>, jobs: &mut [BatchEntry]) -> HashSet<Name> {
    let mut missing = BTreeSet::new();
    for job in &*jobs {
        match &job.step {
            PublishStep::Ready(name) => placer.missing(name.parent(), &mut missing),
            PublishStep::Folder => placer.missing(Some(job.offer.name.clone()), &mut missing),
            _ => {}
        }
    }
    let missing: Vec<Name> = missing.into_iter().collect();
    let ready = |step: &PublishStep| matches!(step, PublishStep::Ready(_) | PublishStep::Folder);
    each_or_all(jobs, &missing, ready, |entries, missing| ledger.committing(entries, missing));
    let folders = jobs
        .iter()
        .filter(|job| matches!(job.step, PublishStep::Folder))
        .map(|job| job.offer.name.clone());
    let folders: Vec<Name> = folders.collect();
    match ledger.filling_of(folders) {
        Ok(filling) => filling,
        Err(error) => {
            let folders = jobs.iter_mut().filter(|job| matches!(job.step, PublishStep::Folder));
            folders.for_each(|job| job.fail(&error));
            HashSet::new()
        }
    }
}

/// The renames, in the order of arrival (a folder comes after what is in it), then the folders'
/// sync.
fn place_all(placer: &mut Placer<'_>, jobs: &mut [BatchEntry], filling: &HashSet<Name>) {
    for job in &mut *jobs {
        let Offer { name, mode, modified, .. } = &job.offer;
        let placed = match &job.step {
            PublishStep::Folder => {
                placer.folder(name, *mode, *modified, filling.contains(name)).map(|()| name.clone())
            }
            PublishStep::Ready(_) => placer.place(&job.entry()),
            _ => continue,
        };
        match placed {
            Ok(name) => {
                fail_point("publish.placed");
                if job.noted {
                    placer.incoming().drop_note(job.offer.id);
                }
                job.step = PublishStep::Placed(name);
            }
            Err(error) => job.fail(&error),
        }
    }
    if let Err(error) = placer.sync() {
        for job in jobs.iter_mut().filter(|job| matches!(job.step, PublishStep::Placed(_))) {
            job.fail(&error);
        }
    }
}

/// Into the stage, with its time and permissions, and with `sync` onto stable storage. The file is
/// closed then: a batch has more files than a process may have open.
fn stage(incoming: &Incoming, placer: &mut Placer<'_>, arrived: Arrived, sync: bool) -> BatchEntry {
    let Arrived { offer, content, hash } = arrived;
    let noted = matches!(&content, Content::Staged(staged) if staged.is_noted());
    let finish = |mut staged: Staged| {
        staged.finish(offer.size(), offer.mode, offer.modified)?;
        if sync { staged.sync() } else { Ok(()) }
    };
    let staged = match content {
        Content::Folder => {
            return BatchEntry { offer, hash, step: PublishStep::Folder, noted };
        }
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
    let mut job = BatchEntry { offer, hash, step: PublishStep::Folder, noted };
    match staged {
        Ok(()) => job.step = PublishStep::Ready(placer.likely_name(&job.entry())),
        Err(error) => job.fail(&error),
    }
    job
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
fn sync_stage(incoming: &Incoming, jobs: &mut [BatchEntry], at_once: bool) {
    if !jobs.iter().any(|job| matches!(job.step, PublishStep::Ready(_))) {
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
        for job in jobs.iter_mut().filter(|job| matches!(job.step, PublishStep::Ready(_))) {
            job.fail(&error);
        }
    }
}

/// Tells the ledger of all entries at this step, folders aside, and of these folders; when it
/// cannot be told, all of the entries fail.
fn each_or_all(
    jobs: &mut [BatchEntry],
    folders: &[Name],
    at: impl Fn(&PublishStep) -> bool,
    tell: impl FnOnce(&[(TransferId, Received)], &[Name]) -> Result<(), StoreError>,
) {
    let told = jobs.iter().filter(|job| at(&job.step) && job.offer.kind != EntryKind::Folder);
    let entries: Vec<_> = told.map(BatchEntry::received).collect();
    if entries.is_empty() && folders.is_empty() {
        return;
    }
    if let Err(error) = tell(&entries, folders) {
        jobs.iter_mut().filter(|job| at(&job.step)).for_each(|job| job.fail(&error));
    }
}

/// Drops what is staged of refused entries, after the ledger has forgotten them: in the other order
/// a crash would take them for received.
fn drop_refused(incoming: &Incoming, ledger: &Ledger, jobs: &[BatchEntry]) {
    let refused: Vec<_> = jobs
        .iter()
        .filter(|job| matches!(job.step, PublishStep::Refused(..)))
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

fn outcome(job: BatchEntry) -> Outcome {
    match job.step {
        PublishStep::Placed(saved_as) => Outcome::Done { hash: job.hash, saved_as },
        PublishStep::Refused(reason, detail) => Outcome::Refused { reason, detail },
        PublishStep::Ready(_) | PublishStep::Folder => {
            Outcome::Refused { reason: Refusal::Storage, detail: "it was not placed".into() }
        }
    }
}

#[cfg(test)]
mod tests;
