//! What must be remembered over restarts: which transfers arrived, which were delivered, and who
//! this sender is. One redb file, `.rft/ledger.redb`.
//!
//! A received transfer is first `committing` (durable before its file is renamed into place), then
//! `committed`. A crash in between is settled at the next start by looking for the staged file: see
//! `publish::recover`. A folder that is made on the way to a file is `filling` until its own entry
//! arrives: so a folder that was made here is told from one of the user's.

mod database;
mod record;

use super::StateDir;
use super::age;
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::folder::Folder;
use crate::store::tree::os;
use database::{DELIVERED, Database, RECEIVED};
use record::{
    EntryState, changes, decode, decode_delivered, encode_delivered, filling, folder_key, now,
    seconds,
};
use redb::{Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub use record::{Delivered, Received};

const FILE: &str = "ledger.redb";
/// Context of the key derivation of [`Ledger::installation`].
const INSTALLATION: &str = "rft 1 installation id";
/// Transfers that are remembered at most. An honest sender lets go of each soon after its receipt;
/// only one that never does gets here, and is told.
const MAX_REMEMBERED: u64 = 1_000_000;

/// The ledger, shared by both directions.
pub struct Ledger {
    db: Database,
    as_of: u64,
    moved_aside: Option<PathBuf>,
    most: u64,
}

impl Ledger {
    /// Opens or makes the ledger, verifies all of it, and drops what is too old to matter. A
    /// damaged file is moved aside, see [`Ledger::moved_aside`].
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or written. Damage alone is no error.
    pub fn open(state: &StateDir) -> Result<Self, StoreError> {
        let path = state.path().join(FILE);
        let used = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
        let as_of = age::as_of(now(), used.map(seconds));
        let (db, moved_aside) = Database::open(state.dir(), FILE, &path, as_of)?;
        state.sync()?;
        Ok(Self { db, as_of, moved_aside, most: MAX_REMEMBERED })
    }

    /// The start of this run in seconds since 1970, but not later than the ledger's last use
    /// before: what ages are reckoned by.
    pub(crate) fn as_of(&self) -> u64 {
        self.as_of
    }

    /// Where a damaged ledger was moved when this one was opened; the user should be warned: files
    /// whose receipt was lost may be sent again.
    pub fn moved_aside(&self) -> Option<&Path> {
        self.moved_aside.as_deref()
    }

    /// Random, made once: part of every transfer id, so that two senders never share one.
    pub fn origin(&self) -> [u8; 16] {
        self.db.origin()
    }

    /// What the peer knows this state folder by: derived from [`Ledger::origin`], which stays here.
    pub fn installation(&self) -> InstallationId {
        let mut hasher = blake3::Hasher::new_derive_key(INSTALLATION);
        hasher.update(&self.origin());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        InstallationId(id)
    }

    /// What is known of a transfer that was committed.
    ///
    /// # Errors
    /// [`StoreError::Ledger`]; [`StoreError::LedgerFull`] when nothing is known of it, and no more
    /// could be.
    pub fn received(&self, id: TransferId) -> Result<Option<Received>, StoreError> {
        if let Some(received) = self.received_of(&[id])?.pop().flatten() {
            return Ok(Some(received));
        }
        if self.db.read(|db| Ok(db.begin_read()?.open_table(RECEIVED)?.len()?))? < self.most {
            return Ok(None);
        }
        Err(StoreError::LedgerFull { path: format!("{:?}", self.db) })
    }

    /// [`Ledger::received`] of several, in one transaction.
    pub(crate) fn received_of(
        &self,
        ids: &[TransferId],
    ) -> Result<Vec<Option<Received>>, StoreError> {
        self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                found.push(table.get(&id.0)?.and_then(|value| match decode(value.value())? {
                    (EntryState::Committed, received) => Some(received),
                    (EntryState::Committing | EntryState::Filling, _) => None,
                }));
            }
            Ok(found)
        })
    }

    /// Durable before the files are renamed: these staged files are whole, and about to be placed,
    /// and these folders are about to be made.
    pub(crate) fn committing(
        &self,
        entries: &[(TransferId, Received)],
        folders: &[Name],
    ) -> Result<(), StoreError> {
        let mut changes = changes(entries, EntryState::Committing);
        changes.extend(folders.iter().map(|name| (folder_key(name), Some(filling(name)))));
        self.db.change(changes, Durability::Immediate)
    }

    /// The files are in place, durably, and the folders have their permissions. This need not be
    /// durable itself: after a crash, "committing" with no staged file left means the same.
    pub(crate) fn committed(
        &self,
        entries: &[(TransferId, Received)],
        folders: &[Name],
    ) -> Result<(), StoreError> {
        let mut changes = changes(entries, EntryState::Committed);
        changes.extend(folders.iter().map(|name| (folder_key(name), None)));
        self.db.change(changes, Durability::None)
    }

    /// Those of the folders that were made here and wait for their permissions.
    pub(crate) fn filling_of(&self, folders: Vec<Name>) -> Result<HashSet<Name>, StoreError> {
        if folders.is_empty() {
            return Ok(HashSet::new());
        }
        self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut found = HashSet::new();
            for name in folders {
                let known = table.get(&folder_key(&name))?.and_then(|value| decode(value.value()));
                if known.is_some_and(|(state, folder)| {
                    state == EntryState::Filling && folder.saved_as == name
                }) {
                    found.insert(name);
                }
            }
            Ok(found)
        })
    }

    /// All of them.
    pub(crate) fn filling(&self) -> Result<Vec<Name>, StoreError> {
        let filling = self.all(EntryState::Filling)?;
        Ok(filling.into_iter().map(|(_, folder)| folder.saved_as).collect())
    }

    /// Durable before the staged files of these are dropped: they were not placed. In the other
    /// order a crash would make "committing, staged file gone" of them, which means received.
    pub(crate) fn not_committed(&self, ids: &[TransferId]) -> Result<(), StoreError> {
        self.remove(ids, Durability::Immediate)
    }

    /// What a crash left between `committing` and `committed`.
    pub(crate) fn unfinished(&self) -> Result<Vec<(TransferId, Received)>, StoreError> {
        self.all(EntryState::Committing)
    }

    fn all(&self, wanted: EntryState) -> Result<Vec<(TransferId, Received)>, StoreError> {
        self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut found = Vec::new();
            for entry in table.iter()? {
                let (id, value) = entry?;
                match decode(value.value()) {
                    Some((state, received)) if state == wanted => {
                        found.push((TransferId(*id.value()), received));
                    }
                    _ => {}
                }
            }
            Ok(found)
        })
    }

    /// The sender is done with these for good. Not synced: forgotten once more after a crash, or by
    /// age.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn forget(&self, ids: &[TransferId]) -> Result<Vec<TransferId>, StoreError> {
        let others = self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut others = Vec::new();
            for id in ids {
                let state = table.get(&id.0)?.and_then(|value| value.value().first().copied());
                if state != Some(EntryState::Committed as u8) {
                    others.push(*id);
                }
            }
            Ok(others)
        });
        self.remove(ids, Durability::None)?;
        // Where that cannot be read now, each may be staged.
        Ok(others.unwrap_or_else(|_| ids.to_vec()))
    }

    /// For a sender that keeps its files: the peer holds these. Durable.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn mark_delivered(&self, marks: &[(TransferId, Delivered)]) -> Result<(), StoreError> {
        self.db.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(DELIVERED)?;
            for (id, delivered) in marks {
                table.insert(&id.0, &encode_delivered(delivered)[..])?;
            }
            Ok(())
        })
    }

    /// What [`Ledger::mark_delivered`] was told of it.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn delivered(&self, id: TransferId) -> Result<Option<Delivered>, StoreError> {
        self.db.read(|db| {
            let value = db.begin_read()?.open_table(DELIVERED)?.get(&id.0)?;
            Ok(value.and_then(|value| decode_delivered(value.value())))
        })
    }

    /// Drops the delivered transfers that `keep` does not want: those whose files are gone. They
    /// are never dropped by age: a file that is kept for years is not sent twice. That they are
    /// gone from `outgoing` lasts first: one that came back after a loss of power would be sent
    /// once more.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be used, or the volume not be synced.
    pub fn prune_delivered(
        &self,
        outgoing: &Folder,
        keep: &dyn Fn(TransferId) -> bool,
    ) -> Result<(), StoreError> {
        let is_gone = |id: &[u8; 16]| !keep(TransferId(*id));
        let some_are_gone = self.db.read(|db| {
            let table = db.begin_read()?.open_table(DELIVERED)?;
            for entry in table.iter()? {
                if is_gone(entry?.0.value()) {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if !some_are_gone {
            return Ok(());
        }
        // Where a system has no such sync there is none either that tells what was removed since
        // when.
        os::sync_volume(&*outgoing.root()?).naming("sync", || outgoing.path().display())?;
        self.db.write(Durability::None, |transaction| {
            let mut table = transaction.open_table(DELIVERED)?;
            Ok(table.retain(|id, _| !is_gone(id))?)
        })
    }

    fn remove(&self, ids: &[TransferId], durability: Durability) -> Result<(), StoreError> {
        self.db.change(ids.iter().map(|id| (id.0, None)).collect(), durability)
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({:?})", self.db)
    }
}

#[cfg(test)]
mod tests;
