//! What must be remembered over restarts: which transfers arrived, which were delivered, and who
//! this sender is. One redb file, `.rft/ledger.redb`.
//!
//! A received transfer is first `committing` (durable before its file is renamed into place), then
//! `committed`. A crash in between is settled at the next start by looking for the staged file: see
//! `publish::recover`.

use super::age;
use super::error::{Naming, StoreError};
use super::state::StateDir;
use crate::failpoint::hit;
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const FILE: &str = "ledger.redb";
const RECEIVED: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("received");
const DELIVERED: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("delivered");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ORIGIN: &str = "origin";
/// The ledger is small and mostly written; redb's own default would be 1 GiB.
const CACHE_BYTES: usize = 16 << 20;
/// How long a received transfer is remembered that its sender never told us to forget.
const REMEMBERED: u64 = 180 * 24 * 60 * 60;
/// Transfers that are remembered at most. An honest sender lets go of each soon after its receipt; only one that
/// never does gets here, and is told.
const MOST_REMEMBERED: u64 = 1_000_000;

/// A transfer that stands, or is about to stand, in Incoming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// BLAKE3 of the file (zero for folders and links).
    pub hash: [u8; 32],
    /// The name it was given in Incoming.
    pub saved_as: Name,
}

/// The ledger, shared by both directions.
pub struct Ledger {
    db: Database,
    path: PathBuf,
    origin: [u8; 16],
    as_of: u64,
    moved_aside: Option<PathBuf>,
    most: u64,
    // Set when redb panicked: what it holds in memory may be wrong from then on.
    broken: AtomicBool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Committing = 0,
    Committed = 1,
}

