//! `rft put`: copies files of the user into Outgoing, each whole or not at all.

pub use crate::store::{PutError, Skipped};

use crate::proto::name::Name;
use crate::store::{Folder, PutArea, StoreError, UrgentMarks};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

/// A file or a folder, and its later name in Outgoing.
#[derive(Debug, Clone)]
pub struct PutFile {
    /// Its path.
    pub source: PathBuf,
    /// Its name below Outgoing.
    pub name: Name,
}

/// What happened so far.
#[derive(Debug)]
pub enum PutStep<'a> {
    /// An entry of a folder is not copied, because rft would not send it.
    Skipped {
        /// Its path, for people.
        path: &'a str,
        /// Why.
        why: Skipped,
    },
    /// A file or folder is complete in Outgoing, durably.
    Done(PutDone),
}

/// A file or folder that is in Outgoing.
#[derive(Debug, Clone)]
pub struct PutDone {
    /// Its name below Outgoing.
    pub name: Name,
    /// Files in it.
    pub files: u64,
    /// Folders and links in it.
    pub folders: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// A moment before it got its name.
    pub since: SystemTime,
}

/// Why files were not put.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPut {
    /// The file is in Outgoing.
    #[error("{0} is in Outgoing already")]
    Inside(String),
    /// The folder has Outgoing in it.
    #[error("{0} contains Outgoing, which cannot be copied into itself; give the files in it")]
    Around(String),
    /// A copy failed.
    #[error(transparent)]
    Failed(#[from] PutError),
}

/// Marks names as urgent, or as usual again, for the next process of the state folder `state`. A
/// running one is asked instead ([`Request::Urgent`](crate::control::Request::Urgent)).
///
/// # Errors
/// [`NotPut::Failed`] if the marks cannot be written.
pub fn mark_urgent(state: &Path, names: &[&Name], urgent: bool) -> Result<(), NotPut> {
    let mark = || {
        let marks = UrgentMarks::at_rest(state)?;
        let mark = |name: &&Name| if urgent { marks.add(name) } else { marks.remove(name) };
        names.iter().try_for_each(mark)
    };
    mark().map_err(|error: StoreError| PutError::from(error).into())
}

/// Copies the files into the folder `outgoing`. The names appear when all copies are complete, one
/// after the other; none is replaced. Blocks; stops soon after `stop` becomes true.
///
/// # Errors
/// [`NotPut`]. Files for which there was a [`PutStep::Done`] stay in Outgoing.
pub fn put(
    outgoing: &Path,
    files: &[PutFile],
    stop: &AtomicBool,
    tell: &mut dyn FnMut(PutStep<'_>),
) -> Result<(), NotPut> {
    let folder = Folder::open(outgoing, false).map_err(PutError::from)?;
    let mut area = PutArea::open(&folder).map_err(PutError::from)?;
    let mut names = HashSet::new();
    for file in files {
        refuse_nested(&file.source, outgoing)?;
        area.is_free(&file.name)?;
        if !names.insert(&file.name) {
            return Err(PutError::Taken(file.name.clone()).into());
        }
    }
    let mut copies = Vec::new();
    for PutFile { source, name } in files {
        let mut skipped = |path: &str, why| tell(PutStep::Skipped { path, why });
        copies.push((name, area.copy(source, name, stop, &mut skipped)?));
    }
    crate::failpoint::fail_point("test.put_copied");
    for (name, copied) in copies {
        let since = SystemTime::now();
        area.publish(&copied, name)?;
        let (files, folders, bytes) = (copied.files, copied.folders, copied.bytes);
        tell(PutStep::Done(PutDone { name: name.clone(), files, folders, bytes, since }));
    }
    Ok(())
}

/// Refuses a source in Outgoing, or around it. One that cannot be resolved fails later, by name.
fn refuse_nested(source: &Path, outgoing: &Path) -> Result<(), NotPut> {
    let (Ok(real), Ok(outgoing)) = (source.canonicalize(), outgoing.canonicalize()) else {
        return Ok(());
    };
    let shown = || source.display().to_string();
    if real.starts_with(&outgoing) && real != outgoing {
        Err(NotPut::Inside(shown()))
    } else if outgoing.starts_with(&real) {
        Err(NotPut::Around(shown()))
    } else {
        Ok(())
    }
}
