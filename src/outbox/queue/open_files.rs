//! Pure: files that a program has open for writing. The answer is the system's; events only tell
//! when to ask again.

use super::entry::{OpenSince, Told};
use super::lifecycle::{EntryEvent, EntryState};
use super::table::Table;
use crate::outbox::item::Item;
use crate::outbox::watch::settle::Moment;
use crate::proto::name::Name;
use crate::store::{FileKind, Meta, Writers};
use std::time::Duration;

/// How long after one question about an open file the next one follows, where events tell of the
/// close too.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// The same where no event tells of a close.
pub(crate) const ASK_INTERVAL_WITHOUT_EVENTS: Duration = Duration::from_millis(80);
/// How long a file must have been open before the user is told that it stays, and why.
pub(crate) const STAYS_AFTER: Duration = Duration::from_secs(60);

/// The news about an open file for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenNotice {
    Nothing,
    /// It waits because a program has it open.
    Waits,
    /// It stays while a program has it open.
    Stays,
}

impl Table {
    /// How many entries are known to be open in a program.
    pub(crate) fn count_open(&self) -> usize {
        self.index.open + self.delivered_open.len()
    }

    /// Whether to ask the system about the writers of a settled entry before it is queued. A file
    /// that was closed by its only writer, or was renamed into place, is asked about when it is
    /// opened for reading.
    pub(crate) fn must_ask(&self, name: &Name) -> bool {
        self.entries.get(name).is_some_and(|entry| {
            matches!(entry.state(), EntryState::Settling { .. })
                && entry.meta.kind == FileKind::File
                && (entry.open.is_some() || !entry.settle.was_closed())
        })
    }

    /// A program has an entry open that was to be sent. The system is asked again at `ask_at`.
    pub(crate) fn found_open(&mut self, name: &Name, now: Moment, ask_at: Moment) {
        self.update(name, |entry| {
            entry.open.get_or_insert(OpenSince { since: now, told: Told::Nothing });
            entry.snapshot = false;
            entry.apply(EntryEvent::FoundOpen { ask_at });
        });
    }

    /// The system's answer about the writers of an open entry, delivered or not, which has the
    /// metadata `meta`. The next question follows at `ask_at`.
    pub(crate) fn asked(
        &mut self,
        name: &Name,
        meta: Meta,
        writers: Writers,
        now: Moment,
        ask_at: Moment,
    ) -> OpenNotice {
        let waits = self.waits;
        let Some(entry) = self.entries.get(name) else { return OpenNotice::Nothing };
        let open = match writers {
            Writers::Some => true,
            Writers::None => false,
            // Only the events know.
            Writers::Unknown => entry.settle.held_open(),
        };
        match (entry.state(), open) {
            (EntryState::DeliveredOpen { .. }, true) if entry.meta.same_file(&meta) => {
                self.apply(name, EntryEvent::Reschedule { at: ask_at });
            }
            (EntryState::DeliveredOpen { .. }, _) => self.release(name),
            (EntryState::Open { .. }, false) => self.update(name, |entry| {
                if writers == Writers::Unknown {
                    entry.settle.forget_writer();
                }
                entry.settle_again(now, waits);
            }),
            (EntryState::Open { .. }, true) => {
                if !entry.meta.unchanged(&meta) {
                    self.changed_while_open(name, meta, now);
                }
                return self.still_open(name, now, ask_at);
            }
            _ => {}
        }
        OpenNotice::Nothing
    }

    /// An event told about a delivered entry that a program has open. The system is asked before
    /// its cleanup: a cleanup renames the file out of Outgoing, and back while it is open, which
    /// would be an event again.
    pub(crate) fn ask_now(&mut self, name: &Name) {
        self.apply(name, EntryEvent::Reschedule { at: Moment::PAST });
    }

    /// A look has just shown that nothing has this name any more.
    pub(crate) fn found_gone(&mut self, name: &Name) {
        if self.delivered_open.contains_key(name) {
            self.release(name);
        } else {
            self.gone(name);
        }
    }

    /// A delivered entry is open no more: the cleanup thread gets it.
    pub(crate) fn release(&mut self, name: &Name) {
        if let Some(item) = self.delivered_open.remove(name) {
            self.to_clean_up.push(item);
            self.apply(name, EntryEvent::CleanUp);
        }
    }

    /// The content of an open file changed, or its attributes.
    pub(crate) fn changed_while_open(&mut self, name: &Name, meta: Meta, now: Moment) {
        let content = self.entries.get(name).is_some_and(|entry| !entry.meta.same_file(&meta));
        if content {
            self.forget_offer(name);
        }
        self.update(name, |entry| {
            if content {
                entry.settle.changed(now);
                entry.offered = false;
            }
            entry.meta = meta;
        });
    }

    fn still_open(&mut self, name: &Name, now: Moment, ask_at: Moment) -> OpenNotice {
        let send_open = self.send_open;
        let mut notice = OpenNotice::Nothing;
        self.update(name, |entry| {
            let snapshot_at = send_open.map(|quiet| entry.settle.quiet_since().after(quiet));
            if snapshot_at.is_some_and(|at| at <= now) {
                entry.snapshot = true;
                return entry.apply(EntryEvent::SnapshotDue);
            }
            let at = snapshot_at.map_or(ask_at, |at| at.min(ask_at));
            entry.apply(EntryEvent::Reschedule { at });
            let Some(open) = &mut entry.open else { return };
            if open.told < Told::Waits {
                (open.told, notice) = (Told::Waits, OpenNotice::Waits);
            } else if open.told < Told::Stays
                && now.since(open.since) >= STAYS_AFTER
                && snapshot_at.is_none()
            {
                (open.told, notice) = (Told::Stays, OpenNotice::Stays);
            }
        });
        notice
    }

    /// The cleanup found that a program has the file open: it stays until that is closed.
    pub(crate) fn cleanup_found_open(&mut self, item: &Item, meta: Option<Meta>, ask_at: Moment) {
        self.update(&item.name, |entry| {
            entry.apply(EntryEvent::InUse { ask_at });
            if let Some(meta) = meta.filter(|meta| meta.same_file(&entry.meta)) {
                entry.meta = meta;
            }
        });
        self.delivered_open.insert(item.name.clone(), item.clone());
    }
}
