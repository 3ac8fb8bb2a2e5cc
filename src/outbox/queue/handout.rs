//! Pure: how entries leave the table by the queue, and come back as outcomes.

use super::observe::differs;
use super::open::ASK_AGAIN;
use super::table::{Now, State, Table};
use crate::outbox::watch::settle::{Moment, Signal};
use crate::outbox::{Item, Retry};
use crate::proto::message::{EntryKind, TransferId};
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};
use std::time::Duration;

/// What became of an item that the peer holds.
#[derive(Debug, Clone)]
pub(crate) enum Finish {
    /// It was removed or archived, or was gone already.
    Gone,
    /// It stays, and the ledger durably knows that the peer holds it.
    Kept(Option<Meta>),
    /// Something else stands there now (or nothing), or a folder is not empty.
    Changed(Option<Meta>),
    /// A program has it open for writing: it stays until that ends.
    InUse(Option<Meta>),
    /// It could not be removed.
    Stuck,
}

/// An entry whose wait is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// It was quiet for long enough: it is ready if [`Table::checked`] finds it unchanged.
    Settled(Name),
    /// A program had it open: the system is asked again, for [`Table::asked`].
    Open(Name),
}

/// How often the peer is asked whether what stood in an entry's place is gone.
const WHEN_FREE_INTERVAL: Duration = Duration::from_secs(20);
/// So many of the items that the peer could not take are tried again at least this often, so that
/// it shows soon when its disk is back. The others wait longer and longer, or a large queue would
/// be offered over and over.
const PROBES: usize = 4;
const PROBE: Duration = Duration::from_secs(4);
/// When one of them gets through, so many others follow at once, and more after each of those.
const WOKEN: usize = 64;

impl Table {
    /// Takes the item whose turn it is.
    pub fn pop(&mut self) -> Option<Item> {
        loop {
            let name = self.queue.turn()?;
            let entry = self.entries.get(&name)?;
            let kind = match entry.meta.kind {
                FileKind::File => EntryKind::File { size: entry.meta.size },
                FileKind::Link => EntryKind::Link { target: self.target(&name).to_vec() },
                FileKind::Folder if self.clear_beneath(&name) && !self.holds_unfinished(&name) => {
                    EntryKind::Folder
                }
                // Something came in beneath it since it was found ready.
                FileKind::Folder | FileKind::Other => {
                    self.update(&name, |entry| entry.state = State::Quiet);
                    continue;
                }
            };
            let (meta, attempt) = (entry.meta, entry.attempt);
            let first_offer = entry.first_offer && attempt == 0;
            let (snapshot, ask_first) = (entry.snapshot, entry.refused);
            self.update(&name, |entry| {
                entry.state = State::InFlight;
                entry.offered = true;
            });
            let id = self.id(&name, &meta);
            return Some(Item {
                name,
                meta,
                kind,
                id,
                attempt,
                first_offer,
                snapshot,
                ask_first,
                content: None,
            });
        }
    }

    /// The peer holds an item. Returns it when it is to be finished now, and `None` while its
    /// writer still has it open.
    pub fn delivered(&mut self, item: Item) -> Option<Item> {
        let entry = self.entries.get(&item.name)?;
        if entry.state != State::InFlight {
            return None;
        }
        let failed_before = entry.failures > 0;
        let hold = !self.keep && item.meta.kind == FileKind::File && entry.settle.held_open();
        let state = if hold { State::Held } else { State::Finishing };
        self.update(&item.name, |entry| {
            entry.state = state;
            // The next look at what stands there is compared with what the peer holds.
            entry.meta = item.meta;
            entry.open = None;
            // The system is asked at once: events may be wrong about the writer.
            entry.due = Moment(0);
        });
        if failed_before {
            self.wake_some();
        }
        if hold {
            self.held.insert(item.name.clone(), item);
            return None;
        }
        if self.rests(&item.name) {
            return None;
        }
        Some(item)
    }

    /// What the peer could not take may be what it can take now: those that wait the shortest are
    /// tried at once.
    fn wake_some(&mut self) {
        let some: Vec<_> = self.waiting.iter().take(WOKEN).map(|(_, name)| name.clone()).collect();
        for name in some {
            self.update(&name, |entry| entry.due = Moment(0));
        }
    }

