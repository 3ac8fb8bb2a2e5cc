//! The files for which a program of `--on-received` is still to be run. A record is written with
//! the one that announces the file, so that a file in Incoming has run its program or has a record.

use super::Ledger;
use super::database::RECEIVED;
use super::record::{Changes, PendingHook, decode_hook, encode_hook, hook_key};
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::error::StoreError;
use redb::{Durability, ReadableDatabase, ReadableTable};

/// The changes that record these hooks.
pub(super) fn changes(hooks: &[PendingHook]) -> Changes {
    hooks.iter().map(|hook| (hook_key(hook.transfer), Some(encode_hook(hook)))).collect()
}

impl Ledger {
    /// The transfers whose hooks are pending, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn pending_hooks(&self) -> Result<Vec<TransferId>, StoreError> {
        let mut pending = self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut pending = Vec::new();
            for entry in table.iter()? {
                if let Some((when, hook)) = decode_hook(entry?.1.value()) {
                    pending.push((when, hook.transfer));
                }
            }
            Ok(pending)
        })?;
        pending.sort_unstable();
        Ok(pending.into_iter().map(|(_, transfer)| transfer).collect())
    }

    /// The pending hook of a transfer.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn pending_hook(&self, transfer: TransferId) -> Result<Option<PendingHook>, StoreError> {
        self.db.read(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let hook = table.get(&hook_key(transfer))?;
            Ok(hook.and_then(|value| decode_hook(value.value())).map(|(_, hook)| hook))
        })
    }

    /// A pending hook's file has this name.
    pub(crate) fn rename_hook(&self, id: TransferId, name: &Name) -> Result<(), StoreError> {
        let Some(hook) = self.pending_hook(id)?.filter(|hook| hook.saved_as != *name) else {
            return Ok(());
        };
        let hook = PendingHook { saved_as: name.clone(), ..hook };
        self.db.change(changes(&[hook]), Durability::None)
    }

    /// The hook of a transfer needs no further run. After a crash it may run once more.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn hook_is_done(&self, transfer: TransferId) -> Result<(), StoreError> {
        let gone = [(hook_key(transfer), None)].into_iter().collect();
        self.db.change(gone, Durability::None)
    }
}