impl Ledger {
    /// Opens or makes the ledger, verifies all of it, and drops what is too old to matter. A damaged
    /// file is moved aside, see [`Ledger::moved_aside`].
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or written. Damage alone is no error.
    pub fn open(state: &StateDir) -> Result<Self, StoreError> {
        let path = state.path().join(FILE);
        let used = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
        let as_of = age::as_of(now(), used.map(seconds));
        match load(&path, as_of) {
            Ok((db, origin)) => Ok(Self::new(db, path, origin, as_of, None)),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Damaged(_)) => {
                let aside = move_aside(&path)?;
                let (db, origin) = load(&path, as_of).map_err(|failure| failure.into_error(&path))?;
                Ok(Self::new(db, path, origin, as_of, Some(aside)))
            }
        }
    }

    fn new(db: Database, path: PathBuf, origin: [u8; 16], as_of: u64, moved_aside: Option<PathBuf>) -> Self {
        let (most, broken) = (MOST_REMEMBERED, AtomicBool::new(false));
        Self { db, path, origin, as_of, moved_aside, most, broken }
    }

    /// The start of this run in seconds since 1970, but not later than the ledger's last use before:
    /// what ages are reckoned by.
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
        self.origin
    }

    /// What is known of a transfer that was committed.
    ///
    /// # Errors
    /// [`StoreError::Ledger`]; [`StoreError::LedgerFull`] when nothing is known of it, and no more could be.
    pub fn received(&self, id: TransferId) -> Result<Option<Received>, StoreError> {
        if let Some(received) = self.received_of(&[id])?.pop().flatten() {
            return Ok(Some(received));
        }
        if self.run(|db| Ok(db.begin_read()?.open_table(RECEIVED)?.len()?))? < self.most {
            return Ok(None);
        }
        Err(StoreError::LedgerFull { path: self.path.display().to_string() })
    }

    /// [`Ledger::received`] of several, in one transaction.
    pub(crate) fn received_of(&self, ids: &[TransferId]) -> Result<Vec<Option<Received>>, StoreError> {
        self.run(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                found.push(table.get(&id.0)?.and_then(|value| match decode(value.value())? {
                    (State::Committed, received) => Some(received),
                    (State::Committing, _) => None,
                }));
            }
            Ok(found)
        })
    }

    /// Durable before the files are renamed: these staged files are whole, and about to be placed.
    pub(crate) fn committing(&self, entries: &[(TransferId, Received)]) -> Result<(), StoreError> {
        self.put(entries, State::Committing, Durability::Immediate)
    }

    /// The files are in place, durably. This need not be durable itself: after a crash, "committing"
    /// with no staged file left means the same.
    pub(crate) fn committed(&self, entries: &[(TransferId, Received)]) -> Result<(), StoreError> {
        self.put(entries, State::Committed, Durability::None)
    }

    /// Durable before the staged files of these are dropped: they were not placed. In the other
    /// order a crash would make "committing, staged file gone" of them, which means received.
    pub(crate) fn not_committed(&self, ids: &[TransferId]) -> Result<(), StoreError> {
        self.remove(ids, Durability::Immediate).map(drop)
    }

    /// What a crash left between `committing` and `committed`.
    pub(crate) fn unfinished(&self) -> Result<Vec<(TransferId, Received)>, StoreError> {
        self.run(|db| {
            let table = db.begin_read()?.open_table(RECEIVED)?;
            let mut found = Vec::new();
            for entry in table.iter()? {
                let (id, value) = entry?;
                if let Some((State::Committing, received)) = decode(value.value()) {
                    found.push((TransferId(*id.value()), received));
                }
            }
            Ok(found)
        })
    }

    /// The sender is done with these for good. Not synced: forgotten once more after a crash, or by
    /// age. Returns those that were not committed, of which something may be staged.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn forget(&self, ids: &[TransferId]) -> Result<Vec<TransferId>, StoreError> {
        self.remove(ids, Durability::None)
    }

    /// For a sender that keeps its files: the peer holds these. Durable.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn mark_delivered(&self, ids: &[TransferId]) -> Result<(), StoreError> {
        let when = now();
        self.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(DELIVERED)?;
            for id in ids {
                table.insert(&id.0, when)?;
            }
            Ok(())
        })
    }

    /// Whether [`Ledger::mark_delivered`] was said of it.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn is_delivered(&self, id: TransferId) -> Result<bool, StoreError> {
        self.run(|db| Ok(db.begin_read()?.open_table(DELIVERED)?.get(&id.0)?.is_some()))
    }

    /// Drops the delivered transfers that `keep` does not want: those whose files are gone. They
    /// are never dropped by age: a file that is kept for years is not sent twice.
    ///
    /// # Errors
    /// [`StoreError::Ledger`].
    pub fn prune_delivered(&self, keep: &dyn Fn(TransferId) -> bool) -> Result<(), StoreError> {
        self.write(Durability::None, |transaction| {
            let mut table = transaction.open_table(DELIVERED)?;
            Ok(table.retain(|id, _| keep(TransferId(*id)))?)
        })
    }

    fn put(
        &self,
        entries: &[(TransferId, Received)],
        state: State,
        durability: Durability,
    ) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let when = now();
        self.write(durability, |transaction| {
            let mut table = transaction.open_table(RECEIVED)?;
            let mut value = Vec::new();
            for (id, received) in entries {
                encode(&mut value, state, when, received);
                table.insert(&id.0, &value[..])?;
            }
            Ok(())
        })
    }

    /// Returns those that were not committed.
    fn remove(&self, ids: &[TransferId], durability: Durability) -> Result<Vec<TransferId>, StoreError> {
        let mut others = Vec::new();
        if ids.is_empty() {
            return Ok(others);
        }
        self.write(durability, |transaction| {
            let mut table = transaction.open_table(RECEIVED)?;
            for id in ids {
                let known = table.remove(&id.0)?;
                if known.and_then(|value| value.value().first().copied()) != Some(State::Committed as u8) {
                    others.push(*id);
                }
            }
            Ok(())
        })?;
        Ok(others)
    }

    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        self.run(|db| {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(durability)?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        })
    }

    fn run<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let failed = |reason: String| StoreError::Ledger { path: self.path.display().to_string(), reason };
        if self.broken.load(Ordering::Acquire) {
            return Err(failed("it failed before".to_owned()));
        }
        match guarded(|| work(&self.db)) {
            Ok(value) => Ok(value),
            Err(Some(redb::Error::Io(error))) => Err(StoreError::new("write", self.path.display(), &error)),
            Err(Some(error)) => Err(failed(error.to_string())),
            Err(None) => {
                self.broken.store(true, Ordering::Release);
                Err(failed("it is damaged".to_owned()))
            }
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({})", self.path.display())
    }
}

enum Failure {
    /// The file's content is not what redb wrote.
    Damaged(String),
    Other(StoreError),
}

impl Failure {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Damaged(reason) => StoreError::Ledger { path: path.display().to_string(), reason },
            Self::Other(error) => error,
        }
    }
}

