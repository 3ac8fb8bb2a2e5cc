//! What `rft send` sends: files where they are, or copies of them.

use super::state::StateClaim;
use crate::cli::exit::{self, Failure};
use rft::cause;
use rft::put::{PutFile, PutStep, put};
use rft::{Name, escape};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The argument that means the standard input.
pub(super) const STDIN: &str = "-";
/// In the state folder: the folder of copies, and the fingerprint of the files that were copied.
const COPIES: &str = "copies";
const COPIED: &str = "copied";
/// The standard input, until it is compared with an earlier copy.
const ARRIVING: &str = "arriving";

/// What the user named.
pub(super) enum Wanted {
    /// Some entries of one folder.
    InPlace { folder: PathBuf, names: BTreeSet<Name> },
    /// Files of several folders, links, or a file with another name: there is no folder in which
    /// they have their names.
    Copies(Vec<PutFile>),
    /// The standard input, and its name.
    Stdin(Name),
}

/// The folder to send from, and the entries in it.
pub(super) struct Source {
    pub(super) folder: PathBuf,
    pub(super) names: Vec<Name>,
}

impl Wanted {
    /// Finds the files. Nothing is created.
    ///
    /// # Errors
    /// Exit code 2 for arguments, 1 for files that cannot be read.
    pub(super) fn of(files: &[OsString], as_name: Option<&Path>) -> Result<Self, Failure> {
        if as_name.is_some() && files.len() > 1 {
            return Err(Failure::usage(
                "--as names one FILE; send the others with another command",
            ));
        }
        let as_name = as_name.map(name_of).transpose()?;
        if files.iter().any(|file| file == STDIN) {
            let name = as_name.filter(|_| files.len() == 1).ok_or_else(|| {
                Failure::usage(
                    "the standard input has no name and goes alone; type: rft send - --as NAME PEER PORT",
                )
            })?;
            return Ok(Self::Stdin(name));
        }
        let found: Vec<NamedSource> =
            files.iter().map(|file| NamedSource::at(Path::new(file))).collect::<Result<_, _>>()?;
        if let (None, Some(folder)) = (&as_name, common_folder(&found)) {
            let names = found.into_iter().map(|found| found.name).collect();
            return Ok(Self::InPlace { folder, names });
        }
        let mut names = BTreeSet::new();
        for name in found.iter().map(|found| &found.name) {
            if !names.insert(name) {
                return Err(Failure::usage(format!(
                    "two of the files have the name {name}; send one of them with another command and --as NAME"
                )));
            }
        }
        let named = |found: NamedSource| PutFile {
            source: found.path,
            name: as_name.clone().unwrap_or(found.name),
        };
        Ok(Self::Copies(found.into_iter().map(named).collect()))
    }

    /// The paths of the files.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::InPlace { folder, names } => {
                names.iter().filter_map(|name| Some(folder.join(name.to_path().ok()?))).collect()
            }
            Self::Copies(files) => files.iter().map(|file| file.source.clone()).collect(),
            Self::Stdin(_) => Vec::new(),
        }
    }

    /// Copies the files if that is needed. The copies of an interrupted command are used again if
    /// the files are the same.
    ///
    /// # Errors
    /// Exit code 1 if they cannot be copied.
    pub(super) fn prepare(self, claim: &StateClaim<'_>) -> Result<Source, Failure> {
        let top = |name: Name| {
            std::iter::successors(Some(name), Name::parent).last().into_iter().collect()
        };
        match self {
            Self::InPlace { folder, names } => {
                Ok(Source { folder, names: names.into_iter().collect() })
            }
            Self::Copies(files) => {
                let folder = copies_of(&files, claim.path())?;
                let tops = |file: PutFile| -> Vec<Name> { top(file.name) };
                Ok(Source { folder, names: files.into_iter().flat_map(tops).collect() })
            }
            Self::Stdin(name) => {
                let folder = copy_stdin(&name, claim.path())
                    .map_err(|error| not_copied(&cause::of(&error)))?;
                Ok(Source { folder, names: top(name) })
            }
        }
    }
}

/// A file or folder that the user named.
struct NamedSource {
    path: PathBuf,
    folder: PathBuf,
    name: Name,
    is_link: bool,
}

