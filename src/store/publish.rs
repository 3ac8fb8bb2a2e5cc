//! From the stage into Incoming, many entries at once, so that none is ever there in part and none is
//! receipted before it is on stable storage (design.md, "Receipt = durable").
//!
//! Written and synced; then the ledger says "committing" (durably); then the rename; then the folders
//! are synced; then the ledger says "committed". A crash leaves "committing", and the stage tells the
//! rest: the staged file is there, so the rename is made again; or it is not, so the rename was made.

use super::error::{Naming, StoreError};
use super::incoming::Incoming;
use super::ledger::{Ledger, Received};
use super::meta::FileKind;
use super::numbered::{MOST, numbered};
use super::stage::{Staged, leaf_of};
use super::{os, sync};
use crate::config::OnConflict;
use crate::proto::message::{EntryKind, Offer, Outcome, Refusal, TransferId};
use crate::proto::name::{Name, link_stays_inside};
use crate::store::folder::Walk;
use bytes::Bytes;
use cap_std::fs::Dir;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;

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
    /// In the stage, under its leaf; the file where it is open.
    Ready(Option<Staged>),
    /// A folder, to be made when the files are placed.
    Folder,
    /// Where it stands.
    Placed(Name),
    /// It will not stand in Incoming, and what is staged of it is dropped.
    Refused(Refusal, String),
}

struct Job {
    offer: Offer,
    hash: [u8; 32],
    step: Step,
}

impl Job {
    fn fail(&mut self, error: &StoreError) {
        self.step = Step::Refused(error.refusal(), error.to_string());
    }

    fn received(&self) -> (TransferId, Received) {
        let saved_as = match &self.step {
            Step::Placed(name) => name.clone(),
            _ => self.offer.name.clone(),
        };
        (self.offer.id, Received { hash: self.hash, saved_as })
    }
}

/// Folders that got or lost entries, by name (`None`: Incoming itself), until they are synced.
type Changed = BTreeMap<Option<Name>, Arc<Dir>>;

/// Publishes a batch. Each entry has its own outcome, in the same order.
pub fn publish(
    incoming: &Incoming,
    ledger: &Ledger,
    on_conflict: OnConflict,
    batch: Vec<Arrived>,
) -> Vec<Outcome> {
    let mut jobs: Vec<Job> = batch.into_iter().map(|arrived| stage(incoming, arrived)).collect();
    sync_staged(incoming, &mut jobs);
    each_or_all(&mut jobs, |step| matches!(step, Step::Ready(_)), |entries| ledger.committing(entries));

    let mut changed = Changed::new();
    let mut walk = incoming.folder().walk();
    for job in &mut jobs {
        let placed = match &job.step {
            Step::Ready(_) => place(incoming, &mut walk, &mut changed, job, on_conflict),
            Step::Folder => make_folder(incoming, &mut walk, &mut changed, &job.offer),
            _ => continue,
        };
        match placed {
            Ok(Some(name)) => job.step = Step::Placed(name),
            Ok(None) => job.step = Step::Refused(Refusal::Conflict, String::new()),
            Err(error) => job.fail(&error),
        }
    }
    if let Err(error) = sync::folders(changed.values()) {
        let error = StoreError::new("sync", incoming.folder().path().display(), &error);
        for job in jobs.iter_mut().filter(|job| matches!(job.step, Step::Placed(_))) {
            job.fail(&error);
        }
    }
    drop_refused(incoming, ledger, &jobs);
    let placed = |step: &Step| matches!(step, Step::Placed(_));
    each_or_all(&mut jobs, placed, |entries| ledger.committed(entries));
    jobs.into_iter().map(outcome).collect()
}

/// Finishes what a crash left between "committing" and "committed".
///
/// # Errors
/// [`StoreError`] when the ledger cannot be read or a whole staged file cannot be placed.
pub fn recover(incoming: &Incoming, ledger: &Ledger) -> Result<(), StoreError> {
    let mut committed = Vec::new();
    let mut dropped = Vec::new();
    let mut changed = Changed::new();
    let mut walk = incoming.folder().walk();
    for (id, mut received) in ledger.unfinished()? {
        if incoming.is_staged(&leaf_of(id)) {
            if !is_whole(incoming, id, &received)? {
                // A later attempt at the same transfer was under way.
                dropped.push(id);
                continue;
            }
            let from = &incoming.stage_dir().dir;
            received.saved_as =
                place_numbered(&mut walk, &mut changed, from, &leaf_of(id), &received.saved_as)?;
        }
        committed.push((id, received));
    }
    sync::folders(changed.values()).naming("sync", || incoming.folder().path().display())?;
    ledger.not_committed(&dropped)?;
    ledger.committed(&committed)
}

