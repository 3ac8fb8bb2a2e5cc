//! The start after a crash: an entry that the ledger calls "committing" is placed, or dropped.

use super::Incoming;
use super::compare::{Fingerprint, StagedEntry};
use super::numbered_folders::NumberedFolders;
use super::place::Placer;
use super::stage::leaf_of;
use crate::config::OnConflict;
use crate::failpoint::fail_point;
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::state::ledger::{Ledger, Received};
use crate::store::tree::meta::FileKind;
use crate::store::tree::os;
use std::io;

/// Completes the entries that a crash left between "committing" and "committed". An entry that
/// cannot be placed now counts as not received: its sender offers it again, and gets the reason.
///
/// # Errors
/// [`StoreError`] if the ledger cannot be used or Incoming cannot be synced.
pub(crate) fn recover(
    incoming: &Incoming,
    ledger: &Ledger,
    on_conflict: OnConflict,
) -> Result<(), StoreError> {
    let (mut committed, mut dropped, mut partial) = (Vec::new(), Vec::new(), Vec::new());
    let mut placer = Placer::new(incoming, on_conflict, NumberedFolders::default());
    for (id, received) in ledger.unfinished()? {
        fail_point("recover.entry");
        match place_again(incoming, &mut placer, id, &received) {
            Ok(Some(saved_as)) => {
                incoming.remove_checkpoint(id);
                ledger.rename_hook(id, &saved_as)?;
                committed.push((id, Received { saved_as, ..received }));
            }
            // The staged file belongs to a later attempt at the same transfer, which can be
            // resumed.
            Ok(None) => partial.push(id),
            Err(error) => {
                tracing::warn!(%error, "a received file cannot be placed in Incoming; the peer will send it again");
                dropped.push(id);
            }
        }
    }
    placer.sync()?;
    fail_point("recover.placed");
    // A folder whose permissions the user has changed stays recorded: after a power loss the change
    // may be lost.
    let mut folders = ledger.filling()?;
    folders.retain(|name| placer.is_gone(name));
    ledger.committed(&committed, &folders, &[])?;
    ledger.prune_numbered_folders(|name| placer.is_gone(name))?;
    fail_point("recover.committed");
    ledger.not_committed(&partial)?;
    ledger.not_committed(&dropped)?;
    fail_point("recover.dropping");
    for id in dropped {
        incoming.discard(id)?;
    }
    Ok(())
}

/// The name of the entry, which was placed before the crash or is placed now; `None` if the staged
/// file is incomplete.
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
        // While the ledger says "committing", only the rename removes the staged file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            placer.sync_placed(name)?;
            return Ok(Some(name.clone()));
        }
        Err(error) => return Err(StoreError::new("look at", stage.path.display(), &error)),
    };
    let modified = staged.modified;
    if staged.kind == FileKind::Link {
        let target = os::read_link(&stage.dir, &leaf).naming("read", || stage.path.display())?;
        let fingerprint = Fingerprint::Link { target: &target };
        return placer.place(&StagedEntry { id, name, fingerprint, modified }).map(Some);
    }
    if !is_whole(incoming, id, received)? {
        return Ok(None);
    }
    let fingerprint = Fingerprint::File { size: staged.size, hash: &received.hash };
    placer.place(&StagedEntry { id, name, fingerprint, modified }).map(Some)
}

/// Whether the staged file has the hash that the ledger records.
fn is_whole(incoming: &Incoming, id: TransferId, received: &Received) -> Result<bool, StoreError> {
    let stage = incoming.stage_dir()?;
    let shown = || stage.path.join(leaf_of(id)).display().to_string();
    let (file, _) = os::open_read(&stage.dir, &leaf_of(id)).naming("read", shown)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).naming("read", shown)?;
    Ok(*hasher.finalize().as_bytes() == received.hash)
}
