//! Pure: the order of sending. Urgent entries come first, in the order of arrival. Of the others the
//! smallest and the oldest ready entry take turns, so a small file overtakes large ones at the next
//! turn, and no large file starves.

use crate::proto::name::Name;
use std::collections::{BTreeMap, BTreeSet};

/// A place in the queue, in the order of arrival; never 0.
pub(crate) type Seq = u64;

/// Ready entries, by age and by size.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    by_age: BTreeMap<Seq, (Name, u64)>,
    by_size: BTreeSet<(u64, Seq)>,
    urgent: BTreeSet<Seq>,
    last: Seq,
    by_age_next: bool,
}

impl Queue {
    /// Puts an entry of `size` bytes at the end, or at the end of the urgent ones.
    pub(crate) fn push(&mut self, name: Name, size: u64, urgent: bool) -> Seq {
        self.last += 1;
        self.by_age.insert(self.last, (name, size));
        self.by_size.insert((size, self.last));
        if urgent {
            self.urgent.insert(self.last);
        }
        self.last
    }

    /// Removes an entry from any place.
    pub(crate) fn remove(&mut self, seq: Seq) {
        if let Some((_, size)) = self.by_age.remove(&seq) {
            self.by_size.remove(&(size, seq));
            self.urgent.remove(&seq);
        }
    }

    /// The next entry. It stays in the queue until [`Queue::remove`].
    pub(crate) fn turn(&mut self) -> Option<Name> {
        if let Some(name) = self.urgent() {
            return Some(name);
        }
        self.by_age_next = !self.by_age_next;
        let seq = if self.by_age_next {
            *self.by_age.first_key_value()?.0
        } else {
            self.by_size.first()?.1
        };
        self.by_age.get(&seq).map(|(name, _)| name.clone())
    }

    /// The next entry if it is urgent.
    pub(crate) fn urgent(&self) -> Option<Name> {
        self.by_age.get(self.urgent.first()?).map(|(name, _)| name.clone())
    }

    /// The number of entries in the queue.
    pub(crate) fn len(&self) -> usize {
        self.by_age.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn pop(queue: &mut Queue) -> Option<String> {
        let name = queue.turn()?;
        let seq = *queue.by_age.iter().find(|(_, (n, _))| *n == name).unwrap().0;
        queue.remove(seq);
        Some(name.to_string())
    }

    #[test]
    fn small_files_overtake_and_big_ones_do_not_starve() {
        let mut queue = Queue::default();
        for i in 0..4 {
            queue.push(name(&format!("big{i}")), 1 << 40, false);
        }
        assert_eq!(pop(&mut queue).unwrap(), "big0");
        queue.push(name("smaller"), 1000, false);
        assert_eq!(pop(&mut queue).unwrap(), "smaller");
        for i in 0..4 {
            queue.push(name(&format!("small{i}")), 1, false);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(order, ["big1", "small0", "big2", "small1", "big3", "small2", "small3"]);
        assert_eq!(queue.len(), 0);
        assert!(queue.by_size.is_empty());
    }

    #[test]
    fn urgent_entries_come_first_in_their_order() {
        let mut queue = Queue::default();
        queue.push(name("small"), 1, false);
        queue.push(name("old"), 5, false);
        for (text, size) in [("large", 1 << 40), ("tiny", 0)] {
            assert!(queue.urgent().is_none() || queue.urgent() == Some(name("large")));
            queue.push(name(text), size, true);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(order, ["large", "tiny", "small", "old"]);
        assert!(queue.urgent.is_empty() && queue.by_size.is_empty());
    }
}