    /// An item came back. `first_offer` is what stands there now.
    pub fn failed(&mut self, item: &Item, retry: Retry, first_offer: Option<Meta>, now: Now) {
        if self.entries.get(&item.name).is_none_or(|e| e.state != State::InFlight) {
            return;
        }
        if retry == Retry::Forget {
            self.forgotten.push(item.id);
        }
        let wait = self.settle;
        let soon = now.mono.after(PROBE);
        let probes = self.waiting.iter().take(PROBES).take_while(|(due, _)| *due <= soon).count();
        self.update(&item.name, |entry| {
            entry.attempt = entry.attempt.saturating_add(1);
            entry.refused = retry == Retry::WhenFree;
            match retry {
                Retry::Now => entry.state = entry.settled(),
                Retry::After | Retry::Forget | Retry::WhenReadable => {
                    entry.failures = entry.failures.saturating_add(1);
                    let pause = backoff(item.id, entry.failures);
                    let probe = retry == Retry::After && probes < PROBES;
                    entry.due = now.mono.after(if probe { pause.min(PROBE) } else { pause });
                    let unreadable = retry == Retry::WhenReadable;
                    entry.state = if unreadable { State::Unreadable } else { State::Waiting };
                }
                Retry::WhenFree => {
                    entry.due = now.mono.after(WHEN_FREE_INTERVAL);
                    entry.state = State::Unreadable;
                }
                Retry::WhenChanged => entry.state = State::Refused,
                Retry::Changed => {
                    entry.settle.disturbed(now.mono);
                    entry.settle_again(now.mono, wait);
                }
                // The next question to the system is due at once.
                Retry::Open => entry.state = State::Settling,
            }
        });
        if retry == Retry::Open {
            self.found_open(&item.name, now.mono, now.mono);
        }
        self.look(&item.name, first_offer, now);
    }

