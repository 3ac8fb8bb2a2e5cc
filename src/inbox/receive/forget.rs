//! Forgetting transfers with which the sender is done.

use super::{HANDOVER_TIMEOUT, Inbox};
use crate::failpoint::fail_point;
use crate::proto::message::TransferId;
use crate::store::StoreError;

impl Inbox {
    /// Forgets these transfers, with which the sender is done, and drops their staged files. An
    /// attempt that was given up a moment ago gets some time to release its file. A transfer that
    /// is still active then stays: an honest sender does not forget an active transfer.
    pub(crate) async fn forget(&self, ids: Vec<TransferId>) {
        let (active, inactive): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| self.active.contains(*id));
        let deadline = tokio::time::Instant::now() + HANDOVER_TIMEOUT;
        let mut released = Vec::new();
        for id in active {
            if let Ok(claim) = tokio::time::timeout_at(deadline, self.active.claim(id)).await {
                released.push((id, claim));
            }
        }
        let (incoming, ledger) = (self.incoming.clone(), self.ledger.clone());
        let job = move || {
            // A committed file has left the stage.
            let mut perhaps_staged = ledger.forget(&inactive)?;
            fail_point("receive.forgetting");
            for (id, _claim) in &released {
                if ledger.received(*id)?.is_none() {
                    perhaps_staged.push(*id);
                }
            }
            perhaps_staged.into_iter().try_for_each(|id| incoming.discard(id))?;
            fail_point("receive.forgotten");
            Ok::<_, StoreError>(())
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(job).await {
            tracing::info!(%error, "records of finished transfers could not be removed yet");
        }
    }
}
