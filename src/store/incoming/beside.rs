//! `name (1)/`: a folder beside a file that stands in its place in Incoming. All that is offered in
//! it goes there, until the folder itself has arrived.
//!
//! While the file is there, it tells by itself that the folder is beside it: the first of `name`,
//! `name (1)`, `name (2)` that is no file. The ledger remembers it for the case that the file goes
//! before the folder is complete; what it says counts as long as that folder is there.

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

/// Where the folders of one batch are, by the names that they are offered with.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// What the ledger remembers, of folders that are beside their own names.
    known: HashMap<Name, Name>,
    found: HashMap<Name, Name>,
    new: Vec<(Name, Name)>,
}

impl Beside {
    /// What the ledger remembers of the folders of a batch.
    pub(crate) fn of<'a>(
        ledger: &Ledger,
        on_conflict: OnConflict,
        offers: impl Iterator<Item = &'a Offer>,
    ) -> Result<Self, StoreError> {
        if on_conflict != OnConflict::Rename {
            return Ok(Self::default());
        }
        Ok(Self { known: ledger.beside_of(folders_of(offers))?, ..Self::default() })
    }

    /// The name in Incoming of what is offered as `name`, as far as the folders above it are
    /// concerned.
    pub(crate) fn of_entry(&mut self, walk: &mut DirCursor<'_>, name: &Name) -> Name {
        let Some(parent) = name.parent() else { return name.clone() };
        let real = self.of_folder(walk, &parent);
        // One that gets too long is refused where it stands.
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
            // A link keeps everything out, wherever it leads.
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

    /// What the ledger is to remember before anything is placed: each offered name with that in
    /// Incoming.
    pub(crate) fn new_ones(&self) -> &[(Name, Name)] {
        &self.new
    }

    /// These folders have arrived: another one of that name may have it.
    pub(crate) fn have_arrived<'a>(
        &self,
        ledger: &Ledger,
        folders: impl Iterator<Item = &'a Offer>,
    ) {
        let names = folders.map(|offer| &offer.name);
        let is_new = |name: &Name| self.new.iter().any(|(new, _)| new == name);
        let names: Vec<_> =
            names.filter(|name| self.known.contains_key(name) || is_new(name)).cloned().collect();
        if let Err(error) = ledger.no_more_beside(&names) {
            tracing::warn!(%error, "folders of the same names go to the same places until this can be forgotten");
        }
    }
}

/// The offered folders, and those on the way to what is offered.
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
