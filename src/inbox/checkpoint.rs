//! How much of a large file is on stable storage, noted on a thread of its own: the sync takes as
//! long as the disk does, and the thread that writes goes on meanwhile.

use super::error::ReceiveError;
use crate::store::{Staged, StoreError};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

/// The thread, from the first note on.
#[derive(Default)]
pub(super) struct Checkpoints {
    thread: Option<Thread>,
}

/// What it is told, and what it ends with.
type Thread = (SyncSender<u64>, JoinHandle<Result<(), StoreError>>);

impl Checkpoints {
    /// The first `prefix` bytes are written: they will be synced, and then noted. Waits for the
    /// note before this one, so that no more than two steps of the file are ever without one,
    /// however slow the disk.
    ///
    /// # Errors
    /// That of an earlier note. Only this sync may have been told that a write failed.
    pub(super) fn note(&mut self, staged: &Arc<Staged>, prefix: u64) -> Result<(), ReceiveError> {
        if self.thread.is_none() {
            let (wanted, prefixes) = mpsc::sync_channel(0);
            let file = Arc::clone(staged);
            let work = move || prefixes.iter().try_for_each(|prefix| file.checkpoint(prefix));
            self.thread = std::thread::Builder::new()
                .name("rft-note".into())
                .spawn(work)
                .ok()
                .map(|handle| (wanted, handle));
        }
        match &self.thread {
            Some((wanted, _)) if wanted.send(prefix).is_ok() => Ok(()),
            Some(_) => self.finish(),
            // The system has no thread for it.
            None => Ok(staged.checkpoint(prefix)?),
        }
    }

    /// Waits for the last note.
    ///
    /// # Errors
    /// That of any note.
    pub(super) fn finish(&mut self) -> Result<(), ReceiveError> {
        let Some((wanted, handle)) = self.thread.take() else { return Ok(()) };
        drop(wanted);
        match handle.join() {
            Ok(noted) => Ok(noted?),
            Err(_) => {
                Err(ReceiveError::Internal("the thread that notes what is on the disk died".into()))
            }
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        let _: Result<(), ReceiveError> = self.finish();
    }
}
