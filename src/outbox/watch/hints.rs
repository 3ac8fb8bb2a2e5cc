//! Pure: file events, collected by path until the scan thread takes them.

use super::settle::Activity;
use crate::proto::name::Name;
use std::collections::HashMap;

/// With more paths than this, all of Outgoing is scanned instead.
const MAX_PATHS: usize = 50_000;

/// The last news about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Something about it changed, or it is new.
    Seen,
    /// It was created. A program may have it open.
    Created,
    /// A program writes it.
    Written,
    /// The last writer closed it.
    Closed,
    /// It was renamed into place.
    Moved,
    /// It no longer exists.
    Gone,
}

impl Hint {
    /// The meaning for a file that exists.
    pub(crate) fn activity(self) -> Activity {
        match self {
            Self::Seen | Self::Created | Self::Gone => Activity::Seen,
            Self::Written => Activity::Written,
            Self::Closed => Activity::Closed,
            Self::Moved => Activity::Moved,
        }
    }

    /// The combined meaning of two hints about one path.
    fn then(self, next: Self) -> Self {
        match (self, next) {
            // A call like `chmod` says nothing about writers, and does not undo a rename.
            (Self::Created | Self::Written | Self::Closed | Self::Moved, Self::Seen) => self,
            (_, next) => next,
        }
    }
}

/// All hints that the scan thread has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    paths: HashMap<Name, Hint>,
    /// Paths with [`Hint::Created`].
    created: usize,
    /// All of Outgoing is to be scanned.
    pub everything: bool,
    /// Events were lost.
    pub lost: bool,
    /// They were lost because the system's event queue overflowed.
    pub overflow: bool,
    /// The system has no more watches.
    pub no_watches: bool,
}

impl Hints {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.everything && !self.lost && !self.no_watches
    }

    /// Adds a hint about a path.
    pub(crate) fn add(&mut self, name: Name, hint: Hint) {
        if self.paths.len() >= MAX_PATHS {
            self.paths.clear();
            self.created = 0;
            (self.everything, self.lost) = (true, true);
        }
        let slot = self.paths.entry(name);
        let old = match &slot {
            std::collections::hash_map::Entry::Occupied(old) => Some(*old.get()),
            std::collections::hash_map::Entry::Vacant(_) => None,
        };
        let new = old.map_or(hint, |old| old.then(hint));
        slot.insert_entry(new);
        self.created += usize::from(new == Hint::Created);
        self.created -= usize::from(old == Some(Hint::Created));
    }

    /// A program opened a file. Right after the creation that is the writer. A new hard link is
    /// created too, but not opened.
    pub(crate) fn opened(&mut self, name: impl FnOnce() -> Option<Name>) {
        if self.created > 0
            && let Some(name) = name()
            && let Some(hint @ Hint::Created) = self.paths.get_mut(&name)
        {
            *hint = Hint::Written;
            self.created -= 1;
        }
    }

    /// All paths: first those that are gone, then the others, each folder before its contents.
    pub(crate) fn take_paths(&mut self) -> Vec<(Name, Hint)> {
        self.created = 0;
        let mut paths: Vec<_> = std::mem::take(&mut self.paths).into_iter().collect();
        paths.sort_unstable_by(|(a, x), (b, y)| (*x != Hint::Gone, a).cmp(&(*y != Hint::Gone, b)));
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn heard(list: &[Hint]) -> Hint {
        let mut hints = Hints::default();
        for &hint in list {
            hints.add(name("a"), hint);
        }
        hints.take_paths()[0].1
    }

    #[test]
    fn the_last_hint_counts_unless_it_has_no_details() {
        use Hint::*;
        for (list, expected) in [
            (&[Created, Written, Closed, Seen][..], Closed),
            (&[Moved, Seen], Moved),
            (&[Closed, Written], Written),
            (&[Moved, Gone], Gone),
            (&[Gone, Moved], Moved),
            (&[Gone, Seen], Seen),
        ] {
            assert_eq!(heard(list), expected, "{list:?}");
        }
    }

    #[test]
    fn an_open_after_the_creation_is_by_the_writer() {
        let mut hints = Hints::default();
        hints.opened(|| unreachable!("nothing was created"));
        hints.add(name("linked"), Hint::Created);
        hints.add(name("written"), Hint::Created);
        hints.opened(|| Some(name("written")));
        hints.opened(|| Some(name("read")));
        assert_eq!(
            hints.take_paths(),
            [(name("linked"), Hint::Created), (name("written"), Hint::Written)]
        );
        hints.opened(|| unreachable!("nothing is created any more"));
    }

    #[test]
    fn gone_paths_come_first_and_folders_before_their_contents() {
        let mut hints = Hints::default();
        for (path, hint) in
            [("b/c", Hint::Seen), ("z", Hint::Gone), ("b", Hint::Moved), ("a", Hint::Seen)]
        {
            hints.add(name(path), hint);
        }
        let order: Vec<_> = hints.take_paths().into_iter().map(|(n, _)| n.to_string()).collect();
        assert_eq!(order, ["z", "a", "b", "b/c"]);
        assert!(hints.is_empty());
    }

    #[test]
    fn too_many_hints_become_one_scan() {
        let mut hints = Hints::default();
        for i in 0..=MAX_PATHS {
            hints.add(name(&i.to_string()), Hint::Created);
        }
        assert!(hints.everything && hints.lost);
        assert_eq!(hints.take_paths().len(), 1);
    }
}
