//! Folders in Incoming: those that are missing, and their permissions and times.

use super::{PRIVATE, Placer};
use crate::proto::message::Timestamp;
use crate::proto::name::Name;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::os;
use std::collections::BTreeSet;
use std::io;

impl Placer<'_> {
    /// Adds `folder` and the folders above it to `missing`, if they do not exist.
    pub(crate) fn missing(&mut self, folder: Option<Name>, missing: &mut BTreeSet<Name>) {
        let (mut above, mut unknown) = (folder, Vec::new());
        while let Some(name) = above.filter(|name| !missing.contains(name)) {
            above = name.parent();
            unknown.push(name);
        }
        // From the top down: every folder beneath a missing one is missing, too.
        while let Some(name) = unknown.last() {
            match self.walk.dir(Some(name)) {
                Err(StoreError::NotFound { .. }) => return missing.extend(unknown),
                // Another entry is in the way. The attempt to create the folder reports it.
                Err(_) => return,
                Ok(_) => drop(unknown.pop()),
            }
        }
    }

    /// Whether a folder no longer exists.
    pub(crate) fn is_gone(&mut self, name: &Name) -> bool {
        matches!(
            self.walk.dir(Some(name)),
            Err(StoreError::NotFound { .. } | StoreError::InTheWay { .. })
        )
    }

    /// Whether a folder still has the permissions with which it was created.
    fn is_private(&mut self, name: &Name) -> bool {
        let dir = self.walk.dir(Some(name));
        let found = dir.and_then(|dir| os::stat_dir(&dir).naming("look at", || self.shown(name)));
        found.is_ok_and(|meta| meta.mode.is_none_or(|mode| mode == PRIVATE))
    }

    /// Creates a folder with its mode and time. An existing folder keeps its mode, unless this
    /// program created it as the parent of a file (`filling`) and its mode is unchanged since.
    pub(crate) fn folder(
        &mut self,
        name: &Name,
        mode: Option<u32>,
        modified: Timestamp,
        filling: bool,
    ) -> Result<(), StoreError> {
        let (parent, _) = self.parent(name)?;
        let dir = self.walk.make_dir(name, &mut |_, _| {})?;
        self.record_name_in(name.parent(), &parent)?;
        let mode = match filling && self.is_private(name) {
            true => mode.or(self.incoming.usual_mode()),
            false => None,
        };
        match os::set_dir(&dir, mode, modified) {
            // A folder of another user keeps its time as well.
            Err(error) if mode.is_none() && error.kind() == io::ErrorKind::PermissionDenied => {}
            set => set.naming("set the time of", || self.shown(name))?,
        }
        self.changed.add(Some(name.clone()), &dir);
        Ok(())
    }
}
