//! The folders in which a batch gave or changed names. They are synced together, at its end.

use crate::proto::name::Name;
use crate::store::tree::sync;
use cap_std::fs::Dir;
use std::io;
use std::sync::Arc;

/// Maximum number of changed folders that wait for their sync, because handles are scarce. With
/// more of them the whole volume is synced at the end. If the system cannot do that, the folders so
/// far are synced immediately.
const MAX_CHANGED: usize = 64;

/// Changed folders of Incoming, by their names. `None` is Incoming itself.
#[derive(Default)]
pub(crate) struct ChangedFolders {
    waiting: Vec<(Option<Name>, Arc<Dir>)>,
    /// The error of a sync before the end of the batch.
    failed: Option<io::Error>,
}

impl ChangedFolders {
    /// Adds a folder.
    pub(crate) fn add(&mut self, name: Option<Name>, dir: &Arc<Dir>) {
        if self.waiting.iter().rev().any(|(known, held)| *known == name && Arc::ptr_eq(held, dir)) {
            return;
        }
        if self.is_full() {
            if sync::at_once(MAX_CHANGED) {
                // This many folders are synced by a sync of the volume, which covers this folder,
                // too.
                return;
            }
            let synced = sync::folders(self.waiting.iter().map(|(_, dir)| dir));
            self.failed = self.failed.take().or(synced.err());
            self.waiting.clear();
        }
        self.waiting.push((name, Arc::clone(dir)));
    }

    /// Whether no further folder can wait.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() == MAX_CHANGED
    }

    /// Syncs all folders of the batch, and the stage if it is given.
    pub(crate) fn sync(&mut self, stage: Option<&Arc<Dir>>) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let dirs: Vec<_> = waiting.iter().map(|(_, dir)| dir).chain(stage).collect();
        sync::folders(dirs.into_iter())
    }
}
