//! Asks for entries of the history: the running rft, or else the file in its folder.

use crate::cli::exit::{self, Failure};
use crate::cli::status::failed;
use rft::config::Folders;
use rft::control::{Answer, Client, ControlError, Request};
use rft::error::{ErrorKind, RunError};
use rft::history::{HistoryPage, HistoryQuery};
use rft::{Daemon, HistoryAtRest, Name};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// The history of a folder, one page after the other.
pub(super) struct HistorySource {
    dir: PathBuf,
    runtime: Runtime,
    from: From,
}

enum From {
    Running(Box<Client>),
    AtRest(HistoryAtRest),
}

impl HistorySource {
    /// Finds the history.
    ///
    /// # Errors
    /// Exit code 1 if it cannot be read.
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(dir, &error.into()))?;
        let folders = Folders::in_dir(dir);
        let from = match runtime.block_on(Client::connect(&folders.state)) {
            Ok(client) => From::Running(Box::new(client)),
            Err(ControlError::NotRunning) => {
                From::AtRest(Daemon::history(&folders).map_err(|error| unreadable(dir, &error))?)
            }
            Err(error) => return Err(failed(dir, &error)),
        };
        Ok(Self { dir: dir.to_owned(), runtime, from })
    }

    /// The page of a query.
    ///
    /// # Errors
    /// Exit code 1.
    pub(super) fn page(&mut self, query: &HistoryQuery) -> Result<HistoryPage, Failure> {
        match &mut self.from {
            From::AtRest(history) => {
                history.page(query).map_err(|error| unreadable(&self.dir, &error))
            }
            From::Running(client) => {
                let answer = self.runtime.block_on(client.ask(&Request::History(query.clone())));
                match answer {
                    Ok(Answer::History(page)) => Ok(page),
                    Ok(_) => Err(failed(&self.dir, &ControlError::Unreadable)),
                    Err(error) => Err(failed(&self.dir, &error)),
                }
            }
        }
    }
}

fn unreadable(dir: &Path, error: &RunError) -> Failure {
    // The lock says that one runs, and no control socket answers.
    let hint = match error.kind() {
        ErrorKind::Folders => "; if an rft runs there, try again in a moment",
        _ => "",
    };
    let reason = format!("the history in {} cannot be read: {error}{hint}", dir.display());
    Failure::new(exit::UNKNOWN, reason)
}

/// The name of a file that the user gave as a path below Outgoing or Incoming of `dir`, or as the
/// name itself.
///
/// # Errors
/// Exit code 2 if it can be no name.
pub(in crate::cli) fn name_of(dir: &Path, file: &Path) -> Result<Name, Failure> {
    let below = below_folders(dir, file);
    let name = below.unwrap_or_else(|| file.to_owned());
    Name::parse(&bytes_of(name.as_os_str())).map_err(|error| {
        let shown = rft::escape(&bytes_of(file.as_os_str()));
        Failure::usage(format!(
            "{shown}: {error}; give a file in Incoming or Outgoing, or its name below these folders"
        ))
    })
}

/// Whether the user gave a path below Outgoing or Incoming of `dir`.
pub(super) fn is_in_folders(dir: &Path, file: &Path) -> bool {
    below_folders(dir, file).is_some()
}

/// The part of a path below Outgoing or Incoming of `dir`.
fn below_folders(dir: &Path, file: &Path) -> Option<PathBuf> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (folders, path) = (Folders::in_dir(dir), absolute(file));
    [&folders.outgoing, &folders.incoming].into_iter().find_map(|folder| {
        // As it is written, or as the system resolves it.
        let resolved = folder.canonicalize().ok();
        let below = path.strip_prefix(absolute(folder)).ok();
        below.or_else(|| path.strip_prefix(resolved?).ok()).map(Path::to_owned)
    })
}

/// The name as rft writes it: with `/` on every system.
#[cfg(unix)]
fn bytes_of(name: &OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec()
}

/// As above.
#[cfg(not(unix))]
fn bytes_of(name: &OsStr) -> Vec<u8> {
    name.to_string_lossy().replace('\\', "/").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_the_folders_and_a_name_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let name = Name::parse(b"d/f.txt").unwrap();
        for path in ["Incoming/d/f.txt", "Outgoing/d/f.txt"] {
            assert_eq!(name_of(dir.path(), &dir.path().join(path)).unwrap(), name);
        }
        assert_eq!(name_of(dir.path(), Path::new("d/f.txt")).unwrap(), name);
        for path in ["../x", "/etc/passwd", ""] {
            assert_eq!(name_of(dir.path(), Path::new(path)).unwrap_err().code, exit::ARGUMENTS);
        }
    }
}
