//! Pure: how what is seen and heard of Outgoing changes the table.

use super::table::{Entry, Now, State, Table};
use crate::outbox::watch::settle::{Moment, Settle, Signal};
use crate::proto::name::Name;
use crate::store::Meta;
use std::time::Duration;

/// What [`Table::observe`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// Nothing of that name was known, or another thing was: a folder wants to be listed.
    New,
    /// It is not as it was.
    Changed,
    /// It is as it was.
    Same,
}

impl Table {
    /// An entry stands there, as `meta`. `target` is a link's. `scan` numbers the scan that saw it.
    pub fn observe(
        &mut self,
        name: &Name,
        meta: Meta,
        target: Option<Vec<u8>>,
        signal: Signal,
        now: Now,
        scan: u32,
    ) -> Observed {
        let wait = self.settle;
        let Some(entry) = self.entries.get_mut(name) else {
            let settle = Settle::first_seen(&meta, signal, now.mono, now.wall, wait);
            self.insert(name, meta, settle, now.mono, scan);
            self.set_target(name, target);
            self.came(name, &meta, signal, now);
            return Observed::New;
        };
        entry.seen = scan;
        match entry.state {
            State::InFlight | State::Finishing => {
                entry.settle.signal(signal, now.mono);
                return Observed::Same;
            }
            State::Held => {
                entry.settle.signal(signal, now.mono);
                if !entry.meta.same_file(&meta) {
                    self.release(name);
                } else if signal != Signal::Seen {
                    self.ask_now(name);
                }
                return Observed::Same;
            }
            State::Open if entry.meta.same_inode(&meta) => {
                if !entry.meta.unchanged(&meta) {
                    self.changed_while_open(name, meta, now.mono);
                }
                self.signal(name, signal, now.mono);
                return Observed::Same;
            }
            _ => {}
        }
        let another =
            entry.meta.kind != meta.kind || entry.meta.identity.inode != meta.identity.inode;
        let Some(entry) = self.entries.get(name) else { return Observed::Same };
        // Its own look comes when its rest is over.
        if entry.state == State::Resting && !another {
            return Observed::Same;
        }
        // Removals beneath a folder change its times for a moment; once nothing beneath holds it up
        // any more it is looked at again.
        let passing = entry.is_folder() && !another && !self.clear_beneath(name);
        if another || (!passing && differs(entry, &meta)) {
            self.forget_offer(name);
            self.set_target(name, target);
            self.update(name, |entry| {
                if another {
                    entry.listed = false;
                    entry.settle = Settle::first_seen(&meta, signal, now.mono, now.wall, wait);
                } else {
                    entry.settle.changed(now.mono);
                    entry.settle.signal(signal, now.mono);
                }
                entry.meta = meta;
                entry.settle_anew(now.mono, wait);
            });
            if !another {
                return Observed::Changed;
            }
            self.came(name, &meta, signal, now);
            return Observed::New;
        }
        if !entry.is_folder() && !entry.meta.unchanged(&meta) && !entry.state.stays() {
            self.touched(name, meta, now.mono);
        }
        self.signal(name, signal, now.mono);
        Observed::Same
    }

    /// Its attributes changed (a new hard link, an owner, a rename to where it was): the same
    /// content is sent under the same id, once it is quiet.
    fn touched(&mut self, name: &Name, meta: Meta, now: Moment) {
        let wait = self.settle;
        self.update(name, |entry| {
            entry.meta = meta;
            if entry.state == State::Settling {
                entry.settle.changed(now);
                entry.due = entry.settle.due(wait);
            }
        });
    }

