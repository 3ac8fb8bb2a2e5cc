//! The entries of Outgoing, and how to recognise them there and in the archive.

use crate::recorder::Recorded;
use rft::internals::proto::message::{Timestamp, TransferId};
use rft::internals::proto::name::Name;
use rft::internals::store::{Calls, make_dir, make_parent, numbered_name};
use rft::internals::store::{FileKind, Folder, Meta};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Temporary name of a user's file, which is never sent.
const NEW: &str = ".rft-new";

/// An entry of Outgoing. Its number determines its content and its time.
#[derive(Clone)]
pub struct TestEntry {
    pub name: String,
    pub body: EntryBody,
    /// The number of the entry that is there first.
    pub replaces: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum EntryBody {
    File,
    /// Its content is its target.
    Link,
    /// It comes after everything in it.
    Folder,
}

impl TestEntry {
    pub fn new(name: impl Into<String>, body: EntryBody) -> Self {
        Self { name: name.into(), body, replaces: None }
    }

    pub fn name(&self) -> Name {
        Name::parse(self.name.as_bytes()).unwrap()
    }

    /// Creates the entry durably, as its user does, replacing any other entry of that name.
    pub fn put(&self, n: usize, outgoing: &Path) {
        let folder = Folder::open(outgoing, false).unwrap();
        if self.body == EntryBody::Folder {
            make_dir(&folder, &self.name()).unwrap();
            return;
        }
        let (parent, leaf) = make_parent(&folder, &self.name()).unwrap();
        let new = OsStr::new(NEW);
        let _ = Recorded.unlink(&parent, new);
        if self.body == EntryBody::Link {
            Recorded.make_link(&parent, new, content(n).as_bytes()).unwrap();
            Recorded.set_link(&parent, new, time(n)).unwrap();
            Recorded.sync_dir(&parent).unwrap();
        } else {
            let file = Recorded.create_new(&parent, new).unwrap();
            Recorded.write_at(&file, content(n).as_bytes(), 0).unwrap();
            Recorded.set_file(&file, Some(0o640), time(n)).unwrap();
            Recorded.sync_file(&file).unwrap();
        }
        Recorded.rename_over(&parent, new, &parent, &leaf).unwrap();
        Recorded.sync_dir(&parent).unwrap();
    }

    /// Whether this entry is the one at its name.
    pub fn stands(&self, n: usize, outgoing: &Path) -> bool {
        let path = outgoing.join(&self.name);
        match self.body {
            EntryBody::Folder => path.is_dir(),
            EntryBody::File | EntryBody::Link => {
                read(&path).is_some_and(|found| found == content(n))
            }
        }
    }

    fn may_be_called(&self, path: &Path) -> bool {
        let names = (0..3).filter_map(|number| numbered_name(&self.name(), number));
        names.into_iter().any(|name| name.as_bytes() == path.as_os_str().as_encoded_bytes())
    }
}

fn content(n: usize) -> String {
    format!("number {n}")
}

fn time(n: usize) -> Timestamp {
    Timestamp { seconds: 1_000_000_000 + i64::try_from(n).unwrap(), nanos: 5 }
}

/// The content of a file, or the target of a link.
fn read(path: &Path) -> Option<String> {
    match fs::read_link(path) {
        Ok(target) => target.to_str().map(ToOwned::to_owned),
        Err(_) => fs::read_to_string(path).ok(),
    }
}

/// The key under which the ledger remembers a kept entry. The time of a folder is not recorded
/// here.
pub fn mark(name: &Name, meta: &Meta) -> TransferId {
    let about = (meta.kind != FileKind::Folder).then_some((meta.size, meta.modified));
    let text = format!("{name} {} {about:?}", meta.identity.inode);
    TransferId(*blake3::hash(text.as_bytes()).as_bytes().first_chunk().unwrap())
}

/// How often each entry exists in a folder, under its own name or a numbered one.
pub fn count(folder: &Path, entries: &[TestEntry]) -> Result<BTreeMap<usize, usize>, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(above) = folders.pop() {
        for entry in fs::read_dir(folder.join(&above)).unwrap() {
            let path = above.join(entry.unwrap().file_name());
            let at = folder.join(&path);
            if matches!(path.file_name().and_then(OsStr::to_str), Some(".rft" | NEW)) {
                continue;
            }
            let meta = at.symlink_metadata().unwrap();
            if meta.is_dir() {
                let of_that_name = |entry: &TestEntry| {
                    entry.body == EntryBody::Folder && Path::new(&entry.name) == path
                };
                entries
                    .iter()
                    .position(of_that_name)
                    .into_iter()
                    .for_each(|n| *found.entry(n).or_default() += 1);
                folders.push(path);
                continue;
            }
            let is = |n: usize, entry: &TestEntry| {
                entry.body == if meta.is_symlink() { EntryBody::Link } else { EntryBody::File }
                    && read(&at) == Some(content(n))
                    && (meta.mtime(), meta.mtime_nsec())
                        == (time(n).seconds, i64::from(time(n).nanos))
                    && (meta.is_symlink() || meta.mode() & 0o777 == 0o640)
                    && entry.may_be_called(&path)
            };
            match entries.iter().enumerate().find(|(n, entry)| is(*n, entry)) {
                Some((n, _)) => *found.entry(n).or_default() += 1,
                None => return Err(format!("{} is none of the entries", path.display())),
            }
        }
    }
    Ok(found)
}
