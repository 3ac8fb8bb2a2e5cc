//! The receiving folder, its stage on the same volume, and the space that is reserved.

mod changed_folders;
pub(crate) mod compare;
pub(crate) mod numbered_folders;
pub(crate) mod place;
pub(crate) mod publish;
pub(crate) mod quarantine;
pub(crate) mod quota;
pub(crate) mod recover;
mod space;
pub(crate) mod stage;

use super::error::{Naming, StoreError};
use super::state::age;
use super::state::{StateDir, WorkDir, WorkFolder};
use super::tree::folder::Folder;
use super::tree::os;
use crate::config::OnConflict;
use crate::failpoint::fail_point;
use crate::proto::chunk_set::ChunkSet;
use crate::proto::message::TransferId;
use quota::Quota;
use space::Promised;
pub use space::Reservation;
use stage::{CHECKPOINT_SUFFIX, Staged, leaf_of};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Maximum age, in seconds, of a staged file that is not resumed.
const MAX_UNFINISHED_AGE: u64 = 30 * 24 * 3600;

/// A folder that is created to see the permissions that a new folder gets.
const MODE_PROBE: &str = ".folder";

/// Maximum number of unfinished files; a new one replaces the oldest. This bounds the stage if a
/// peer begins many files and finishes none. An honest peer has at most as many as it may have
/// streams.
const MAX_UNFINISHED: usize = 1024;

/// Incoming, with its stage on the same volume.
#[derive(Debug)]
pub struct Incoming {
    folder: Folder,
    stage: WorkFolder,
    promised: Arc<Mutex<Promised>>,
    quota: Option<Arc<Quota>>,
    usual_mode: OnceLock<u32>,
    /// Files that a program checks now; `None` without `--quarantine`.
    quarantine: Option<WorkFolder>,
}

impl Incoming {
    /// Opens the folder and its stage. Call [`Incoming::recover`] before anything is received.
    ///
    /// # Errors
    /// [`StoreError`] if either cannot be created or used.
    pub fn open(path: &Path, state: &StateDir) -> Result<Self, StoreError> {
        let folder = Folder::open(path, true)?;
        folder.keep_out_of(state.meta());
        let stage = state.work_dir(&folder, "stage")?;
        Ok(Self {
            folder,
            stage,
            promised: Arc::default(),
            quota: None,
            usual_mode: OnceLock::new(),
            quarantine: None,
        })
    }

    /// The same with a limit, in bytes, on the files in Incoming, the staged files and the
    /// transfers under way together.
    #[must_use]
    pub fn limited(self, limit: Option<u64>) -> Self {
        Self { quota: limit.map(Quota::new).map(Arc::new), ..self }
    }

