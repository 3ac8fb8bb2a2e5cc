//! Pure: commands of the user about entries of Outgoing: they overtake others, or leave the queue.

use super::entry::OutgoingEntry;
use super::lifecycle::{EntryEvent, EntryState};
use super::steered_names::HeldBack;
use super::table::Table;
use crate::proto::message::{Timestamp, TransferId};
use crate::proto::name::Name;
use crate::store::FileKind;

/// Why nothing of a name can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPending {
    /// No entry has the name.
    Unknown,
    /// The peer holds it, and it is being removed, archived or marked.
    BeingRemoved,
    /// The peer holds it, and it stays.
    Delivered,
}

/// What is about to be cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Entries that the peer does not hold yet, the name's own included.
    pub entries: u64,
    /// Bytes of the files among them.
    pub bytes: u64,
    /// The transfer of the name's own entry.
    pub id: TransferId,
    /// How many of them a session has.
    pub in_flight: u64,
}

impl Table {
    /// From now on the name and everything beneath it overtakes all that is not urgent, or does so
    /// no more. An entry of the name need not exist yet. Returns how many entries it changes.
    pub(crate) fn set_urgent(&mut self, name: &Name, urgent: bool) -> u64 {
        if urgent {
            self.steering.urgent.insert(name.clone());
            self.steering.ended.retain(|ended| ended != name);
        } else {
            self.steering.urgent.remove(name);
        }
        let mut names = self.beneath(name);
        names.extend(self.entries.contains_key(name).then(|| name.clone()));
        let mut changed = 0;
        for name in names {
            let urgent = self.steering.is_urgent(&name);
            self.update(&name, |entry| {
                changed += u64::from(entry.urgent != urgent && is_pending(entry));
                entry.urgent = urgent;
            });
        }
        changed
    }

    /// These names were urgent in an earlier process. No entry is known yet.
    pub(crate) fn recall_urgent(&mut self, names: Vec<Name>) {
        self.steering.urgent.extend(names.iter().cloned());
        self.steering.recalled = names;
    }

    /// The first scan is complete: recalled names without entries are urgent no more.
    pub(crate) fn drop_recalled(&mut self) {
        for name in std::mem::take(&mut self.steering.recalled) {
            if !self.entries.contains_key(&name) {
                self.steering.left(&name);
            }
        }
    }

    /// The entries of a name and beneath it that the peer does not hold yet.
    ///
    /// # Errors
    /// [`NotPending`] if there are none.
    pub(crate) fn pending(&self, name: &Name) -> Result<Pending, NotPending> {
        let own = self.entries.get(name);
        let entries = || self.range(Some(name)).map(|(_, entry)| entry).chain(own);
        let pending: Vec<_> = entries().filter(|entry| is_pending(entry)).collect();
        let Some(own) = own.filter(|_| !pending.is_empty()) else {
            let leaves = |entry: &OutgoingEntry| entry.state() != EntryState::Delivered;
            return Err(match own {
                None => NotPending::Unknown,
                Some(_) if entries().any(leaves) => NotPending::BeingRemoved,
                Some(_) => NotPending::Delivered,
            });
        };
        let size = |entry: &OutgoingEntry| match entry.meta.kind {
            FileKind::File => entry.meta.size,
            _ => 0,
        };
        let in_flight = |entry: &&&OutgoingEntry| entry.state() == EntryState::InFlight;
        Ok(Pending {
            entries: pending.len() as u64,
            bytes: pending.iter().map(|entry| size(entry)).sum(),
            id: self.id(name, &own.meta),
            in_flight: pending.iter().filter(in_flight).count() as u64,
        })
    }

    /// From now on nothing of the name is handed out.
    pub(crate) fn hold_back(&mut self, name: &Name) {
        self.steering.held = Some(HeldBack::new(name));
    }

    /// Ends [`Table::hold_back`]: what is still there goes on as before.
    pub(crate) fn release_held(&mut self) {
        let Some(held) = self.steering.held.take() else { return };
        for name in held.stopped {
            self.update(&name, |entry| {
                if entry.state() == EntryState::Refused {
                    entry.apply(entry.settled());
                }
            });
        }
    }

    /// Stops an entry that is about to be handed out, or was given back, if it is held back.
    pub(crate) fn stop_if_held(&mut self, name: &Name) -> bool {
        let is_held = self.steering.holds_back(name);
        if is_held {
            self.apply(name, EntryEvent::HeldBack);
            if let Some(held) = &mut self.steering.held {
                held.stopped.insert(name.clone());
            }
        }
        is_held
    }

    /// Whether an entry only waits for the end of [`Table::hold_back`].
    pub(crate) fn is_held(&self, name: &Name) -> bool {
        self.steering.held.as_ref().is_some_and(|held| held.stopped.contains(name))
    }

    /// The entries of [`Table::pending`], each with its mark for the ledger and its change time.
    pub(crate) fn pending_marks(&self, name: &Name) -> Vec<(Name, TransferId, Timestamp)> {
        let own = self.entries.get_key_value(name);
        let entries = self.range(Some(name)).chain(own).filter(|(_, entry)| is_pending(entry));
        let marked = |(name, entry): (&Name, &OutgoingEntry)| {
            Some((name.clone(), self.mark(name)?, entry.meta.identity.changed))
        };
        entries.filter_map(marked).collect()
    }

