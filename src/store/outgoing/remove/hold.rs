//! May a file go that was renamed into `removing`? Only if the system itself says that no program
//! has it open for writing.
//!
//! Where the system cannot tell (another user's file, a network file system), the file stays in
//! `removing` for a while and is looked at again: a program that still writes it changes its size,
//! its times or its content meanwhile.

use super::{Removed, Remover, Sent, Taken};
use crate::proto::name::Name;
use crate::store::Writers;
use crate::store::error::{Naming, StoreError};
use crate::store::outgoing::removal_record::Entry;
use crate::store::tree::folder::DirCursor;
use crate::store::tree::meta::{FileKind, Meta};
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::io;

/// A file that stands in `removing` until it is known that no program writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    entry: Entry,
    name: Name,
    /// As it was when it had just been renamed there.
    meta: Meta,
    hash: Option<[u8; 32]>,
}

impl Hold {
    pub(crate) fn into_entry(self) -> Entry {
        self.entry
    }
}

/// Whether any program has a file in `removing` open for writing.
pub(crate) fn writers_of(removing: &Dir, held: &OsStr, kind: FileKind) -> Writers {
    if kind != FileKind::File {
        return Writers::None;
    }
    match os::open_read(removing, held) {
        Ok((file, _)) => crate::store::writers_of(&file),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

/// Whether a file still has the content that was sent. Its change time tells when its other times
/// were put back; then the content itself decides.
pub(crate) fn has_content_of(
    sent: &Sent,
    found: &Meta,
    dir: &Dir,
    leaf: &OsStr,
) -> io::Result<bool> {
    if found.kind != FileKind::File || found.identity.changed == sent.meta.identity.changed {
        return Ok(true);
    }
    has_hash(sent.hash, dir, leaf)
}

fn has_hash(hash: Option<[u8; 32]>, dir: &Dir, leaf: &OsStr) -> io::Result<bool> {
    let Some(hash) = hash else { return Ok(false) };
    let (file, _) = os::open_read(dir, leaf)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(*hasher.finalize().as_bytes() == hash)
}

impl Remover {
    /// Looks at a file that was just renamed into `removing`: is it the one that was sent, and does
    /// a program have it open?
    pub(crate) fn look_at_taken(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        entry: Entry,
        sent: &Sent,
    ) -> Result<Taken, StoreError> {
        let (held, name) = (entry.leaf(), &sent.name);
        let meta = os::stat(removing, &held).naming("look at", || self.outgoing.shown(name))?;
        let stays = if meta.same_file(&sent.meta) {
            match writers_of(removing, &held, meta.kind) {
                Writers::None => return Ok(Taken::Held(entry)),
                Writers::Unknown => {
                    let (name, hash) = (name.clone(), sent.hash);
                    return Ok(Taken::OnHold(Hold { entry, name, meta, hash }));
                }
                Writers::Some => Removed::InUse,
            }
        } else {
            Removed::Changed
        };
        self.put_back(walk, removing, &held, name)?;
        Ok(Taken::Not(stays))
    }

    /// Removes or archives a file that was on hold if nothing happened to it since; else puts it
    /// back.
    ///
    /// # Errors
    /// [`StoreError`] when the system does not let it; the file is put back if that is possible.
    pub fn settle(&self, hold: Hold) -> Result<Removed, StoreError> {
        let removing = self.removing.of(&self.outgoing)?.dir;
        let mut walk = self.outgoing.walk();
        let (held, name) = (hold.entry.leaf(), hold.name.clone());
        let settled = self.settle_held(&removing, hold);
        match &settled {
            Ok(Removed::Gone) => {}
            Ok(_) => self.put_back(&mut walk, &removing, &held, &name)?,
            // If it cannot be put back either, the next start does it.
            Err(_) => drop(self.put_back(&mut walk, &removing, &held, &name)),
        }
        settled
    }

    fn settle_held(&self, removing: &Dir, hold: Hold) -> Result<Removed, StoreError> {
        let Hold { entry, name, meta, hash } = hold;
        let (held, shown) = (entry.leaf(), || self.outgoing.shown(&name));
        let now = match os::stat(removing, &held) {
            // Its user took it out of there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::Gone),
            now => now.naming("look at", shown)?,
        };
        if writers_of(removing, &held, now.kind) == Writers::Some {
            return Ok(Removed::InUse);
        }
        if !now.unchanged(&meta) || !has_hash(hash, removing, &held).naming("read", shown)? {
            return Ok(Removed::Changed);
        }
        // The content was read for some time: the last look comes after that.
        if !os::stat(removing, &held).naming("look at", shown)?.unchanged(&meta) {
            return Ok(Removed::Changed);
        }
        let mut filing = self.archive.filing();
        self.finish(&mut filing, removing, entry, &name)?;
        filing.sync()?;
        Ok(Removed::Gone)
    }

    /// Names the mount that a file stands on, of which the system says that it is another volume.
    pub(crate) fn on_other_volume(&self, walk: &mut DirCursor<'_>, name: &Name) -> StoreError {
        let device = |dir: &Dir| os::stat_dir(dir).map(|meta| meta.identity.device).ok();
        let outgoing = walk.dir(None).ok().and_then(|dir| device(&dir));
        let mut folder = name.parent();
        // The uppermost folder on another device is the mount. A bind mount has the device of
        // Outgoing: then the folder of the file is named.
        let mut mount = folder.clone();
        while let Some(above) = folder {
            if walk.dir(Some(&above)).ok().and_then(|dir| device(&dir)) != outgoing {
                mount = Some(above.clone());
            }
            folder = above.parent();
        }
        let path = mount.map_or_else(
            || self.outgoing.path().display().to_string(),
            |m| self.outgoing.shown(&m),
        );
        StoreError::OtherVolume { path }
    }
}
