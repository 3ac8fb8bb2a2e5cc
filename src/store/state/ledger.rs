//! What must be remembered over restarts: which transfers arrived, which were delivered, and who
//! this sender is. One redb file, `.rft/ledger.redb`.
//!
//! A received transfer is first `committing` (durable before its file is renamed into place), then
//! `committed`. A crash in between is settled at the next start by looking for the staged file: see
//! `publish::recover`. A folder that is made on the way to a file is `filling` until its own entry
//! arrives: so a folder that was made here is told from one of the user's.

mod beside;
mod database;

use super::StateDir;
use super::age;
use crate::proto::message::{InstallationId, Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::folder::Folder;
use crate::store::tree::os;
use database::{Changes, DELIVERED, Database, RECEIVED};
use redb::{Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const FILE: &str = "ledger.redb";
/// Context of the key derivation of [`Ledger::installation`].
const INSTALLATION: &str = "rft 1 installation id";
/// How long a received transfer is remembered that its sender never told us to forget.
const REMEMBERED: u64 = 180 * 24 * 60 * 60;
/// Transfers that are remembered at most. An honest sender lets go of each soon after its receipt;
/// only one that never does gets here, and is told.
const MAX_REMEMBERED: u64 = 1_000_000;

/// A transfer that stands, or is about to stand, in Incoming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// BLAKE3 of the file (zero for folders and links).
    pub hash: [u8; 32],
    /// The name it was given in Incoming.
    pub saved_as: Name,
}

/// A file of Outgoing that the peer holds and that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Its change time then: another one says that it was touched since.
    pub changed: Timestamp,
    /// BLAKE3 of its content; none for folders and links.
    pub hash: Option<[u8; 32]>,
}

/// The ledger, shared by both directions.
pub struct Ledger {
    db: Database,
    as_of: u64,
    moved_aside: Option<PathBuf>,
    most: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Committing = 0,
    Committed = 1,
    /// A folder that was made here, and whose own permissions have not arrived yet.
    Filling = 2,
    /// A folder that is offered with another name than it has here.
    Beside = 3,
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
                    (State::Committed, received) => Some(received),
                    (State::Committing | State::Filling | State::Beside, _) => None,
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
        let mut changes = changes(entries, State::Committing);
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
        let mut changes = changes(entries, State::Committed);
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
                    state == State::Filling && folder.saved_as == name
                }) {
                    found.insert(name);
                }
            }
            Ok(found)
        })
    }

    /// All of them.
    pub(crate) fn filling(&self) -> Result<Vec<Name>, StoreError> {
        let filling = self.all(State::Filling)?;
        Ok(filling.into_iter().map(|(_, folder)| folder.saved_as).collect())
    }

    /// Durable before the staged files of these are dropped: they were not placed. In the other
    /// order a crash would make "committing, staged file gone" of them, which means received.
    pub(crate) fn not_committed(&self, ids: &[TransferId]) -> Result<(), StoreError> {
        self.remove(ids, Durability::Immediate)
    }

    /// What a crash left between `committing` and `committed`.
    pub(crate) fn unfinished(&self) -> Result<Vec<(TransferId, Received)>, StoreError> {
        self.all(State::Committing)
    }

    fn all(&self, wanted: State) -> Result<Vec<(TransferId, Received)>, StoreError> {
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
                if state != Some(State::Committed as u8) {
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

/// Entries of one state, as they are written.
fn changes(entries: &[(TransferId, Received)], state: State) -> Changes {
    let when = now();
    let value = |received| {
        let mut value = Vec::new();
        encode(&mut value, state, when, received);
        value
    };
    entries.iter().map(|(id, received)| (id.0, Some(value(received)))).collect()
}

/// A folder's key among the transfers: as random as their ids, which are hashes too.
fn folder_key(name: &Name) -> [u8; 16] {
    let hash = *blake3::Hasher::new_derive_key("rft 1 folder that fills")
        .update(name.as_bytes())
        .finalize()
        .as_bytes();
    let mut key = [0; 16];
    key.copy_from_slice(&hash[..16]);
    key
}

fn filling(name: &Name) -> Vec<u8> {
    let mut value = Vec::new();
    encode(&mut value, State::Filling, now(), &Received { hash: [0; 32], saved_as: name.clone() });
    value
}

fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Change time (seconds and nanoseconds, little-endian), and the hash if there is one.
fn encode_delivered(delivered: &Delivered) -> Vec<u8> {
    let mut value = delivered.changed.seconds.to_le_bytes().to_vec();
    value.extend_from_slice(&delivered.changed.nanos.to_le_bytes());
    value.extend_from_slice(delivered.hash.as_ref().map_or(&[], |hash| &hash[..]));
    value
}

fn decode_delivered(value: &[u8]) -> Option<Delivered> {
    let (seconds, rest) = value.split_first_chunk::<8>()?;
    let (nanos, hash) = rest.split_first_chunk::<4>()?;
    let changed =
        Timestamp { seconds: i64::from_le_bytes(*seconds), nanos: u32::from_le_bytes(*nanos) };
    let hash = if hash.is_empty() { None } else { Some(hash.try_into().ok()?) };
    Some(Delivered { changed, hash })
}

/// State, seconds since 1970 (little-endian), hash, name.
fn encode(value: &mut Vec<u8>, state: State, when: u64, received: &Received) {
    value.clear();
    value.push(state as u8);
    value.extend_from_slice(&when.to_le_bytes());
    value.extend_from_slice(&received.hash);
    value.extend_from_slice(received.saved_as.as_bytes());
}

fn decode(value: &[u8]) -> Option<(State, Received)> {
    let (state, rest) = value.split_first()?;
    let state = match state {
        0 => State::Committing,
        1 => State::Committed,
        2 => State::Filling,
        3 => State::Beside,
        _ => return None,
    };
    let (_when, rest) = rest.split_first_chunk::<8>()?;
    let (hash, name) = rest.split_first_chunk::<32>()?;
    Some((state, Received { hash: *hash, saved_as: Name::parse(name).ok()? }))
}

/// A transfer that is not settled yet is never too old.
fn too_old(value: &[u8], as_of: u64) -> bool {
    match value.split_first() {
        Some((&state, rest))
            if state != State::Committing as u8 && state <= State::Beside as u8 =>
        {
            let when = rest.first_chunk::<8>().map(|when| u64::from_le_bytes(*when));
            when.is_none_or(|when| age::is_older(when, as_of, REMEMBERED))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
