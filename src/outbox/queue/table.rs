//! Pure: all that is known to stand in Outgoing, and where each entry is on its way.
//!
//! ```text
//!              +--------------------------- changed --------------------------+
//!              v                                                              |
//! observe -> Settling -> Ready -> InFlight -> Finishing -> (gone) or Done ----+
//!              |  ^        ^        |   |        ^                            |
//!   a folder:  v  |        |        |   +-> Held +   (a program has it open)  |
//!            Quiet --------+        +-> Waiting -> Ready                      |
//!                                   +-> Refused ------------------------------+
//!    a program has it open: Settling or InFlight -> Open -> Settling
//! ```
//!
//! A folder that is delivered may rest before it is finished (`folders`), and one that holds an
//! unfinished file waits as `Unfinished` before it is ready (`left_alone`).
//!
//! The table and its indexes are in this file; what is seen moves entries in `observe`, and how
//! they leave by the queue and come back as outcomes is in `handout`, those that a program has open
//! in `open`. An entry that is in flight or being finished belongs to whoever has it: nothing that
//! is observed moves it, and its outcome decides with a first_offer look.

mod entry;

use super::folders::{Renamed, Stay};
use super::left_alone::LeftAlone;
use super::order::{Queue, Seq};
use super::transfer_id::{delivered_mark, transfer_id};
use crate::config::Waits;
use crate::outbox::watch::settle::{Moment, Settle};
use crate::outbox::{Backlog, Item};
use crate::proto::message::{EntryKind, Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};
use entry::Share;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

pub(crate) use entry::{Entry, OpenSince, State, Told};

/// One moment on both clocks; `wall` is `None` when it cannot be trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub mono: Moment,
    pub wall: Option<Timestamp>,
}

/// All that is known to stand in Outgoing.
#[derive(Debug)]
pub(crate) struct Table {
    origin: [u8; 16],
    pub(crate) settle: Waits,
    /// After so much quiet, a snapshot of an open file is sent (`--send-open`).
    pub(crate) send_open: Option<Duration>,
    /// What is delivered stays where it is (`--after-send keep`).
    pub(crate) keep: bool,
    pub(crate) entries: BTreeMap<Name, Entry>,
    targets: HashMap<Name, Vec<u8>>,
    pub(crate) queue: Queue,
    pub(crate) timers: BTreeSet<(Moment, Name)>,
    /// Those of them that the peer could not take.
    pub(crate) waiting: BTreeSet<(Moment, Name)>,
    /// Pending entries directly in a folder, by its name.
    below: HashMap<Vec<u8>, usize>,
    /// Busy files and links in each top-level folder.
    busy: HashMap<Vec<u8>, usize>,
    quiet: BTreeSet<Name>,
    /// Quiet folders for which something may just have come to its end.
    pub(crate) maybe_ripe: BTreeSet<Name>,
    pub(crate) held: HashMap<Name, Item>,
    /// Entries in the state `Open`.
    pub(crate) open: usize,
    /// Held items whose wait is over.
    pub(crate) released: Vec<Item>,
    /// Folders that were sent and stayed, and lost something they held.
    pub(crate) emptied: Vec<Name>,
    /// Ids that the peer may forget.
    pub(crate) forgotten: Vec<TransferId>,
    backlog: Backlog,
    /// All of Outgoing was looked at once.
    pub(crate) known: bool,
    /// The user waits for the end (`--drain`).
    pub(crate) drain: bool,
    /// What is unfinished by its name.
    pub(crate) left: LeftAlone,
    pub(crate) renamed: Renamed,
    /// Folders in [`State::Resting`].
    pub(crate) resting: u64,
}

impl Table {
    pub fn new(origin: [u8; 16], settle: Waits, keep: bool) -> Self {
        Self {
            origin,
            settle,
            send_open: None,
            keep,
            entries: BTreeMap::new(),
            targets: HashMap::new(),
            queue: Queue::default(),
            timers: BTreeSet::new(),
            waiting: BTreeSet::new(),
            below: HashMap::new(),
            busy: HashMap::new(),
            quiet: BTreeSet::new(),
            maybe_ripe: BTreeSet::new(),
            held: HashMap::new(),
            open: 0,
            released: Vec::new(),
            emptied: Vec::new(),
            forgotten: Vec::new(),
            backlog: Backlog { files: 0, bytes: 0 },
            known: false,
            drain: false,
            left: LeftAlone::default(),
            renamed: Renamed::default(),
            resting: 0,
        }
    }