/// Whether the staged entry is the one that the ledger was told of.
fn is_whole(incoming: &Incoming, id: TransferId, received: &Received) -> Result<bool, StoreError> {
    let stage = incoming.stage_dir();
    match os::open_read(&stage.dir, &leaf_of(id)) {
        Ok((file, _)) => {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(file).naming("read", || stage.path.display())?;
            Ok(*hasher.finalize().as_bytes() == received.hash)
        }
        // A link is made whole.
        Err(_) => Ok(received.hash == [0; 32]),
    }
}

/// Into the stage, with its time and permissions.
fn stage(incoming: &Incoming, arrived: Arrived) -> Job {
    let Arrived { offer, content, hash } = arrived;
    let with_meta = |staged: Staged| {
        staged.drop_note();
        staged.set_meta(offer.mode, offer.modified)?;
        Ok(Step::Ready(Some(staged)))
    };
    let step = match content {
        Content::Folder => Ok(Step::Folder),
        Content::Link => stage_link(incoming, &offer).map(|()| Step::Ready(None)),
        Content::Staged(staged) => with_meta(staged),
        Content::Bytes(bytes) => Staged::create(incoming.stage_dir(), offer.id).and_then(|staged| {
            staged.write_at(0, &bytes)?;
            with_meta(staged)
        }),
    };
    let step = step.unwrap_or_else(|error: StoreError| Step::Refused(error.refusal(), error.to_string()));
    Job { offer, hash, step }
}

fn stage_link(incoming: &Incoming, offer: &Offer) -> Result<(), StoreError> {
    let EntryKind::Link { target } = &offer.kind else {
        return Err(StoreError::Link { path: incoming.folder().shown(&offer.name) });
    };
    if !link_stays_inside(&offer.name, target) {
        return Err(StoreError::Link { path: incoming.folder().shown(&offer.name) });
    }
    let (stage, leaf) = (&incoming.stage_dir().dir, leaf_of(offer.id));
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

/// The staged files to stable storage: each by itself, or the whole volume at once when they are many.
fn sync_staged(incoming: &Incoming, jobs: &mut [Job]) {
    let count = jobs.iter().filter(|job| matches!(job.step, Step::Ready(_))).count();
    if sync::at_once(count) {
        match os::sync_volume(&incoming.stage_dir().dir) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                let error = StoreError::new("sync", incoming.stage_dir().path.display(), &error);
                for job in jobs.iter_mut().filter(|job| matches!(job.step, Step::Ready(_))) {
                    job.fail(&error);
                }
                return;
            }
        }
    }
    for job in jobs {
        if let Step::Ready(Some(staged)) = &job.step
            && let Err(error) = staged.sync()
        {
            job.fail(&error);
        }
    }
}

/// Tells the ledger of all entries at this step, folders aside; when it cannot be told, all of them
/// fail.
fn each_or_all(
    jobs: &mut [Job],
    at: impl Fn(&Step) -> bool,
    tell: impl FnOnce(&[(TransferId, Received)]) -> Result<(), StoreError>,
) {
    let told = |job: &Job| at(&job.step) && job.offer.kind != EntryKind::Folder;
    let entries: Vec<_> = jobs.iter().filter(|job| told(job)).map(Job::received).collect();
    if entries.is_empty() {
        return;
    }
    if let Err(error) = tell(&entries) {
        for job in jobs.iter_mut().filter(|job| told(job)) {
            job.fail(&error);
        }
    }
}

