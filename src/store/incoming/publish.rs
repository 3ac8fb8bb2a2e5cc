//! Publishes a batch of staged entries in Incoming. No entry is ever visible in part, and none gets
//! a receipt before it is durable (design.md, "Receipt = durable").
//!
//! The steps: write and sync the staged files; record "committing" in the ledger, durably; rename;
//! sync the folders and the stage; record "committed". After a crash the ledger says "committing".
//! If the staged file exists, the rename is repeated; otherwise it was done.

use super::Incoming;
use super::compare::{Fingerprint, StagedEntry};
use super::numbered_folders::NumberedFolders;
use super::place::Placer;
use super::stage::{Staged, leaf_of};
use crate::config::{OnConflict, PeerName};
use crate::failpoint::fail_point;
use crate::proto::message::{EntryKind, Offer, Outcome, Refusal, TransferId};
use crate::proto::name::{Name, link_stays_inside};
use crate::store::error::{Naming, StoreError};
use crate::store::state::ledger::{Ledger, PendingHook, Received};
use crate::store::tree::{os, sync};
use bytes::Bytes;
use std::collections::{BTreeSet, HashSet};
use std::io;

/// A complete entry that is to be published.
#[derive(Debug)]
pub struct Arrived {
    /// The sender's offer.
    pub offer: Offer,
    /// The received content.
    pub content: Content,
    /// BLAKE3 hash of a file's bytes, checked against the sender's; zero for other entries.
    pub hash: [u8; 32],
    /// The part of a program of `--on-received`.
    pub hook: ArrivedHook,
}

/// What a program of `--on-received` has to do with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivedHook {
    /// Nothing.
    None,
    /// It is run when the file is in Incoming, and gets this name of the peer.
    Pending(PeerName),
    /// It has accepted the file (`--quarantine`).
    Passed,
}

/// The location of an entry's content.
#[derive(Debug)]
pub enum Content {
    /// In memory: a small file.
    Bytes(Bytes),
    /// In the stage.
    Staged(Staged),
    /// A folder has no content.
    Folder,
    /// The target is in the offer.
    Link,
}

/// The progress of an entry.
enum PublishStep {
    /// The entry is in the stage, and is to get this name if it stays free.
    Ready(Name),
    /// A folder, which is created after the files are placed.
    Folder,
    /// The entry has this name in Incoming.
    Placed(Name),
    /// The entry is refused, and its staged file is dropped.
    Refused(Refusal, String),
}

struct BatchEntry {
    offer: Offer,
    /// Its name in Incoming, before a number for its last component ([`Placer::real_name`]).
    name: Name,
    hash: [u8; 32],
    step: PublishStep,
    /// The staged file has a checkpoint. It is removed when the file is placed, so that a large
    /// file can be resumed after a crash until the ledger says "committing".
    has_checkpoint: bool,
    hook: ArrivedHook,
}

impl BatchEntry {
    fn fail(&mut self, error: &StoreError) {
        self.step = PublishStep::Refused(error.refusal(), error.to_string());
    }

    fn entry(&self) -> StagedEntry<'_> {
        let (name, Offer { id, kind, modified, .. }) = (&self.name, &self.offer);
        let fingerprint = match kind {
            EntryKind::Link { target } => Fingerprint::Link { target },
            _ => Fingerprint::File { size: self.offer.size(), hash: &self.hash },
        };
        StagedEntry { id: *id, name, fingerprint, modified: *modified }
    }

    fn received(&self) -> (TransferId, Received) {
        let saved_as = match &self.step {
            PublishStep::Ready(name) | PublishStep::Placed(name) => name.clone(),
            _ => self.name.clone(),
        };
        let checked = self.hook == ArrivedHook::Passed;
        (self.offer.id, Received { hash: self.hash, saved_as, checked })
    }

    /// The record of its hook, if one is to be run.
    fn pending_hook(&self) -> Option<PendingHook> {
        let ArrivedHook::Pending(peer) = &self.hook else { return None };
        let (transfer, Received { hash, saved_as, .. }) = self.received();
        let (size, modified) = (self.offer.size(), self.offer.modified);
        Some(PendingHook { transfer, size, hash, modified, peer: peer.to_string(), saved_as })
    }
}