fn load(path: &Path, as_of: u64) -> Result<(Database, [u8; 16]), Failure> {
    guarded(|| {
        // The whole file is verified: redb may panic on a page that was altered behind its back.
        let db =
            Database::builder().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path)?;
        hit("ledger.verified");
        let transaction = db.begin_write()?;
        let origin = {
            let mut meta = transaction.open_table(META)?;
            let known = meta.get(ORIGIN)?.and_then(|value| <[u8; 16]>::try_from(value.value()).ok());
            let origin = known.unwrap_or_else(rand::random);
            meta.insert(ORIGIN, &origin[..])?;
            transaction.open_table(DELIVERED)?;
            transaction.open_table(RECEIVED)?.retain(|_, value| !too_old(value, as_of))?;
            origin
        };
        hit("ledger.committing");
        transaction.commit()?;
        hit("ledger.open");
        Ok((db, origin))
    })
    .map_err(|failure| match failure {
        None => Failure::Damaged("it is damaged".to_owned()),
        Some(redb::Error::DatabaseAlreadyOpen) => {
            Failure::Other(StoreError::InUse { path: path.display().to_string() })
        }
        Some(redb::Error::Io(error))
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData
                    | std::io::ErrorKind::UnexpectedEof
                    | std::io::ErrorKind::InvalidInput
            ) =>
        {
            Failure::Other(StoreError::new("open", path.display(), &error))
        }
        Some(error) => Failure::Damaged(error.to_string()),
    })
}

/// An error of redb, or `None` when it panicked.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Option<redb::Error>> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = (1..)
        .map(|number| path.with_file_name(format!("{FILE}.damaged-{number}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| path.with_extension("damaged"));
    std::fs::rename(path, &aside).naming("move aside", || path.display())?;
    Ok(aside)
}

fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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
        _ => return None,
    };
    let (_when, rest) = rest.split_first_chunk::<8>()?;
    let (hash, name) = rest.split_first_chunk::<32>()?;
    Some((state, Received { hash: *hash, saved_as: Name::parse(name).ok()? }))
}

