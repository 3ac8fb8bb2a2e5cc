//! Pure: the entries whose names say that they are unfinished ([`temp_names`]), as the table knows
//! them. They are not sent and nothing waits for them, but a folder that holds one is not complete:
//! it is neither sent nor removed before that is renamed or gone.

use super::table::{State, Table};
use crate::outbox::watch::settle::Moment;
use crate::outbox::watch::temp_names;
use crate::proto::name::Name;
use crate::store::{FileKind, Meta};
use std::collections::BTreeMap;
use std::time::Duration;

/// An unfinished file is told of when it has stood there for this long: most are renamed sooner,
/// and a copy of ten thousand files would be ten thousand lines.
pub(crate) const TELL_AFTER: Duration = Duration::from_secs(2);

/// Why an entry is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It has a name that these programs give to unfinished files.
    Name(&'static str),
    /// An unfinished download beside it says so.
    Download,
}

impl Why {
    /// For people, about the path.
    pub fn message(self) -> String {
        match self {
            Self::Name(used_by) => format!(
                "left alone: the name of an unfinished file ({used_by}); it is sent when it is renamed: rename \
                 it, or use --temp-names none"
            ),
            Self::Download => {
                "left alone: an unfinished download of it stands beside it; it is sent when that \
                               is complete or removed; or use --temp-names none"
                    .into()
            }
        }
    }
}

/// All that is left alone.
#[derive(Debug, Default)]
pub(crate) struct LeftAlone(BTreeMap<Name, Left>);

#[derive(Debug)]
struct Left {
    why: Why,
    since: Moment,
    told: bool,
    /// The scan that last saw it.
    seen: u32,
}

impl LeftAlone {
    /// Whether this is one.
    pub fn contains(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// Their names, in order.
    pub fn names(&self) -> Vec<Name> {
        self.0.keys().cloned().collect()
    }

    /// Whether any of them stands beneath a folder.
    fn is_beneath(&self, folder: &Name) -> bool {
        self.beneath(folder).next().is_some()
    }

    fn beneath<'a>(&'a self, folder: &'a Name) -> impl Iterator<Item = &'a Name> {
        let prefix = folder.as_bytes().len();
        let is_beneath = move |name: &Name| {
            name.as_bytes().starts_with(folder.as_bytes())
                && name.as_bytes().get(prefix) == Some(&b'/')
        };
        // The least name that can stand in it; a folder whose name is too long for that is empty.
        let first = folder.join(b"\x01").ok();
        first
            .into_iter()
            .flat_map(|first| self.0.range(first..))
            .map(|(name, _)| name)
            .take_while(move |n| is_beneath(n))
    }

    /// When the next one is to be told of.
    pub fn next_due(&self) -> Option<Moment> {
        self.0.values().filter(|left| !left.told).map(|left| left.since.after(TELL_AFTER)).min()
    }
}

impl Table {
    /// Leaves an entry alone if its name or what stands beside it says that it is unfinished.
    /// `used_by` is what [`temp_names::used_by`] said of its name. Returns whether it is left
    /// alone.
    pub fn leave_alone(
        &mut self,
        name: &Name,
        meta: &Meta,
        used_by: Option<&'static str>,
        now: Moment,
        scan: u32,
    ) -> bool {
        let Some(why) = used_by.map(Why::Name).or_else(|| self.unfinished_beside(name, meta))
        else {
            // It may have been an empty file, or the download beside it is complete.
            if self.left.0.remove(name).is_some() {
                self.complete_above(name);
            }
            return false;
        };
        if let Some(left) = self.left.0.get_mut(name) {
            left.seen = scan;
            return true;
        }
        if self.entries.contains_key(name) {
            self.gone(name);
        }
        self.left.0.insert(name.clone(), Left { why, since: now, told: false, seen: scan });
        self.has_file(name, now);
        true
    }

    /// Whether a download that is not complete says that this file is not: one of aria2 has its
    /// control file beside it, and Firefox keeps the place of one by an empty file.
    fn unfinished_beside(&self, name: &Name, meta: &Meta) -> Option<Why> {
        if self.left.0.is_empty() || meta.kind != FileKind::File {
            return None;
        }
        let controlled =
            temp_names::control_file(name).is_some_and(|name| self.left.0.contains_key(&name));
        let holds_its_place = |first: Name| {
            let begins_so = |other: &&Name| other.as_bytes().starts_with(first.as_bytes());
            let begin =
                self.left.0.range(first.clone()..).map(|(other, _)| other).take_while(begins_so);
            begin.into_iter().any(|other| {
                other.parent() == name.parent()
                    && temp_names::is_placeholder_of(name.leaf(), other.leaf())
            })
        };
        let stem = name.with_leaf(temp_names::stem(name.leaf())).ok();
        let placeholder = meta.size == 0 && stem.is_some_and(holds_its_place);
        (controlled || placeholder).then_some(Why::Download)
    }

    /// Nothing of that name stands there, or what does is not unfinished any more; the same for all
    /// beneath it.
    pub fn left_is_gone(&mut self, name: &Name) {
        if self.left.0.is_empty() {
            return;
        }
        let mut gone: Vec<Name> = self.left.beneath(name).cloned().collect();
        gone.push(name.clone());
        for name in gone {
            if self.left.0.remove(&name).is_some() {
                self.complete_above(&name);
            }
        }
    }