/// Publishes a batch. Returns the outcome of each entry, in the same order.
pub fn publish(
    incoming: &Incoming,
    ledger: &Ledger,
    on_conflict: OnConflict,
    batch: Vec<Arrived>,
) -> Vec<Outcome> {
    let at_once = sync::at_once(batch.len());
    let known =
        NumberedFolders::of(ledger, on_conflict, batch.iter().map(|arrived| &arrived.offer));
    let (numbered_folders, unknown) =
        known.map_or_else(|error| (NumberedFolders::default(), Some(error)), |known| (known, None));
    let mut placer = Placer::new(incoming, on_conflict, numbered_folders);
    let mut jobs: Vec<BatchEntry> =
        batch.into_iter().map(|arrived| stage(&mut placer, arrived, !at_once)).collect();
    if let Some(error) = unknown {
        jobs.iter_mut().for_each(|job| job.fail(&error));
    }
    fail_point("publish.staged");
    sync_stage(&mut placer, &mut jobs, at_once);
    fail_point("publish.synced");
    let filling = announce(ledger, &mut placer, &mut jobs);
    fail_point("publish.committing");
    let announced: Vec<_> = jobs.iter().map(BatchEntry::pending_hook).collect();
    place_all(&mut placer, &mut jobs, &filling);
    fail_point("publish.durable");
    drop_refused(incoming, ledger, &jobs);
    let placed = |step: &PublishStep| matches!(step, PublishStep::Placed(_));
    let complete: Vec<Name> = {
        let folders = jobs.iter().filter(|job| placed(&job.step) && filling.contains(&job.name));
        folders
            .filter(|job| job.offer.kind == EntryKind::Folder)
            .map(|job| job.name.clone())
            .collect()
    };
    // Another program may have taken the name that was announced.
    let hooks = jobs.iter().zip(announced).filter(|(job, _)| placed(&job.step));
    let renamed = hooks
        .filter_map(|(job, before)| job.pending_hook().filter(|now| before.as_ref() != Some(now)));
    let renamed: Vec<PendingHook> = renamed.collect();
    each_or_all(&mut jobs, &complete, placed, |entries, complete| {
        ledger.committed(entries, complete, &renamed)
    });
    let arrived = jobs.iter().filter(|job| placed(&job.step)).map(|job| &job.offer);
    placer
        .numbered_folders()
        .have_arrived(ledger, arrived.filter(|offer| offer.kind == EntryKind::Folder));
    fail_point("publish.committed");
    jobs.into_iter().map(outcome).collect()
}

