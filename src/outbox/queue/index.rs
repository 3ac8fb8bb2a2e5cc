//! Pure: the queue, the timers and the sums over all entries of the table.

use super::entry::IndexKey;
use super::lifecycle::EntryState;
use super::order::{Queue, Seq};
use crate::outbox::watch::settle::Moment;
use crate::proto::name::Name;
use crate::status::Backlog;
use std::collections::{BTreeSet, HashMap};

/// Derived from the entries: it follows every change of one by [`Indexes::shift`].
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    /// Entries that are ready, in the order of sending.
    pub queue: Queue,
    /// Entries that wait for a time.
    pub timers: BTreeSet<(Moment, Name)>,
    /// The part of `timers` in [`EntryState::Backoff`].
    pub backing_off: BTreeSet<(Moment, Name)>,
    /// How many pending entries are directly in a folder, by the folder's name.
    pub pending_in: HashMap<Vec<u8>, usize>,
    /// How many files and links beneath a top-level folder are on their way right now.
    pub busy_beneath: HashMap<Vec<u8>, usize>,
    /// Folders in [`EntryState::AwaitingContents`].
    pub awaiting: BTreeSet<Name>,
    /// The part of `awaiting` whose last obstacle may just have gone.
    pub maybe_complete: BTreeSet<Name>,
    /// How many entries are in [`EntryState::Open`].
    pub open: usize,
    /// How many folders are in [`EntryState::Lingering`].
    pub lingering: u64,
    /// The sum over all pending entries.
    pub backlog: Backlog,
}

impl Indexes {
    /// An entry changed. `before` is `None` for a new entry, `after` for one that is dropped.
    /// Returns its place in the queue if it is ready.
    pub(crate) fn shift(
        &mut self,
        name: &Name,
        before: Option<IndexKey>,
        after: Option<IndexKey>,
    ) -> Option<Seq> {
        if let Some(key) = before {
            self.remove(name, key);
        }
        let seq = after.and_then(|key| self.add(name, key));
        let counts = |f: fn(&IndexKey) -> bool| {
            (before.is_some_and(|k| f(&k)), after.is_some_and(|k| f(&k)))
        };
        self.shift_pending(name, counts(|key| key.state.is_pending()));
        self.shift_busy(name, counts(IndexKey::is_busy));
        seq
    }

    fn remove(&mut self, name: &Name, key: IndexKey) {
        if let Some(due) = key.state.due() {
            self.timers.remove(&(due, name.clone()));
        }
        match key.state {
            EntryState::Backoff { until } => {
                self.backing_off.remove(&(until, name.clone()));
            }
            EntryState::Ready => self.queue.remove(key.seq),
            EntryState::AwaitingContents => {
                self.awaiting.remove(name);
            }
            EntryState::Open { .. } => self.open -= 1,
            EntryState::Lingering { .. } => self.lingering -= 1,
            _ => {}
        }
        if key.state.is_pending() {
            self.backlog.files -= 1;
            self.backlog.bytes -= key.size;
        }
    }

    fn add(&mut self, name: &Name, key: IndexKey) -> Option<Seq> {
        if let Some(due) = key.state.due() {
            self.timers.insert((due, name.clone()));
        }
        if key.state.is_pending() {
            self.backlog.files += 1;
            self.backlog.bytes += key.size;
        }
        match key.state {
            EntryState::Backoff { until } => {
                self.backing_off.insert((until, name.clone()));
            }
            EntryState::Ready => return Some(self.queue.push(name.clone(), key.size, key.urgent)),
            EntryState::AwaitingContents => {
                self.awaiting.insert(name.clone());
                self.maybe_complete.insert(name.clone());
            }
            EntryState::Open { .. } => self.open += 1,
            EntryState::Lingering { .. } => self.lingering += 1,
            _ => {}
        }
        None
    }

    fn shift_pending(&mut self, name: &Name, (before, after): (bool, bool)) {
        let Some(parent) = parent_of(name) else { return };
        if count(&mut self.pending_in, parent, before, after)
            && let Some(parent) = name.parent()
            && self.awaiting.contains(&parent)
        {
            self.maybe_complete.insert(parent);
        }
    }

    fn shift_busy(&mut self, name: &Name, (before, after): (bool, bool)) {
        if parent_of(name).is_none() {
            return;
        }
        let top = top_of(name);
        if count(&mut self.busy_beneath, top, before, after)
            && let Ok(top) = Name::parse(top)
        {
            let complete: Vec<Name> = self
                .awaiting
                .range(top.clone()..)
                // Names like `a.b` and `a b` come between a folder `a` and its entries.
                .take_while(|n| n.as_bytes().starts_with(top.as_bytes()))
                .filter(|n| **n == top || is_beneath(n, &top))
                .filter(|n| !self.pending_in.contains_key(n.as_bytes()))
                .cloned()
                .collect();
            self.maybe_complete.extend(complete);
        }
    }

    /// Whether nothing directly in the folder is pending, and nothing in its whole top-level folder
    /// is on its way.
    pub(crate) fn is_quiet(&self, folder: &Name) -> bool {
        !self.pending_in.contains_key(folder.as_bytes())
            && !self.busy_beneath.contains_key(top_of(folder))
    }
}

/// Counts one more or one less under `key`. Returns `true` when the count has reached zero.
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

/// The bytes of the name of the folder that holds this entry.
fn parent_of(name: &Name) -> Option<&[u8]> {
    let bytes = name.as_bytes();
    bytes.iter().rposition(|&b| b == b'/').map(|at| &bytes[..at])
}

/// The bytes of the outermost component.
fn top_of(name: &Name) -> &[u8] {
    name.as_bytes().split(|&b| b == b'/').next().unwrap_or_default()
}

/// Whether `name` is somewhere beneath `folder`.
pub(crate) fn is_beneath(name: &Name, folder: &Name) -> bool {
    name.as_bytes().strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
}