    /// A folder (`None` for Outgoing itself) was listed by `scan`: what that did not see is gone.
    pub fn sweep_left(&mut self, folder: Option<&Name>, scan: u32) {
        let all: Box<dyn Iterator<Item = &Name>> = match folder {
            Some(folder) => Box::new(self.left.beneath(folder)),
            None => Box::new(self.left.0.keys()),
        };
        let depth = folder.map_or(0, Name::depth) + 1;
        let is_unseen = |name: &&Name| self.left.0.get(*name).is_some_and(|left| left.seen != scan);
        let unseen: Vec<Name> =
            all.filter(|name| name.depth() == depth).filter(is_unseen).cloned().collect();
        for name in unseen {
            self.left_is_gone(&name);
        }
    }

    /// The folders above that hold nothing unfinished any more wait for their turn again.
    fn complete_above(&mut self, name: &Name) {
        for folder in std::iter::successors(name.parent(), Name::parent) {
            if self.entries.get(&folder).is_some_and(|e| e.state == State::Unfinished)
                && !self.left.is_beneath(&folder)
            {
                self.update(&folder, |entry| entry.state = State::Quiet);
            }
        }
    }

    /// Of these quiet folders, those that hold nothing unfinished. The others are put aside.
    pub fn without_unfinished(&mut self, folders: Vec<Name>) -> Vec<Name> {
        let (unfinished, complete) =
            folders.into_iter().partition(|folder| self.left.is_beneath(folder));
        let aside: Vec<Name> = unfinished;
        for folder in aside {
            self.update(&folder, |entry| entry.state = State::Unfinished);
        }
        complete
    }

    /// Whether something unfinished stands beneath a folder.
    pub fn holds_unfinished(&self, folder: &Name) -> bool {
        self.left.is_beneath(folder)
    }

    /// Those that have stood there for [`TELL_AFTER`] and were not told of yet.
    pub fn left_to_tell(&mut self, now: Moment) -> Vec<(Name, Why)> {
        let due = self
            .left
            .0
            .iter_mut()
            .filter(|(_, left)| !left.told && left.since.after(TELL_AFTER) <= now);
        due.map(|(name, left)| {
            left.told = true;
            (name.clone(), left.why)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::queue::observe::Observed;
    use crate::outbox::queue::table::model::{at, file, folder, name, table};
    use crate::outbox::watch::settle::Signal;

    const BY: Option<&str> = Some("a browser");

    fn leave(table: &mut Table, path: &str, ms: u64) -> bool {
        table.leave_alone(&name(path), &file(7, 5, 1000), BY, at(ms).mono, 1)
    }

    #[test]
    fn a_folder_is_not_complete_while_it_holds_an_unfinished_file() {
        let mut table = table();
        let dirs = [("d", folder(1, 10)), ("d/e", folder(2, 10)), ("other", folder(3, 10))];
        for (path, meta) in dirs {
            table.observe(&name(path), meta, None, Signal::Moved, at(0), 1);
        }
        assert!(leave(&mut table, "d/e/f.part", 0));
        for (path, _) in dirs {
            table.sweep(Some(&name(path)), 1);
        }
        let look = |table: &mut Table| {
            for name in table.ripe() {
                let meta = dirs.iter().find(|(path, _)| name.to_string() == *path).unwrap().1;
                table.folder_checked(&name, meta, at(100));
            }
            table.pop().map(|item| item.name.to_string())
        };
        assert_eq!(look(&mut table).as_deref(), Some("other"));
        assert_eq!(look(&mut table), None);
        assert_eq!(table.left.names(), [name("d/e/f.part")]);
        assert_eq!(table.backlog().files, 1, "nothing waits for them, the other one is in flight");
        // It is renamed: both folders have their turn, the inner one first.
        table.gone(&name("d/e/f.part"));
        table.observe(&name("d/e/f"), file(7, 5, 1000), None, Signal::Moved, at(200), 0);
        assert_eq!(look(&mut table).as_deref(), Some("d/e/f"));
        assert_eq!(table.backlog().files, 4);
    }

    #[test]
    fn it_is_told_once_when_it_has_stood_there_for_a_while() {
        let mut table = table();
        leave(&mut table, "a.part", 0);
        assert_eq!(table.next_due(), Some(at(2000).mono));
        assert!(table.left_to_tell(at(1999).mono).is_empty());
        let told = table.left_to_tell(at(2000).mono);
        assert!(told.len() == 1 && told[0].1.message().contains("--temp-names none"), "{told:?}");
        leave(&mut table, "a.part", 3000);
        assert!(table.left_to_tell(at(9000).mono).is_empty() && table.next_due().is_none());
    }

    #[test]
    fn what_a_listing_does_not_see_is_not_left_any_more() {
        let mut table = table();
        for path in ["a.part", "d/b.part", "d/e/c.part", "d0.part"] {
            leave(&mut table, path, 0);
        }
        table.sweep(Some(&name("d")), 2);
        assert_eq!(table.left.names(), ["a.part", "d/e/c.part", "d0.part"].map(name));
        table.leave_alone(&name("a.part"), &file(7, 5, 1000), BY, at(1).mono, 3);
        table.sweep(None, 3);
        assert_eq!(table.left.names(), ["a.part", "d/e/c.part"].map(name));
        table.gone(&name("d"));
        assert_eq!(table.left.names(), [name("a.part")]);
    }

    #[test]
    fn a_download_beside_it_says_that_a_file_is_unfinished() {
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
        assert!(!table.left.names().contains(&name("d/image.iso")));
    }

    #[test]
    fn an_entry_that_turns_out_to_be_unfinished_is_no_entry_any_more() {
        let mut table = table();
        let meta = file(8, 5, 1000);
        assert_eq!(table.observe(&name("a"), meta, None, Signal::Seen, at(0), 1), Observed::New);
        leave(&mut table, "a.aria2", 1);
        assert!(table.leave_alone(&name("a"), &meta, None, at(2).mono, 1));
        assert!(table.entries.is_empty() && table.backlog().is_empty());
    }
}
