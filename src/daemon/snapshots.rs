//! Snapshots for commands and scrapes: all that ask at the same time get the same one.

use crate::status::Status;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Minimum time between two snapshots: each takes a look at every entry of Outgoing, under the lock
/// of the queue.
pub(crate) const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(50);

/// The last snapshot. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshots(Arc<Mutex<Option<Snapshot>>>);

#[derive(Debug)]
struct Snapshot {
    taken: Instant,
    status: Arc<Status>,
}

impl Snapshots {
    /// The last snapshot if it is younger than [`SNAPSHOT_INTERVAL`], otherwise a new one. `None`
    /// if `take` panics. Needs the context of a tokio runtime.
    pub(super) async fn recent(
        &self,
        take: impl FnOnce() -> Status + Send + 'static,
    ) -> Option<Arc<Status>> {
        let mut last = self.0.lock().await;
        if let Some(Snapshot { taken, status }) = &*last
            && taken.elapsed() < SNAPSHOT_INTERVAL
        {
            return Some(status.clone());
        }
        // It waits for the locks of the queue.
        let status = tokio::task::spawn_blocking(move || Arc::new(take())).await.ok()?;
        *last = Some(Snapshot { taken: Instant::now(), status: status.clone() });
        Some(status)
    }

    /// The state changed by a command: who asks next gets a new snapshot.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::task::JoinSet;

    fn sample() -> Status {
        serde_json::from_str(include_str!("../cli/output/busy.json")).unwrap()
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_get_the_same_snapshot() {
        let (snapshots, taken) = (Snapshots::default(), Arc::new(AtomicUsize::new(0)));
        let take = |taken: &Arc<AtomicUsize>| {
            let taken = taken.clone();
            move || {
                taken.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(2 * SNAPSHOT_INTERVAL);
                sample()
            }
        };
        let mut asking = JoinSet::new();
        for _ in 0..20 {
            let (snapshots, take) = (snapshots.clone(), take(&taken));
            asking.spawn(async move { snapshots.recent(take).await.unwrap() });
        }
        asking.join_all().await;
        // More than one only if this machine did nothing else for as long as a snapshot lasts.
        assert!(taken.load(Ordering::Relaxed) < 5, "{taken:?}");
        tokio::time::sleep(SNAPSHOT_INTERVAL).await;
        let before = taken.load(Ordering::Relaxed);
        snapshots.recent(take(&taken)).await.unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), before + 1);
        assert!(Snapshots::default().recent(|| panic!("for the test")).await.is_none());
    }
}
