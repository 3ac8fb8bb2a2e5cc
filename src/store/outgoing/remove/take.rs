//! Renames one file from Outgoing into `removing`, and compares it with the one that was sent.

use super::hold::{self, Hold};
use super::{Removed, Remover, Sent};
use crate::failpoint::fail_point;
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::store::Writers;
use crate::store::error::{Naming, StoreError};
use crate::store::outgoing::removal_record::{RemovalRecord, Verb};
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::meta::FileKind;
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A folder that lost an entry, and its time before.
pub(super) struct ChangedFolder {
    pub(super) name: Option<Name>,
    pub(super) dir: Arc<Dir>,
    pub(super) modified: Timestamp,
}

pub(super) enum TakeOutcome {
    /// The file is in `removing`, and may be removed.
    Held(RemovalRecord),
    /// The file is in `removing`, and waits there.
    OnHold(Hold),
    /// The file is not in `removing`.
    Not(Removed),
}

impl Remover {
    /// Renames one file out of Outgoing, and then checks its identity.
    pub(super) fn take(
        &self,
        walk: &mut DirCursor<'_>,
        touched: &mut Vec<ChangedFolder>,
        removing: &Dir,
        verb: Verb,
        sent: &Sent,
    ) -> Result<TakeOutcome, StoreError> {
        let Sent { name, meta, hash } = sent;
        let shown = || self.outgoing.shown(name);
        let (parent, leaf) = match walk.parent(name) {
            Err(StoreError::NotFound { .. }) => return Ok(TakeOutcome::Not(Removed::Gone)),
            other => other?,
        };
        let there = match os::stat(&parent, &leaf) {
            Ok(found) if found.kind != FileKind::Folder && found.same_file(meta) => {
                if !hold::has_content_of(meta, *hash, &found, &parent, &leaf)
                    .naming("read", shown)?
                {
                    return Ok(TakeOutcome::Not(Removed::Changed));
                }
                true
            }
            Ok(_) => return Ok(TakeOutcome::Not(Removed::Changed)),
            // Another program removed the file. This must be durable, too, before the peer forgets
            // the transfer.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(StoreError::new("look at", shown(), &error)),
        };
        let folder = name.parent();
        if !touched.iter().any(|touched: &ChangedFolder| touched.name == folder) {
            let modified = os::stat_dir(&parent).naming("look at", shown)?.modified;
            touched.push(ChangedFolder { name: folder, dir: Arc::clone(&parent), modified });
        }
        if !there {
            return Ok(TakeOutcome::Not(Removed::Gone));
        }
        let entry =
            RemovalRecord::new(verb, self.count.fetch_add(1, Ordering::Relaxed), name, meta);
        entry.write_name(removing, name).naming("remove", shown)?;
        let held = entry.leaf();
        fail_point("remove.taking");
        match os::rename_own(&parent, &leaf, removing, &held) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                entry.drop_name(removing);
                return Ok(TakeOutcome::Not(Removed::Gone));
            }
            Err(error) => {
                entry.drop_name(removing);
                return match error.kind() {
                    // On Windows: a program has the file open and does not allow a rename.
                    io::ErrorKind::ResourceBusy => Ok(TakeOutcome::Not(Removed::InUse)),
                    io::ErrorKind::CrossesDevices => Err(self.on_other_volume(walk, name)),
                    _ => Err(StoreError::of_entry("remove", shown(), &error, (&parent, &leaf))),
                };
            }
        }
        fail_point("remove.taken");
        self.look_at_taken(walk, removing, entry, sent)
    }

    /// Checks a file after its rename into `removing`: it must be the one that was sent, and no
    /// program may have it open for writing.
    fn look_at_taken(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        entry: RemovalRecord,
        sent: &Sent,
    ) -> Result<TakeOutcome, StoreError> {
        let (held, name) = (entry.leaf(), &sent.name);
        let (meta, writers) = hold::look_at(removing, &held, sent.meta.kind)
            .naming("look at", || self.outgoing.shown(name))?;
        let stays = if meta.same_file(&sent.meta) {
            match writers {
                Writers::None => return Ok(TakeOutcome::Held(entry)),
                Writers::Unknown => {
                    let (name, hash) = (name.clone(), sent.hash);
                    return Ok(TakeOutcome::OnHold(Hold { entry, name, meta, hash }));
                }
                Writers::Some => Removed::InUse,
            }
        } else {
            Removed::Changed
        };
        self.put_back(walk, removing, &held, name)?;
        Ok(TakeOutcome::Not(stays))
    }

    /// The error for a file on another volume than Outgoing. It names the mount point.
    fn on_other_volume(&self, walk: &mut DirCursor<'_>, name: &Name) -> StoreError {
        let device = |dir: &Dir| os::stat_dir(dir).map(|meta| meta.identity.device).ok();
        let outgoing = walk.dir(None).ok().and_then(|dir| device(&dir));
        let mut folder = name.parent();
        // The uppermost folder on another device is the mount point. A bind mount has the device of
        // Outgoing; in that case the error names the folder of the file.
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
