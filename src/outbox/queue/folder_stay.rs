//! Pure: how long folders stay in Outgoing, so that a user who names or fills one still finds it.
//!
//! | folder | it is sent | it is removed |
//! | --- | --- | --- |
//! | renamed into place, or old | when its contents have left | at once |
//! | created in place, always empty | after `empty_folder` | at once |
//! | created in place, used | when its contents have left | when unused for `emptied_folder` |
//!
//! A folder is used whenever a file arrives in it or leaves it. With `--drain`, a folder that
//! exists at the start is treated as one that was renamed into place.

use super::entry::Stay;
use super::lifecycle::{EntryEvent, EntryState};
use super::table::{Now, Table};
use crate::outbox::watch::settle::{Activity, Moment, older};
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};
use std::time::Duration;

/// Both events of a rename inside Outgoing arrive within this time.
const RENAME_WINDOW: Duration = Duration::from_secs(1);
/// How many folders are remembered for that.
const MAX_RENAMED: usize = 10_000;

impl Table {
    /// An entry is new, so the folder that holds it is no longer complete.
    pub(crate) fn came(&mut self, name: &Name, meta: &Meta, activity: Activity, now: Now) {
        // Before a folder is listed, the entries that it brought along cannot be told from those
        // that arrived since.
        if let Some(entry) = name.parent().and_then(|folder| self.entries.get_mut(&folder))
            && entry.listed
        {
            entry.stay.complete = false;
        }
        if meta.kind != FileKind::Folder {
            self.has_file(name, now.mono);
            return;
        }
        let lost_its_name = self.renamed_folders.remove(&meta.identity.inode);
        let renamed_inside = lost_its_name.is_some_and(|at| now.mono.since(at) < RENAME_WINDOW);
        let old = now.wall.is_some_and(|wall| {
            let age = self.waits.empty_folder;
            older(meta.modified, wall, age) && older(meta.identity.changed, wall, age)
        });
        let at_start = self.drain && !self.scanned;
        let complete = (activity == Activity::Moved && !renamed_inside) || old || at_start;
        if let Some(entry) = self.entries.get_mut(name) {
            entry.stay = Stay { complete, made: now.mono, ..Stay::default() };
        }
    }

    /// A file is in its folder, or has just left it.
    pub(crate) fn has_file(&mut self, file: &Name, now: Moment) {
        let Some(folder) = file.parent() else { return };
        let (until, waits) = (now.after(self.waits.emptied_folder), self.waits);
        let Some(entry) = self.entries.get_mut(&folder) else { return };
        let first = !std::mem::replace(&mut entry.stay.filled, true);
        if entry.stay.complete {
            return;
        }
        entry.stay.until = Some(until);
        match entry.state() {
            EntryState::Lingering { .. } => {
                self.apply(&folder, EntryEvent::Reschedule { at: until });
            }
            // It no longer waits for its user.
            EntryState::Settling { .. } if first => {
                let at = entry.settle.due(waits);
                self.apply(&folder, EntryEvent::Reschedule { at });
            }
            _ => {}
        }
    }

    /// An entry was removed or renamed by its user.
    pub(crate) fn leaves(&mut self, name: &Name, now: Moment) {
        let entry = self.entries.get(name);
        if self.unfinished.contains(name) || entry.is_some_and(|entry| !entry.is_folder()) {
            return self.has_file(name, now);
        }
        // rft's own removal is no rename, and another folder may have the inode in a moment.
        if entry.is_none_or(|entry| entry.state().is_handed_out()) {
            return;
        }
        self.renamed_folders.retain(|_, at| now.since(*at) < RENAME_WINDOW);
        let mut folders = self.beneath(name);
        folders.push(name.clone());
        for folder in folders {
            if let Some(entry) = self.entries.get(&folder)
                && entry.is_folder()
                && !entry.stay.complete
                && self.renamed_folders.len() < MAX_RENAMED
            {
                self.renamed_folders.insert(entry.meta.identity.inode, now);
            }
        }
    }

    /// A folder has settled and is empty. If it was always empty and its user may still be about to
    /// name or fill it, it waits, and this returns `true`.
    pub(crate) fn waits_for_its_user(&mut self, name: &Name, now: Moment) -> bool {
        let Some(entry) = self.entries.get(name) else { return false };
        let until = entry.stay.made.after(self.waits.empty_folder);
        if entry.stay.complete || entry.stay.filled || until <= now || !self.is_bare(name) {
            return false;
        }
        self.apply(name, EntryEvent::Postponed { until });
        true
    }

