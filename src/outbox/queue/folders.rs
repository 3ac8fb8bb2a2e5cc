//! Pure: how long folders stay in Outgoing, so that nobody who names or fills one finds it gone.
//!
//! | folder | sent | removed |
//! | --- | --- | --- |
//! | moved in as a whole, or old | when all in it has left | at once |
//! | made in place, and never had anything in it | after `empty_folder` | at once |
//! | a file came into it, or left it, in place | when all in it has left | when no file did for `emptied_folder` |
//!
//! With `--drain`, what stands there at the start is as if it had been moved in.

use super::observe::differs;
use super::table::{Now, State, Table};
use crate::outbox::watch::settle::{Moment, Signal, older};
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};
use std::collections::HashMap;
use std::time::Duration;

/// Both events of a rename inside Outgoing come within this time.
const RENAME: Duration = Duration::from_secs(1);
/// Folders that are remembered for that.
const MAX_RENAMED: usize = 10_000;

/// What is known of a folder's user.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stay {
    /// Nobody is expected to put anything more into it.
    complete: bool,
    /// When it was made, or got its name.
    made: Moment,
    /// It was seen with a file in it.
    filled: bool,
    /// It is not removed before.
    until: Option<Moment>,
}

/// Folders that were made in place and lost their names a moment ago, by their inodes: a rename
/// inside Outgoing is no sign that a folder is complete.
#[derive(Debug, Default)]
pub(crate) struct Renamed(HashMap<u64, Moment>);

impl Table {
    /// An entry is new, and so its folder is not as it was.
    pub fn came(&mut self, name: &Name, meta: &Meta, signal: Signal, now: Now) {
        // Before a folder is listed, what it brought along is not told from what came into it
        // since.
        if let Some(entry) = name.parent().and_then(|folder| self.entries.get_mut(&folder))
            && entry.listed
        {
            entry.stay.complete = false;
        }
        if meta.kind != FileKind::Folder {
            self.has_file(name, now.mono);
            return;
        }
        let inside = self
            .renamed
            .0
            .remove(&meta.identity.inode)
            .is_some_and(|at| now.mono.since(at) < RENAME);
        let old = now.wall.is_some_and(|wall| {
            let age = self.settle.empty_folder;
            older(meta.modified, wall, age) && older(meta.identity.changed, wall, age)
        });
        let at_start = self.drain && !self.known;
        let complete = (signal == Signal::Moved && !inside) || old || at_start;
        if let Some(entry) = self.entries.get_mut(name) {
            entry.stay = Stay { complete, made: now.mono, ..Stay::default() };
        }
    }

    /// A file stands in a folder, or has just left it.
    pub fn has_file(&mut self, file: &Name, now: Moment) {
        let Some(folder) = file.parent() else { return };
        let (until, waits) = (now.after(self.settle.emptied_folder), self.settle);
        let Some(entry) = self.entries.get_mut(&folder) else { return };
        let first = !std::mem::replace(&mut entry.stay.filled, true);
        if entry.stay.complete {
            return;
        }
        entry.stay.until = Some(until);
        match entry.state {
            State::Resting => self.update(&folder, |entry| entry.due = until),
            // It does not wait for its user any more.
            State::Settling if first => {
                self.update(&folder, |entry| entry.due = entry.settle.due(waits))
            }
            _ => {}
        }
    }

    /// Somebody took this entry away, or gave it another name.
    pub fn leaves(&mut self, name: &Name, now: Moment) {
        let entry = self.entries.get(name);
        if self.left.contains(name) || entry.is_some_and(|entry| !entry.is_folder()) {
            return self.has_file(name, now);
        }
        // Our own removal is no rename, and the inode may be another folder's in a moment.
        if entry.is_none_or(|entry| entry.state.handed_out()) {
            return;
        }
        self.renamed.0.retain(|_, at| now.since(*at) < RENAME);
        let mut folders = self.beneath(name);
        folders.push(name.clone());
        for folder in folders {
            if let Some(entry) = self.entries.get(&folder)
                && entry.is_folder()
                && !entry.stay.complete
                && self.renamed.0.len() < MAX_RENAMED
            {
                self.renamed.0.insert(entry.meta.identity.inode, now);
            }
        }
    }