    /// Everything that the peer is still to get.
    pub fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// Whether a folder of that name is known.
    pub fn knows_folder(&self, name: &Name) -> bool {
        self.entries.get(name).is_some_and(Entry::is_folder)
    }

    /// What the ledger would remember this entry by.
    pub fn mark(&self, name: &Name) -> Option<TransferId> {
        let entry = self.entries.get(name)?;
        Some(delivered_mark(&self.origin, name, &entry.meta, self.target(name)))
    }

    /// The ledger's marks for all that stands here.
    pub fn marks(&self) -> std::collections::HashSet<TransferId> {
        self.entries.keys().filter_map(|name| self.mark(name)).collect()
    }

    /// The ledger knows that the peer holds this entry.
    pub fn known_delivered(&mut self, name: &Name) {
        if self.entries.get(name).is_some_and(|e| !e.state.handed_out() && e.state != State::Held) {
            self.update(name, |entry| entry.state = State::Done);
        }
    }

    /// Whether an entry that the peer holds and that stays has another change time than when it was
    /// delivered.
    pub fn is_touched(&self, name: &Name, meta: &Meta) -> bool {
        self.entries.get(name).is_some_and(|entry| {
            entry.state == State::Done
                && meta.kind == FileKind::File
                && entry.meta.identity.changed != meta.identity.changed
        })
    }

    /// A kept file was touched since the peer got this content. It is handed out to be verified.
    pub fn take_to_verify(
        &mut self,
        name: &Name,
        meta: Meta,
        content: Option<[u8; 32]>,
    ) -> Option<Item> {
        if meta.kind != FileKind::File || self.entries.get(name)?.state != State::Done {
            return None;
        }
        self.update(name, |entry| entry.state = State::Finishing);
        let (id, kind) = (self.id(name, &meta), EntryKind::File { size: meta.size });
        Some(Item {
            name: name.clone(),
            meta,
            kind,
            id,
            attempt: 0,
            first_offer: false,
            snapshot: false,
            ask_first: false,
            content,
        })
    }

    /// The id of the transfer of an entry as it is.
    pub fn id(&self, name: &Name, meta: &Meta) -> TransferId {
        transfer_id(&self.origin, name, meta, self.target(name))
    }

    pub fn target(&self, name: &Name) -> &[u8] {
        self.targets.get(name).map_or(&[], Vec::as_slice)
    }

    /// What stands in a folder is known, nothing of that is pending, and nothing goes on in its
    /// whole top-level folder.
    pub fn clear_beneath(&self, folder: &Name) -> bool {
        self.entries.get(folder).is_some_and(|e| e.listed)
            && !self.below.contains_key(folder.as_bytes())
            && !self.busy.contains_key(top(folder))
    }

    /// All entries beneath a folder, nearest first in byte order.
    pub fn beneath(&self, folder: &Name) -> Vec<Name> {
        self.range(Some(folder)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether anything beneath a folder is known.
    pub fn is_bare(&self, folder: &Name) -> bool {
        self.range(Some(folder)).next().is_none()
    }

    pub fn range<'a>(
        &'a self,
        folder: Option<&Name>,
    ) -> Box<dyn Iterator<Item = (&'a Name, &'a Entry)> + 'a> {
        let Some(folder) = folder else { return Box::new(self.entries.iter()) };
        // The least name that can stand in it; a folder whose name is too long for that is empty.
        let Ok(first) = folder.join(b"\x01") else { return Box::new(std::iter::empty()) };
        let folder = folder.clone();
        Box::new(self.entries.range(first..).take_while(move |(name, _)| is_beneath(name, &folder)))
    }

    /// The id that was offered for an entry will not be offered again.
    pub fn forget_offer(&mut self, name: &Name) {
        if let Some(entry) = self.entries.get(name)
            && entry.offered
        {
            self.forgotten.push(self.id(name, &entry.meta));
        }
    }

    pub fn set_target(&mut self, name: &Name, target: Option<Vec<u8>>) {
        match target {
            Some(target) => self.targets.insert(name.clone(), target),
            None => self.targets.remove(name),
        };
    }

    pub fn insert(&mut self, name: &Name, meta: Meta, settle: Settle, now: Moment, scan: u32) {
        let due = settle.due(self.settle);
        let mut entry = Entry {
            meta,
            settle,
            state: State::Settling,
            due,
            seq: 0,
            attempt: 0,
            failures: 0,
            seen: scan,
            first_offer: self.known,
            offered: false,
            listed: false,
            open: None,
            snapshot: false,
            refused: false,
            stay: Stay::default(),
        };
        entry.settle_again(now, self.settle);
        let share = entry.share();
        self.entries.insert(name.clone(), entry);
        self.shift(name, None, Some(share));
    }

