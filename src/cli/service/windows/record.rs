//! What was installed: the words of each service, in a file beside its password.

use crate::cli::args::CommandLine;
use crate::cli::exit::Failure;
use crate::cli::service::peer_line;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The end of the name of such a file.
const EXTENSION: &str = ".service";

/// The words of the peer.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) words: Vec<OsString>,
}

impl Record {
    /// Writes it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&self, base: &Path, name: &str) -> io::Result<()> {
        fs::create_dir_all(base)?;
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        fs::write(file(base, name), serde_json::to_vec(&words)?)
    }

    /// `None` if there is none, or it cannot be read.
    pub(super) fn read(base: &Path, name: &str) -> Option<Self> {
        let words: Vec<String> = serde_json::from_slice(&fs::read(file(base, name)).ok()?).ok()?;
        Some(Self { words: words.into_iter().map(OsString::from).collect() })
    }

    /// The command line of the peer.
    ///
    /// # Errors
    /// The exit codes of the peer.
    pub(super) fn line(&self) -> Result<CommandLine, Failure> {
        peer_line::parsed(self.words.clone())
    }
}

/// Deletes the record of a service.
pub(super) fn delete(base: &Path, name: &str) {
    drop(fs::remove_file(file(base, name)));
}

/// The names of all services that have one.
pub(super) fn names(base: &Path) -> Vec<String> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        files.filter_map(|file| file.strip_suffix(EXTENSION).map(str::to_owned)).collect();
    names.sort();
    names
}

fn file(base: &Path, name: &str) -> PathBuf {
    base.join(format!("{name}{EXTENSION}"))
}
