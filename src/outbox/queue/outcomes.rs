//! Pure: a session takes an item and gives it back, and the cleanup of an item ends.

use super::entry::OutgoingEntry;
use super::index::is_beneath;
use super::lifecycle::{EntryEvent, EntryState};
use super::open_files::ASK_INTERVAL;
use super::order::Queue;
use super::table::{Now, Table};
use crate::outbox::item::{CleanupOutcome, Item, Retry};
use crate::outbox::watch::settle::Moment;
use crate::proto::message::{EntryKind, TransferId};
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};
use std::time::Duration;

/// How often the peer is asked whether the entry at an item's path is gone.
const OCCUPIED_INTERVAL: Duration = Duration::from_secs(20);
/// How many of the failed items are tried every [`PROBE_INTERVAL`], to notice soon when the peer's
/// disk works again. The backoff of the others grows, or a large queue would be offered without
/// end.
const MAX_PROBES: usize = 4;
const PROBE_INTERVAL: Duration = Duration::from_secs(4);
/// How many failed items are offered at once when one of them was delivered.
const MAX_WOKEN: usize = 64;
/// The first backoff after a failure. Each further failure doubles it, up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

impl Table {
    /// Takes the next item from the queue; it is in flight from then on.
    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.pop_by(Queue::turn)
    }

    /// As [`Table::pop`], if the next item is urgent.
    pub(crate) fn pop_urgent(&mut self) -> Option<Item> {
        self.pop_by(|queue| queue.urgent())
    }

    fn pop_by(&mut self, next: fn(&mut Queue) -> Option<Name>) -> Option<Item> {
        loop {
            let name = next(&mut self.index.queue)?;
            if self.stop_if_held(&name) {
                continue;
            }
            let entry = self.entries.get(&name)?;
            let kind = match entry.meta.kind {
                FileKind::File => EntryKind::File { size: entry.meta.size },
                FileKind::Link => EntryKind::Link { target: self.target(&name).to_vec() },
                FileKind::Folder if self.clear_beneath(&name) && !self.holds_unfinished(&name) => {
                    EntryKind::Folder
                }
                // Something arrived beneath it after it became ready.
                FileKind::Folder | FileKind::Other => {
                    self.apply(&name, EntryEvent::ContentsCame);
                    continue;
                }
            };
            let item = Item {
                attempt: entry.attempt,
                first_offer: entry.seen_after_start && entry.attempt == 0,
                snapshot: entry.snapshot,
                urgent: entry.urgent,
                ask_first: entry.path_occupied,
                ..self.item(name.clone(), entry.meta, kind)
            };
            self.update(&name, |entry| {
                entry.apply(EntryEvent::Taken);
                entry.offered = true;
            });
            return Some(item);
        }
    }

    /// The peer holds an item. Returns it if it is to be cleaned up now, `None` while its writer
    /// has it open or a folder lingers.
    pub(crate) fn delivered(&mut self, item: Item) -> Option<Item> {
        let entry = self.entries.get(&item.name)?;
        if entry.state() != EntryState::InFlight {
            return None;
        }
        if item.receiver != self.exchange.number() {
            // Another receiver has it, which has left.
            self.update(&item.name, |entry| entry.apply(entry.settled()));
            return None;
        }
        let failed_before = entry.failures > 0;
        let open = !self.keep && item.meta.kind == FileKind::File && entry.settle.held_open();
        self.update(&item.name, |entry| {
            entry.apply(if open {
                // Events may be wrong about the writer, so the system is asked at once.
                EntryEvent::InUse { ask_at: Moment::PAST }
            } else {
                EntryEvent::Received
            });
            // The next look is compared with the content that the peer holds.
            entry.meta = item.meta;
            entry.open = None;
        });
        if failed_before {
            self.wake_failed();
        }
        self.exchange.arrived(&item.name);
        if open {
            self.delivered_open.insert(item.name.clone(), item);
            return None;
        }
        (!self.lingers(&item.name)).then_some(item)
    }

    /// An item was delivered that had failed before: the peer may take others now. Those with the
    /// shortest remaining backoff are offered at once.
    fn wake_failed(&mut self) {
        let first: Vec<_> =
            self.index.backing_off.iter().take(MAX_WOKEN).map(|(_, name)| name.clone()).collect();
        for name in first {
            self.apply(&name, EntryEvent::Reschedule { at: Moment::PAST });
        }
    }

    /// A session gives an item back that was not delivered. `meta` are the metadata of the entry
    /// that has its name now.
    pub(crate) fn failed(&mut self, item: &Item, retry: Retry, meta: Option<Meta>, now: Now) {
        if self.state(&item.name) != Some(EntryState::InFlight) {
            return;
        }
        if retry == Retry::Forget {
            self.forgotten.push_back(item.id);
        }
        let waits = self.waits;
        let probe = retry == Retry::After && self.count_probes(now.mono) < MAX_PROBES;
        self.update(&item.name, |entry| {
            entry.attempt = entry.attempt.saturating_add(1);
            entry.path_occupied = retry == Retry::WhenFree;
            match retry {
                Retry::Now => entry.apply(entry.settled()),
                Retry::After | Retry::Forget | Retry::WhenReadable => {
                    entry.failures = entry.failures.saturating_add(1);
                    let pause = backoff(item.id, entry.failures);
                    let pause = if probe { pause.min(PROBE_INTERVAL) } else { pause };
                    let until = now.mono.after(pause);
                    entry.apply(if retry == Retry::WhenReadable {
                        EntryEvent::ReadFailed { until }
                    } else {
                        EntryEvent::Failed { until }
                    });
                }
                Retry::WhenFree => {
                    let until = now.mono.after(OCCUPIED_INTERVAL);
                    entry.apply(EntryEvent::PathOccupied { until });
                }
                Retry::WhenChanged => entry.apply(EntryEvent::PeerRefused),
                Retry::Cancelled => {}
                Retry::Changed => {
                    entry.settle.disturbed(now.mono);
                    entry.changed(now.mono, waits);
                }
                Retry::Open => {}
            }
        });
        if retry == Retry::Cancelled && !self.stop_if_held(&item.name) {
            self.update(&item.name, |entry| entry.apply(entry.settled()));
        }
        if retry == Retry::Open {
            // The next question to the system is due at once.
            self.found_open(&item.name, now.mono, now.mono);
        }
        self.examined(&item.name, meta, now);
    }

    /// How many failed items are offered again within [`PROBE_INTERVAL`], at most [`MAX_PROBES`].
    fn count_probes(&self, now: Moment) -> usize {
        let soon = now.after(PROBE_INTERVAL);
        let first = self.index.backing_off.iter().take(MAX_PROBES);
        first.take_while(|(due, _)| *due <= soon).count()
    }

    /// The peer's process is another one, which may accept the entries that the old one refused.
    pub(crate) fn reconsider(&mut self) {
        // A folder that cannot be listed was never offered.
        let refused = self.entries.iter().filter(|(_, entry)| {
            entry.offered
                && matches!(
                    entry.state(),
                    EntryState::Refused
                        | EntryState::Unreadable { .. }
                        | EntryState::Occupied { .. }
                )
        });
        for name in refused.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.update(&name, |entry| entry.apply(entry.settled()));
        }
    }

    /// Entries that wait for another attempt, or were refused until they change, are offered again.
    /// With `within` those of this name and beneath it only. Returns their number.
    pub(crate) fn retry(&mut self, within: Option<&Name>) -> u64 {
        let waits = |entry: &OutgoingEntry| match entry.state() {
            EntryState::Backoff { .. }
            | EntryState::Unreadable { .. }
            | EntryState::Occupied { .. } => true,
            EntryState::Refused => entry.offered,
            _ => false,
        };
        let wanted =
            |name: &Name| within.is_none_or(|within| name == within || is_beneath(name, within));
        let entries: Vec<_> = self
            .entries
            .iter()
            .filter(|(name, entry)| wanted(name) && waits(entry))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &entries {
            self.update(name, |entry| entry.apply(entry.settled()));
        }
        entries.len() as u64
    }

    /// The cleanup of an item has ended.
    pub(crate) fn cleaned_up(&mut self, item: &Item, outcome: CleanupOutcome, now: Now) {
        if self.state(&item.name) != Some(EntryState::CleaningUp) {
            return;
        }
        match outcome {
            CleanupOutcome::Gone => self.removed(item, now.mono),
            CleanupOutcome::Kept(_) | CleanupOutcome::Stuck
                if item.receiver != self.exchange.number() =>
            {
                let waits = self.waits;
                self.update(&item.name, |entry| entry.start_over(now.mono, waits));
            }
            CleanupOutcome::Kept(meta) => {
                self.forgotten.push_back(item.id);
                self.update(&item.name, |entry| {
                    entry.apply(EntryEvent::Stays);
                    entry.offered = false;
                });
                self.examined(&item.name, meta, now);
            }
            CleanupOutcome::Changed(meta) if item.meta.kind == FileKind::Folder => {
                self.apply(&item.name, EntryEvent::Stays);
                self.examined(&item.name, meta, now);
            }
            CleanupOutcome::Changed(meta) => {
                // If the same content returns, the peer must still know that it has it.
                if meta.is_none_or(|meta| self.id(&item.name, &meta) != item.id) {
                    self.forgotten.push_back(item.id);
                }
                let waits = self.waits;
                self.update(&item.name, |entry| {
                    entry.settle.disturbed(now.mono);
                    entry.start_over(now.mono, waits);
                });
                self.examined(&item.name, meta, now);
            }
            CleanupOutcome::InUse(meta) => {
                self.cleanup_found_open(item, meta, now.mono.after(ASK_INTERVAL));
            }
            CleanupOutcome::Stuck => self.apply(&item.name, EntryEvent::Stays),
        }
    }

    fn removed(&mut self, item: &Item, now: Moment) {
        self.forgotten.push_back(item.id);
        self.apply(&item.name, EntryEvent::Removed);
        let is_folder = item.meta.kind == FileKind::Folder;
        if is_folder {
            self.gone(&item.name);
        }
        self.emptied.extend(item.name.parent());
        if !is_folder {
            self.has_file(&item.name, now);
        }
    }

    /// Folders that were sent, stayed because they held something, and are empty now. They are
    /// removed without being sent again.
    pub(crate) fn take_emptied(&mut self) -> Vec<Item> {
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.dedup();
        emptied.into_iter().filter_map(|name| self.take_empty_folder(name)).collect()
    }

    fn take_empty_folder(&mut self, name: Name) -> Option<Item> {
        let entry = self.entries.get(&name)?;
        let removable = !self.keep && entry.is_folder() && entry.state() == EntryState::Delivered;
        if !removable || !self.is_bare(&name) {
            return None;
        }
        let (meta, attempt) = (entry.meta, entry.attempt);
        if self.lingers(&name) {
            return None;
        }
        self.apply(&name, EntryEvent::CleanUp);
        Some(Item { attempt, ..self.item(name, meta, EntryKind::Folder) })
    }
}

/// The wait after a failure. It varies by a quarter in both directions with the id, so that items
/// that failed together do not return together.
fn backoff(id: TransferId, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    let base = (MIN_BACKOFF * (1 << doublings)).min(MAX_BACKOFF);
    let random = id.0[failures as usize % id.0.len()];
    base.mul_f64(0.75 + f64::from(random) / 255.0 / 2.0)
}
