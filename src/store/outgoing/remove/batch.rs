//! Removes the files of a batch together, so that they share the syncs.

use super::take::TakeOutcome;
use super::{Removed, Remover, Sent};
use crate::failpoint::fail_point;
use crate::proto::name::Name;
use crate::store::error::StoreError;
use crate::store::outgoing::archive::ArchiveBatch;
use crate::store::outgoing::removal_record::Verb;
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::{os, sync};
use cap_std::fs::Dir;
use std::io;

/// Maximum number of files between two syncs. It also limits the number of open folders.
const BATCH: usize = 128;

impl Remover {
    pub(super) fn leave(&self, verb: Verb, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        batch.chunks(BATCH).flat_map(|part| self.leave_some(verb, part)).collect()
    }

    fn leave_some(&self, verb: Verb, batch: &[Sent]) -> Vec<Result<Removed, StoreError>> {
        let removing = match self.removing.of(&self.outgoing) {
            Ok(removing) => removing.dir,
            Err(error) => return batch.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut walk = self.outgoing.walk();
        let mut touched = Vec::new();
        let mut taken = Vec::with_capacity(batch.len());
        let mut room = (verb == Verb::Archive).then(|| self.archive.room(&removing));
        for sent in batch {
            // A file without space in the archive stays in Outgoing.
            let fits = room.as_mut().map_or(Ok(()), |room| room.take(sent.meta.size));
            taken.push(
                fits.and_then(|()| self.take(&mut walk, &mut touched, &removing, verb, sent)),
            );
        }
        // The peer may forget a transfer only when its file cannot reappear in Outgoing after a
        // power loss. So the folders that lost names are synced. A file to archive must be durable
        // in `removing` before that.
        let kept = (verb == Verb::Archive).then_some(&removing);
        let dirs: Vec<_> =
            kept.into_iter().chain(touched.iter().map(|touched| &touched.dir)).collect();
        let synced = sync::folders(dirs.into_iter());
        fail_point("remove.synced");
        let mut archiving = self.archive.batch();
        let mut results: Vec<_> = batch
            .iter()
            .zip(taken)
            .map(|(Sent { name, .. }, taken)| {
                self.complete(&mut walk, &mut archiving, &removing, name, taken?, &synced)
            })
            .collect();
        if let Err(error) = archiving.sync() {
            results
                .iter_mut()
                .filter(|result| result.is_ok())
                .for_each(|result| *result = Err(error.clone()));
        }
        for folder in &touched {
            // An error does not matter: only the time of a folder is concerned.
            let _ = os::set_dir(&folder.dir, None, folder.modified);
        }
        results
    }

    /// The last step for one file after the sync of the batch: it is removed or archived, or put
    /// back if the sync failed.
    fn complete(
        &self,
        walk: &mut DirCursor<'_>,
        archiving: &mut ArchiveBatch<'_>,
        removing: &Dir,
        name: &Name,
        taken: TakeOutcome,
        synced: &io::Result<()>,
    ) -> Result<Removed, StoreError> {
        let failed = |error| StoreError::new("sync", self.outgoing.shown(name), error);
        let entry = match (taken, synced) {
            (TakeOutcome::Held(entry), _) => entry,
            (TakeOutcome::OnHold(hold), Ok(())) => return Ok(Removed::OnHold(hold)),
            (TakeOutcome::OnHold(hold), Err(_)) => hold.into_entry(),
            (TakeOutcome::Not(Removed::Gone), Err(error)) => return Err(failed(error)),
            (TakeOutcome::Not(answer), _) => return Ok(answer),
        };
        let held = entry.leaf();
        if let Err(error) = synced {
            self.put_back(walk, removing, &held, name)?;
            return Err(failed(error));
        }
        let finished = self.finish(archiving, removing, entry, name);
        finished.map(|()| Removed::Gone).inspect_err(|_| {
            // If the file is no longer there under this name, the next start completes the removal.
            let _ = self.put_back(walk, removing, &held, name);
        })
    }
}