    /// A folder is settled and holds nothing, and it never did: if its user may still be about to
    /// name or fill it, it waits, and this says so.
    pub fn waits_for_its_user(&mut self, name: &Name, now: Moment) -> bool {
        let Some(entry) = self.entries.get(name) else { return false };
        let due = entry.stay.made.after(self.settle.empty_folder);
        if entry.stay.complete || entry.stay.filled || due <= now || !self.is_bare(name) {
            return false;
        }
        self.update(name, |entry| {
            entry.due = due;
            entry.state = State::Settling;
        });
        true
    }

    /// The peer holds a folder. Returns whether it is not to be removed yet.
    pub fn rests(&mut self, name: &Name) -> bool {
        let keep = self.keep;
        let Some((entry, until)) =
            self.entries.get(name).and_then(|e| e.stay.until.map(|until| (e, until)))
        else {
            return false;
        };
        if keep || !entry.is_folder() || entry.stay.complete {
            return false;
        }
        self.update(name, |entry| {
            entry.due = until;
            entry.state = State::Resting;
        });
        true
    }

    /// The look at a folder whose rest is over. `false` when it does not rest.
    pub fn rested(&mut self, name: &Name, meta: &Meta, now: Now) -> bool {
        let Some(entry) = self.entries.get(name).filter(|e| e.state == State::Resting) else {
            return false;
        };
        if let Some(until) = entry.stay.until.filter(|until| *until > now.mono) {
            self.update(name, |entry| entry.due = until);
            return true;
        }
        let changed = differs(entry, meta);
        self.update(name, |entry| {
            entry.stay.until = None;
            entry.state = State::Done;
        });
        if changed {
            // Something came into it meanwhile: the peer gets its times once more.
            self.observe(name, *meta, None, Signal::Seen, now, 0);
        } else {
            self.emptied.push(name.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::queue::handout::{Due, Finish};
    use crate::outbox::queue::table::model::{WAITS, at, file, folder, name, table};

    /// The clock of the model stands at 1,000 s.
    const NEW: i64 = 1000;

    /// A folder that is seen, and listed with nothing in it.
    fn see(table: &mut Table, path: &str, meta: Meta, signal: Signal, ms: u64) {
        table.observe(&name(path), meta, None, signal, at(ms), 1);
        table.sweep(Some(&name(path)), 0);
    }

    /// Lets time pass until then. What is due is looked at: a folder as it is here.
    fn pass(table: &mut Table, meta: Meta, ms: u64) {
        for due in table.expire(at(ms).mono, 100) {
            let Due::Settled(due) = due else { panic!("nothing is open") };
            table.checked(&due, meta, at(ms));
        }
        for ripe in table.ripe() {
            table.folder_checked(&ripe, meta, at(ms));
        }
    }

    /// A file comes into `d`, moved in, and the peer takes it at once.
    fn send_file(table: &mut Table, ms: u64) {
        table.observe(&name("d/f"), file(9, 5, NEW), None, Signal::Moved, at(ms), 0);
        let item = table.pop().unwrap();
        assert_eq!(item.name, name("d/f"));
        let item = table.delivered(item).unwrap();
        table.finished(&item, Finish::Gone, at(ms));
    }

    #[test]
    fn an_empty_folder_made_in_place_stays_and_one_that_was_moved_in_goes_at_once() {
        for (signal, goes) in [(Signal::Seen, 60_000), (Signal::Moved, 0)] {
            let mut table = table();
            table.known = true;
            let meta = folder(1, NEW);
            see(&mut table, "d", meta, signal, 0);
            pass(&mut table, meta, goes.max(2000) - 1000);
            assert_eq!(table.pop().is_some(), goes == 0, "{signal:?}");
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
    fn a_rename_by_its_user_is_no_moving_in() {
        for (pause, inside) in [(200, true), (1500, false)] {
            let mut table = table();
            table.known = true;
            see(&mut table, "New Folder", folder(1, NEW), Signal::Seen, 0);
            table.leaves(&name("New Folder"), at(5000).mono);
            table.gone(&name("New Folder"));
            see(&mut table, "d", folder(1, NEW), Signal::Moved, 5000 + pause);
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
    fn a_folder_that_files_come_into_is_sent_when_it_is_quiet_and_removed_when_none_came_for_a_while()
     {
        let mut table = table();
        table.known = true;
        let meta = folder(1, NEW);
        see(&mut table, "d", meta, Signal::Seen, 0);
        pass(&mut table, meta, 1000);
        assert_eq!(table.next_due(), Some(at(60_000).mono));
        send_file(&mut table, 2000);
        pass(&mut table, meta, 3000);
        let item = table.pop().unwrap();
        assert!(table.delivered(item).is_none());
        assert!(table.backlog().is_empty() && table.resting == 1, "the peer holds it");
        // Another one comes before the time is over, and its time is another one.
        send_file(&mut table, 9000);
        table.observe(&name("d"), folder(1, NEW + 9), None, Signal::Seen, at(9001), 0);
        pass(&mut table, meta, 18_999);
        assert!(table.take_emptied().is_empty() && table.pop().is_none());
        // Then the peer gets its last times, and it goes with no more waiting.
        let last = folder(1, NEW + 9);
        pass(&mut table, last, 19_000);
        pass(&mut table, last, 20_000);
        let item = table.pop().unwrap();
        assert_eq!((item.name.clone(), item.meta), (name("d"), last));
        let item = table.delivered(item).unwrap();
        table.finished(&item, Finish::Gone, at(20_001));
        assert!(table.entries.is_empty() && table.resting == 0);
    }

    #[test]
    fn a_folder_that_is_as_it_was_sent_is_removed_with_no_second_sending() {
        let mut table = table();
        table.known = true;
        let meta = folder(1, NEW);
        see(&mut table, "d", meta, Signal::Seen, 0);
        send_file(&mut table, 500);
        pass(&mut table, meta, 2000);
        let item = table.pop().unwrap();
        assert!(table.delivered(item.clone()).is_none());
        pass(&mut table, meta, 10_499);
        assert!(table.take_emptied().is_empty());
        pass(&mut table, meta, 10_500);
        let emptied = table.take_emptied();
        assert_eq!(emptied.iter().map(|item| item.id).collect::<Vec<_>>(), [item.id]);
        table.finished(&emptied[0], Finish::Gone, at(10_501));
        assert!(table.entries.is_empty() && table.timers.is_empty());
    }

    /// With all that it brought along; what comes into it afterwards is another matter.
    #[test]
    fn a_folder_that_was_moved_in_goes_with_its_last_file() {
        for later in [false, true] {
            let mut table = table();
            table.known = true;
            let meta = folder(1, NEW);
            table.observe(&name("d"), meta, None, Signal::Moved, at(0), 1);
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
            see(&mut table, "empty", meta, Signal::Seen, 0);
            table.known = true;
            see(&mut table, "later", folder(2, NEW), Signal::Seen, 1);
            for (path, meta) in [("empty", meta), ("later", folder(2, NEW))] {
                if table.expire(at(1500).mono, 100).is_empty() {
                    table.ripe().iter().for_each(|name| {
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
    fn old_folders_and_kept_ones_wait_for_nobody() {
        let mut table = table();
        table.known = true;
        see(&mut table, "old", folder(1, 900), Signal::Seen, 0);
        pass(&mut table, folder(1, 900), 1000);
        assert!(table.pop().is_some_and(|item| table.delivered(item).is_some()));

        let mut table = Table::new([1; 16], WAITS, true);
        table.known = true;
        see(&mut table, "d", folder(1, NEW), Signal::Seen, 0);
        table.has_file(&name("d/f"), at(100).mono);
        pass(&mut table, folder(1, NEW), 1000);
        assert!(
            table.pop().is_some_and(|item| table.delivered(item).is_some()),
            "it is not removed anyway"
        );
    }
}
