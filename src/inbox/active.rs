//! Which transfers are under way: one attempt at a time, whatever a peer opens.

use crate::proto::message::TransferId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The transfers under way in this process.
#[derive(Debug, Default)]
pub struct Active {
    ids: Mutex<HashSet<TransferId>>,
    released: Notify,
}

impl Active {
    /// Waits until no other attempt at this transfer is under way, and begins one. Whoever claims
    /// may have to wait for the thread of an attempt whose session is gone to let go of the staged
    /// file.
    pub async fn claim(self: &Arc<Self>, id: TransferId) -> Arc<Claim> {
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

    /// Whether an attempt at this transfer is under way.
    pub fn contains(&self, id: TransferId) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The right to one transfer's staged file, given up when the last holder drops it.
#[derive(Debug)]
pub struct Claim {
    active: Arc<Active>,
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
        let active = Arc::new(Active::default());
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
