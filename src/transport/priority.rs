//! The order in which the streams of one connection are sent.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The unit of [`Priority::Bulk`]'s numbers, bytes. 2^30 of them are 64 TiB.
const ORDER_UNIT: u64 = 64 * 1024;

/// The priority of a stream's bytes, retransmissions included. Streams of one kind are sent in the
/// order of their numbers, so that files complete one by one and not all at the end
/// ([`StreamOrder`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Answers, receipts, the control stream: few bytes, for which the peer waits.
    Answer,
    /// A file of one chunk.
    Small(u32),
    /// A file of many chunks that the user wants to arrive before others.
    Urgent(u32),
    /// A file of many chunks.
    Bulk(u32),
}

impl Priority {
    /// quinn's priority: higher first, 0 by default.
    pub(super) fn priority(self) -> i32 {
        // Numbers wrap after 2^30 files. Then a new file precedes older ones once.
        let number = |number: u32| (number & 0x3fff_ffff).cast_signed();
        match self {
            Self::Answer => i32::MAX,
            Self::Small(n) => i32::MAX - 1 - number(n),
            // Between the small files and the others.
            Self::Urgent(n) => (1 << 29) - (number(n) & 0x1fff_ffff),
            Self::Bulk(n) => -1 - number(n),
        }
    }
}

/// Gives a connection's file streams their priorities. Small files follow each other in the order
/// of their beginning.
///
/// A large file's number is the bytes of large files that were sent before it began, plus its own.
/// So a file of a megabyte overtakes one of a gigabyte at once (the shortest remaining work first),
/// but a file is overtaken by no more bytes than its own size, and never starves. Files of one size
/// follow each other.
#[derive(Debug, Default)]
pub struct StreamOrder {
    begun: AtomicU32,
    sent: AtomicU64,
}

impl StreamOrder {
    /// For a file of one chunk that begins now.
    pub fn small(&self) -> Priority {
        Priority::Small(self.begun.fetch_add(1, Ordering::Relaxed))
    }

    /// For an urgent file of many chunks that begins now.
    pub fn urgent(&self) -> Priority {
        Priority::Urgent(self.begun.fetch_add(1, Ordering::Relaxed))
    }

    /// For a file of many chunks that begins now and has so many bytes to send.
    pub fn bulk(&self, remaining: u64) -> Priority {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let bytes = self.sent.load(Ordering::Relaxed).saturating_add(remaining);
        // The lower bits are all that counts (`Priority::priority`).
        Priority::Bulk(((bytes / ORDER_UNIT) as u32).wrapping_add(begun))
    }

    /// Counts bytes of a large file that QUIC has taken.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn precedes(first: Priority, second: Priority) -> bool {
        first.priority() > second.priority()
    }

    #[test]
    fn answers_precede_small_files_and_these_precede_large_ones() {
        let order = StreamOrder::default();
        let (bulk, urgent, small) = (order.bulk(MIB), order.urgent(), order.small());
        assert!(precedes(Priority::Answer, small) && precedes(small, urgent));
        assert!(precedes(urgent, bulk) && precedes(urgent, order.urgent()));
        assert!(precedes(small, order.small()));
    }

    #[test]
    fn files_of_one_size_follow_each_other() {
        let order = StreamOrder::default();
        let files: Vec<_> = (0..64).map(|_| order.bulk(16 * MIB)).collect();
        assert!(files.is_sorted_by(|first, second| precedes(*first, *second)));
    }

    #[test]
    fn a_smaller_file_overtakes_a_larger_one() {
        let order = StreamOrder::default();
        let disk_image = order.bulk(100_000 * MIB);
        order.sent(500 * MIB);
        assert!(precedes(order.bulk(MIB), disk_image));
        assert!(precedes(order.bulk(4_000 * MIB), disk_image));
        // Of the disk image less is left than of this one.
        assert!(precedes(disk_image, order.bulk(100_000 * MIB)));
    }

    #[test]
    fn no_more_bytes_than_its_own_size_overtake_a_file() {
        let order = StreamOrder::default();
        let waiting = order.bulk(1_000 * MIB);
        let mut overtook = 0;
        loop {
            let next = order.bulk(10 * MIB);
            if precedes(waiting, next) {
                break;
            }
            order.sent(10 * MIB);
            overtook += 10 * MIB;
        }
        assert!(overtook <= 1_000 * MIB && overtook > 900 * MIB, "{overtook}");
    }

    #[test]
    fn numbers_of_any_size_are_priorities() {
        let order = StreamOrder::default();
        order.sent(u64::MAX - MIB);
        for remaining in [0, MIB, u64::MAX] {
            assert!(order.bulk(remaining).priority() < 0);
        }
    }
}
