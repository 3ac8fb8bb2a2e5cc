//! Checkpoints of a large file, which record the chunks on stable storage. A separate thread makes
//! them, so that the writing thread does not wait for the sync.

use super::error::ReceiveError;
use crate::proto::chunk_set::ChunkSet;
use crate::store::{Staged, StoreError};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

/// Makes the checkpoints of one file.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// Started at the first checkpoint.
    thread: Option<CheckpointThread>,
}

struct CheckpointThread {
    requests: SyncSender<ChunkSet>,
    handle: JoinHandle<Result<(), StoreError>>,
}

impl Checkpoints {
    /// Requests a checkpoint of `held`, the chunks that are written. Waits until the one before is
    /// finished, so that the writer is at most one checkpoint ahead, however slow the disk.
    ///
    /// # Errors
    /// The error of an earlier checkpoint. Its sync may be the only call that reports a failed
    /// write.
    pub(super) fn request(
        &mut self,
        staged: &Arc<Staged>,
        held: &ChunkSet,
    ) -> Result<(), ReceiveError> {
        if self.thread.is_none() {
            let (requests, sets) = mpsc::sync_channel::<ChunkSet>(0);
            let file = Arc::clone(staged);
            let work = move || sets.iter().try_for_each(|held| file.checkpoint(&held));
            self.thread = std::thread::Builder::new()
                .name("rft-checkpoint".into())
                .spawn(work)
                .ok()
                .map(|handle| CheckpointThread { requests, handle });
        }
        match &self.thread {
            Some(thread) if thread.requests.send(held.clone()).is_ok() => Ok(()),
            Some(_) => self.finish(),
            // The system gave no thread.
            None => Ok(staged.checkpoint(held)?),
        }
    }

    /// Waits for the last checkpoint.
    ///
    /// # Errors
    /// The error of any checkpoint.
    pub(super) fn finish(&mut self) -> Result<(), ReceiveError> {
        let Some(CheckpointThread { requests, handle }) = self.thread.take() else {
            return Ok(());
        };
        drop(requests);
        match handle.join() {
            Ok(result) => Ok(result?),
            Err(_) => Err(ReceiveError::Internal("the checkpoint thread died".into())),
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        let _: Result<(), ReceiveError> = self.finish();
    }
}
