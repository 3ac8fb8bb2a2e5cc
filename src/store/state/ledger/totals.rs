//! The entries that crossed in all, for people: they do not begin again at a restart.

use super::Ledger;
use crate::store::error::StoreError;
use redb::{Durability, ReadableDatabase, TableDefinition, TableError};

/// By the name of the peer: eight numbers of 64 bits, big-endian, those of [`SavedTotals`].
const TOTALS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("totals");

/// The entries of one direction since the ledger was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SavedTotals {
    /// Files.
    pub files: u64,
    /// Folders and links.
    pub folders: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// When the last one was complete, in seconds since 1970; 0 if there was none.
    pub last: u64,
}

impl Ledger {
    /// The entries that were sent to this peer, and those that were received.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn totals(&self, peer: &str) -> Result<[SavedTotals; 2], StoreError> {
        let saved = self.db.read(|db| {
            let table = match db.begin_read()?.open_table(TOTALS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            Ok(table.get(peer)?.and_then(|value| decode(value.value())))
        })?;
        Ok(saved.unwrap_or_default())
    }

    /// Records them durably.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn save_totals(&self, peer: &str, totals: [SavedTotals; 2]) -> Result<(), StoreError> {
        let value = encode(totals);
        self.db.write(Durability::Immediate, |transaction| {
            drop(transaction.open_table(TOTALS)?.insert(peer, &value[..])?);
            Ok(())
        })
    }
}

fn encode(totals: [SavedTotals; 2]) -> Vec<u8> {
    let numbers = totals.map(|t| [t.files, t.folders, t.bytes, t.last]);
    numbers.concat().into_iter().flat_map(u64::to_be_bytes).collect()
}

fn decode(value: &[u8]) -> Option<[SavedTotals; 2]> {
    let (numbers, rest) = value.as_chunks::<8>();
    let numbers: [u64; 8] =
        numbers.iter().map(|n| u64::from_be_bytes(*n)).collect::<Vec<_>>().try_into().ok()?;
    let of = |n: &[u64]| SavedTotals { files: n[0], folders: n[1], bytes: n[2], last: n[3] };
    rest.is_empty().then(|| [of(&numbers[..4]), of(&numbers[4..])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;
    use crate::store::StateDir;

    #[test]
    fn totals_of_each_peer_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&Folders::in_dir(dir.path())).unwrap();
        let sent = SavedTotals { files: 3, folders: 1, bytes: 70, last: 1_700_000_000 };
        let ledger = Ledger::open(&state).unwrap();
        assert_eq!(ledger.totals("bob").unwrap(), [SavedTotals::default(); 2]);
        for files in [1, 3] {
            let sent = SavedTotals { files, ..sent };
            ledger.save_totals("bob", [sent, SavedTotals::default()]).unwrap();
        }
        drop(ledger);
        let ledger = Ledger::open(&state).unwrap();
        assert_eq!(ledger.totals("bob").unwrap(), [sent, SavedTotals::default()]);
        assert_eq!(ledger.totals("carol").unwrap(), [SavedTotals::default(); 2]);
        assert_eq!(decode(&[0; 63]), None);
    }
}