impl NamedSource {
    fn at(file: &Path) -> Result<Self, Failure> {
        let shown = escape(file.as_os_str().as_encoded_bytes());
        let failed = |error: io::Error| {
            Failure::new(exit::UNKNOWN, format!("{shown}: {}", cause::of(&error)))
        };
        let is_link = fs::symlink_metadata(file).map_err(failed)?.is_symlink();
        let path = file.canonicalize().map_err(failed)?;
        let meta = fs::metadata(&path).map_err(failed)?;
        if meta.is_dir() {
            fs::read_dir(&path).map(drop).map_err(failed)?;
        } else if meta.is_file() {
            File::open(&path).map(drop).map_err(failed)?;
        } else {
            let reason = format!("{shown} is neither a file nor a folder, and only these are sent");
            return Err(Failure::new(exit::UNKNOWN, reason));
        }
        // A link is sent under its own name.
        let leaf = if is_link { file.file_name() } else { path.file_name() };
        let (Some(folder), Some(leaf)) = (path.parent(), leaf) else {
            return Err(Failure::usage(format!("{shown} has no name; give one with --as NAME")));
        };
        let (folder, name) = (folder.to_owned(), name_of(Path::new(leaf))?);
        Ok(Self { path, folder, name, is_link })
    }
}

/// The folder that all files are in under their own names.
fn common_folder(found: &[NamedSource]) -> Option<PathBuf> {
    let folder = &found.first()?.folder;
    let fits = found.iter().all(|found| !found.is_link && found.folder == *folder);
    fits.then(|| folder.clone())
}

fn name_of(path: &Path) -> Result<Name, Failure> {
    Name::from_path(path).map_err(|error| {
        let shown = escape(path.as_os_str().as_encoded_bytes());
        Failure::usage(format!("{shown}: {error}; give another name with --as NAME"))
    })
}

fn not_copied(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit::UNKNOWN, format!("the files cannot be copied: {error}; nothing was sent"))
}

/// The folder with the copies of these files.
fn copies_of(files: &[PutFile], state: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| not_copied(&cause::of(&error));
    let (folder, note) = (state.join(COPIES), state.join(COPIED));
    // Before the copies: a file that changes meanwhile is copied again by the next command.
    let fingerprint = fingerprint(files).map_err(failed)?;
    if folder.is_dir() && fs::read_to_string(&note).is_ok_and(|old| old == fingerprint) {
        return Ok(folder);
    }
    remove(&note).and_then(|()| new_folder(&folder)).map_err(failed)?;
    let mut skipped = Vec::new();
    let mut tell = |step: PutStep<'_>| {
        if let PutStep::Skipped { path, .. } = step {
            skipped.push(path.to_owned());
        }
    };
    put(&folder, files, &AtomicBool::new(false), &mut tell).map_err(|e| not_copied(&e))?;
    if !skipped.is_empty() {
        let list = skipped.join(", ");
        return Err(not_copied(&format!("neither files nor folders: {list}")));
    }
    fs::write(note, fingerprint).map_err(failed)?;
    Ok(folder)
}

/// What tells a version of the files from another one.
fn fingerprint(files: &[PutFile]) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new_derive_key("rft 1 files that were copied");
    for file in files {
        add(&mut hasher, file.name.as_bytes());
        let mut left = vec![file.source.clone()];
        while let Some(path) = left.pop() {
            let meta = fs::symlink_metadata(&path)?;
            add(&mut hasher, path.as_os_str().as_encoded_bytes());
            add(&mut hasher, format!("{:?} {:?}", meta.file_type(), meta.modified()?).as_bytes());
            add(&mut hasher, &meta.len().to_le_bytes());
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt;
                let version = [meta.ino(), meta.ctime() as u64, meta.ctime_nsec() as u64];
                version.iter().for_each(|part| add(&mut hasher, &part.to_le_bytes()));
            }
            if meta.is_dir() {
                let entries: io::Result<Vec<_>> =
                    fs::read_dir(&path)?.map(|entry| entry.map(|entry| entry.path())).collect();
                let mut entries = entries?;
                entries.sort();
                left.extend(entries);
            }
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn add(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

/// Reads the standard input to its end: its size is part of the offer. If an interrupted command
/// has read the same bytes, its copy stays, and the receiver needs only the rest.
fn copy_stdin(name: &Name, state: &Path) -> io::Result<PathBuf> {
    let (folder, arriving) = (state.join(COPIES), state.join(ARRIVING));
    let native = name.to_path().map_err(io::Error::other)?;
    let mut file = File::create(&arriving)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    drop(file);
    let copy = folder.join(native);
    if is_same(&arriving, &copy).unwrap_or(false) {
        remove(&arriving)?;
        return Ok(folder);
    }
    new_folder(&folder)?;
    if let Some(above) = copy.parent() {
        fs::create_dir_all(above)?;
    }
    fs::rename(arriving, copy)?;
    Ok(folder)
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (io::BufReader::new(one), io::BufReader::new(other));
    let (mut left, mut right) = ([0; 8192], [0; 8192]);
    loop {
        let n = one.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..n])?;
        if left[..n] != right[..n] {
            return Ok(false);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An empty folder at this path.
fn new_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir(path),
    }
}
