//! A pool of record buffers. A new buffer for each chunk of a large file would have to be cleared,
//! and its pages allocated and freed by the system.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Maximum number of spare buffers. Between two threads fewer are in use, and no more come back at
/// once.
const MAX_SPARE: usize = 8;

/// The buffers of one file, shared by the threads that fill and empty them.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<BytesMut>>>);

impl Buffers {
    /// A buffer of `len` bytes, with any content.
    pub fn take(&self, len: usize) -> BytesMut {
        let used = self.waiting().pop().filter(|buffer| buffer.capacity() >= len);
        let Some(mut buffer) = used else { return BytesMut::zeroed(len) };
        buffer.resize(len, 0);
        buffer
    }

    /// Returns a buffer that is no longer needed to the pool.
    pub fn give_back(&self, buffer: BytesMut) {
        let mut waiting = self.waiting();
        if waiting.len() < MAX_SPARE {
            waiting.push(buffer);
        }
    }

    /// The same record; its buffer returns to the pool when the last copy is dropped.
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
    fn a_lent_buffer_comes_back_with_its_last_copy_and_is_used_again() {
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
    fn spare_buffers_are_few_and_long_enough() {
        let buffers = Buffers::default();
        (0..2 * MAX_SPARE).for_each(|_| buffers.give_back(BytesMut::zeroed(10)));
        assert_eq!(buffers.waiting().len(), MAX_SPARE);
        assert_eq!(buffers.take(11), vec![0; 11]);
        assert_eq!(buffers.waiting().len(), MAX_SPARE - 1);
    }
}
