//! The transfers that are being received: at most one attempt at each at a time, over all sessions.

use crate::proto::message::TransferId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The active transfers of this process.
#[derive(Debug, Default)]
pub(super) struct ActiveTransfers {
    ids: Mutex<HashSet<TransferId>>,
    released: Notify,
}

impl ActiveTransfers {
    /// Waits until no other attempt at this transfer is active, and begins one. The thread of an
    /// attempt may outlive its session and hold the staged file for a moment.
    pub(super) async fn claim(self: &Arc<Self>, id: TransferId) -> Arc<Claim> {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
                return Arc::new(Claim { active: self.clone(), id });
            }
            released.await;
        }
    }

    /// Whether an attempt at this transfer is active.
    pub(super) fn contains(&self, id: TransferId) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Number of active transfers.
    pub(super) fn len(&self) -> usize {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The exclusive right to a transfer's staged file. It ends when its last holder drops it.
#[derive(Debug)]
pub(crate) struct Claim {
    active: Arc<ActiveTransfers>,
    id: TransferId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.active.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.active.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_attempt_waits_for_the_last_holder() {
        let active = Arc::new(ActiveTransfers::default());
        let id = TransferId([1; 16]);
        let claim = active.claim(id).await;
        let thread = claim.clone();
        let second = tokio::spawn({
            let active = active.clone();
            async move { active.claim(id).await }
        });
        drop(claim);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(thread);
        let again = second.await.unwrap();
        assert_eq!(active.len(), 1);
        drop(again);
        assert_eq!(active.len(), 0);
    }
}
