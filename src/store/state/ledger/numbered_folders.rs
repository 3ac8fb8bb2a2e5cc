//! The records of folders that have another name in Incoming than offered, until they have arrived.

use super::Ledger;
use super::database::RECEIVED;
use super::record::{Received, RecordState, decode, encode, now};
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::StoreError;
use redb::{Durability, ReadableDatabase};
use std::collections::{BTreeSet, HashMap};

impl Ledger {
    /// The recorded names in Incoming of the offered folders that have a record.
    pub(crate) fn numbered_folders_of(
        &self,
        folders: BTreeSet<Name>,
    ) -> Result<HashMap<Name, Name>, StoreError> {
        if folders.is_empty() {
            return Ok(HashMap::new());
        }
        self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut found = HashMap::new();
            for name in folders {
                let hash = hash_of(&name);
                let known = table.get(&key(hash).0)?.and_then(|value| decode(value.value()));
                if let Some((RecordState::NumberedFolder, folder)) = known
                    && folder.hash == hash
                {
                    found.insert(name, folder.saved_as);
                }
            }
            Ok(found)
        })
    }

    /// Records pairs of offered name and name in Incoming. They become durable with
    /// [`Ledger::committing`], before an entry is placed in the folders.
    pub(crate) fn record_numbered_folders(
        &self,
        folders: &[(Name, Name)],
    ) -> Result<(), StoreError> {
        let changes = folders.iter().map(|(name, real)| {
            let (hash, mut value) = (hash_of(name), Vec::new());
            encode(
                &mut value,
                RecordState::NumberedFolder,
                now(),
                &Received { hash, saved_as: real.clone(), checked: false },
            );
            (key(hash).0, Some(value))
        });
        self.db.change(changes.collect(), Durability::None)
    }

    /// Forgets folders that have arrived. Not synced: if a crash restores a record, another folder
    /// of that name lands in the same folder.
    pub(crate) fn forget_numbered_folders(&self, folders: &[Name]) -> Result<(), StoreError> {
        let keys: Vec<_> = folders.iter().map(|name| key(hash_of(name))).collect();
        self.remove(&keys, Durability::None)
    }

    /// Forgets folders that no longer exist in Incoming.
    pub(crate) fn prune_numbered_folders(
        &self,
        mut is_gone: impl FnMut(&Name) -> bool,
    ) -> Result<(), StoreError> {
        let mut records = self.all(RecordState::NumberedFolder)?;
        records.retain(|(_, folder)| is_gone(&folder.saved_as));
        let keys: Vec<_> = records.into_iter().map(|(key, _)| key).collect();
        self.remove(&keys, Durability::None)
    }
}

fn hash_of(name: &Name) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("rft 1 folder beside its name")
        .update(name.as_bytes())
        .finalize()
        .as_bytes()
}

/// The key of a folder in the table of transfers. It is a hash, as their ids are, so they do not
/// collide.
fn key(hash: [u8; 32]) -> TransferId {
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    TransferId(key)
}
