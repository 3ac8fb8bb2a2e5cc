//! Pure: all known entries of Outgoing.
//!
//! This file has the table, its queries, and [`Table::update`], through which every entry changes
//! so that the indexes follow. The operations on it are in the files that the module's
//! documentation lists. An entry that is in flight or being cleaned up belongs to the session or to
//! the cleanup thread: no scan and no event changes its state, and its outcome decides, with the
//! metadata of that moment.

use super::entry::OutgoingEntry;
use super::index::{Indexes, is_beneath};
use super::lifecycle::{EntryEvent, EntryState};
use super::one_exchange::OneExchange;
use super::steered_names::Steering;
use super::transfer_id::{delivered_mark, transfer_id};
use super::unfinished::UnfinishedFiles;
use crate::config::Waits;
use crate::outbox::item::Item;
use crate::outbox::watch::settle::{Moment, Settle};
use crate::proto::message::{EntryKind, Timestamp, TransferId};
use crate::proto::name::Name;
use crate::status::Backlog;
use crate::store::{FileKind, Meta};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// One moment on both clocks. `wall` is `None` when the wall clock cannot be trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub mono: Moment,
    pub wall: Option<Timestamp>,
}

/// All known entries of Outgoing.
#[derive(Debug)]
pub(crate) struct Table {
    origin: [u8; 16],
    pub waits: Waits,
    /// How long an open file must be quiet before a snapshot of it is sent (`--send-open`).
    pub send_open: Option<Duration>,
    /// Delivered entries stay where they are (`--after-send keep`).
    pub keep: bool,
    /// The user waits until everything is sent (`--drain`).
    pub drain: bool,
    /// The first scan of Outgoing is complete.
    pub scanned: bool,
    pub entries: BTreeMap<Name, OutgoingEntry>,
    /// Targets of the links.
    targets: HashMap<Name, Vec<u8>>,
    pub index: Indexes,
    /// The files and folders that are left alone.
    pub unfinished: UnfinishedFiles,
    /// The items of the entries in [`EntryState::DeliveredOpen`].
    pub delivered_open: HashMap<Name, Item>,
    /// Items for the cleanup thread, whose files are closed now.
    pub to_clean_up: Vec<Item>,
    /// Folders that were sent, stayed because they held something, and lost an entry since.
    pub emptied: Vec<Name>,
    /// Folders that were created in place and lost their names a moment ago, by inode: a rename
    /// inside Outgoing does not mean that a folder is complete.
    pub renamed_folders: HashMap<u64, Moment>,
    /// What is special about one exchange.
    pub exchange: OneExchange,
    /// Ids that the peer may forget.
    pub forgotten: VecDeque<TransferId>,
    /// What the user wants of some entries.
    pub steering: Steering,
}

impl Table {
    /// A table without entries. `origin` is the ledger's, `keep` as in [`Table::keep`].
    pub(crate) fn new(origin: [u8; 16], waits: Waits, keep: bool) -> Self {
        Self {
            origin,
            waits,
            send_open: None,
            keep,
            drain: false,
            scanned: false,
            entries: BTreeMap::new(),
            targets: HashMap::new(),
            index: Indexes::default(),
            unfinished: UnfinishedFiles::default(),
            delivered_open: HashMap::new(),
            to_clean_up: Vec::new(),
            emptied: Vec::new(),
            renamed_folders: HashMap::new(),
            exchange: OneExchange::default(),
            forgotten: VecDeque::new(),
            steering: Steering::default(),
        }
    }