/// Records in the ledger, durably, the entries that are about to be placed and the folders that are
/// about to be created for them. Returns the offered folders that this program created, now or
/// earlier, and whose permissions may be set.
fn announce(ledger: &Ledger, placer: &mut Placer<'_>, jobs: &mut [BatchEntry]) -> HashSet<Name> {
    let mut missing = BTreeSet::new();
    for job in &*jobs {
        match &job.step {
            PublishStep::Ready(name) => placer.missing(name.parent(), &mut missing),
            PublishStep::Folder => placer.missing(Some(job.name.clone()), &mut missing),
            _ => {}
        }
    }
    let missing: Vec<Name> = missing.into_iter().collect();
    if let Err(error) = ledger.record_numbered_folders(placer.numbered_folders().new_ones()) {
        jobs.iter_mut().for_each(|job| job.fail(&error));
    }
    let ready = |step: &PublishStep| matches!(step, PublishStep::Ready(_) | PublishStep::Folder);
    let hooks = jobs.iter().filter(|job| matches!(job.step, PublishStep::Ready(_)));
    let hooks: Vec<PendingHook> = hooks.filter_map(BatchEntry::pending_hook).collect();
    each_or_all(jobs, &missing, ready, |entries, missing| {
        ledger.committing(entries, missing, &hooks)
    });
    let folders = jobs
        .iter()
        .filter(|job| matches!(job.step, PublishStep::Folder))
        .map(|job| job.name.clone());
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

/// Renames the entries in the order of arrival (a folder follows its content), then syncs the
/// folders.
fn place_all(placer: &mut Placer<'_>, jobs: &mut [BatchEntry], filling: &HashSet<Name>) {
    for job in &mut *jobs {
        let (name, Offer { mode, modified, .. }) = (&job.name, &job.offer);
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
                if job.has_checkpoint {
                    placer.incoming().remove_checkpoint(job.offer.id);
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

/// Completes an entry in the stage with its time and permissions, and with `sync` syncs it. The
/// file is closed afterwards: a batch has more files than a process may have open.
fn stage(placer: &mut Placer<'_>, arrived: Arrived, sync: bool) -> BatchEntry {
    let Arrived { offer, content, hash, hook } = arrived;
    let name = placer.real_name(&offer.name, &offer.kind);
    let has_checkpoint = matches!(&content, Content::Staged(staged) if staged.has_checkpoint());
    let finish = |mut staged: Staged| {
        staged.finish(offer.mode, offer.modified)?;
        if sync { staged.sync() } else { Ok(()) }
    };
    let staged = match content {
        Content::Folder => {
            let step = PublishStep::Folder;
            return BatchEntry { offer, name, hash, step, has_checkpoint, hook };
        }
        Content::Link => stage_link(placer, &offer),
        Content::Staged(staged) => staged.end_at(offer.size()).and_then(|()| finish(staged)),
        Content::Bytes(bytes) => {
            placer.stage().and_then(|stage| Staged::create(&stage, offer.id)).and_then(|staged| {
                fail_point("publish.small_created");
                staged.write_at(0, &bytes)?;
                finish(staged)
            })
        }
    };
    let mut job = BatchEntry { offer, name, hash, step: PublishStep::Folder, has_checkpoint, hook };
    match staged {
        Ok(()) => job.step = PublishStep::Ready(placer.likely_name(&job.entry())),
        Err(error) => job.fail(&error),
    }
    job
}

fn stage_link(placer: &mut Placer<'_>, offer: &Offer) -> Result<(), StoreError> {
    let incoming = placer.incoming();
    let EntryKind::Link { target } = &offer.kind else {
        return Err(StoreError::Link { path: incoming.folder().shown(&offer.name) });
    };
    if !link_stays_inside(&offer.name, target) {
        return Err(StoreError::Link { path: incoming.folder().shown(&offer.name) });
    }
    let (stage, leaf) = (&placer.stage()?.dir, leaf_of(offer.id));
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

/// Syncs the names in the stage, and with `at_once` the files as well. Otherwise a power loss could
/// remove a staged file and keep its ledger entry, which would mean that the file was placed.
fn sync_stage(placer: &mut Placer<'_>, jobs: &mut [BatchEntry], at_once: bool) {
    if !jobs.iter().any(|job| matches!(job.step, PublishStep::Ready(_))) {
        return;
    }
    let synced = placer.stage().and_then(|stage| {
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

/// Records all entries at this step, except folders, and the given folders in the ledger. If that
/// fails, all of the entries fail.
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

/// Drops the staged files of refused entries, after their ledger entries: in the other order they
/// would count as received after a crash.
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
        tracing::warn!(%error, "refused files stay in the stage until the next start");
        return;
    }
    fail_point("publish.refused");
    for id in refused {
        if let Err(error) = incoming.discard(id) {
            tracing::warn!(%error, "a refused file stays in the stage until the next start");
        }
    }
}

fn outcome(job: BatchEntry) -> Outcome {
    let checked = job.hook == ArrivedHook::Passed;
    match job.step {
        PublishStep::Placed(saved_as) => Outcome::Done { hash: job.hash, saved_as, checked },
        PublishStep::Refused(reason, detail) => Outcome::Refused { reason, detail },
        PublishStep::Ready(_) | PublishStep::Folder => {
            Outcome::Refused { reason: Refusal::Storage, detail: "it was not placed".into() }
        }
    }
}

#[cfg(test)]
mod tests;