    /// What was refused for good is offered again: there is somebody else to refuse it.
    pub fn reconsider(&mut self) {
        // A folder that cannot be listed was never offered.
        let refused = self
            .entries
            .iter()
            .filter(|(_, e)| matches!(e.state, State::Refused | State::Unreadable) && e.offered);
        for name in refused.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.update(&name, |entry| entry.state = entry.settled());
        }
    }

    /// An item that the peer holds is removed, marked, or not.
    pub fn finished(&mut self, item: &Item, finish: Finish, now: Now) {
        if self.entries.get(&item.name).is_none_or(|e| e.state != State::Finishing) {
            return;
        }
        match finish {
            Finish::Gone => {
                self.forgotten.push(item.id);
                self.drop_entry(&item.name);
                if item.meta.kind == FileKind::Folder {
                    self.gone(&item.name);
                }
                self.emptied.extend(item.name.parent());
                if item.meta.kind != FileKind::Folder {
                    self.has_file(&item.name, now.mono);
                }
            }
            Finish::Kept(first_offer) => {
                self.forgotten.push(item.id);
                self.update(&item.name, |entry| {
                    entry.state = State::Done;
                    entry.offered = false;
                });
                self.look(&item.name, first_offer, now);
            }
            Finish::Changed(first_offer) if item.meta.kind == FileKind::Folder => {
                self.update(&item.name, |entry| entry.state = State::Done);
                self.look(&item.name, first_offer, now);
            }
            Finish::Changed(first_offer) => {
                // Should just this content come back, the peer must still know that it has it.
                if first_offer.is_none_or(|meta| self.id(&item.name, &meta) != item.id) {
                    self.forgotten.push(item.id);
                }
                let wait = self.settle;
                self.update(&item.name, |entry| {
                    entry.settle.disturbed(now.mono);
                    entry.settle_anew(now.mono, wait);
                });
                self.look(&item.name, first_offer, now);
            }
            Finish::InUse(first_offer) => {
                self.finished_in_use(item, first_offer, now.mono.after(ASK_AGAIN))
            }
            Finish::Stuck => self.update(&item.name, |entry| entry.state = State::Done),
        }
    }

    fn look(&mut self, name: &Name, first_offer: Option<Meta>, now: Now) {
        match first_offer {
            None => self.gone(name),
            // A link's target is read by the next scan, which finds it new.
            Some(meta)
                if meta.kind == FileKind::Other
                    || (meta.kind == FileKind::Link && self.is_other(name, &meta)) =>
            {
                self.gone(name);
            }
            Some(meta) => {
                self.observe(name, meta, None, Signal::Seen, now, 0);
            }
        }
    }

    fn is_other(&self, name: &Name, meta: &Meta) -> bool {
        self.entries.get(name).is_none_or(|e| differs(e, meta))
    }

    /// Folders that were sent but stayed because something stood in them, and are bare now: they
    /// are to be removed with no second sending.
    pub fn take_emptied(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.dedup();
        for name in emptied {
            let Some(entry) = self.entries.get(&name) else { continue };
            if self.keep || !entry.is_folder() || entry.state != State::Done || !self.is_bare(&name)
            {
                continue;
            }
            let (meta, attempt) = (entry.meta, entry.attempt);
            if self.rests(&name) {
                continue;
            }
            self.update(&name, |entry| entry.state = State::Finishing);
            let id = self.id(&name, &meta);
            items.push(Item {
                name,
                meta,
                kind: EntryKind::Folder,
                id,
                attempt,
                first_offer: false,
                snapshot: false,
                ask_first: false,
                content: None,
            });
        }
        items
    }

    /// Waits that are over, at most `max` of them. Those that are returned are to be looked at.
    pub fn expire(&mut self, now: Moment, max: usize) -> Vec<Due> {
        let mut look = Vec::new();
        while look.len() < max {
            let Some((due, name)) = self.timers.first().cloned() else { break };
            if due > now {
                break;
            }
            let wait = self.settle;
            self.update(&name, |entry| {
                let again = matches!(entry.state, State::Waiting | State::Unreadable);
                let open = matches!(entry.state, State::Open | State::Held);
                let rests = entry.state == State::Resting;
                if again || (!open && !rests && (entry.is_folder() || entry.settle.at_once())) {
                    entry.state = entry.settled();
                } else {
                    // Should the look fail, there is another one.
                    entry.due = now.after(wait.settle.max(Duration::from_millis(100)));
                    look.push(if open {
                        Due::Open(name.clone())
                    } else {
                        Due::Settled(name.clone())
                    });
                }
            });
        }
        look
    }

    /// The second look at a file that was quiet for long enough.
    pub fn checked(&mut self, name: &Name, meta: Meta, now: Now) {
        if self.rested(name, &meta, now) {
            return;
        }
        let touched = self.entries.get(name).is_none_or(|entry| !entry.meta.unchanged(&meta));
        if meta.kind == FileKind::Other || touched {
            self.look(name, Some(meta), now);
            return;
        }
        let wait = self.settle;
        if self.entries.get(name).is_some_and(|e| e.state == State::Settling) {
            self.update(name, |entry| {
                entry.due = entry.settle.due(wait);
                if entry.due <= now.mono {
                    entry.state = entry.settled();
                }
            });
        }
    }

    /// Quiet folders that nothing beneath holds up any more, to be looked at once more, by
    /// [`Table::folder_checked`].
    pub fn ripe(&mut self) -> Vec<Name> {
        let ripe = std::mem::take(&mut self.maybe_ripe)
            .into_iter()
            .filter(|name| self.entries.get(name).is_some_and(|e| e.state == State::Quiet))
            .filter(|name| self.clear_beneath(name))
            .collect();
        self.without_unfinished(ripe)
    }

    /// The second look at a folder that everything beneath has left.
    pub fn folder_checked(&mut self, name: &Name, meta: Meta, now: Now) {
        let Some(entry) = self.entries.get(name) else { return };
        if entry.state != State::Quiet || !self.clear_beneath(name) {
            return;
        }
        if differs(entry, &meta) {
            self.look(name, Some(meta), now);
        } else if !self.waits_for_its_user(name, now.mono) {
            self.update(name, |entry| entry.state = State::Ready);
        }
    }

    /// When something is due next.
    pub fn next_due(&self) -> Option<Moment> {
        self.timers.first().map(|(due, _)| *due).into_iter().chain(self.left.next_due()).min()
    }
}

/// One second, doubled with each failure up to a minute, and spread by a quarter either way, so
/// that what failed together does not come back together. The id is what rolls the dice.
fn backoff(id: TransferId, failures: u32) -> Duration {
    let base =
        Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60));
    let roll = id.0[failures as usize % id.0.len()];
    base.mul_f64(0.75 + f64::from(roll) / 255.0 / 2.0)
}
