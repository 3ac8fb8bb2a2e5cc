//! Pure: unfinished files appear and leave.
//!
//! They are not sent, and nothing waits for them. But a folder that holds one is not complete: it
//! is neither sent nor removed before the file is renamed or gone.

use super::lifecycle::{EntryEvent, EntryState};
use super::table::Table;
use super::unfinished::{UnfinishedFile, UnfinishedReason};
use crate::outbox::watch::settle::Moment;
use crate::outbox::watch::temp_names;
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};

impl Table {
    /// Leaves an entry alone if its name or a neighbour says that it is unfinished. `used_by` is
    /// the answer of [`temp_names::used_by`] for its name. Returns whether it is left alone.
    pub(crate) fn leave_alone(
        &mut self,
        name: &Name,
        meta: &Meta,
        used_by: Option<&'static str>,
        now: Moment,
        scan: u32,
    ) -> bool {
        let Some(reason) =
            used_by.map(UnfinishedReason::Name).or_else(|| self.unfinished_beside(name, meta))
        else {
            // It may have been an empty file, or the download beside it is complete.
            if self.unfinished.0.remove(name).is_some() {
                self.complete_above(name);
            }
            return false;
        };
        if let Some(file) = self.unfinished.0.get_mut(name) {
            file.seen = scan;
            return true;
        }
        if self.entries.contains_key(name) {
            self.gone(name);
        }
        let file = UnfinishedFile { reason, since: now, told: false, seen: scan };
        self.unfinished.0.insert(name.clone(), file);
        self.has_file(name, now);
        true
    }

    /// Whether an unfinished download is beside this file: aria2 keeps a control file beside it,
    /// and Firefox reserves the final name with an empty file.
    fn unfinished_beside(&self, name: &Name, meta: &Meta) -> Option<UnfinishedReason> {
        if self.unfinished.0.is_empty() || meta.kind != FileKind::File {
            return None;
        }
        let controlled = temp_names::control_file(name)
            .is_some_and(|name| self.unfinished.0.contains_key(&name));
        let holds_its_place = |first: Name| {
            let begins_so = |other: &&Name| other.as_bytes().starts_with(first.as_bytes());
            let begin = self
                .unfinished
                .0
                .range(first.clone()..)
                .map(|(other, _)| other)
                .take_while(begins_so);
            begin.into_iter().any(|other| {
                other.parent() == name.parent()
                    && temp_names::is_placeholder_of(name.leaf(), other.leaf())
            })
        };
        let stem = name.with_leaf(temp_names::stem(name.leaf())).ok();
        let placeholder = meta.size == 0 && stem.is_some_and(holds_its_place);
        (controlled || placeholder).then_some(UnfinishedReason::Download)
    }

    /// Nothing has this name any more, or the entry that has it is not unfinished. The same holds
    /// for everything beneath it.
    pub(crate) fn unfinished_is_gone(&mut self, name: &Name) {
        if self.unfinished.0.is_empty() {
            return;
        }
        let mut gone: Vec<Name> = self.unfinished.beneath(name).cloned().collect();
        gone.push(name.clone());
        for name in gone {
            if self.unfinished.0.remove(&name).is_some() {
                self.complete_above(&name);
            }
        }
    }

    /// Scan number `scan` listed a folder (`None` for Outgoing itself): unfinished files that it
    /// did not see are gone.
    pub(crate) fn sweep_unfinished(&mut self, folder: Option<&Name>, scan: u32) {
        let all: Box<dyn Iterator<Item = &Name>> = match folder {
            Some(folder) => Box::new(self.unfinished.beneath(folder)),
            None => Box::new(self.unfinished.0.keys()),
        };
        let depth = folder.map_or(0, Name::depth) + 1;
        let is_unseen =
            |name: &&Name| self.unfinished.0.get(*name).is_some_and(|file| file.seen != scan);
        let unseen: Vec<Name> =
            all.filter(|name| name.depth() == depth).filter(is_unseen).cloned().collect();
        for name in unseen {
            self.unfinished_is_gone(&name);
        }
    }

    /// The folders above that hold nothing unfinished any more wait for their contents again.
    fn complete_above(&mut self, name: &Name) {
        for folder in std::iter::successors(name.parent(), Name::parent) {
            if self.state(&folder) == Some(EntryState::HoldsUnfinished)
                && !self.unfinished.is_any_beneath(&folder)
            {
                self.apply(&folder, EntryEvent::UnfinishedGone);
            }
        }
    }

    /// Returns the folders of `folders` that hold nothing unfinished. The others wait until their
    /// unfinished files are gone.
    pub(crate) fn without_unfinished(&mut self, folders: Vec<Name>) -> Vec<Name> {
        let (unfinished, complete): (Vec<_>, Vec<_>) =
            folders.into_iter().partition(|folder| self.unfinished.is_any_beneath(folder));
        for folder in unfinished {
            self.apply(&folder, EntryEvent::UnfinishedFound);
        }
        complete
    }

