//! The state folders of exchanges: private, claimed by one process at a time, found again by the
//! same command, and removed at the end or when nobody came back for it.

use crate::cli::exit::{self, Failure};
use rft::cause;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The state folder of `rft receive`, in the folder of the received files: only there a rename can
/// give a complete file its name.
pub(super) const RECEIVING: &str = ".rft-receive";
/// Locked while a process uses the state folder. Its time is that of the last start.
const CLAIM: &str = "claim";
/// Locked while a state folder is claimed or removed.
const LOCK: &str = "lock";
/// How long the state of an unfinished exchange is kept.
const EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);
/// Prefixes of the names in the folder of all states.
const SENDING: &str = "send-";
const NOTE: &str = "receive-";

/// The folder of this user's with the states of exchanges.
pub(super) struct States(PathBuf);

impl States {
    /// `rft/once` in the user's folder for states, or in that of temporary files if the user's one
    /// is in one of the entries `sent`.
    ///
    /// # Errors
    /// Exit code 16 if it is not this user's alone, or cannot be created.
    pub(super) fn open(sent: &[PathBuf]) -> Result<Self, Failure> {
        // It may not exist yet, but the folder around it does.
        let real = |top: &Path| top.ancestors().find_map(|above| above.canonicalize().ok());
        let is_sent = |top: &Path| {
            let beneath = |path: &Path| sent.iter().any(|sent| path.starts_with(sent));
            beneath(top) || real(top).is_some_and(|real| beneath(&real))
        };
        let places = [of_user(), Some(of_temporary_files())];
        let (top, outer) = places
            .into_iter()
            .flatten()
            .find(|(top, _)| !is_sent(top))
            .ok_or_else(|| {
                let reason = "the folders for states and for temporary files are among the files to send; set XDG_STATE_HOME to a folder outside of them";
                Failure::new(exit::FOLDERS, reason)
            })?;
        fs::create_dir_all(&top).map_err(|error| unusable(&top, &error))?;
        let outer = top.join(outer);
        let all = outer.join("once");
        for folder in [&outer, &all] {
            private_folder(folder).map_err(|error| unusable(folder, &error))?;
        }
        Ok(Self(all))
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Claims the state folder of the command of `rft send` with this key.
    ///
    /// # Errors
    /// Exit code 16 while another process has it, or if it cannot be used.
    pub(super) fn claim_sending(&self, key: &str) -> Result<StateClaim<'_>, Failure> {
        let dir = self.0.join(format!("{SENDING}{key}"));
        self.claim(dir, None, "the same command runs already; let it finish, or stop it first")
    }

    /// Claims the state folder of `rft receive` in the folder `into`.
    ///
    /// # Errors
    /// As of [`States::claim_sending`].
    pub(super) fn claim_receiving(&self, into: &Path) -> Result<StateClaim<'_>, Failure> {
        let dir = into.join(RECEIVING);
        let key = blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex();
        let note = self.0.join(format!("{NOTE}{}", &key[..16]));
        let busy =
            "another rft receives into this folder; let it finish, or give another one with --into";
        self.claim(dir, Some(note), busy)
    }

    fn claim(
        &self,
        dir: PathBuf,
        note: Option<PathBuf>,
        busy: &str,
    ) -> Result<StateClaim<'_>, Failure> {
        let _guard = self.guard();
        self.sweep();
        let is_new = private_folder(&dir).map_err(|error| unusable(&dir, &error))?;
        if let (Some(note), Some(text)) = (&note, dir.to_str()) {
            // Without the note it is not removed by age.
            let _ = fs::write(note, text);
        }
        match lock_claim(&dir) {
            Ok(Some(file)) => {
                let _ = file.set_modified(SystemTime::now());
                Ok(StateClaim { states: self, dir, note, file, is_new })
            }
            Ok(None) => Err(Failure::new(exit::FOLDERS, busy)),
            Err(error) => Err(unusable(&dir, &error)),
        }
    }

    /// Excludes other processes until it is dropped. On a file system without locks there is no
    /// exclusion.
    fn guard(&self) -> Option<File> {
        let file = File::options().create(true).append(true).open(self.0.join(LOCK)).ok()?;
        file.lock().ok().map(|()| file)
    }

    /// Removes the states that nobody came back for.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(SENDING) && is_private(&path).is_ok() {
                // A process that was killed before its peer began has left nothing to resume.
                let has_begun = path.join(".rft").join("ledger.redb").exists();
                remove_unclaimed(&path, if has_begun { EXPIRY } else { Duration::ZERO });
            } else if name.starts_with(NOTE) {
                let dir = fs::read_to_string(&path).map(PathBuf::from).unwrap_or_default();
                if dir.ends_with(RECEIVING) && is_private(&dir).is_ok() {
                    remove_unclaimed(&dir, EXPIRY);
                }
                // A disk that is not mounted now may come back.
                if is_old(&path, EXPIRY) && !dir.exists() {
                    let _ = fs::remove_file(&path);
                }
            }
        }
    }
}

/// A claimed state folder.
pub(super) struct StateClaim<'a> {
    states: &'a States,
    dir: PathBuf,
    note: Option<PathBuf>,
    file: File,
    /// This process has created it.
    pub(super) is_new: bool,
}

impl StateClaim<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Removes the folder. What a program still has open is removed later.
    pub(super) fn remove(self) {
        let Self { states, dir, note, file, .. } = self;
        // No other process can claim it between the release and the removal.
        let _guard = states.guard();
        drop(file);
        let removed = fs::remove_dir_all(&dir);
        if let (Ok(()), Some(note)) = (removed, note) {
            let _ = fs::remove_file(note);
        }
    }
}

/// Removes a state folder that no process has claimed and that was not used for `age`.
fn remove_unclaimed(dir: &Path, age: Duration) {
    let claim = dir.join(CLAIM);
    if !is_old(&claim, age) && claim.exists() {
        return;
    }
    if let Ok(Some(file)) = lock_claim(dir) {
        drop(file);
        let _ = fs::remove_dir_all(dir);
    }
}

fn is_old(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed >= age))
}

/// The claim of a state folder; `None` while another process has it.
fn lock_claim(dir: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).append(true).open(dir.join(CLAIM))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        // On a file system without locks there is none.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(Some(file))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The user's folder for states, and the name of rft's folder in it.
fn of_user() -> Option<(PathBuf, String)> {
    let folder = |variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
    };
    let top = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else {
        folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local").join("state")))
    };
    Some((top?, "rft".to_owned()))
}

/// The folder of temporary files, which other users may share.
fn of_temporary_files() -> (PathBuf, String) {
    #[cfg(unix)]
    let user = rustix::process::geteuid().as_raw().to_string();
    #[cfg(not(unix))]
    let user = std::env::var("USERNAME").unwrap_or_default();
    (std::env::temp_dir(), format!("rft-{user}"))
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    let why = match error.get_ref() {
        Some(own) => own.to_string(),
        None => cause::of(error).to_string(),
    };
    Failure::new(exit::FOLDERS, format!("{} cannot be used: {why}", path.display()))
}

/// A folder for this user alone. Returns whether it was created.
fn private_folder(path: &Path) -> io::Result<bool> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(false);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            is_private(path).map(|()| false)
        }
        Err(error) => Err(error),
    }
}

/// Checks that it is a folder, not a link, that belongs to this user alone. On Windows it has the
/// access list of the folder around it.
fn is_private(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Err(io::Error::other("it is no folder; remove it"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user; let them remove it"));
        }
        if meta.mode() & 0o077 != 0 {
            // A file system without permissions refuses it.
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