/// Renames a staged entry to its name. `None`: another one stands there and is kept.
fn place(
    incoming: &Incoming,
    walk: &mut Walk<'_>,
    changed: &mut Changed,
    job: &Job,
    on_conflict: OnConflict,
) -> Result<Option<Name>, StoreError> {
    let name = &job.offer.name;
    let shown = || incoming.folder().shown(name);
    let (parent, leaf) = walk.make_parent(name, &mut |at, dir| {
        changed.entry(at).or_insert_with(|| dir.clone());
    })?;
    let (from, staged) = (&incoming.stage_dir().dir, leaf_of(job.offer.id));
    match os::rename_new(from, &staged, &parent, &leaf) {
        Ok(()) => {
            changed.entry(name.parent()).or_insert(parent);
            return Ok(Some(name.clone()));
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(StoreError::new("create", shown(), &error)),
    }
    if stands_already(&parent, &leaf, job, from, &staged) {
        os::unlink(from, &staged).naming("remove", || incoming.stage_dir().path.display())?;
        return Ok(Some(name.clone()));
    }
    match on_conflict {
        OnConflict::Skip => Ok(None),
        OnConflict::Rename => place_numbered(walk, changed, from, &staged, name).map(Some),
        OnConflict::Overwrite => {
            os::rename_over(from, &staged, &parent, &leaf).naming("replace", shown)?;
            changed.entry(name.parent()).or_insert(parent);
            Ok(Some(name.clone()))
        }
    }
}

/// Whether the same content stands at the name; its time and permissions are then made right.
fn stands_already(parent: &Dir, leaf: &OsStr, job: &Job, stage: &Dir, staged: &OsStr) -> bool {
    let (Ok(there), Ok(new)) = (os::stat(parent, leaf), os::stat(stage, staged)) else { return false };
    if there.kind != new.kind || there.size != new.size {
        return false;
    }
    if there.same_inode(&new) {
        return true;
    }
    match &job.offer.kind {
        EntryKind::Link { target } => os::read_link(parent, leaf).is_ok_and(|there| there == *target),
        EntryKind::File { .. } if there.kind == FileKind::File => {
            let opened = os::open_edit(parent, leaf).or_else(|_| os::open_read(parent, leaf));
            let Ok((file, _)) = opened else { return false };
            let mut hasher = blake3::Hasher::new();
            let same = hasher.update_reader(&file).is_ok() && *hasher.finalize().as_bytes() == job.hash;
            // Best effort: the content is what counts.
            same && os::set_file(&file, job.offer.mode, job.offer.modified).is_ok()
        }
        _ => false,
    }
}

/// Renames to `name`, or the first of `name (1)`, `name (2)`, ... that is free.
fn place_numbered(
    walk: &mut Walk<'_>,
    changed: &mut Changed,
    from: &Dir,
    staged: &OsString,
    name: &Name,
) -> Result<Name, StoreError> {
    for number in 0..=MOST {
        let Some(candidate) = numbered(name, number) else { break };
        let (parent, leaf) = walk.make_parent(&candidate, &mut |at, dir| {
            changed.entry(at).or_insert_with(|| dir.clone());
        })?;
        match os::rename_new(from, staged, &parent, &leaf) {
            Ok(()) => {
                changed.entry(name.parent()).or_insert(parent);
                return Ok(candidate);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::new("create", &candidate, &error)),
        }
    }
    Err(StoreError::InTheWay { path: name.to_string() })
}

/// A folder that is there or made, with its permissions and time.
fn make_folder(
    incoming: &Incoming,
    walk: &mut Walk<'_>,
    changed: &mut Changed,
    offer: &Offer,
) -> Result<Option<Name>, StoreError> {
    let dir = walk.make_dir(&offer.name, &mut |at, dir| {
        changed.entry(at).or_insert_with(|| dir.clone());
    })?;
    os::set_dir(&dir, offer.mode, offer.modified)
        .naming("set the time of", || incoming.folder().shown(&offer.name))?;
    changed.insert(Some(offer.name.clone()), dir);
    Ok(Some(offer.name.clone()))
}

/// Drops what is staged of refused entries, after the ledger has forgotten them: in the other order a
/// crash would take them for received.
fn drop_refused(incoming: &Incoming, ledger: &Ledger, jobs: &[Job]) {
    let refused: Vec<_> =
        jobs.iter().filter(|job| matches!(job.step, Step::Refused(..))).map(|job| job.offer.id).collect();
    if refused.is_empty() {
        return;
    }
    if let Err(error) = ledger.not_committed(&refused) {
        tracing::warn!(%error, "refused files stay in the stage");
        return;
    }
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
