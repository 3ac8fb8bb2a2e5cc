//! Buffers of records, used again: a new one for each chunk of a large file would be cleared, and
//! its pages be asked for from the system and given back, each time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Buffers that wait to be used again at most: more than are under way between two threads, which
/// is all that comes back together.
const MAX_SPARE: usize = 8;

/// The buffers of one file, shared by who fills them and who empties them.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<BytesMut>>>);

impl Buffers {
    /// A buffer of `len` bytes, which may hold anything that was in a record before.
    pub fn take(&self, len: usize) -> BytesMut {
        let used = self.waiting().pop().filter(|buffer| buffer.capacity() >= len);
        let Some(mut buffer) = used else { return BytesMut::zeroed(len) };
        buffer.resize(len, 0);
        buffer
    }

    /// A buffer that is no longer needed.
    pub fn give_back(&self, buffer: BytesMut) {
        let mut waiting = self.waiting();
        if waiting.len() < MAX_SPARE {
            waiting.push(buffer);
        }
    }

    /// The same record, whose buffer comes back by itself when the last copy is dropped.
    pub fn lend(&self, record: Bytes) -> Bytes {
        Bytes::from_owner(Lent { record, buffers: self.clone() })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    record: Bytes,
    buffers: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.record
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Ok(buffer) = std::mem::take(&mut self.record).try_into_mut() {
            self.buffers.give_back(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_comes_back_with_its_last_copy_and_is_used_again() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(1000);
        assert_eq!(buffer, vec![0; 1000]);
        let at = buffer.as_ptr();
        buffer.truncate(900);
        buffer.fill(7);
        let record = buffers.lend(buffer.freeze());
        let part = record.slice(100..200);
        drop(record);
        assert!(buffers.waiting().is_empty());
        assert_eq!(&part[..], [7; 100]);
        drop(part);
        let again = buffers.take(1000);
        assert_eq!((again.as_ptr(), again.len()), (at, 1000));
    }

    #[test]
    fn only_few_wait_and_none_that_is_too_short() {
        let buffers = Buffers::default();
        (0..2 * MAX_SPARE).for_each(|_| buffers.give_back(BytesMut::zeroed(10)));
        assert_eq!(buffers.waiting().len(), MAX_SPARE);
        assert_eq!(buffers.take(11), vec![0; 11]);
        assert_eq!(buffers.waiting().len(), MAX_SPARE - 1);
    }
}