    /// Changes an entry, and the indexes with it. Drops an entry that is [`EntryState::Gone`] then.
    pub(crate) fn update(&mut self, name: &Name, change: impl FnOnce(&mut OutgoingEntry)) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let before = entry.index_key();
        change(entry);
        let after = Some(entry.index_key()).filter(|key| key.state != EntryState::Gone);
        if let Some(seq) = self.index.shift(name, Some(before), after) {
            entry.seq = seq;
        }
        if after.is_none_or(|key| key.state == EntryState::Delivered) {
            self.steering.left(name);
        }
        if after.is_none() {
            self.entries.remove(name);
            self.targets.remove(name);
        }
    }

    /// Applies an event to an entry and changes nothing else.
    pub(crate) fn apply(&mut self, name: &Name, event: EntryEvent) {
        self.update(name, |entry| entry.apply(event));
    }

    /// Adds an entry that scan number `scan` saw first.
    pub(crate) fn insert(
        &mut self,
        name: &Name,
        meta: Meta,
        settle: Settle,
        now: Moment,
        scan: u32,
    ) {
        let mut entry = OutgoingEntry::new(meta, settle, now, self.waits);
        (entry.seen, entry.seen_after_start) = (scan, self.scanned);
        entry.urgent = self.steering.is_urgent(name);
        if let Some(seq) = self.index.shift(name, None, Some(entry.index_key())) {
            entry.seq = seq;
        }
        self.entries.insert(name.clone(), entry);
    }

    pub(crate) fn state(&self, name: &Name) -> Option<EntryState> {
        self.entries.get(name).map(OutgoingEntry::state)
    }

    /// The sum over all entries that the peer does not hold yet.
    pub(crate) fn backlog(&self) -> Backlog {
        self.index.backlog
    }

    /// Whether this is a known folder.
    pub(crate) fn knows_folder(&self, name: &Name) -> bool {
        self.entries.get(name).is_some_and(OutgoingEntry::is_folder)
    }

    /// The mark by which the ledger remembers that this entry was delivered.
    pub(crate) fn mark(&self, name: &Name) -> Option<TransferId> {
        let entry = self.entries.get(name)?;
        Some(delivered_mark(&self.origin, name, &entry.meta, self.target(name)))
    }

    /// The ledger's marks of all entries.
    pub(crate) fn marks(&self) -> HashSet<TransferId> {
        self.entries.keys().filter_map(|name| self.mark(name)).collect()
    }

    /// The id under which the entry is offered while it has these metadata.
    pub(crate) fn id(&self, name: &Name, meta: &Meta) -> TransferId {
        transfer_id(&self.origin, name, meta, self.target(name))
    }

    /// The target of a link, empty for other entries.
    pub(crate) fn target(&self, name: &Name) -> &[u8] {
        self.targets.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn set_target(&mut self, name: &Name, target: Option<Vec<u8>>) {
        match target {
            Some(target) => self.targets.insert(name.clone(), target),
            None => self.targets.remove(name),
        };
    }

    /// An item for this entry, as for its first attempt.
    pub(crate) fn item(&self, name: Name, meta: Meta, kind: EntryKind) -> Item {
        Item {
            id: self.id(&name, &meta),
            name,
            meta,
            kind,
            attempt: 0,
            first_offer: false,
            urgent: false,
            snapshot: false,
            ask_first: false,
            receiver: self.exchange.number(),
            content: None,
        }
    }

    /// The id that was offered for an entry will not be offered again.
    pub(crate) fn forget_offer(&mut self, name: &Name) {
        if let Some(entry) = self.entries.get(name)
            && entry.offered
        {
            self.forgotten.push_back(self.id(name, &entry.meta));
        }
    }

    /// Whether the folder was listed, nothing in it is pending, and nothing in its whole top-level
    /// folder is on its way.
    pub(crate) fn clear_beneath(&self, folder: &Name) -> bool {
        self.entries.get(folder).is_some_and(|entry| entry.listed) && self.index.is_quiet(folder)
    }

    /// All entries beneath a folder, in byte order.
    pub(crate) fn beneath(&self, folder: &Name) -> Vec<Name> {
        self.range(Some(folder)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether no entry beneath a folder is known.
    pub(crate) fn is_bare(&self, folder: &Name) -> bool {
        self.range(Some(folder)).next().is_none()
    }

    /// The entries beneath a folder, `None` for Outgoing itself.
    pub(crate) fn range<'a>(
        &'a self,
        folder: Option<&Name>,
    ) -> Box<dyn Iterator<Item = (&'a Name, &'a OutgoingEntry)> + 'a> {
        let Some(folder) = folder else { return Box::new(self.entries.iter()) };
        // The least name that an entry of it can have. If that is too long, the folder is empty.
        let Ok(first) = folder.join(b"\x01") else { return Box::new(std::iter::empty()) };
        let folder = folder.clone();
        Box::new(self.entries.range(first..).take_while(move |(name, _)| is_beneath(name, &folder)))
    }

    /// Whether there is work for the scan thread that needs no event and no timer.
    pub(crate) fn has_work(&self) -> bool {
        !self.index.maybe_complete.is_empty()
            || !self.to_clean_up.is_empty()
            || !self.emptied.is_empty()
    }

    /// The ledger says that the peer holds this entry.
    pub(crate) fn known_delivered(&mut self, name: &Name) {
        if self.state(name).is_some_and(|state| {
            !state.is_handed_out() && !matches!(state, EntryState::DeliveredOpen { .. })
        }) {
            self.apply(name, EntryEvent::KnownDelivered);
            self.exchange.arrived(name);
        }
    }

    /// Whether a delivered file that stays has another change time than at its delivery.
    pub(crate) fn is_touched(&self, name: &Name, meta: &Meta) -> bool {
        !self.exchange.is_one
            && self.entries.get(name).is_some_and(|entry| {
                entry.state() == EntryState::Delivered
                    && meta.kind == FileKind::File
                    && entry.meta.identity.changed != meta.identity.changed
            })
    }

    /// The cleanup of an item failed earlier. Whether it is to be attempted again, because the
    /// entry is still the delivered one.
    pub(crate) fn take_to_clean_up_again(&mut self, item: &Item) -> bool {
        let Some(entry) = self.entries.get(&item.name) else { return false };
        if entry.state() != EntryState::Delivered || self.id(&item.name, &entry.meta) != item.id {
            return false;
        }
        self.apply(&item.name, EntryEvent::CleanUp);
        true
    }

    /// A kept file was touched since its delivery. Returns the item whose content the cleanup
    /// thread compares with the delivered one, which has the hash `content`.
    pub(crate) fn take_to_verify(
        &mut self,
        name: &Name,
        meta: Meta,
        content: Option<[u8; 32]>,
    ) -> Option<Item> {
        if meta.kind != FileKind::File || self.state(name)? != EntryState::Delivered {
            return None;
        }
        self.apply(name, EntryEvent::CleanUp);
        let item = self.item(name.clone(), meta, EntryKind::File { size: meta.size });
        Some(Item { content, ..item })
    }
}