    /// These entries are not sent until they change, although the peer does not hold them: the
    /// ledger has their marks. Those that have changed since go on.
    pub(crate) fn set_aside(&mut self, marks: &[(Name, TransferId, Timestamp)]) {
        for (name, mark, _) in marks {
            if self.mark(name) == Some(*mark) {
                self.forget_offer(name);
                self.update(name, |entry| entry.offered = false);
                self.known_delivered(name);
            }
        }
    }
}

/// Whether the peer does not hold the entry.
fn is_pending(entry: &OutgoingEntry) -> bool {
    !matches!(
        entry.state(),
        EntryState::CleaningUp
            | EntryState::DeliveredOpen { .. }
            | EntryState::Lingering { .. }
            | EntryState::Delivered
            | EntryState::Gone
    )
}

#[cfg(test)]
mod tests {
    use super::super::model::{at, file, folder, name, table};
    use super::*;
    use crate::outbox::Item;
    use crate::outbox::item::Retry;
    use crate::outbox::watch::settle::Activity;
    use crate::proto::message::EntryKind;

    /// A table with these ready files, in a folder `d` where they say so.
    fn ready(files: &[(&str, u64)]) -> Table {
        let mut table = table();
        for (inode, (path, size)) in (10..).zip(files) {
            if path.starts_with("d/") {
                let folder = folder(900, 1);
                table.observe(&name("d"), folder, None, Activity::Moved, at(0), 1);
            }
            let meta = file(inode, *size, 1);
            table.observe(&name(path), meta, None, Activity::Moved, at(0), 1);
        }
        table
    }

    fn names(table: &mut Table) -> Vec<String> {
        std::iter::from_fn(|| table.pop()).map(|item| item.name.to_string()).collect()
    }

    #[test]
    fn urgent_names_overtake_with_all_beneath_them_until_they_leave() {
        let mut table = ready(&[("a", 1), ("d/b", 1 << 40), ("d/c", 9), ("e", 5)]);
        assert_eq!(table.set_urgent(&name("later"), true), 0);
        assert_eq!(table.set_urgent(&name("d"), true), 3);
        assert_eq!(table.set_urgent(&name("d"), true), 0, "they are urgent already");
        let later = file(90, 7, 1);
        table.observe(&name("later"), later, None, Activity::Moved, at(0), 2);
        let first: Item = table.pop_urgent().unwrap();
        assert!(first.urgent && first.name.to_string() == "d/b", "{first:?}");
        assert_eq!(names(&mut table), ["d/c", "later", "a", "e"]);
        assert!(table.pop_urgent().is_none());
        let later = table.item(name("later"), later, EntryKind::File { size: 7 });
        table.failed(&later, Retry::Now, Some(later.meta), at(1));
        table.gone(&name("later"));
        assert_eq!(table.steering.ended, [name("later")]);
        // A later file of the name is a usual one.
        table.observe(&name("later"), file(91, 7, 1), None, Activity::Moved, at(0), 3);
        assert!(!table.pop().unwrap().urgent);
    }

    #[test]
    fn recalled_names_without_entries_are_dropped_after_the_first_scan() {
        let mut table = table();
        table.recall_urgent(vec![name("a"), name("gone")]);
        table.observe(&name("a"), file(10, 1, 1), None, Activity::Moved, at(0), 1);
        table.drop_recalled();
        assert_eq!(table.steering.ended, [name("gone")]);
        assert!(table.pop().unwrap().urgent);
    }

    #[test]
    fn a_name_that_is_held_back_is_not_handed_out_and_goes_on_later() {
        let mut table = ready(&[("d/a", 1), ("d/b", 2), ("x", 3)]);
        let first = table.pop().unwrap();
        assert_eq!(first.name, name("d/a"));
        let pending = table.pending(&name("d")).unwrap();
        assert_eq!((pending.entries, pending.bytes, pending.in_flight), (3, 3, 1));
        table.hold_back(&name("d"));
        assert_eq!(names(&mut table), ["x"]);
        table.failed(&first, Retry::Cancelled, Some(first.meta), at(1));
        assert_eq!(table.pending(&name("d")).unwrap().in_flight, 0);
        assert!(table.is_held(&name("d/a")) && table.pop().is_none());
        let list = table.waiting_list(at(1).mono, 9, Some(&name("d/a")));
        assert_eq!(list.named[0].reason, crate::status::WaitReason::Ready);
        table.release_held();
        assert_eq!(names(&mut table), ["d/a", "d/b"]);
    }

    #[test]
    fn only_what_the_peer_does_not_hold_is_pending() {
        let mut table = ready(&[("a", 1)]);
        assert_eq!(table.pending(&name("none")), Err(NotPending::Unknown));
        let item = table.pop().unwrap();
        let item = table.delivered(item).unwrap();
        assert_eq!(table.pending(&name("a")), Err(NotPending::BeingRemoved));
        let kept = crate::outbox::item::CleanupOutcome::Kept(Some(item.meta));
        table.cleaned_up(&item, kept, at(1));
        assert_eq!(table.pending(&name("a")), Err(NotPending::Delivered));
    }

    #[test]
    fn an_entry_that_is_set_aside_goes_on_when_it_changes() {
        let mut table = ready(&[("a", 1), ("b", 2)]);
        let marks = table.pending_marks(&name("a"));
        assert_eq!(marks.len(), 1);
        table.set_aside(&marks);
        assert_eq!(names(&mut table), ["b"]);
        table.observe(&name("a"), file(10, 5, 2), None, Activity::Moved, at(1), 2);
        assert_eq!(names(&mut table), ["a"]);
        // It has changed since its mark was written.
        table.set_aside(&marks);
        assert_eq!(table.state(&name("a")), Some(EntryState::InFlight));
    }
}
