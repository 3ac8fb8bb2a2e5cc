//! The end of a hold: the file is removed or archived, or put back.

use super::hold::{self, Hold};
use super::{Removed, Remover};
use crate::store::Writers;
use crate::store::error::{Naming, StoreError};
use crate::store::tree::os;
use cap_std::fs::Dir;
use std::io;

impl Remover {
    /// Removes or archives a file that was on hold if it is unchanged since. Otherwise puts it
    /// back.
    ///
    /// # Errors
    /// [`StoreError`] if the system refuses it. The file is put back if possible.
    pub fn settle(&self, hold: Hold) -> Result<Removed, StoreError> {
        let removing = self.removing.of(&self.outgoing)?.dir;
        let mut walk = self.outgoing.walk();
        let (held, name) = (hold.entry.leaf(), hold.name.clone());
        let settled = self.settle_held(&removing, hold);
        match &settled {
            Ok(Removed::Gone) => {}
            Ok(_) => self.put_back(&mut walk, &removing, &held, &name)?,
            // If the file cannot be put back either, the next start does it.
            Err(_) => drop(self.put_back(&mut walk, &removing, &held, &name)),
        }
        settled
    }

    fn settle_held(&self, removing: &Dir, hold: Hold) -> Result<Removed, StoreError> {
        let Hold { entry, name, meta, hash } = hold;
        let (held, shown) = (entry.leaf(), || self.outgoing.shown(&name));
        let now = match os::stat(removing, &held) {
            // The user has removed the file from `removing`.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::Gone),
            now => now.naming("look at", shown)?,
        };
        if hold::writers_of(removing, &held, now.kind) == Writers::Some {
            return Ok(Removed::InUse);
        }
        if !now.unchanged(&meta) || !hold::has_hash(hash, removing, &held).naming("read", shown)? {
            return Ok(Removed::Changed);
        }
        // Reading the content takes time, so the metadata are checked once more.
        if !os::stat(removing, &held).naming("look at", shown)?.unchanged(&meta) {
            return Ok(Removed::Changed);
        }
        let mut batch = self.archive.batch();
        self.finish(&mut batch, removing, entry, &name)?;
        batch.sync()?;
        Ok(Removed::Gone)
    }
}
