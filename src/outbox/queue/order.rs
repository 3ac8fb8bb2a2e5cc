//! Pure: the order of sending. The smallest and the oldest ready entry take turns, so a small file
//! overtakes large ones at the next turn, and no large file starves.

use crate::proto::name::Name;
use std::collections::{BTreeMap, BTreeSet};

/// A place in the queue, in the order of arrival; never 0.
pub(crate) type Seq = u64;

/// Ready entries, by age and by size.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    by_age: BTreeMap<Seq, (Name, u64)>,
    by_size: BTreeSet<(u64, Seq)>,
    last: Seq,
    by_age_next: bool,
}

impl Queue {
    /// Puts an entry of `size` bytes at the end.
    pub(crate) fn push(&mut self, name: Name, size: u64) -> Seq {
        self.last += 1;
        self.by_age.insert(self.last, (name, size));
        self.by_size.insert((size, self.last));
        self.last
    }

    /// Removes an entry from any place.
    pub(crate) fn remove(&mut self, seq: Seq) {
        if let Some((_, size)) = self.by_age.remove(&seq) {
            self.by_size.remove(&(size, seq));
        }
    }

    /// The next entry. It stays in the queue until [`Queue::remove`].
    pub(crate) fn turn(&mut self) -> Option<Name> {
        self.by_age_next = !self.by_age_next;
        let seq = if self.by_age_next {
            *self.by_age.first_key_value()?.0
        } else {
            self.by_size.first()?.1
        };
        self.by_age.get(&seq).map(|(name, _)| name.clone())
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
            queue.push(name(&format!("big{i}")), 1 << 40);
        }
        assert_eq!(pop(&mut queue).unwrap(), "big0");
        queue.push(name("urgent"), 1000);
        assert_eq!(pop(&mut queue).unwrap(), "urgent");
        for i in 0..4 {
            queue.push(name(&format!("small{i}")), 1);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(order, ["big1", "small0", "big2", "small1", "big3", "small2", "small3"]);
        assert_eq!(queue.len(), 0);
        assert!(queue.by_size.is_empty());
    }
}
