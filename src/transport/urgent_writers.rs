//! Lets the bulk streams of a session wait while urgent ones have data to write.
//!
//! QUIC sends what it holds by priority, but its buffer of unacknowledged data is shared: streams
//! that fill it again at once would leave an urgent one, whose first byte is not in it, no room.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Time without a byte of an urgent stream after which the others go on: something else than they
/// holds it up, such as the peer's disk.
const STALL_TIMEOUT: Duration = Duration::from_secs(1);

/// The urgent streams of a session that have data to write.
#[derive(Debug)]
pub(super) struct UrgentWriters {
    begin: Instant,
    count: AtomicUsize,
    /// When one of them last began or wrote something, in milliseconds after `begin`.
    progress: AtomicU64,
    /// Notified when none is left.
    done: Notify,
}

impl Default for UrgentWriters {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            count: AtomicUsize::new(0),
            progress: AtomicU64::new(0),
            done: Notify::new(),
        }
    }
}

impl UrgentWriters {
    /// An urgent stream has data to write, until the result is dropped.
    pub(super) fn enter(&self) -> UrgentWriter<'_> {
        self.progressed();
        self.count.fetch_add(1, Ordering::Relaxed);
        UrgentWriter(self)
    }

    /// Waits until no urgent stream has data to write, or they are stalled. The next piece of a
    /// bulk stream may be written then.
    pub(super) async fn give_way(&self) {
        while let Some(left) = self.time_left() {
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if self.count.load(Ordering::Relaxed) == 0 {
                return;
            }
            // One of them may write meanwhile, which prolongs the wait.
            let _ = tokio::time::timeout(left, done).await;
        }
    }

    /// How long the urgent streams may still go without progress; `None` if there are none.
    fn time_left(&self) -> Option<Duration> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let progress = Duration::from_millis(self.progress.load(Ordering::Relaxed));
        let idle = self.begin.elapsed().saturating_sub(progress);
        STALL_TIMEOUT.checked_sub(idle).filter(|left| !left.is_zero())
    }

    fn progressed(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.store(now, Ordering::Relaxed);
    }
}

/// An urgent stream with data to write.
pub(super) struct UrgentWriter<'a>(&'a UrgentWriters);

impl UrgentWriter<'_> {
    /// A part of the data is written.
    pub(super) fn progressed(&self) {
        self.0.progressed();
    }
}

impl Drop for UrgentWriter<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.done.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn bulk_waits_for_urgent_writers_that_make_progress() {
        let writers = Arc::new(UrgentWriters::default());
        writers.give_way().await;
        let begun = Instant::now();
        let waits = {
            let writers = writers.clone();
            let urgent = writers.clone();
            let waits = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                writers.give_way().await;
            });
            let writer = urgent.enter();
            for _ in 0..15 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                writer.progressed();
            }
            assert!(!waits.is_finished(), "it makes progress");
            waits
        };
        waits.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4));
        // A stalled one does not hold them up.
        let _stalled = writers.enter();
        let begun = Instant::now();
        writers.give_way().await;
        assert!((900..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        writers.give_way().await;
    }
}