    /// Whether a folder holds something unfinished, at any depth.
    pub(crate) fn holds_unfinished(&self, folder: &Name) -> bool {
        self.unfinished.is_any_beneath(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::queue::changes::Observed;
    use crate::outbox::queue::model::{at, file, folder, name, table};
    use crate::outbox::watch::settle::Activity;

    const BY: Option<&str> = Some("a browser");

    fn leave(table: &mut Table, path: &str, ms: u64) -> bool {
        table.leave_alone(&name(path), &file(7, 5, 1000), BY, at(ms).mono, 1)
    }

    #[test]
    fn a_folder_is_not_complete_while_it_holds_an_unfinished_file() {
        let mut table = table();
        let dirs = [("d", folder(1, 10)), ("d/e", folder(2, 10)), ("other", folder(3, 10))];
        for (path, meta) in dirs {
            table.observe(&name(path), meta, None, Activity::Moved, at(0), 1);
        }
        assert!(leave(&mut table, "d/e/f.part", 0));
        for (path, _) in dirs {
            table.sweep(Some(&name(path)), 1);
        }
        let look = |table: &mut Table| {
            for name in table.maybe_complete() {
                let meta = dirs.iter().find(|(path, _)| name.to_string() == *path).unwrap().1;
                table.folder_checked(&name, meta, at(100));
            }
            table.pop().map(|item| item.name.to_string())
        };
        assert_eq!(look(&mut table).as_deref(), Some("other"));
        assert_eq!(look(&mut table), None);
        assert_eq!(table.unfinished.names(), [name("d/e/f.part")]);
        assert_eq!(table.backlog().files, 1, "nothing waits for them, the other one is in flight");
        // It is renamed: both folders have their turn, the inner one first.
        table.gone(&name("d/e/f.part"));
        table.observe(&name("d/e/f"), file(7, 5, 1000), None, Activity::Moved, at(200), 0);
        assert_eq!(look(&mut table).as_deref(), Some("d/e/f"));
        assert_eq!(table.backlog().files, 4);
    }

    #[test]
    fn the_user_is_told_once_of_an_unfinished_file_that_stays() {
        let mut table = table();
        leave(&mut table, "a.part", 0);
        assert_eq!(table.next_due(), Some(at(2000).mono));
        assert!(table.unfinished.take_news(at(1999).mono).is_empty());
        let told = table.unfinished.take_news(at(2000).mono);
        assert!(told.len() == 1 && told[0].1.message().contains("--temp-names none"), "{told:?}");
        leave(&mut table, "a.part", 3000);
        assert!(table.unfinished.take_news(at(9000).mono).is_empty() && table.next_due().is_none());
    }

    #[test]
    fn unfinished_files_that_a_listing_does_not_see_are_dropped() {
        let mut table = table();
        for path in ["a.part", "d/b.part", "d/e/c.part", "d0.part"] {
            leave(&mut table, path, 0);
        }
        table.sweep(Some(&name("d")), 2);
        assert_eq!(table.unfinished.names(), ["a.part", "d/e/c.part", "d0.part"].map(name));
        table.leave_alone(&name("a.part"), &file(7, 5, 1000), BY, at(1).mono, 3);
        table.sweep(None, 3);
        assert_eq!(table.unfinished.names(), ["a.part", "d/e/c.part"].map(name));
        table.gone(&name("d"));
        assert_eq!(table.unfinished.names(), [name("a.part")]);
    }

    #[test]
    fn a_download_beside_a_file_marks_it_as_unfinished() {
        let mut table = table();
        for path in ["d/image.iso.aria2", "d/report.x1y2.pdf.part"] {
            leave(&mut table, path, 0);
        }
        for (path, size, is_left) in [
            ("d/image.iso", 5, true),
            ("image.iso", 5, false),
            ("d/report.pdf", 0, true),
            ("d/report.pdf", 5, false),
            ("d/rep.pdf", 0, false),
            ("report.pdf", 0, false),
        ] {
            let left = table.leave_alone(&name(path), &file(8, size, 1000), None, at(0).mono, 1);
            assert_eq!(left, is_left, "{path} {size}");
        }
        // The download is complete, and the file is as any other.
        table.gone(&name("d/image.iso.aria2"));
        assert!(!table.leave_alone(&name("d/image.iso"), &file(8, 5, 1000), None, at(0).mono, 1));
        assert!(!table.unfinished.names().contains(&name("d/image.iso")));
    }

    #[test]
    fn an_entry_that_becomes_unfinished_leaves_the_table() {
        let mut table = table();
        let meta = file(8, 5, 1000);
        assert_eq!(table.observe(&name("a"), meta, None, Activity::Seen, at(0), 1), Observed::New);
        leave(&mut table, "a.aria2", 1);
        assert!(table.leave_alone(&name("a"), &meta, None, at(2).mono, 1));
        assert!(table.entries.is_empty() && table.backlog().is_empty());
    }
}
