//! The entries that are sent, and how to recognise them in Incoming.

use bytes::Bytes;
use rft::internals::proto::chunk_set::ChunkSet;
use rft::internals::proto::message::{EntryKind, Offer, Timestamp, TransferId};
use rft::internals::proto::name::Name;
use rft::internals::store::numbered_name;
use rft::internals::store::{Arrived, ArrivedHook, Content, Incoming, Staged, StoreError};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a large file that are staged, with a checkpoint, before the rest.
const NOTED: usize = 5000;

/// An entry to send. Its number determines its transfer ID and its time.
#[derive(Clone)]
pub struct TestEntry {
    pub name: &'static str,
    pub body: EntryBody,
    /// The number of the entry that this one replaces with `OnConflict::Overwrite`.
    pub replaces: Option<usize>,
    /// The user writes an entry with the same content, which makes this one needless.
    pub same_as: Option<usize>,
    /// While one of these exists, this entry is refused.
    pub kept_out_by: &'static [usize],
}

#[derive(Clone, PartialEq, Debug)]
pub enum EntryBody {
    File(Vec<u8>),
    /// Staged, with a checkpoint at [`NOTED`].
    Large(Vec<u8>),
    Link(&'static str),
    Folder,
    /// A file that the receiver's user writes without a sync.
    Users(Vec<u8>),
}

pub fn id(n: usize) -> TransferId {
    TransferId([u8::try_from(n + 1).unwrap(); 16])
}

pub fn time(n: usize) -> Timestamp {
    Timestamp { seconds: 1_000_000_000 + i64::try_from(n).unwrap(), nanos: 5 }
}

pub fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

impl TestEntry {
    pub fn content(&self) -> &[u8] {
        match &self.body {
            EntryBody::File(content) | EntryBody::Large(content) | EntryBody::Users(content) => {
                content
            }
            EntryBody::Link(_) | EntryBody::Folder => &[],
        }
    }

    pub fn offer(&self, n: usize) -> Offer {
        let kind = match self.body {
            EntryBody::File(_) | EntryBody::Large(_) | EntryBody::Users(_) => {
                EntryKind::File { size: self.content().len() as u64 }
            }
            EntryBody::Link(target) => EntryKind::Link { target: target.into() },
            EntryBody::Folder => EntryKind::Folder,
        };
        let mode = Some(if self.body == EntryBody::Folder { 0o750 } else { 0o640 });
        Offer { id: id(n), name: name(self.name), kind, modified: time(n), mode, inline: true }
    }

    /// The entry as the inbox passes it to the store.
    pub fn arrived(&self, n: usize, incoming: &Incoming) -> Result<Arrived, String> {
        let content = match &self.body {
            EntryBody::File(content) | EntryBody::Users(content) => {
                Content::Bytes(Bytes::copy_from_slice(content))
            }
            EntryBody::Large(content) => {
                Content::Staged(stage(n, content, incoming).map_err(|e| e.to_string())?)
            }
            EntryBody::Link(_) => Content::Link,
            EntryBody::Folder => Content::Folder,
        };
        let hash = match self.body {
            EntryBody::File(_) | EntryBody::Large(_) | EntryBody::Users(_) => {
                *blake3::hash(self.content()).as_bytes()
            }
            EntryBody::Link(_) | EntryBody::Folder => [0; 32],
        };
        Ok(Arrived { offer: self.offer(n), content, hash, hook: ArrivedHook::None })
    }
}

/// Stages a large file: uses the staged prefix if it is correct, and writes the rest with a
/// checkpoint on the way.
fn stage(n: usize, content: &[u8], incoming: &Incoming) -> Result<Staged, StoreError> {
    let (staged, held) = incoming.stage(id(n))?;
    // A test's chunks are of one byte.
    let mut there = content.len().min(usize::try_from(held.prefix_chunks()).unwrap());
    let mut before = vec![0; there];
    if staged.read_at(&mut before, 0).is_err() || content[..there] != before[..] {
        staged.truncate(0)?;
        there = 0;
    }
    if there < NOTED {
        staged.write_at(there as u64, &content[there..NOTED])?;
        staged.checkpoint(&ChunkSet::prefix(NOTED as u64))?;
        there = NOTED;
    }
    staged.write_at(there as u64, &content[there..])?;
    Ok(staged)
}

/// Whether `path` is a name of the entry: a number may follow its last component, or its first one,
/// where a file may have been in the place of a folder.
pub fn may_be_called(sent: &str, path: &Path) -> bool {
    let sent = name(sent);
    let top = name(std::str::from_utf8(sent.components().next().unwrap()).unwrap());
    let below = &sent.as_bytes()[top.as_bytes().len()..];
    let moved = numbered_name(&top, 1).unwrap();
    let moved = Name::parse(&[moved.as_bytes(), below].concat()).unwrap();
    let numbers = (0..3).flat_map(|number| [&sent, &moved].map(|name| numbered_name(name, number)));
    numbers.flatten().any(|name| name.as_bytes() == path.as_os_str().as_encoded_bytes())
}

pub fn is_whole(path: &Path, n: usize, entry: &TestEntry) -> bool {
    let meta = path.symlink_metadata().unwrap();
    if let EntryBody::Users(content) = &entry.body {
        return meta.is_file() && fs::read(path).unwrap() == *content;
    }
    let timed = (meta.mtime(), meta.mtime_nsec()) == (time(n).seconds, i64::from(time(n).nanos));
    timed
        && match &entry.body {
            EntryBody::Users(_) => false,
            EntryBody::Folder => meta.is_dir() && meta.mode() & 0o777 == 0o750,
            EntryBody::Link(target) => {
                meta.is_symlink() && fs::read_link(path).unwrap() == Path::new(target)
            }
            EntryBody::File(content) | EntryBody::Large(content) => {
                meta.is_file()
                    && meta.mode() & 0o777 == 0o640
                    && fs::read(path).unwrap() == *content
            }
        }
}

pub fn file(text: &str) -> EntryBody {
    EntryBody::File(text.as_bytes().to_vec())
}

pub fn users(text: &str) -> EntryBody {
    EntryBody::Users(text.as_bytes().to_vec())
}

pub fn large(byte: u8) -> EntryBody {
    EntryBody::Large(vec![byte; 2 * NOTED])
}
