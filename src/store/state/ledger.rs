//! The records that outlive a restart: received transfers, delivered transfers and this sender's
//! origin. One redb file, `.rft/ledger.redb`.
//!
//! A received transfer is first `committing` (durable before its file is renamed into place), then
//! `committed`. After a crash in between, the next start looks for the staged file: see
//! `recover::recover`. A folder that is created as the parent of a file is `filling` until its own
//! entry arrives. This distinguishes it from a folder of the user.

mod database;
mod hooks;
mod numbered_folders;
mod record;
mod totals;

use super::StateDir;
use super::age;
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::folder::Folder;
use crate::store::tree::os;
use database::{DELIVERED, Database, META, RECEIVED};
use record::{
    RecordState, changes, decode, decode_delivered, encode_delivered, filling, folder_key,
    is_committed, now, seconds,
};
use redb::{Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub use database::verify_ledger;
pub use record::{Delivered, PendingHook, Received};
pub use totals::SavedTotals;

/// The name of the file in `.rft`.
pub const LEDGER: &str = "ledger.redb";
/// The key of the receiver of one exchange, among the values that belong to no transfer.
const RECEIVER: &str = "receiver";
/// Context of the key derivation of [`Ledger::installation`].
const INSTALLATION: &str = "rft 1 installation id";
/// Maximum number of received transfers. An honest sender has each one forgotten soon after its
/// receipt. Only a sender that never does so reaches the limit; its offers are refused.
const MAX_REMEMBERED: u64 = 1_000_000;

/// The ledger, shared by both directions.
pub struct Ledger {
    db: Database,
    as_of: u64,
    moved_aside: Option<PathBuf>,
    max_entries: u64,
}

impl Ledger {
    /// Opens or creates the ledger, verifies all of it, and drops old entries. A damaged file is
    /// moved aside, see [`Ledger::moved_aside`].
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or written. Damage alone is no error.
    pub fn open(state: &StateDir) -> Result<Self, StoreError> {
        let path = state.path().join(LEDGER);
        let used = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
        let as_of = age::as_of(now(), used.map(seconds));
        let (db, moved_aside) = Database::open(state.dir(), LEDGER, &path, as_of)?;
        state.sync()?;
        Ok(Self { db, as_of, moved_aside, max_entries: MAX_REMEMBERED })
    }

    /// The time by which ages are measured, in seconds since 1970: the start of this run, but not
    /// later than the ledger's last use before it.
    pub(crate) fn as_of(&self) -> u64 {
        self.as_of
    }

    /// The new path of a damaged ledger, if this call to [`Ledger::open`] found one. The user
    /// should be warned: files whose receipt was lost may be sent again.
    pub fn moved_aside(&self) -> Option<&Path> {
        self.moved_aside.as_deref()
    }

    /// A random value, made once with the ledger. It is part of every transfer id, so ids of two
    /// senders never collide.
    pub fn origin(&self) -> [u8; 16] {
        self.db.origin()
    }

    /// The id by which the peer knows this state folder. It is derived from [`Ledger::origin`],
    /// which is not sent.
    pub fn installation(&self) -> InstallationId {
        let mut hasher = blake3::Hasher::new_derive_key(INSTALLATION);
        hasher.update(&self.origin());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        InstallationId(id)
    }

    /// The record of a committed transfer, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Ledger`]; [`StoreError::LedgerFull`] if there is no record and no room for a
    /// new one.
    pub fn received(&self, id: TransferId) -> Result<Option<Received>, StoreError> {
        let (received, entries) = self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            Ok((table.get(&id.0)?.and_then(|value| committed(value.value())), table.len()?))
        })?;
        if received.is_none() && entries >= self.max_entries {
            return Err(StoreError::LedgerFull { path: format!("{:?}", self.db) });
        }
        Ok(received)
    }

    /// Records, durably and before the rename, that these staged files are complete and are about
    /// to be placed, that these folders are about to be created, and that these hooks are to be
    /// run.
    pub(crate) fn committing(
        &self,
        entries: &[(TransferId, Received)],
        folders: &[Name],
        hooks: &[PendingHook],
    ) -> Result<(), StoreError> {
        let mut changes = changes(entries, RecordState::Committing);
        changes.extend(hooks::changes(hooks));
        changes.extend(folders.iter().map(|name| (folder_key(name), Some(filling(name)))));
        self.db.change(changes, Durability::Immediate)
    }

    /// Records that the files are durably in place, and that the folders have their permissions.
    /// The record itself need not be durable: after a crash, "committing" without a staged file
    /// means the same. `hooks` are those whose file has another name than the one announced.
    pub(crate) fn committed(
        &self,
        entries: &[(TransferId, Received)],
        folders: &[Name],
        hooks: &[PendingHook],
    ) -> Result<(), StoreError> {
        let mut changes = changes(entries, RecordState::Committed);
        changes.extend(hooks::changes(hooks));
        changes.extend(folders.iter().map(|name| (folder_key(name), None)));
        self.db.change(changes, Durability::None)
    }

    /// The folders among these that this program created and that wait for their permissions.
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
                    state == RecordState::Filling && folder.saved_as == name
                }) {
                    found.insert(name);
                }
            }
            Ok(found)
        })
    }

    /// All folders that this program created and that wait for their permissions.
    pub(crate) fn filling(&self) -> Result<Vec<Name>, StoreError> {
        let filling = self.all(RecordState::Filling)?;
        Ok(filling.into_iter().map(|(_, folder)| folder.saved_as).collect())
    }

    /// Removes the records of entries that were not placed, and of their hooks, durably and before
    /// their staged files are dropped. In the other order a crash could leave "committing" without a staged file,
    /// which means received.
    pub(crate) fn not_committed(&self, ids: &[TransferId]) -> Result<(), StoreError> {
        let hooks = ids.iter().map(|id| (record::hook_key(*id), None));
        let changes = ids.iter().map(|id| (id.0, None)).chain(hooks).collect();
        self.db.change(changes, Durability::Immediate)
    }

    /// The entries that a crash left between `committing` and `committed`.
    pub(crate) fn unfinished(&self) -> Result<Vec<(TransferId, Received)>, StoreError> {
        self.all(RecordState::Committing)
    }

    fn all(&self, wanted: RecordState) -> Result<Vec<(TransferId, Received)>, StoreError> {
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

    /// Removes the records of these transfers at the sender's request. The removal is not synced:
    /// after a crash the sender repeats it, or the records expire by age. Returns the ids that were
    /// not committed and may be staged.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn forget(&self, ids: &[TransferId]) -> Result<Vec<TransferId>, StoreError> {
        let others = self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut others = Vec::new();
            for id in ids {
                if !table.get(&id.0)?.is_some_and(|value| is_committed(value.value())) {
                    others.push(*id);
                }
            }
            Ok(others)
        });
        self.remove(ids, Durability::None)?;
        // If the ledger cannot be read now, each of them may be staged.
        Ok(others.unwrap_or_else(|_| ids.to_vec()))
    }

    /// Records durably that the peer has these files, for a sender that keeps its files.
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

    /// The record of [`Ledger::mark_delivered`] for this id.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn delivered(&self, id: TransferId) -> Result<Option<Delivered>, StoreError> {
        self.db.read(|db| {
            let value = db.begin_read()?.open_table(DELIVERED)?.get(&id.0)?;
            Ok(value.and_then(|value| decode_delivered(value.value())))
        })
    }

    /// From now on [`Ledger::mark_delivered`] means this receiver. Forgets, durably, what another
    /// one holds. Returns whether the receiver is another one than before.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn delivers_to(&self, receiver: InstallationId) -> Result<bool, StoreError> {
        let known = self.db.read(|db| {
            let value = db.begin_read()?.open_table(META)?.get(RECEIVER)?;
            Ok(value.is_some_and(|value| value.value() == receiver.0))
        })?;
        if known {
            return Ok(false);
        }
        self.db.write(Durability::Immediate, |transaction| {
            transaction.open_table(DELIVERED)?.retain(|_, _| false)?;
            transaction.open_table(META)?.insert(RECEIVER, &receiver.0[..])?;
            Ok(())
        })?;
        Ok(true)
    }

    /// Drops the delivered transfers that `keep` rejects: those whose files no longer exist. They
    /// never expire by age, so a file that is kept for years is not sent twice. The removals from
    /// `outgoing` are synced first: a file that reappeared after a power loss would be sent again.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be used or the volume cannot be synced.
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
        // A system without a sync of the volume has no other way to make removals by other programs
        // durable.
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

/// The record, if it is of a committed transfer.
fn committed(value: &[u8]) -> Option<Received> {
    match decode(value)? {
        (RecordState::Committed, received) => Some(received),
        _ => None,
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({:?})", self.db)
    }
}

#[cfg(test)]
mod tests;