    /// Changes an entry and keeps all indexes and sums in step.
    pub fn update(&mut self, name: &Name, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(name) {
            let before = entry.share();
            change(entry);
            let after = entry.share();
            self.shift(name, Some(before), Some(after));
        }
    }

    /// Takes an entry out.
    pub fn drop_entry(&mut self, name: &Name) {
        if let Some(entry) = self.entries.remove(name) {
            self.targets.remove(name);
            self.shift(name, Some(entry.share()), None);
        }
    }

    fn shift(&mut self, name: &Name, before: Option<Share>, after: Option<Share>) {
        if let Some(share) = before {
            if share.timed() {
                self.timers.remove(&(share.due, name.clone()));
                self.waiting.remove(&(share.due, name.clone()));
            } else if share.state == State::Ready {
                self.queue.remove(share.seq);
            } else if share.state == State::Quiet {
                self.quiet.remove(name);
            }
            self.resting -= u64::from(share.state == State::Resting);
            if share.state.pending() {
                self.backlog.files -= 1;
                self.backlog.bytes -= share.size;
            }
        }
        if let Some(share) = after {
            if share.timed() {
                self.timers.insert((share.due, name.clone()));
                if share.state == State::Waiting {
                    self.waiting.insert((share.due, name.clone()));
                }
            } else if share.state == State::Ready {
                let seq = self.queue.push(name.clone(), share.size);
                if let Some(entry) = self.entries.get_mut(name) {
                    entry.seq = seq;
                }
            } else if share.state == State::Quiet {
                self.quiet.insert(name.clone());
                self.maybe_ripe.insert(name.clone());
            }
            self.resting += u64::from(share.state == State::Resting);
            if share.state.pending() {
                self.backlog.files += 1;
                self.backlog.bytes += share.size;
            }
        }
        let is_open = |share: Option<Share>| {
            usize::from(share.is_some_and(|share| share.state == State::Open))
        };
        self.open = self.open + is_open(after) - is_open(before);
        let was =
            |f: fn(&Share) -> bool| (before.is_some_and(|s| f(&s)), after.is_some_and(|s| f(&s)));
        self.shift_below(name, was(|s| s.state.pending()));
        self.shift_busy(name, was(Share::busy));
    }

    fn shift_below(&mut self, name: &Name, (before, after): (bool, bool)) {
        let Some(parent) = parent(name) else { return };
        if count(&mut self.below, parent, before, after)
            && let Some(parent) = name.parent()
            && self.quiet.contains(&parent)
        {
            self.maybe_ripe.insert(parent);
        }
    }

    fn shift_busy(&mut self, name: &Name, (before, after): (bool, bool)) {
        if parent(name).is_none() {
            return;
        }
        let top = top(name);
        if count(&mut self.busy, top, before, after)
            && let Ok(top) = Name::parse(top)
        {
            let ripe: Vec<Name> = self
                .quiet
                .range(top.clone()..)
                // Between a folder and what stands in it come its namesakes like `a.b` and `a b`.
                .take_while(|n| n.as_bytes().starts_with(top.as_bytes()))
                .filter(|n| **n == top || is_beneath(n, &top))
                .filter(|n| !self.below.contains_key(n.as_bytes()))
                .cloned()
                .collect();
            self.maybe_ripe.extend(ripe);
        }
    }
}

/// Counts one more or one less under `key`; `true` when nothing is left.
fn count(counts: &mut HashMap<Vec<u8>, usize>, key: &[u8], before: bool, after: bool) -> bool {
    match (before, after) {
        (false, true) => {
            if let Some(n) = counts.get_mut(key) {
                *n += 1;
            } else {
                counts.insert(key.to_vec(), 1);
            }
            false
        }
        (true, false) => match counts.get_mut(key) {
            Some(n) if *n > 1 => {
                *n -= 1;
                false
            }
            _ => counts.remove(key).is_some(),
        },
        _ => false,
    }
}

/// The bytes of the folder's name that holds this one.
fn parent(name: &Name) -> Option<&[u8]> {
    let bytes = name.as_bytes();
    bytes.iter().rposition(|&b| b == b'/').map(|at| &bytes[..at])
}

/// The bytes of the outermost component.
fn top(name: &Name) -> &[u8] {
    name.as_bytes().split(|&b| b == b'/').next().unwrap_or_default()
}

fn is_beneath(name: &Name, folder: &Name) -> bool {
    name.as_bytes().strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod model;
#[cfg(test)]
mod tests;
