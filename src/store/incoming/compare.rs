//! Whether an entry that exists in Incoming has the content of a staged one.

use super::Incoming;
use super::stage::leaf_of;
use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::tree::meta::{FileKind, Meta};
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};

/// Maximum number of files of the same size, at numbered names, that are compared with a new one.
pub(crate) const MAX_COMPARED: u32 = 64;
/// Maximum number of these files that are read to the end.
const MAX_HASHED: usize = 4;
/// Before a file is read to the end, this many bytes are compared at each of [`SAMPLES`] offsets.
const SAMPLE: usize = 16 * 1024;
const SAMPLES: u64 = 8;

/// The properties of a staged entry that decide its name in Incoming.
pub(crate) struct StagedEntry<'a> {
    pub(crate) id: TransferId,
    pub(crate) name: &'a Name,
    pub(crate) fingerprint: Fingerprint<'a>,
    pub(crate) modified: Timestamp,
}

/// The content of a staged entry, by which an equal entry in Incoming is recognized.
pub(crate) enum Fingerprint<'a> {
    File { size: u64, hash: &'a [u8; 32] },
    Link { target: &'a [u8] },
}

/// The files in Incoming that were compared with the staged files of one batch.
#[derive(Default)]
pub(crate) struct Comparisons(HashMap<TransferId, Compared>);

/// The files that were compared with one staged file, and the results.
#[derive(Default)]
struct Compared {
    read: u32,
    hashed: Vec<(Meta, bool)>,
}

impl Comparisons {
    /// Whether the entry `there` has the same content: a link with the same target, or a file with
    /// the same size and hash. Files at numbered names are usually other versions. If there are
    /// many, only some of them are read, and those with the same time.
    pub(crate) fn is_same(
        &mut self,
        incoming: &Incoming,
        entry: &StagedEntry<'_>,
        number: u32,
        (parent, leaf): (&Dir, &OsStr),
        there: &Meta,
    ) -> bool {
        let (size, hash) = match &entry.fingerprint {
            Fingerprint::Link { target } => {
                return there.kind == FileKind::Link
                    && os::read_link(parent, leaf).is_ok_and(|found| found == *target);
            }
            Fingerprint::File { size, hash } => (*size, *hash),
        };
        if there.kind != FileKind::File || there.size != size {
            return false;
        }
        let compared = self.0.entry(entry.id).or_default();
        if let Some((_, same)) = compared.hashed.iter().find(|(meta, _)| meta.unchanged(there)) {
            return *same;
        }
        let many = compared.read >= MAX_COMPARED || compared.hashed.len() >= MAX_HASHED;
        if number > 0 && many && there.modified != entry.modified {
            return false;
        }
        compared.read += 1;
        // A file that cannot be read counts as different.
        let Ok((file, meta)) = os::open_read(parent, leaf) else { return false };
        let staged = incoming.stage_dir().ok();
        let staged = staged.and_then(|stage| os::open_read(&stage.dir, &leaf_of(entry.id)).ok());
        if staged.is_some_and(|(staged, _)| !samples_agree(&staged, &file, size)) {
            return false;
        }
        let same = hash_of(&file, size).is_ok_and(|found| found == *hash);
        compared.hashed.push((meta, same));
        same
    }
}

/// Whether two files of this size are equal at some offsets. Large files that differ need not be
/// read to the end then.
fn samples_agree(one: &File, other: &File, size: u64) -> bool {
    let (mut left, mut right) = (vec![0; SAMPLE], vec![0; SAMPLE]);
    let last = size.saturating_sub(SAMPLE as u64);
    (0..SAMPLES).all(|number| {
        let offset = last / (SAMPLES - 1) * number;
        match (os::read_at(one, &mut left, offset), os::read_at(other, &mut right, offset)) {
            (Ok(n), Ok(m)) => left[..n.min(m)] == right[..n.min(m)],
            // After a read error the hash decides.
            _ => true,
        }
    })
}

fn hash_of(mut file: &File, size: u64) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    // On Windows a read at an offset moves the file position.
    file.rewind()?;
    let mut file = file.take(size + 1);
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 if length == size => return Ok(*hasher.finalize().as_bytes()),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}