    /// Checks that the process may write a file of this size.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn check_size(&self, size: u64) -> Result<(), StoreError> {
        match os::file_size_limit() {
            Some(limit) if size > limit => Err(StoreError::TooLarge {
                path: self.folder.path().display().to_string(),
                limit: Some(limit),
            }),
            _ => Ok(()),
        }
    }

    /// Whether [`Incoming::reserve`] may take long, because it walks through Incoming.
    pub fn is_limited(&self) -> bool {
        self.quota.is_some()
    }

    /// The folder itself.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The present stage.
    pub(crate) fn stage_dir(&self) -> Result<WorkDir, StoreError> {
        self.stage.of(&self.folder)
    }

    /// Checks that the folder and its stage are still those from before: files that were placed in
    /// a folder that is no longer there are lost.
    ///
    /// # Errors
    /// [`StoreError::Gone`], also if another folder has taken its place.
    pub(crate) fn is_still(&self, before: &WorkDir) -> Result<(), StoreError> {
        match self.stage_dir()?.is(before) {
            true => Ok(()),
            false => Err(StoreError::Gone { path: self.folder.path().display().to_string() }),
        }
    }

    /// Reserves space for a transfer of `bytes` in total, if the volume has room for the rest of
    /// this transfer, the rest of the others and `min_free`. Staged bytes count as written.
    ///
    /// With a limit on the bytes in Incoming, this may walk through all of Incoming.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Full`].
    pub fn reserve(
        &self,
        id: TransferId,
        bytes: u64,
        min_free: u64,
    ) -> Result<Reservation, StoreError> {
        let mut admission = self.quota.as_ref().map(|quota| quota.admission());
        if let Some(admission) = &mut admission {
            let promised = self.promises().total().saturating_add(bytes);
            admission.check(&self.folder, || self.left_in_stage(id), promised)?;
        }
        let mut promises = self.promises();
        // With ample space, neither the stage nor the volume is looked at for each small file.
        let most = promises.total().saturating_add(bytes).saturating_add(min_free);
        if bytes > 0 && !promises.is_ample(most) {
            let stage = self.stage_dir()?;
            // The stage is measured before the free space: bytes written in between then count
            // twice, rather than not at all.
            let wanted = promises.missing(&stage).saturating_add(min_free);
            let wanted = wanted.saturating_add(space::missing(&stage, id, bytes));
            let free = self.folder.free_space()?;
            promises.measured(free);
            if wanted > free {
                return Err(StoreError::NoSpace { path: self.folder.path().display().to_string() });
            }
        }
        promises.insert(id, bytes);
        drop(promises);
        let stage = self.quota.is_some().then(|| self.stage_dir()).transpose()?;
        let (promised, quota) = (Arc::clone(&self.promised), self.quota.clone());
        Ok(Reservation::new(promised, id, quota.zip(stage)))
    }

    fn promises(&self) -> MutexGuard<'_, Promised> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in the stage that belong neither to a transfer under way nor to `id`.
    fn left_in_stage(&self, id: TransferId) -> Result<u64, StoreError> {
        let stage = self.stage_dir()?;
        let mut own: HashSet<_> = self.promises().ids().map(leaf_of).collect();
        own.insert(leaf_of(id));
        let leaves = os::entries(&stage.dir).naming("list", || stage.path.display())?;
        let left = leaves.iter().filter(|leaf| !own.contains(*leaf));
        Ok(left.filter_map(|leaf| os::stat(&stage.dir, leaf).ok()).map(|meta| meta.size).sum())
    }

    /// Opens or creates the staged file of a transfer, and returns the chunks that an earlier
    /// attempt left in it. The set is a hint: the file may be shorter, and only a hash proves its
    /// content.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be created.
    pub fn stage(&self, id: TransferId) -> Result<(Staged, ChunkSet), StoreError> {
        let stage = self.stage_dir()?;
        self.keep_unfinished(&stage, MAX_UNFINISHED);
        Staged::open(&stage, id)
    }

    /// Drops the oldest unfinished files beyond `most`, except those under way. A file that cannot
    /// be removed stays.
    fn keep_unfinished(&self, stage: &WorkDir, most: usize) {
        let leaves = os::entries(&stage.dir).unwrap_or_default();
        let resumable =
            leaves.iter().filter_map(|leaf| leaf.to_str()?.strip_suffix(CHECKPOINT_SUFFIX));
        let resumable: Vec<_> = resumable.map(OsStr::new).collect();
        let Some(too_many) = resumable.len().checked_sub(most).filter(|&n| n > 0) else { return };
        let under_way: HashSet<_> = { self.promises().ids().map(leaf_of).collect() };
        let mut idle: Vec<_> = resumable
            .into_iter()
            .filter(|leaf| !under_way.contains(*leaf))
            .map(|leaf| (os::stat(&stage.dir, leaf).map(|meta| meta.modified).ok(), leaf))
            .collect();
        idle.sort_unstable();
        for (_, leaf) in idle.into_iter().take(too_many) {
            let mut checkpoint = leaf.to_owned();
            checkpoint.push(CHECKPOINT_SUFFIX);
            let _: Result<(), _> = os::unlink(&stage.dir, leaf);
            let _: Result<(), _> = os::unlink(&stage.dir, &checkpoint);
        }
    }

    /// The permissions that a new folder gets here, for a folder whose sender has none. The only
    /// way to learn them is to create a folder.
    pub(crate) fn usual_mode(&self) -> Option<u32> {
        if let Some(mode) = self.usual_mode.get() {
            return Some(*mode);
        }
        let (stage, leaf) = (self.stage_dir().ok()?, OsStr::new(MODE_PROBE));
        os::make_dir(&stage.dir, leaf, false).ok()?;
        let made = os::stat(&stage.dir, leaf);
        let _: Result<(), _> = os::remove_dir(&stage.dir, leaf);
        let mode = made.ok()?.mode?;
        Some(*self.usual_mode.get_or_init(|| mode))
    }

    /// Drops the staged file of a transfer, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be removed.
    pub fn discard(&self, id: TransferId) -> Result<(), StoreError> {
        let stage = self.stage_dir()?;
        // The checkpoint goes first: if the second removal fails, the next start drops a file
        // without a checkpoint.
        for leaf in [Staged::checkpoint_leaf(id), leaf_of(id)] {
            match os::unlink(&stage.dir, &leaf) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::new("remove", stage.path.display(), &error));
                }
                _ => fail_point("stage.discarding"),
            }
        }
        Ok(())
    }

    /// Removes the checkpoint of a placed file. Errors do not matter: a checkpoint without its file
    /// is removed at the next start.
    pub(crate) fn remove_checkpoint(&self, id: TransferId) {
        if let Ok(stage) = self.stage_dir() {
            let _: Result<(), _> = os::unlink(&stage.dir, &Staged::checkpoint_leaf(id));
        }
    }

    /// Drops all files that no transfer can resume. Only a staged file with a recent checkpoint
    /// stays. The age is that of the checkpoint, because a complete staged file has the time of its
    /// source. This runs after the recovery, which treats a missing staged file as placed.
    fn sweep(&self, as_of: u64) -> Result<(), StoreError> {
        let stage = self.stage_dir()?;
        let leaves = os::entries(&stage.dir).naming("list", || stage.path.display())?;
        let there: HashSet<&OsStr> = leaves.iter().map(|leaf| &**leaf).collect();
        let mut kept = HashSet::new();
        for checkpoint in &leaves {
            let Some(staged) = checkpoint
                .to_str()
                .and_then(|checkpoint| checkpoint.strip_suffix(CHECKPOINT_SUFFIX))
            else {
                continue;
            };
            let fresh = os::stat(&stage.dir, checkpoint).is_ok_and(|meta| {
                let when = u64::try_from(meta.modified.seconds).unwrap_or(0);
                !age::is_older(when, as_of, MAX_UNFINISHED_AGE)
            });
            if fresh && there.contains(OsStr::new(staged)) {
                kept.extend([checkpoint.clone(), OsString::from(staged)]);
            }
        }
        for leaf in leaves.iter().filter(|leaf| !kept.contains(*leaf)) {
            let _: Result<(), _> = os::unlink(&stage.dir, leaf);
        }
        let _: Result<(), _> = os::remove_dir(&stage.dir, OsStr::new(MODE_PROBE));
        Ok(())
    }

    /// Completes the publications that a crash interrupted, then drops staged files that cannot be
    /// resumed or were not resumed for 30 days.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger or a staged file cannot be used.
    pub fn recover(
        &self,
        ledger: &super::Ledger,
        on_conflict: OnConflict,
    ) -> Result<(), StoreError> {
        recover::recover(self, ledger, on_conflict)?;
        self.sweep(ledger.as_of())
    }
}

#[cfg(test)]
mod tests;
