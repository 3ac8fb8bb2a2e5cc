//! A file in `removing` may be removed only if the system reports that no program has it open for
//! writing.
//!
//! If the system cannot tell (for a file of another user, or on a network file system), the file
//! stays in `removing` for a while and is checked again: a program that still writes to it changes
//! its size, its times or its content meanwhile.

use crate::proto::name::Name;
use crate::store::Writers;
use crate::store::outgoing::removal_record::RemovalRecord;
use crate::store::tree::meta::{FileKind, Meta};
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::io;

/// A file that waits in `removing` until it is clear that no program writes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub(super) entry: RemovalRecord,
    pub(super) name: Name,
    /// Its metadata just after the rename.
    pub(super) meta: Meta,
    pub(super) hash: Option<[u8; 32]>,
}

impl Hold {
    pub(super) fn into_entry(self) -> RemovalRecord {
        self.entry
    }
}

/// Whether any program has a file in `removing` open for writing.
pub(super) fn writers_of(removing: &Dir, held: &OsStr, kind: FileKind) -> Writers {
    if kind != FileKind::File {
        return Writers::None;
    }
    match os::open_read(removing, held) {
        Ok((file, _)) => crate::store::writers_of(&file),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

/// The metadata of an entry in `removing`, and whether any program has it open for writing. `kind`
/// is the expected one: a file is opened at once, so that the metadata are those of the open file.
pub(super) fn look_at(removing: &Dir, held: &OsStr, kind: FileKind) -> io::Result<(Meta, Writers)> {
    let opened = (kind == FileKind::File).then(|| os::open_read(removing, held));
    if let Some(Ok((file, meta))) = opened {
        return Ok((meta, crate::store::writers_of(&file)));
    }
    let meta = os::stat(removing, held)?;
    let writers = match opened {
        Some(Err(error)) if error.kind() == io::ErrorKind::ResourceBusy => Writers::Some,
        Some(_) => Writers::Unknown,
        None => writers_of(removing, held, meta.kind),
    };
    Ok((meta, writers))
}

/// Whether a file still has the content that was sent. A program can set the modification time
/// back, but not the change time. If the change time differs, the hash of the content decides.
pub(super) fn has_content_of(
    sent: &Meta,
    hash: Option<[u8; 32]>,
    found: &Meta,
    dir: &Dir,
    leaf: &OsStr,
) -> io::Result<bool> {
    if found.kind != FileKind::File || found.identity.changed == sent.identity.changed {
        return Ok(true);
    }
    has_hash(hash, dir, leaf)
}

pub(super) fn has_hash(hash: Option<[u8; 32]>, dir: &Dir, leaf: &OsStr) -> io::Result<bool> {
    let Some(hash) = hash else { return Ok(false) };
    let (file, _) = os::open_read(dir, leaf)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(*hasher.finalize().as_bytes() == hash)
}
