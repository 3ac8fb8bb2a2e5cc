//! What stands in Outgoing, and what is found there and in the archive.

use crate::recorder::Recorded;
use rft::internals::store::{Calls, make_dir, make_parent, numbered_name};
use rft::proto::message::{Timestamp, TransferId};
use rft::proto::name::Name;
use rft::store::{FileKind, Folder, Meta};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a user's file is called before it gets its name: nothing that is sent.
const NEW: &str = ".rft-new";

/// Something in Outgoing. Its number is part of its content and of its time.
#[derive(Clone)]
pub struct Thing {
    pub name: String,
    pub what: What,
    /// The thing of that number stands there first.
    pub replaces: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum What {
    File,
    /// To where its content says.
    Link,
    /// It comes after all that is in it.
    Folder,
}

impl Thing {
    pub fn new(name: impl Into<String>, what: What) -> Self {
        Self { name: name.into(), what, replaces: None }
    }

    pub fn name(&self) -> Name {
        Name::parse(self.name.as_bytes()).unwrap()
    }

    /// As its user makes it, in place of whatever stands there: durably.
    pub fn put(&self, n: usize, outgoing: &Path) {
        let folder = Folder::open(outgoing, false).unwrap();
        if self.what == What::Folder {
            make_dir(&folder, &self.name()).unwrap();
            return;
        }
        let (parent, leaf) = make_parent(&folder, &self.name()).unwrap();
        let new = OsStr::new(NEW);
        let _ = Recorded.unlink(&parent, new);
        if self.what == What::Link {
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

    /// Whether it is what stands at its name.
    pub fn stands(&self, n: usize, outgoing: &Path) -> bool {
        let path = outgoing.join(&self.name);
        match self.what {
            What::Folder => path.is_dir(),
            What::File | What::Link => read(&path).is_some_and(|found| found == content(n)),
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

/// Of a file, or where a link leads.
fn read(path: &Path) -> Option<String> {
    match fs::read_link(path) {
        Ok(target) => target.to_str().map(ToOwned::to_owned),
        Err(_) => fs::read_to_string(path).ok(),
    }
}

/// What the ledger would remember it by, when it is kept. A folder's time is not written down here.
pub fn mark(name: &Name, meta: &Meta) -> TransferId {
    let about = (meta.kind != FileKind::Folder).then_some((meta.size, meta.modified));
    let text = format!("{name} {} {about:?}", meta.identity.inode);
    TransferId(*blake3::hash(text.as_bytes()).as_bytes().first_chunk().unwrap())
}

/// How often each thing stands in a folder, under its own name or a numbered one.
pub fn count(folder: &Path, things: &[Thing]) -> Result<BTreeMap<usize, usize>, String> {
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
                let of_that_name =
                    |thing: &Thing| thing.what == What::Folder && Path::new(&thing.name) == path;
                things
                    .iter()
                    .position(of_that_name)
                    .into_iter()
                    .for_each(|n| *found.entry(n).or_default() += 1);
                folders.push(path);
                continue;
            }
            let is = |n: usize, thing: &Thing| {
                thing.what == if meta.is_symlink() { What::Link } else { What::File }
                    && read(&at) == Some(content(n))
                    && (meta.mtime(), meta.mtime_nsec())
                        == (time(n).seconds, i64::from(time(n).nanos))
                    && (meta.is_symlink() || meta.mode() & 0o777 == 0o640)
                    && thing.may_be_called(&path)
            };
            match things.iter().enumerate().find(|(n, thing)| is(*n, thing)) {
                Some((n, _)) => *found.entry(n).or_default() += 1,
                None => return Err(format!("{} is none of the things", path.display())),
            }
        }
    }
    Ok(found)
}
