//! One file leaves Outgoing by a rename into `removing`, where it is compared with the one that was
//! sent.

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

/// A folder that lost an entry, and the time it had before.
pub(super) struct ChangedFolder {
    pub(super) name: Option<Name>,
    pub(super) dir: Arc<Dir>,
    pub(super) modified: Timestamp,
}

pub(super) enum TakeOutcome {
    /// It stands in `removing`, and may go.
    Held(RemovalRecord),
    /// It stands in `removing`, and stays there for a while.
    OnHold(Hold),
    /// It does not stand in `removing`.
    Not(Removed),
}

impl Remover {
    /// Renames one file out of Outgoing and looks which one it was.
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
            // Somebody removed it, which must last too before the peer forgets it.
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
                    // Windows: a program that has it open does not share its name.
                    io::ErrorKind::ResourceBusy => Ok(TakeOutcome::Not(Removed::InUse)),
                    io::ErrorKind::CrossesDevices => Err(self.on_other_volume(walk, name)),
                    _ => Err(StoreError::of_entry("remove", shown(), &error, (&parent, &leaf))),
                };
            }
        }
        fail_point("remove.taken");
        self.look_at_taken(walk, removing, entry, sent)
    }

    /// Looks at a file that was just renamed into `removing`: is it the one that was sent, and does
    /// a program have it open?
    fn look_at_taken(
        &self,
        walk: &mut DirCursor<'_>,
        removing: &Dir,
        entry: RemovalRecord,
        sent: &Sent,
    ) -> Result<TakeOutcome, StoreError> {
        let (held, name) = (entry.leaf(), &sent.name);
        let meta = os::stat(removing, &held).naming("look at", || self.outgoing.shown(name))?;
        let stays = if meta.same_file(&sent.meta) {
            match hold::writers_of(removing, &held, meta.kind) {
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

    /// Names the mount that a file stands on, of which the system says that it is another volume.
    fn on_other_volume(&self, walk: &mut DirCursor<'_>, name: &Name) -> StoreError {
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
