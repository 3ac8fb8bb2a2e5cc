//! Folders that stand in Incoming beside their own names, until they have arrived.

use super::Ledger;
use super::database::RECEIVED;
use super::record::{EntryState, Received, decode, encode, now};
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::StoreError;
use redb::{Durability, ReadableDatabase};
use std::collections::{BTreeSet, HashMap};

impl Ledger {
    /// Where those of the offered folders are that are remembered to be beside their own names.
    pub(crate) fn beside_of(
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
                if let Some((EntryState::Beside, folder)) = known
                    && folder.hash == hash
                {
                    found.insert(name, folder.saved_as);
                }
            }
            Ok(found)
        })
    }

    /// Remembers them. Durable with [`Ledger::committing`], which comes before anything is placed
    /// in them.
    pub(crate) fn are_beside(&self, folders: &[(Name, Name)]) -> Result<(), StoreError> {
        let changes = folders.iter().map(|(name, real)| {
            let (hash, mut value) = (hash_of(name), Vec::new());
            encode(
                &mut value,
                EntryState::Beside,
                now(),
                &Received { hash, saved_as: real.clone() },
            );
            (key(hash).0, Some(value))
        });
        self.db.change(changes.collect(), Durability::None)
    }

    /// These have arrived. Not synced: remembered again after a crash, another folder of that name
    /// lands in the same one.
    pub(crate) fn no_more_beside(&self, folders: &[Name]) -> Result<(), StoreError> {
        let keys: Vec<_> = folders.iter().map(|name| key(hash_of(name))).collect();
        self.remove(&keys, Durability::None)
    }

    /// Forgets those whose folders in Incoming are gone.
    pub(crate) fn prune_beside(
        &self,
        mut is_gone: impl FnMut(&Name) -> bool,
    ) -> Result<(), StoreError> {
        let mut beside = self.all(EntryState::Beside)?;
        beside.retain(|(_, folder)| is_gone(&folder.saved_as));
        let keys: Vec<_> = beside.into_iter().map(|(key, _)| key).collect();
        self.remove(&keys, Durability::None)
    }
}

fn hash_of(name: &Name) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("rft 1 folder beside its name")
        .update(name.as_bytes())
        .finalize()
        .as_bytes()
}

/// A folder's key among the transfers: as random as their ids, which are hashes too.
fn key(hash: [u8; 32]) -> TransferId {
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    TransferId(key)
}
