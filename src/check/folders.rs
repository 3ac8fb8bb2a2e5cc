//! The three folders: rights, and the content of `.rft`.

use super::{FolderKind, Found, LedgerState, Usable};
use crate::cause;
use crate::config::Folders;
use crate::store;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// A ledger of a million transfers is smaller.
const MAX_LEDGER: u64 = 512 << 20;
/// Entries of `removing` that are counted.
const MAX_COUNTED: usize = 1_000_000;

/// Whether an rft runs in these folders: it holds a lock.
pub(super) fn is_running(folders: &Folders) -> bool {
    let lock = File::open(folders.state.join(store::LOCK));
    lock.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

pub(super) fn look(folders: &Folders, running: bool) -> Vec<Found> {
    let mut found: Vec<Found> = [
        (FolderKind::Outgoing, &folders.outgoing),
        (FolderKind::Incoming, &folders.incoming),
        (FolderKind::State, &folders.state),
    ]
    .map(|(kind, path)| Found::Folder { kind, path: path.clone(), usable: usable(path) })
    .into();
    if folders.state.is_dir() {
        found.push(state(&folders.state, running));
    }
    found
}

/// Whether a file can be created in the folder, or in the one above if it is missing.
fn usable(path: &Path) -> Usable {
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => Usable::No("it is not a folder".into()),
        Ok(_) => match store::try_file(path) {
            Ok(()) => Usable::Yes,
            Err(error) => Usable::No(cause::of(&error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let above = absolute.ancestors().skip(1).find(|above| above.exists());
            match above.map(store::try_file) {
                Some(Ok(())) => Usable::Missing,
                Some(Err(error)) => Usable::No(cause::of(&error)),
                None => Usable::No(cause::of(&error)),
            }
        }
        Err(error) => Usable::No(cause::of(&error)),
    }
}

fn state(path: &Path, running: bool) -> Found {
    let names = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let aside = format!("{}.damaged", store::LEDGER);
    let set_aside = names.filter(|name| name.to_string_lossy().starts_with(&aside)).count();
    // A running rft removes files all the time.
    let removing = match fs::read_dir(path.join(store::REMOVING)) {
        Ok(entries) if !running => entries.take(MAX_COUNTED).count(),
        _ => 0,
    };
    Found::State { path: path.to_owned(), ledger: ledger(path, running), set_aside, removing }
}

fn ledger(state: &Path, running: bool) -> LedgerState {
    let path = state.join(store::LEDGER);
    match fs::metadata(&path) {
        _ if running => LedgerState::InUse,
        Err(error) if error.kind() == io::ErrorKind::NotFound => LedgerState::Missing,
        Ok(meta) if meta.len() > MAX_LEDGER => LedgerState::NotRead,
        _ => match fs::read(&path) {
            Ok(bytes) => match store::verify_ledger(&bytes) {
                Ok(()) => LedgerState::Whole,
                Err(reason) => LedgerState::Damaged(reason),
            },
            Err(error) => LedgerState::Damaged(cause::of(&error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_can_be_created_and_files_stay_away() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path().join("new/deep"));
        let found = look(&folders, false);
        assert!(
            found
                .iter()
                .all(|found| { matches!(found, Found::Folder { usable: Usable::Missing, .. }) })
        );
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0, "nothing is left");
        fs::create_dir_all(base.path().join("new")).unwrap();
        fs::write(base.path().join("new/deep"), "a file").unwrap();
        let found = look(&folders, false);
        assert!(matches!(&found[0], Found::Folder { usable: Usable::No(_), .. }), "{found:?}");
    }

    #[test]
    fn the_state_is_whole_damaged_or_in_use() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        let held = store::StateDir::open(&folders).unwrap();
        drop(store::Ledger::open(&held).unwrap());
        assert!(is_running(&folders));
        let of = |running| match look(&folders, running).pop() {
            Some(Found::State { ledger, set_aside, removing, .. }) => (ledger, set_aside, removing),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(true), (LedgerState::InUse, 0, 0));
        drop(held);
        assert!(!is_running(&folders));
        assert_eq!(of(false), (LedgerState::Whole, 0, 0));
        let path = folders.state.join(store::LEDGER);
        let before = fs::read(&path).unwrap();
        let mut damaged = before.clone();
        damaged[..64].fill(0x55);
        fs::write(&path, &damaged).unwrap();
        fs::write(folders.state.join("ledger.redb.damaged-1"), "").unwrap();
        let (ledger, set_aside, _) = of(false);
        assert!(matches!(ledger, LedgerState::Damaged(_)) && set_aside == 1, "{ledger:?}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "it is only read");
    }
}
