//! Pure: one entry of Outgoing, and its part of the indexes of the table.

use super::lifecycle::{EntryEvent, EntryState};
use super::order::Seq;
use crate::config::Waits;
use crate::outbox::watch::settle::{Moment, Settle};
use crate::store::{FileKind, Meta};

/// One file, folder or link of Outgoing.
#[derive(Debug)]
pub(crate) struct OutgoingEntry {
    /// Its metadata when it was last examined.
    pub meta: Meta,
    /// How long it has been unchanged, and the knowledge about its writer.
    pub settle: Settle,
    state: EntryState,
    /// Its place in the queue while it is ready.
    pub seq: Seq,
    /// How often a session gave it back since it last changed.
    pub attempt: u32,
    /// How many of these attempts failed.
    pub failures: u32,
    /// The number of the scan that last saw it.
    pub seen: u32,
    /// It appeared, or changed, after the first scan was complete.
    pub seen_after_start: bool,
    /// It was offered, so the peer may know its id.
    pub offered: bool,
    /// A folder whose entries are known.
    pub listed: bool,
    /// A program was found to have it open, and it has not been sent since.
    pub open: Option<OpenSince>,
    /// It is sent although a program has it open (`--send-open`).
    pub snapshot: bool,
    /// At the last offer the peer had something else at its path.
    pub path_occupied: bool,
    /// It overtakes entries that are not urgent.
    pub urgent: bool,
    /// How long a folder stays.
    pub stay: Stay,
}

/// How long a program has had an entry open, and how much the user knows about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenSince {
    pub since: Moment,
    pub told: Told,
}

/// How much the user knows about an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Nothing,
    /// That it waits.
    Waits,
    /// That it stays, which program has it open, and the remedy.
    Stays,
}

/// How a folder is used, which decides how long it stays in Outgoing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stay {
    /// Nothing more is expected to arrive in it.
    pub complete: bool,
    /// When it was created, or got its name.
    pub made: Moment,
    /// It was seen with a file in it.
    pub filled: bool,
    /// It is not removed before this moment.
    pub until: Option<Moment>,
}

impl OutgoingEntry {
    /// A new entry, which settles first.
    pub(crate) fn new(meta: Meta, settle: Settle, now: Moment, waits: Waits) -> Self {
        let mut entry = Self {
            meta,
            settle,
            state: EntryState::Settling { until: settle.due(waits) },
            seq: 0,
            attempt: 0,
            failures: 0,
            seen: 0,
            seen_after_start: false,
            offered: false,
            listed: false,
            open: None,
            snapshot: false,
            path_occupied: false,
            urgent: false,
            stay: Stay::default(),
        };
        entry.end_needless_wait(now);
        entry
    }

    pub(crate) fn state(&self) -> EntryState {
        self.state
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.meta.kind == FileKind::Folder
    }

    /// The event that ends the wait of an entry of this kind.
    pub(crate) fn settled(&self) -> EntryEvent {
        if self.is_folder() { EntryEvent::FolderSettled } else { EntryEvent::FileSettled }
    }

    /// Changes the state. An event that the state does not allow is a bug and changes nothing.
    pub(crate) fn apply(&mut self, event: EntryEvent) {
        let next = self.state.apply(event);
        debug_assert!(next.is_ok(), "{next:?}");
        match next {
            Ok(next) => self.state = next,
            Err(error) => tracing::error!("internal error: {error}; please report it"),
        }
    }

    /// Its content is another one, or something else has its name: the attempts so far say nothing
    /// about it.
    pub(crate) fn start_over(&mut self, now: Moment, waits: Waits) {
        (self.attempt, self.failures, self.offered) = (0, 0, false);
        (self.snapshot, self.path_occupied, self.seen_after_start) = (false, false, true);
        self.changed(now, waits);
    }

    /// It changed, and settles from the start. If it needs no wait, it is settled at once.
    pub(crate) fn changed(&mut self, now: Moment, waits: Waits) {
        self.apply(EntryEvent::Changed { until: self.settle.due(waits) });
        self.end_needless_wait(now);
    }

    /// A writer opened or closed it: it settles again. If it needs no wait, it is settled at once.
    pub(crate) fn settle_again(&mut self, now: Moment, waits: Waits) {
        self.apply(EntryEvent::SettleAgain { until: self.settle.due(waits) });
        self.end_needless_wait(now);
    }

    fn end_needless_wait(&mut self, now: Moment) {
        if self.settle.at_once() && self.state.due().is_none_or(|until| until <= now) {
            self.apply(self.settled());
        }
    }

    /// Whether something that now has these metadata must settle and be sent anew.
    pub(crate) fn differs(&self, meta: &Meta) -> bool {
        let old = &self.meta;
        if self.is_folder() {
            // rft's own removals beneath a folder change its change time and its size.
            return meta.kind != old.kind
                || meta.modified != old.modified
                || meta.mode != old.mode
                || meta.identity.inode != old.identity.inode;
        }
        match self.state {
            // A new owner or access list may make it readable.
            EntryState::Unreadable { .. } | EntryState::Occupied { .. } => !old.unchanged(meta),
            // A new owner or hard link is no new content.
            _ => !old.same_file(meta) || old.mode != meta.mode,
        }
    }

    pub(crate) fn index_key(&self) -> IndexKey {
        IndexKey {
            state: self.state,
            folder: self.is_folder(),
            size: if self.meta.kind == FileKind::File { self.meta.size } else { 0 },
            seq: self.seq,
            urgent: self.urgent,
        }
    }
}

/// The part of an entry on which the indexes and sums of the table depend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexKey {
    pub state: EntryState,
    pub folder: bool,
    pub size: u64,
    pub seq: Seq,
    pub urgent: bool,
}

impl IndexKey {
    /// Whether it keeps the folders above it waiting. A folder does not, by itself.
    pub(crate) fn is_busy(&self) -> bool {
        !self.folder && self.state.is_busy()
    }
}