/// What is not settled yet is never too old.
fn too_old(value: &[u8], as_of: u64) -> bool {
    match value.split_first() {
        Some((&state, rest)) if state == State::Committed as u8 => {
            let when = rest.first_chunk::<8>().map(|when| u64::from_le_bytes(*when));
            when.is_none_or(|when| age::is_older(when, as_of, REMEMBERED))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;

    fn id(n: u8) -> TransferId {
        TransferId([n; 16])
    }

    fn entry(n: u8) -> (TransferId, Received) {
        let saved_as = Name::parse(format!("d/{n}").as_bytes()).unwrap();
        (id(n), Received { hash: [n; 32], saved_as })
    }

    fn state() -> (tempfile::TempDir, StateDir) {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::open(&Folders::in_dir(base.path())).unwrap();
        (base, state)
    }

    #[test]
    fn committed_entries_are_received_until_forgotten() {
        let (_base, state) = state();
        let ledger = Ledger::open(&state).unwrap();
        ledger.committing(&[entry(1), entry(2), entry(3)]).unwrap();
        assert_eq!(ledger.received(id(1)).unwrap(), None);
        ledger.committed(&[entry(1), entry(2)]).unwrap();
        ledger.not_committed(&[id(3)]).unwrap();
        assert_eq!(ledger.received_of(&[id(1), id(3)]).unwrap(), [Some(entry(1).1), None]);
        ledger.committing(&[entry(4)]).unwrap();
        assert_eq!(ledger.forget(&[id(1), id(4), id(5)]).unwrap(), [id(4), id(5)]);
        assert_eq!(ledger.received(id(1)).unwrap(), None);
        assert!(ledger.unfinished().unwrap().is_empty());
    }

    #[test]
    fn what_was_committing_and_who_we_are_survive() {
        let (_base, state) = state();
        let ledger = Ledger::open(&state).unwrap();
        let origin = ledger.origin();
        ledger.committing(&[entry(1), entry(2)]).unwrap();
        ledger.committed(&[entry(2)]).unwrap();
        ledger.mark_delivered(&[id(7), id(8)]).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&state).unwrap();
        assert_eq!(ledger.origin(), origin);
        assert!(ledger.moved_aside().is_none());
        assert!(ledger.unfinished().unwrap().contains(&entry(1)));
        assert!(ledger.is_delivered(id(7)).unwrap() && !ledger.is_delivered(id(9)).unwrap());
        ledger.prune_delivered(&|delivered| delivered == id(8)).unwrap();
        assert!(!ledger.is_delivered(id(7)).unwrap() && ledger.is_delivered(id(8)).unwrap());
    }

    #[test]
    fn old_entries_go_and_unsettled_ones_stay() {
        let (mut value, as_of) = (Vec::new(), 2_000_000_000);
        let old = as_of - REMEMBERED;
        encode(&mut value, State::Committed, old - 1, &entry(1).1);
        assert!(too_old(&value, as_of));
        encode(&mut value, State::Committed, old, &entry(1).1);
        assert!(!too_old(&value, as_of));
        encode(&mut value, State::Committing, old - 1, &entry(1).1);
        assert!(!too_old(&value, as_of));
    }

    #[test]
    fn a_clock_that_is_years_ahead_forgets_nothing() {
        let (_base, state) = state();
        let ledger = Ledger::open(&state).unwrap();
        ledger.committing(&[entry(1)]).unwrap();
        ledger.committed(&[entry(1)]).unwrap();
        drop(ledger);
        // As if the last run had been ten years ago, by a clock that has jumped since.
        let path = state.path().join(FILE);
        let before = SystemTime::now() - std::time::Duration::from_secs(10 * 365 * 86_400);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        let ledger = Ledger::open(&state).unwrap();
        assert_eq!(ledger.as_of(), seconds(before));
        assert_eq!(ledger.received(id(1)).unwrap(), Some(entry(1).1));
    }

    /// A ledger with a few hundred entries, as it stands on disk after an orderly end.
    fn sample(state: &StateDir) -> Vec<u8> {
        let ledger = Ledger::open(state).unwrap();
        for n in 0..=255 {
            ledger.committing(&[entry(n)]).unwrap();
        }
        ledger.committed(&(0..200).map(entry).collect::<Vec<_>>()).unwrap();
        ledger.mark_delivered(&[id(1)]).unwrap();
        drop(ledger);
        std::fs::read(state.path().join(FILE)).unwrap()
    }

    /// Whatever is in the file, the ledger opens and works; nothing that it says is made up.
    fn survives(state: &StateDir, bytes: &[u8]) -> bool {
        std::fs::write(state.path().join(FILE), bytes).unwrap();
        let ledger = Ledger::open(state).unwrap();
        for n in 0..=255 {
            let found = ledger.received(id(n)).unwrap();
            assert!(found.is_none() || found == Some(entry(n).1), "{n}");
        }
        ledger.committing(&[entry(3)]).unwrap();
        ledger.committed(&[entry(3)]).unwrap();
        assert_eq!(ledger.received(id(3)).unwrap(), Some(entry(3).1));
        if let Some(aside) = ledger.moved_aside() {
            assert_eq!(std::fs::read(aside).unwrap().len(), bytes.len());
            std::fs::remove_file(aside).unwrap();
            return false;
        }
        true
    }

    #[test]
    fn a_damaged_file_is_moved_aside_and_a_new_one_made() {
        let (_base, state) = state();
        let whole = sample(&state);
        assert!(survives(&state, &whole));
        assert!(survives(&state, b""));
        for length in [1, 9, 100, 511, 512, 4095, 4096, whole.len() / 2, whole.len() - 1] {
            survives(&state, &whole[..length]);
        }
        assert!(!survives(&state, &[0x5a; 10_000]));
        let mut aside = 0;
        for at in (0..512).step_by(7).chain((512..whole.len()).step_by(whole.len() / 150)) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            aside += usize::from(!survives(&state, &flipped));
        }
        assert!(aside > 0, "no flip was noticed");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_not_called_damaged() {
        let (_base, state) = state();
        std::fs::create_dir(state.path().join(FILE)).unwrap();
        assert!(Ledger::open(&state).is_err());
        assert!(state.path().join(FILE).is_dir());
    }

    #[test]
    fn what_is_never_let_go_of_is_bounded() {
        let (_base, state) = state();
        let mut ledger = Ledger::open(&state).unwrap();
        ledger.most = 3;
        ledger.committed(&[entry(1), entry(2), entry(3)]).unwrap();
        assert!(matches!(ledger.received(id(4)), Err(StoreError::LedgerFull { .. })));
        assert_eq!(ledger.received(id(3)).unwrap(), Some(entry(3).1));
        ledger.forget(&[id(3)]).unwrap();
        assert_eq!(ledger.received(id(4)).unwrap(), None);
    }
}
