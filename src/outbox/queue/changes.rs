//! Pure: scans and events tell the table about Outgoing.

use super::lifecycle::{EntryEvent, EntryState};
use super::table::{Now, Table};
use crate::outbox::watch::settle::{Activity, Moment, Settle};
use crate::proto::name::Name;
use crate::store::Meta;
use std::time::Duration;

/// How an entry that a scan or an event showed compares with the known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// The name is new, or another file or folder has it now. A folder is to be listed.
    New,
    Changed,
    Same,
}

impl Table {
    /// An entry exists and has the metadata `meta`. `target` is the target of a link. `scan` is the
    /// number of the scan that saw it, 0 for an event.
    pub(crate) fn observe(
        &mut self,
        name: &Name,
        meta: Meta,
        target: Option<Vec<u8>>,
        activity: Activity,
        now: Now,
        scan: u32,
    ) -> Observed {
        let Some(entry) = self.entries.get_mut(name) else {
            let settle = Settle::first_seen(&meta, activity, now.mono, now.wall, self.waits);
            self.insert(name, meta, settle, now.mono, scan);
            self.set_target(name, target);
            self.came(name, &meta, activity, now);
            return Observed::New;
        };
        entry.seen = scan;
        if self.exchange.is_one && entry.state() == EntryState::Delivered {
            return Observed::Same;
        }
        let replaced =
            entry.meta.kind != meta.kind || entry.meta.identity.inode != meta.identity.inode;
        if self.observe_waiting(name, &meta, activity, now.mono, replaced) {
            return Observed::Same;
        }
        let Some(entry) = self.entries.get(name) else { return Observed::Same };
        // rft's removals beneath a folder change its times for a moment. The folder is examined
        // again when nothing beneath it is pending any more.
        let passing = entry.is_folder() && !replaced && !self.clear_beneath(name);
        if replaced || (!passing && entry.differs(&meta)) {
            self.forget_offer(name);
            self.set_target(name, target);
            return self.changed(name, meta, activity, now, replaced);
        }
        if !entry.is_folder() && !entry.meta.unchanged(&meta) && !entry.state().is_final() {
            self.touched(name, meta, now.mono);
        }
        self.heard(name, activity, now.mono);
        Observed::Same
    }

    /// Handles the states in which a look does not decide about an entry, because something else
    /// will. Returns `false` for the other states.
    fn observe_waiting(
        &mut self,
        name: &Name,
        meta: &Meta,
        activity: Activity,
        now: Moment,
        replaced: bool,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        match entry.state() {
            EntryState::InFlight | EntryState::CleaningUp => entry.settle.heard(activity, now),
            EntryState::DeliveredOpen { .. } => {
                entry.settle.heard(activity, now);
                if !entry.meta.same_file(meta) {
                    self.release(name);
                } else if activity != Activity::Seen {
                    self.ask_now(name);
                }
            }
            EntryState::Open { .. } if entry.meta.same_inode(meta) => {
                if !entry.meta.unchanged(meta) {
                    self.changed_while_open(name, *meta, now);
                }
                self.heard(name, activity, now);
            }
            // It is examined at the end of its time.
            EntryState::Lingering { .. } => return !replaced,
            _ => return false,
        }
        true
    }

    /// The content is another one, or (`replaced`) another file or folder has the name.
    fn changed(
        &mut self,
        name: &Name,
        meta: Meta,
        activity: Activity,
        now: Now,
        replaced: bool,
    ) -> Observed {
        let waits = self.waits;
        self.update(name, |entry| {
            if replaced {
                entry.listed = false;
                entry.settle = Settle::first_seen(&meta, activity, now.mono, now.wall, waits);
            } else {
                entry.settle.changed(now.mono);
                entry.settle.heard(activity, now.mono);
            }
            entry.meta = meta;
            entry.start_over(now.mono, waits);
        });
        if !replaced {
            return Observed::Changed;
        }
        self.came(name, &meta, activity, now);
        Observed::New
    }

    /// The attributes of a file changed (a new hard link, an owner, a rename back to its name). The
    /// same content is sent under the same id, once it is quiet.
    fn touched(&mut self, name: &Name, meta: Meta, now: Moment) {
        let waits = self.waits;
        self.update(name, |entry| {
            entry.meta = meta;
            if matches!(entry.state(), EntryState::Settling { .. }) {
                entry.settle.changed(now);
                entry.apply(EntryEvent::Reschedule { at: entry.settle.due(waits) });
            }
        });
    }

