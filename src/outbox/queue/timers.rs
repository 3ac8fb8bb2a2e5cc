//! Pure: the wait of an entry is over, and it is examined once more before it goes on.

use super::lifecycle::{EntryEvent, EntryState};
use super::table::{Now, Table};
use crate::outbox::watch::settle::{Activity, Moment};
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};
use std::time::Duration;

/// An entry that must be examined because its wait is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DueEntry {
    /// It was quiet for long enough, and is ready if [`Table::checked`] finds it unchanged.
    Settled(Name),
    /// A program had it open: ask the system again, for [`Table::asked`].
    Open(Name),
}

impl Table {
    /// The next time at which the table must act.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        let timer = self.index.timers.first().map(|(due, _)| *due);
        timer.into_iter().chain(self.unfinished.next_due()).min()
    }

    /// Ends the waits that are over, at most until `max` entries are found that must be examined
    /// first. Returns these.
    pub(crate) fn expire(&mut self, now: Moment, max: usize) -> Vec<DueEntry> {
        // If the entry cannot be examined, it is due again after this.
        let again = now.after(self.waits.settle.max(Duration::from_millis(100)));
        let mut due = Vec::new();
        while due.len() < max {
            let Some((at, name)) = self.index.timers.first().cloned() else { break };
            if at > now {
                break;
            }
            self.update(&name, |entry| {
                let needs_look = match entry.state() {
                    EntryState::Backoff { .. }
                    | EntryState::Unreadable { .. }
                    | EntryState::Occupied { .. } => None,
                    EntryState::Open { .. } | EntryState::DeliveredOpen { .. } => {
                        Some(DueEntry::Open(name.clone()))
                    }
                    EntryState::Lingering { .. } => Some(DueEntry::Settled(name.clone())),
                    _ if entry.is_folder() || entry.settle.at_once() => None,
                    _ => Some(DueEntry::Settled(name.clone())),
                };
                match needs_look {
                    None => entry.apply(entry.settled()),
                    Some(look) => {
                        entry.apply(EntryEvent::Reschedule { at: again });
                        due.push(look);
                    }
                }
            });
        }
        due
    }

    /// The metadata of an entry from [`DueEntry::Settled`].
    pub(crate) fn checked(&mut self, name: &Name, meta: Meta, now: Now) {
        if self.end_lingering(name, &meta, now) {
            return;
        }
        let touched = self.entries.get(name).is_none_or(|entry| !entry.meta.unchanged(&meta));
        if meta.kind == FileKind::Other || touched {
            self.examined(name, Some(meta), now);
            return;
        }
        if matches!(self.state(name), Some(EntryState::Settling { .. })) {
            let waits = self.waits;
            self.update(name, |entry| {
                let until = entry.settle.due(waits);
                entry.apply(EntryEvent::Reschedule { at: until });
                if until <= now.mono {
                    entry.apply(entry.settled());
                }
            });
        }
    }

    /// Folders that may have lost their last contents. They are to be examined, for
    /// [`Table::folder_checked`].
    pub(crate) fn maybe_complete(&mut self) -> Vec<Name> {
        let folders = std::mem::take(&mut self.index.maybe_complete)
            .into_iter()
            .filter(|name| self.state(name) == Some(EntryState::AwaitingContents))
            .filter(|name| self.clear_beneath(name))
            .collect();
        self.without_unfinished(folders)
    }

    /// The metadata of a folder from [`Table::maybe_complete`].
    pub(crate) fn folder_checked(&mut self, name: &Name, meta: Meta, now: Now) {
        let Some(entry) = self.entries.get(name) else { return };
        if entry.state() != EntryState::AwaitingContents || !self.clear_beneath(name) {
            return;
        }
        if entry.differs(&meta) {
            self.examined(name, Some(meta), now);
        } else if !self.waits_for_its_user(name, now.mono) {
            self.apply(name, EntryEvent::ContentsLeft);
        }
    }

    /// A look at an entry showed these metadata, or that it is gone.
    pub(crate) fn examined(&mut self, name: &Name, meta: Option<Meta>, now: Now) {
        let Some(meta) = meta else { return self.gone(name) };
        let other_link = || self.entries.get(name).is_none_or(|entry| entry.differs(&meta));
        match meta.kind {
            FileKind::Other => self.gone(name),
            // The next scan finds the link new, and reads its target.
            FileKind::Link if other_link() => self.gone(name),
            _ => {
                self.observe(name, meta, None, Activity::Seen, now, 0);
            }
        }
    }
}
