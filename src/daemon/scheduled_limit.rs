//! The rate limit that is in force, by the schedule of the user.

use super::lock::locked;
use crate::rate_schedule::{RateInForce, RateSchedule};
use crate::transport::rate_limit::RateLimit;
use crate::transport::ticks::Ticks;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// Time between two looks at the wall clock while the limit has an end. The monotonic clock stands
/// still while the host sleeps, and the wall clock may be set. The looks fall on the times of
/// another regular check, so they wake no idle process.
const CLOCK_INTERVAL: Duration = super::FOLDERS_INTERVAL;
/// Time after which the schedule is applied again although no change is due: the time zone of the
/// host may be another one.
const ZONE_INTERVAL: Duration = Duration::from_secs(60);

/// A rate limit that follows a schedule.
pub(super) struct ScheduledLimit {
    limit: RateLimit,
    current: Mutex<LimitInForce>,
    /// Notified when the schedule is another one.
    replaced: Notify,
}

struct LimitInForce {
    schedule: RateSchedule,
    now: RateInForce,
    /// When `now` was found.
    found: (SystemTime, Instant),
}

impl ScheduledLimit {
    /// Applies the schedule to the limit of the socket.
    pub(super) fn new(limit: RateLimit, schedule: RateSchedule) -> Self {
        let now = schedule.in_force_now();
        limit.set(now.rate.map(NonZeroU64::get));
        let current = LimitInForce { schedule, now, found: (SystemTime::now(), Instant::now()) };
        Self { limit, current: Mutex::new(current), replaced: Notify::new() }
    }

    /// Applies another schedule from now on. Returns the limit now.
    pub(super) fn replace(&self, schedule: RateSchedule) -> RateInForce {
        let mut current = locked(&self.current);
        tracing::info!(%schedule, "the user changed the limit of the rate");
        current.schedule = schedule;
        self.apply(&mut current);
        self.replaced.notify_one();
        current.now
    }

    /// The limit, and the schedule if it has one.
    pub(super) fn get(&self) -> (RateInForce, Option<String>) {
        let current = locked(&self.current);
        let schedule = current.schedule.has_windows().then(|| current.schedule.to_string());
        (current.now, schedule)
    }

    /// Applies the schedule at each of its changes. Does not return.
    pub(super) async fn follow(&self, ticks: Ticks) {
        loop {
            let until = locked(&self.current).now.until;
            let Some(until) = until else {
                self.replaced.notified().await;
                continue;
            };
            let left = until.duration_since(SystemTime::now()).unwrap_or_default();
            let now = Instant::now();
            let next = ticks.next(CLOCK_INTERVAL, now).min(now + left.min(CLOCK_INTERVAL));
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.replaced.notified() => continue,
            }
            let mut current = locked(&self.current);
            if current.is_due() {
                self.apply(&mut current);
            }
        }
    }

    fn apply(&self, current: &mut LimitInForce) {
        let before = std::mem::replace(&mut current.now, current.schedule.in_force_now());
        current.found = (SystemTime::now(), Instant::now());
        let rate = current.now.rate.map(NonZeroU64::get);
        self.limit.set(rate);
        if before.rate != current.now.rate {
            let until = current.now.until.and_then(|at| jiff::Timestamp::try_from(at).ok());
            let until = until.map(|at| at.to_string());
            tracing::info!(rate, until, "the rate is limited to another value from now on");
        }
    }
}

impl LimitInForce {
    /// Whether the limit may be another one than the one that was found.
    fn is_due(&self) -> bool {
        let (wall, mono) = self.found;
        let now = SystemTime::now();
        self.now.until.is_some_and(|until| now >= until)
            || now < wall
            || mono.elapsed() >= ZONE_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A limit of 7 that believes to be one of 1 until that moment.
    fn stale(until: Option<SystemTime>, found: SystemTime) -> (Arc<ScheduledLimit>, RateLimit) {
        let limit = RateLimit::default();
        let schedule = serde_json::from_str(
            r#"{"rate":7,"windows":[{"days":["Mon"],"from":"00:00","to":"24:00","rate":7}]}"#,
        );
        let scheduled = ScheduledLimit::new(limit.clone(), schedule.unwrap());
        assert_eq!(limit.get(), Some(7));
        limit.set(Some(1));
        let mut current = locked(&scheduled.current);
        current.now = RateInForce { rate: NonZeroU64::new(1), until };
        current.found.0 = found;
        drop(current);
        (Arc::new(scheduled), limit)
    }

    async fn follow(scheduled: &Arc<ScheduledLimit>, time: Duration) {
        let ticks = Ticks::since(Instant::now());
        let _ = tokio::time::timeout(time, scheduled.follow(ticks)).await;
    }

    #[tokio::test]
    async fn the_limit_changes_at_its_edge_and_when_the_clock_is_set_back() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let (scheduled, limit) = stale(Some(now + Duration::from_millis(600)), now);
        follow(&scheduled, Duration::from_millis(300)).await;
        assert_eq!(limit.get(), Some(1), "too early");
        follow(&scheduled, Duration::from_millis(900)).await;
        assert_eq!((limit.get(), scheduled.get().0.until), (Some(7), None));
        // The host slept over the edge, or its clock was set forward.
        let (scheduled, limit) = stale(Some(now - hour), now - 2 * hour);
        follow(&scheduled, Duration::from_millis(300)).await;
        assert_eq!(limit.get(), Some(7));
        // It was set back: the time of the last look is yet to come.
        let (scheduled, limit) = stale(Some(now + 2 * hour), now + hour);
        follow(&scheduled, CLOCK_INTERVAL + Duration::from_millis(500)).await;
        assert_eq!(limit.get(), Some(7));
        // Another schedule counts at once, whatever the old one waits for.
        let (scheduled, limit) = stale(Some(now + hour), now);
        let five = RateSchedule::constant(NonZeroU64::new(5));
        assert_eq!(scheduled.replace(five), RateInForce { rate: NonZeroU64::new(5), until: None });
        assert_eq!((limit.get(), scheduled.get().1), (Some(5), None));
    }
}
