//! Pure: events as they come in, put together by path until somebody has the time.

use super::settle::Signal;
use crate::proto::name::Name;
use std::collections::HashMap;

/// More paths than this are no hint any more: everything is scanned.
const MAX_PATHS: usize = 50_000;

/// What was last heard about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Something about it changed, or it is new.
    Seen,
    /// It was created; whether anybody has it open is not known.
    Created,
    /// Somebody writes it.
    Written,
    /// The last writer closed it.
    Closed,
    /// It was renamed to there.
    Moved,
    /// It is not there any more.
    Gone,
}

impl Hint {
    /// What it says about a file that stands there.
    pub fn signal(self) -> Signal {
        match self {
            Self::Seen | Self::Created | Self::Gone => Signal::Seen,
            Self::Written => Signal::Written,
            Self::Closed => Signal::Closed,
            Self::Moved => Signal::Moved,
        }
    }

    /// What two hints about one path say together.
    fn then(self, next: Self) -> Self {
        match (self, next) {
            // What `chmod` and its like do says nothing about writers, nor takes a rename back.
            (Self::Created | Self::Written | Self::Closed | Self::Moved, Self::Seen) => self,
            (_, next) => next,
        }
    }
}

/// All that was heard and not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    paths: HashMap<Name, Hint>,
    /// Paths with [`Hint::Created`].
    created: usize,
    /// Everything is to be scanned.
    pub everything: bool,
    /// Events were lost.
    pub lost: bool,
    /// Because the system's queue of them ran over.
    pub overflow: bool,
    /// The system has no more watches.
    pub no_watches: bool,
}

impl Hints {
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.everything && !self.lost && !self.no_watches
    }

    /// Something was heard about a path.
    pub fn add(&mut self, name: Name, hint: Hint) {
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

    /// Somebody opened a file. Right after its creation that is its writer; a hard link that is
    /// made is created, but not opened.
    pub fn opened(&mut self, name: impl FnOnce() -> Option<Name>) {
        if self.created > 0
            && let Some(name) = name()
            && let Some(hint @ Hint::Created) = self.paths.get_mut(&name)
        {
            *hint = Hint::Written;
            self.created -= 1;
        }
    }

    /// All paths: first those that are gone, then the others, folders before what is in them.
    pub fn take_paths(&mut self) -> Vec<(Name, Hint)> {
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
    fn what_was_heard_last_counts_unless_it_says_nothing() {
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
    fn an_open_after_the_creation_is_the_writers() {
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
    fn what_is_gone_comes_first_and_folders_before_what_they_hold() {
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