    /// The peer holds a folder. If it must not be removed yet, it lingers, and this returns `true`.
    pub(crate) fn lingers(&mut self, name: &Name) -> bool {
        let Some(entry) = self.entries.get(name) else { return false };
        let Some(until) = entry.stay.until else { return false };
        if self.keep || !entry.is_folder() || entry.stay.complete {
            return false;
        }
        self.apply(name, EntryEvent::Linger { until });
        true
    }

    /// The look at a folder at the end of its time. `false` when it does not linger.
    pub(crate) fn end_lingering(&mut self, name: &Name, meta: &Meta, now: Now) -> bool {
        let Some(entry) = self.entries.get(name) else { return false };
        if !matches!(entry.state(), EntryState::Lingering { .. }) {
            return false;
        }
        if let Some(until) = entry.stay.until.filter(|until| *until > now.mono) {
            self.apply(name, EntryEvent::Reschedule { at: until });
            return true;
        }
        let changed = entry.differs(meta);
        self.update(name, |entry| {
            entry.stay.until = None;
            entry.apply(EntryEvent::Stays);
        });
        if changed {
            // Something arrived in it meanwhile: the peer gets its times once more.
            self.observe(name, *meta, None, Activity::Seen, now, 0);
        } else {
            self.emptied.push(name.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::item::CleanupOutcome;
    use crate::outbox::queue::model::{WAITS, at, file, folder, name, table};
    use crate::outbox::queue::timers::DueEntry;

    /// The wall clock of the model starts at 1,000 s.
    const NEW: i64 = 1000;

    /// A scan sees a folder, and lists it as empty.
    fn see(table: &mut Table, path: &str, meta: Meta, activity: Activity, ms: u64) {
        table.observe(&name(path), meta, None, activity, at(ms), 1);
        table.sweep(Some(&name(path)), 0);
    }

    /// Lets time pass, and examines the folders that are due, which have these metadata.
    fn pass(table: &mut Table, meta: Meta, ms: u64) {
        for due in table.expire(at(ms).mono, 100) {
            let DueEntry::Settled(due) = due else { panic!("nothing is open") };
            table.checked(&due, meta, at(ms));
        }
        for ripe in table.maybe_complete() {
            table.folder_checked(&ripe, meta, at(ms));
        }
    }

    /// A file is renamed into `d`, and the peer receives it at once.
    fn send_file(table: &mut Table, ms: u64) {
        table.observe(&name("d/f"), file(9, 5, NEW), None, Activity::Moved, at(ms), 0);
        let item = table.pop().unwrap();
        assert_eq!(item.name, name("d/f"));
        let item = table.delivered(item).unwrap();
        table.cleaned_up(&item, CleanupOutcome::Gone, at(ms));
    }

    #[test]
    fn an_empty_folder_created_in_place_stays_and_one_renamed_into_place_goes_at_once() {
        for (activity, goes) in [(Activity::Seen, 60_000), (Activity::Moved, 0)] {
            let mut table = table();
            table.scanned = true;
            let meta = folder(1, NEW);
            see(&mut table, "d", meta, activity, 0);
            pass(&mut table, meta, goes.max(2000) - 1000);
            assert_eq!(table.pop().is_some(), goes == 0, "{activity:?}");
            if goes > 0 {
                assert_eq!(table.backlog().files, 1, "the peer is still to get it");
                pass(&mut table, meta, 59_999);
                assert!(table.pop().is_none());
                assert_eq!(table.next_due(), Some(at(60_000).mono));
                pass(&mut table, meta, 60_000);
                let item = table.pop().unwrap();
                assert!(
                    table.delivered(item).is_some(),
                    "nothing was ever in it: it is removed at once"
                );
            }
        }
    }

    #[test]
    fn a_rename_inside_outgoing_does_not_make_a_folder_complete() {
        for (pause, inside) in [(200, true), (1500, false)] {
            let mut table = table();
            table.scanned = true;
            see(&mut table, "New Folder", folder(1, NEW), Activity::Seen, 0);
            table.leaves(&name("New Folder"), at(5000).mono);
            table.gone(&name("New Folder"));
            see(&mut table, "d", folder(1, NEW), Activity::Moved, 5000 + pause);
            pass(&mut table, folder(1, NEW), 10_000);
            assert_eq!(table.pop().is_none(), inside, "{pause} ms");
            // From then on it stays as a new one does.
            pass(&mut table, folder(1, NEW), 64_000);
            assert!(table.pop().is_none(), "{pause} ms");
            pass(&mut table, folder(1, NEW), 66_000);
            assert_eq!(table.pop().is_some(), inside, "{pause} ms");
        }
    }

    #[test]
    fn a_used_folder_is_sent_when_quiet_and_removed_when_unused_for_a_while() {
        let mut table = table();
        table.scanned = true;
        let meta = folder(1, NEW);
        see(&mut table, "d", meta, Activity::Seen, 0);
        pass(&mut table, meta, 1000);
        assert_eq!(table.next_due(), Some(at(60_000).mono));
        send_file(&mut table, 2000);
        pass(&mut table, meta, 3000);
        let item = table.pop().unwrap();
        assert!(table.delivered(item).is_none());
        assert!(table.backlog().is_empty() && table.index.lingering == 1, "the peer holds it");
        // Another one comes before the time is over, and its time is another one.
        send_file(&mut table, 9000);
        table.observe(&name("d"), folder(1, NEW + 9), None, Activity::Seen, at(9001), 0);
        pass(&mut table, meta, 18_999);
        assert!(table.take_emptied().is_empty() && table.pop().is_none());
        // Then the peer gets its last times, and it goes with no more waiting.
        let last = folder(1, NEW + 9);
        pass(&mut table, last, 19_000);
        pass(&mut table, last, 20_000);
        let item = table.pop().unwrap();
        assert_eq!((item.name.clone(), item.meta), (name("d"), last));
        let item = table.delivered(item).unwrap();
        table.cleaned_up(&item, CleanupOutcome::Gone, at(20_001));
        assert!(table.entries.is_empty() && table.index.lingering == 0);
    }

    #[test]
    fn an_unchanged_folder_is_removed_without_being_sent_again() {
        let mut table = table();
        table.scanned = true;
        let meta = folder(1, NEW);
        see(&mut table, "d", meta, Activity::Seen, 0);
        send_file(&mut table, 500);
        pass(&mut table, meta, 2000);
        let item = table.pop().unwrap();
        assert!(table.delivered(item.clone()).is_none());
        pass(&mut table, meta, 10_499);
        assert!(table.take_emptied().is_empty());
        pass(&mut table, meta, 10_500);
        let emptied = table.take_emptied();
        assert_eq!(emptied.iter().map(|item| item.id).collect::<Vec<_>>(), [item.id]);
        table.cleaned_up(&emptied[0], CleanupOutcome::Gone, at(10_501));
        assert!(table.entries.is_empty() && table.index.timers.is_empty());
    }

    /// With the files that it brought along. A later file makes it linger.
    #[test]
    fn a_folder_renamed_into_place_is_removed_with_its_last_file() {
        for later in [false, true] {
            let mut table = table();
            table.scanned = true;
            let meta = folder(1, NEW);
            table.observe(&name("d"), meta, None, Activity::Moved, at(0), 1);
            send_file(&mut table, 10);
            table.sweep(Some(&name("d")), 0);
            if later {
                send_file(&mut table, 20);
            }
            pass(&mut table, meta, 30);
            let item = table.pop().unwrap();
            assert_eq!(table.delivered(item).is_none(), later);
        }
    }

    #[test]
    fn a_drain_does_not_wait_for_folders_that_stand_there_at_the_start() {
        for drain in [false, true] {
            let mut table = table();
            table.drain = drain;
            let meta = folder(1, NEW);
            see(&mut table, "empty", meta, Activity::Seen, 0);
            table.scanned = true;
            see(&mut table, "later", folder(2, NEW), Activity::Seen, 1);
            for (path, meta) in [("empty", meta), ("later", folder(2, NEW))] {
                if table.expire(at(1500).mono, 100).is_empty() {
                    table.maybe_complete().iter().for_each(|name| {
                        table.folder_checked(
                            name,
                            if name.leaf() == b"later" { folder(2, NEW) } else { meta },
                            at(1500),
                        )
                    });
                }
                let sent = table.pop().map(|item| item.name);
                assert_eq!(sent, (drain && path == "empty").then(|| name(path)), "{path}");
            }
        }
    }

    #[test]
    fn old_and_kept_folders_do_not_wait_for_their_users() {
        let mut table = table();
        table.scanned = true;
        see(&mut table, "old", folder(1, 900), Activity::Seen, 0);
        pass(&mut table, folder(1, 900), 1000);
        assert!(table.pop().is_some_and(|item| table.delivered(item).is_some()));

        let mut table = Table::new([1; 16], WAITS, true);
        table.scanned = true;
        see(&mut table, "d", folder(1, NEW), Activity::Seen, 0);
        table.has_file(&name("d/f"), at(100).mono);
        pass(&mut table, folder(1, NEW), 1000);
        assert!(
            table.pop().is_some_and(|item| table.delivered(item).is_some()),
            "it is not removed anyway"
        );
    }
}