    /// An event told something about a known entry; its metadata need not be looked at for that.
    /// Returns `false` when it must be.
    pub fn note(&mut self, name: &Name, signal: Signal, now: Moment) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        match entry.state {
            State::InFlight | State::Finishing => {
                entry.settle.signal(signal, now);
                true
            }
            State::Held => {
                entry.settle.signal(signal, now);
                if signal != Signal::Seen {
                    self.ask_now(name);
                }
                true
            }
            State::Open if matches!(signal, Signal::Written | Signal::Closed) => {
                self.signal(name, signal, now);
                true
            }
            // What a close leaves is looked at: found out at the end of the wait, it would begin
            // anew.
            State::Settling if signal == Signal::Written => {
                self.signal(name, signal, now);
                true
            }
            // Removals beneath it put a folder's times back: its turn comes with a look of its own.
            State::Settling | State::Quiet | State::Ready | State::Resting => {
                entry.is_folder() && signal == Signal::Seen
            }
            State::Open
            | State::Unfinished
            | State::Waiting
            | State::Unreadable
            | State::Refused
            | State::Done => false,
        }
    }

    fn signal(&mut self, name: &Name, signal: Signal, now: Moment) {
        let wait = self.settle;
        let Some(entry) = self.entries.get(name) else { return };
        let again = match entry.state {
            State::Settling => signal != Signal::Seen,
            State::Ready => signal == Signal::Written,
            // The system is asked after the wait: another program may still have it open.
            State::Open if signal == Signal::Closed => true,
            State::Open if signal == Signal::Written => {
                self.update(name, |entry| entry.settle.signal(signal, now));
                false
            }
            // It stays where it is; what its writer does is known when it changes.
            State::Waiting | State::Unreadable | State::Refused | State::Done => {
                self.update(name, |entry| entry.settle.signal(signal, now));
                false
            }
            _ => false,
        };
        if again {
            self.update(name, |entry| {
                entry.settle.signal(signal, now);
                entry.settle_again(now, wait);
            });
        }
    }

    /// Nothing stands there any more: it and all beneath it is dropped. What is in flight stays
    /// until its outcome is known.
    pub fn gone(&mut self, name: &Name) {
        self.left_is_gone(name);
        let mut names = self.beneath(name);
        names.push(name.clone());
        for name in names {
            match self.entries.get(&name).map(|e| e.state) {
                None | Some(State::InFlight | State::Finishing) => {}
                // Our own rename out of Outgoing and back is told like that.
                Some(State::Held) => self.ask_now(&name),
                Some(_) => {
                    self.forget_offer(&name);
                    self.drop_entry(&name);
                }
            }
        }
    }

    /// A folder (`None` for Outgoing itself) was listed by `scan`: what that did not see is gone.
    pub fn sweep(&mut self, folder: Option<&Name>, scan: u32) {
        let skip = folder.map_or(0, |f| f.as_bytes().len() + 1);
        let unseen: Vec<Name> = self
            .range(folder)
            .filter(|(name, entry)| entry.seen != scan && !name.as_bytes()[skip..].contains(&b'/'))
            .map(|(name, _)| name.clone())
            .collect();
        for name in unseen {
            self.gone(&name);
        }
        self.sweep_left(folder, scan);
        if let Some(folder) = folder
            && self.entries.get(folder).is_some_and(|e| !e.listed)
        {
            self.update(folder, |entry| {
                entry.listed = true;
                if entry.state == State::Refused && !entry.offered {
                    entry.state = State::Settling;
                }
            });
            self.maybe_ripe.insert(folder.clone());
        }
    }

    /// A folder cannot be listed. It is not sent until it can, and holds nothing else up.
    pub fn unlistable(&mut self, folder: &Name) {
        self.update(folder, |entry| {
            if !entry.listed && !entry.state.handed_out() {
                entry.state = State::Refused;
            }
        });
    }

    /// A quiet folder could not be looked at: it has its turn again after a while.
    pub fn postpone(&mut self, folder: &Name, now: Moment) {
        let wait = self.settle.settle.max(Duration::from_secs(1));
        self.update(folder, |entry| {
            if entry.state == State::Quiet {
                entry.due = now.after(wait);
                entry.state = State::Settling;
            }
        });
    }

    /// Events were lost: who has what open is not known any more.
    pub fn events_lost(&mut self) {
        for entry in self.entries.values_mut() {
            entry.settle.forget_writer();
        }
        let held: Vec<Name> = self.held.keys().cloned().collect();
        for name in held {
            self.ask_now(&name);
        }
    }
}

/// Whether what stands there now is to be settled and sent anew.
pub(crate) fn differs(entry: &Entry, meta: &Meta) -> bool {
    let old = &entry.meta;
    if entry.is_folder() {
        // Our own removals beneath it change its change time and its size.
        return meta.kind != old.kind
            || meta.modified != old.modified
            || meta.mode != old.mode
            || meta.identity.inode != old.identity.inode;
    }
    match entry.state {
        // A new owner or access list may make it readable.
        State::Unreadable => !old.unchanged(meta),
        // A new owner or hard link is no new content.
        _ => !old.same_file(meta) || old.mode != meta.mode,
    }
}
