//! Folders with a numbered name, `name (1)/`, because a file has their name in Incoming. All
//! entries of such a folder go there, until the folder itself has arrived.
//!
//! While the file exists, the folder is the first of `name`, `name (1)`, `name (2)` that is no
//! file. The ledger records the folder's name, in case the file is removed before the folder is
//! complete. The record counts while that folder exists.

use crate::config::OnConflict;
use crate::proto::message::{EntryKind, Offer};
use crate::proto::name::Name;
use crate::store::error::StoreError;
use crate::store::state::ledger::Ledger;
use crate::store::tree::cursor::DirCursor;
use crate::store::tree::meta::FileKind;
use crate::store::tree::numbered;
use crate::store::tree::numbered::numbered;
use std::collections::{BTreeSet, HashMap};

/// The names in Incoming of the folders of one batch, by their offered names.
#[derive(Debug, Default)]
pub(crate) struct NumberedFolders {
    /// The records of the ledger.
    known: HashMap<Name, Name>,
    found: HashMap<Name, Name>,
    new: Vec<(Name, Name)>,
}

impl NumberedFolders {
    /// Reads the ledger's records about the folders of a batch.
    pub(crate) fn of<'a>(
        ledger: &Ledger,
        on_conflict: OnConflict,
        offers: impl Iterator<Item = &'a Offer>,
    ) -> Result<Self, StoreError> {
        if on_conflict != OnConflict::Rename {
            return Ok(Self::default());
        }
        Ok(Self { known: ledger.numbered_folders_of(folders_of(offers))?, ..Self::default() })
    }

    /// The name in Incoming of an entry that is offered as `name`, with the names of its parent
    /// folders there.
    pub(crate) fn of_entry(&mut self, walk: &mut DirCursor<'_>, name: &Name) -> Name {
        let Some(parent) = name.parent() else { return name.clone() };
        let real = self.of_folder(walk, &parent);
        // A name that becomes too long stays as it is, and is refused.
        if real == parent {
            name.clone()
        } else {
            real.join(name.leaf()).unwrap_or_else(|_| name.clone())
        }
    }

    /// The name in Incoming of a folder that is offered as `name`.
    pub(crate) fn of_folder(&mut self, walk: &mut DirCursor<'_>, name: &Name) -> Name {
        if let Some(real) = self.found.get(name) {
            return real.clone();
        }
        let own = self.of_entry(walk, name);
        let kind =
            |walk: &mut DirCursor<'_>, name: &Name| walk.stat(name).map(|there| there.kind).ok();
        let known = self.known.get(name).filter(|known| known.parent() == own.parent()).cloned();
        let real = match known.filter(|known| kind(walk, known) == Some(FileKind::Folder)) {
            Some(known) => known,
            // A link is never followed, so it obstructs the folder.
            None => (0..=numbered::MAX_NUMBER)
                .map_while(|number| numbered(&own, number))
                .find(|candidate| kind(walk, candidate) != Some(FileKind::File))
                .unwrap_or_else(|| own.clone()),
        };
        if real != own && self.known.get(name) != Some(&real) {
            self.new.push((name.clone(), real.clone()));
        }
        self.found.insert(name.clone(), real.clone());
        real
    }

    /// The pairs of offered name and name in Incoming that the ledger must record before an entry
    /// is placed.
    pub(crate) fn new_ones(&self) -> &[(Name, Name)] {
        &self.new
    }

    /// Forgets folders that have arrived: another folder of that name may have it.
    pub(crate) fn have_arrived<'a>(
        &self,
        ledger: &Ledger,
        folders: impl Iterator<Item = &'a Offer>,
    ) {
        let names = folders.map(|offer| &offer.name);
        let is_new = |name: &Name| self.new.iter().any(|(new, _)| new == name);
        let names: Vec<_> =
            names.filter(|name| self.known.contains_key(name) || is_new(name)).cloned().collect();
        if let Err(error) = ledger.forget_numbered_folders(&names) {
            tracing::warn!(%error, "folders of the same names go to the same places until this can be forgotten");
        }
    }
}

/// The offered folders, and the parent folders of the offers.
fn folders_of<'a>(batch: impl Iterator<Item = &'a Offer>) -> BTreeSet<Name> {
    let mut folders = BTreeSet::new();
    for offer in batch {
        let own = (offer.kind == EntryKind::Folder).then(|| offer.name.clone());
        let mut next = own.or_else(|| offer.name.parent());
        while let Some(folder) = next.filter(|folder| !folders.contains(folder)) {
            next = folder.parent();
            folders.insert(folder);
        }
    }
    folders
}