    /// An event told about an entry. Returns `false` when the entry must be examined for it.
    pub(crate) fn note(&mut self, name: &Name, activity: Activity, now: Moment) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        match entry.state() {
            EntryState::InFlight | EntryState::CleaningUp => {
                entry.settle.heard(activity, now);
                true
            }
            EntryState::DeliveredOpen { .. } => {
                entry.settle.heard(activity, now);
                if activity != Activity::Seen {
                    self.ask_now(name);
                }
                true
            }
            EntryState::Open { .. } if matches!(activity, Activity::Written | Activity::Closed) => {
                self.heard(name, activity, now);
                true
            }
            // After a close the file is examined at once: a change that is found at the end of the
            // wait would start it anew.
            EntryState::Settling { .. } if activity == Activity::Written => {
                self.heard(name, activity, now);
                true
            }
            // Removals beneath a folder change its times. It is examined when its contents left.
            EntryState::Settling { .. }
            | EntryState::AwaitingContents
            | EntryState::Ready
            | EntryState::Lingering { .. } => entry.is_folder() && activity == Activity::Seen,
            _ => false,
        }
    }

    /// A writer opened or closed an entry, or renamed it to its name.
    fn heard(&mut self, name: &Name, activity: Activity, now: Moment) {
        let waits = self.waits;
        let Some(entry) = self.entries.get(name) else { return };
        let again = match entry.state() {
            EntryState::Settling { .. } => activity != Activity::Seen,
            EntryState::Ready => activity == Activity::Written,
            // The system is asked after the wait: another program may still have it open.
            EntryState::Open { .. } if activity == Activity::Closed => true,
            EntryState::Open { .. } if activity == Activity::Written => {
                self.update(name, |entry| entry.settle.heard(activity, now));
                false
            }
            // Its state stays. The activity counts when the entry changes.
            EntryState::Backoff { .. }
            | EntryState::Unreadable { .. }
            | EntryState::Occupied { .. }
            | EntryState::Refused
            | EntryState::Delivered => {
                self.update(name, |entry| entry.settle.heard(activity, now));
                false
            }
            _ => false,
        };
        if again {
            self.update(name, |entry| {
                entry.settle.heard(activity, now);
                entry.settle_again(now, waits);
            });
        }
    }

    /// Nothing has this name any more: the entry is dropped, and everything beneath it. Entries
    /// that are in flight or being cleaned up stay until their outcome is known.
    pub(crate) fn gone(&mut self, name: &Name) {
        self.unfinished_is_gone(name);
        let mut names = self.beneath(name);
        names.push(name.clone());
        for name in names {
            let next = self.state(&name).map(|state| state.apply(EntryEvent::Vanished));
            if next == Some(Ok(EntryState::Gone)) {
                self.forget_offer(&name);
            }
            self.apply(&name, EntryEvent::Vanished);
        }
    }

    /// Scan number `scan` listed a folder (`None` for Outgoing itself): entries that it did not see
    /// are gone.
    pub(crate) fn sweep(&mut self, folder: Option<&Name>, scan: u32) {
        let skip = folder.map_or(0, |f| f.as_bytes().len() + 1);
        let unseen: Vec<Name> = self
            .range(folder)
            .filter(|(name, entry)| entry.seen != scan && !name.as_bytes()[skip..].contains(&b'/'))
            .map(|(name, _)| name.clone())
            .collect();
        for name in unseen {
            self.gone(&name);
        }
        self.sweep_unfinished(folder, scan);
        if let Some(folder) = folder
            && self.entries.get(folder).is_some_and(|entry| !entry.listed)
        {
            let waits = self.waits;
            self.update(folder, |entry| {
                entry.listed = true;
                if entry.state() == EntryState::Refused && !entry.offered {
                    entry.apply(EntryEvent::Listed { until: entry.settle.due(waits) });
                }
            });
            self.index.maybe_complete.insert(folder.clone());
        }
    }

    /// A folder cannot be listed. It is not sent until it can, and nothing waits for it.
    pub(crate) fn unlistable(&mut self, folder: &Name) {
        self.update(folder, |entry| {
            // A file may have taken its name meanwhile.
            if entry.is_folder() && !entry.listed {
                entry.apply(EntryEvent::Unlistable);
            }
        });
    }

    /// A folder whose contents have left could not be examined. It is tried again after a while.
    pub(crate) fn postpone(&mut self, folder: &Name, now: Moment) {
        if self.state(folder) == Some(EntryState::AwaitingContents) {
            let until = now.after(self.waits.settle.max(Duration::from_secs(1)));
            self.apply(folder, EntryEvent::Postponed { until });
        }
    }

    /// Events were lost, so the writers of the files are not known any more.
    pub(crate) fn events_lost(&mut self) {
        for entry in self.entries.values_mut() {
            entry.settle.forget_writer();
        }
        let open: Vec<Name> = self.delivered_open.keys().cloned().collect();
        for name in open {
            self.ask_now(&name);
        }
    }
}
