//! Pure: entries that a program has open for writing. The system is asked; events only tell when to
//! ask again.

use super::table::{OpenSince, State, Table, Told};
use crate::outbox::Item;
use crate::outbox::watch::settle::Moment;
use crate::proto::name::Name;
use crate::store::{FileKind, Meta, Writers};
use std::time::Duration;

/// How long after a question about an open file the system is asked again, where events tell of the
/// close too.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The same where no event does.
pub(crate) const ASK_OFTEN: Duration = Duration::from_millis(80);
/// After this long a person is told that a file stays, and why.
pub(crate) const STAYS_AFTER: Duration = Duration::from_secs(60);

/// What [`Table::asked`] says of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    Nothing,
    /// That it waits because a program has it open.
    Waits,
    /// That it stays as long as a program has it open.
    Stays,
}

impl Table {
    /// How many entries a program has open, as far as known.
    pub fn count_open(&self) -> usize {
        self.open + self.held.len()
    }

    /// Whether the system is to be asked about the writers of a settled entry before it is queued.
    /// A file whose one writer closed it, or that was moved in, is asked about when it is opened to
    /// be read.
    pub fn must_ask(&self, name: &Name) -> bool {
        self.entries.get(name).is_some_and(|entry| {
            entry.state == State::Settling
                && entry.meta.kind == FileKind::File
                && (entry.open.is_some() || !entry.settle.was_closed())
        })
    }

    /// A program has an entry open that was to be sent. `again`: when the system is asked the next
    /// time.
    pub fn found_open(&mut self, name: &Name, now: Moment, again: Moment) {
        self.update(name, |entry| {
            entry.open.get_or_insert(OpenSince { since: now, told: Told::Nothing });
            entry.snapshot = false;
            entry.state = State::Open;
            entry.due = again;
        });
    }

    /// The answer about an entry in the state `Open` or `Held`, which stands there as `meta`.
    pub fn asked(
        &mut self,
        name: &Name,
        meta: Meta,
        writers: Writers,
        now: Moment,
        again: Moment,
    ) -> Tell {
        let (wait, snapshot_after) = (self.settle, self.send_open);
        let Some(entry) = self.entries.get(name) else { return Tell::Nothing };
        let open = match writers {
            Writers::Some => true,
            Writers::None => false,
            // Then only events tell.
            Writers::Unknown => entry.settle.held_open(),
        };
        match (entry.state, open) {
            (State::Held, false) => self.release(name),
            (State::Held, true) if !entry.meta.same_file(&meta) => self.release(name),
            (State::Held, true) => self.update(name, |entry| entry.due = again),
            (State::Open, false) => self.update(name, |entry| {
                if writers == Writers::Unknown {
                    entry.settle.forget_writer();
                }
                entry.settle_again(now, wait);
            }),
            (State::Open, true) => {
                if !entry.meta.unchanged(&meta) {
                    self.changed_while_open(name, meta, now);
                }
                return self.still_open(name, snapshot_after, now, again);
            }
            _ => {}
        }
        Tell::Nothing
    }

    /// An event told something about an entry in the state `Held`: the system is asked before it is
    /// finished. To finish it is to rename it out of Outgoing, and back while it is open, which is
    /// an event too.
    pub fn ask_now(&mut self, name: &Name) {
        self.update(name, |entry| entry.due = Moment(0));
    }

    /// Nothing stands there any more, as a look just showed.
    pub fn found_gone(&mut self, name: &Name) {
        if self.held.contains_key(name) {
            self.release(name);
        } else {
            self.gone(name);
        }
    }

    /// A held entry is finished now.
    pub fn release(&mut self, name: &Name) {
        if let Some(item) = self.held.remove(name) {
            self.released.push(item);
            self.update(name, |entry| entry.state = State::Finishing);
        }
    }

    /// The content of an open file changed, or its attributes.
    pub fn changed_while_open(&mut self, name: &Name, meta: Meta, now: Moment) {
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

    fn still_open(
        &mut self,
        name: &Name,
        snapshot_after: Option<Duration>,
        now: Moment,
        again: Moment,
    ) -> Tell {
        let mut tell = Tell::Nothing;
        self.update(name, |entry| {
            let due = snapshot_after.map(|quiet| entry.settle.quiet_since().after(quiet));
            if due.is_some_and(|due| due <= now) {
                entry.snapshot = true;
                entry.state = State::Ready;
                return;
            }
            entry.due = due.map_or(again, |due| due.min(again));
            let Some(open) = &mut entry.open else { return };
            if open.told < Told::Waits {
                (open.told, tell) = (Told::Waits, Tell::Waits);
            } else if open.told < Told::Stays
                && now.since(open.since) >= STAYS_AFTER
                && due.is_none()
            {
                (open.told, tell) = (Told::Stays, Tell::Stays);
            }
        });
        tell
    }

    /// The peer holds an item, but a program has the file open: it stays until that is closed.
    pub fn finished_in_use(&mut self, item: &Item, meta: Option<Meta>, again: Moment) {
        self.update(&item.name, |entry| {
            entry.state = State::Held;
            entry.due = again;
            if let Some(meta) = meta.filter(|meta| meta.same_file(&entry.meta)) {
                entry.meta = meta;
            }
        });
        self.held.insert(item.name.clone(), item.clone());
    }
}
