//! Pure: when an entry of Outgoing is complete, so that it can be sent. operation.md describes it
//! for users.
//!
//! | entry | it is ready |
//! | --- | --- |
//! | renamed into place | at once |
//! | closed by its writer | when it has not changed for `after_close` |
//! | older than `settle` at the first look, by a clock that has been steady | at once |
//! | any other | when no change was seen for `settle` |
//!
//! Every change starts the wait anew. Waits run on the monotonic clock alone, so that no step of
//! the wall clock shortens or prolongs them.

use crate::config::Waits;
use crate::proto::message::Timestamp;
use crate::store::Meta;
use std::time::Duration;

/// A point on the monotonic clock: nanoseconds since the outbox was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub u64);

impl Moment {
    /// The start of the outbox: a time that has passed already.
    pub(crate) const PAST: Self = Self(0);

    /// This much later; never wraps.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long from then until `self`, zero when `then` is later.
    pub(crate) fn since(self, then: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(then.0))
    }
}

/// The news that a scan or an event brings about an entry, beside its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It exists: from a scan, or from an event without details.
    Seen,
    /// A program has it open and may write.
    Written,
    /// The last of its writers closed it.
    Closed,
    /// It was renamed into place, or its folder was.
    Moved,
}

/// The knowledge about an entry's writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriterState {
    Unknown,
    Open,
    Closed,
    /// None: the entry was renamed into place.
    Moved,
    /// None: the entry is old.
    Aged,
    /// Unknown, after a change in flight. The cleanup may have renamed the file away and back, so a
    /// rename proves nothing.
    Disturbed,
}

/// How long after a change in flight a rename is taken for one by the cleanup.
const PUT_BACK_WINDOW: Duration = Duration::from_secs(1);

/// How long an entry has been unchanged, and the knowledge about its writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settle {
    since: Moment,
    writer: WriterState,
}

impl Settle {
    /// For the first look at an entry. `wall` is the wall clock, `None` when it cannot be trusted.
    pub(crate) fn first_seen(
        meta: &Meta,
        activity: Activity,
        now: Moment,
        wall: Option<Timestamp>,
        waits: Waits,
    ) -> Self {
        let age = waits.settle.max(waits.after_close);
        let old = wall.is_some_and(|wall| {
            older(meta.modified, wall, age) && older(meta.identity.changed, wall, age)
        });
        let writer = match activity {
            Activity::Seen if old => WriterState::Aged,
            Activity::Seen => WriterState::Unknown,
            Activity::Written => WriterState::Open,
            Activity::Closed => WriterState::Closed,
            Activity::Moved => WriterState::Moved,
        };
        Self { since: now, writer }
    }

    /// Its metadata changed: the wait starts anew.
    pub(crate) fn changed(&mut self, now: Moment) {
        self.since = now;
        if matches!(self.writer, WriterState::Moved | WriterState::Aged) {
            self.writer = WriterState::Unknown;
        }
    }

    /// It changed while a session or the cleanup had it.
    pub(crate) fn disturbed(&mut self, now: Moment) {
        *self = Self { since: now, writer: WriterState::Disturbed };
    }

    /// An event told about it.
    pub(crate) fn heard(&mut self, activity: Activity, now: Moment) {
        let by_cleanup =
            self.writer == WriterState::Disturbed && now.since(self.since) < PUT_BACK_WINDOW;
        if by_cleanup && activity == Activity::Moved {
            return;
        }
        self.writer = match activity {
            Activity::Seen => return,
            Activity::Written => WriterState::Open,
            Activity::Closed => WriterState::Closed,
            Activity::Moved => WriterState::Moved,
        };
        self.since = now;
    }

    /// Events were lost: a writer that had it open may have closed it.
    pub(crate) fn forget_writer(&mut self) {
        if matches!(self.writer, WriterState::Open) {
            self.writer = WriterState::Unknown;
        }
    }

    /// When it is ready, if no change is seen until then.
    pub(crate) fn due(&self, waits: Waits) -> Moment {
        match self.writer {
            WriterState::Moved | WriterState::Aged => self.since,
            // Copying programs call `chmod` and `utimes` last.
            WriterState::Closed => self.since.after(waits.after_close),
            WriterState::Unknown | WriterState::Open | WriterState::Disturbed => {
                self.since.after(waits.settle)
            }
        }
    }

    /// Whether its last known event is a close by its writer.
    pub(crate) fn was_closed(&self) -> bool {
        self.writer == WriterState::Closed
    }

    /// The time of the last known change.
    pub(crate) fn quiet_since(&self) -> Moment {
        self.since
    }

    /// Whether it is ready without a second look.
    pub(crate) fn at_once(&self) -> bool {
        matches!(self.writer, WriterState::Moved | WriterState::Aged)
    }

    /// Whether its writer is known not to have closed it. It is sent once it is quiet, but it must
    /// not be removed: the writer's next bytes would be lost.
    pub(crate) fn held_open(&self) -> bool {
        self.writer == WriterState::Open
    }
}

/// Whether `time` is at least `age` before `now`. Times of the future are not old.
pub(crate) fn older(time: Timestamp, now: Timestamp, age: Duration) -> bool {
    nanos(time) + i128::try_from(age.as_nanos()).unwrap_or(i128::MAX / 2) <= nanos(now)
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// Compares the wall clock with the monotonic clock to notice steps. After a step, the times of
/// files that were written before it say nothing about their age.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// Wall clock minus monotonic clock, in nanoseconds, at the last reading.
    offset: i128,
    /// The wall clock is not trusted before this moment.
    distrusted_until: Moment,
}

/// A larger difference between two readings, in nanoseconds, is a step: slewed clocks drift apart
/// more slowly.
const MIN_STEP: i128 = 200_000_000;

impl WallClock {
    /// The first reading.
    pub(crate) fn new(now: Moment, wall: Timestamp) -> Self {
        Self { offset: nanos(wall) - i128::from(now.0), distrusted_until: now }
    }

    /// The wall clock's time, if it can be trusted.
    pub(crate) fn trusted(
        &mut self,
        now: Moment,
        wall: Timestamp,
        settle: Duration,
    ) -> Option<Timestamp> {
        let offset = nanos(wall) - i128::from(now.0);
        if (offset - self.offset).abs() > MIN_STEP {
            self.distrusted_until = now.after(settle).after(Duration::from_secs(1));
        }
        self.offset = offset;
        (now >= self.distrusted_until).then_some(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::queue::model::file;

    const SETTLE: Waits = Waits::DEFAULT;
    const WALL: Timestamp = Timestamp { seconds: 1_000_000, nanos: 0 };

    fn ms(n: u64) -> Moment {
        Moment(n * 1_000_000)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn each_activity_has_its_wait() {
        let recent = file(1, 5, WALL.seconds);
        for (activity, due) in [
            (Activity::Seen, 1500),
            (Activity::Written, 1500),
            (Activity::Closed, 580),
            (Activity::Moved, 500),
        ] {
            let settle = Settle::first_seen(&recent, activity, ms(500), Some(WALL), SETTLE);
            assert_eq!(settle.due(SETTLE), ms(due), "{activity:?}");
        }
    }

    #[test]
    fn old_files_are_ready_at_once_and_others_wait() {
        for (time, wall, at_once) in [
            (WALL.seconds - 1, Some(WALL), true),
            (WALL.seconds, Some(WALL), false),
            (WALL.seconds + 3600, Some(WALL), false),
            (-5_000_000_000, Some(WALL), true),
            (i64::MIN, Some(WALL), true),
            (i64::MAX, Some(WALL), false),
            (WALL.seconds - 1, None, false),
        ] {
            let settle = Settle::first_seen(&file(1, 5, time), Activity::Seen, ms(0), wall, SETTLE);
            assert_eq!(settle.at_once(), at_once, "{time}");
        }
        // `cp -p` and `tar` set an old modification time on files that they still write.
        let mut copied = file(1, 5, 0);
        copied.identity.changed = WALL;
        assert!(!Settle::first_seen(&copied, Activity::Seen, ms(0), Some(WALL), SETTLE).at_once());
        let mut future = file(1, 5, 0);
        future.modified = at(WALL.seconds + 3600);
        assert!(!Settle::first_seen(&future, Activity::Seen, ms(0), Some(WALL), SETTLE).at_once());
        // The age of a file that is being written does not count.
        assert!(
            !Settle::first_seen(&file(1, 5, 0), Activity::Written, ms(0), Some(WALL), SETTLE)
                .at_once()
        );
    }

    /// A file counts as old only after the longer one of the two waits.
    #[test]
    fn a_long_wait_after_a_close_makes_fewer_files_old() {
        let waits = Waits { after_close: Duration::from_secs(10), ..SETTLE };
        for (age, at_once) in [(9, false), (10, true)] {
            let file = file(1, 5, WALL.seconds - age);
            let settle = Settle::first_seen(&file, Activity::Seen, ms(0), Some(WALL), waits);
            assert_eq!(settle.at_once(), at_once, "{age} s");
        }
    }

    #[test]
    fn changes_and_events_start_the_wait_anew() {
        let mut settle =
            Settle::first_seen(&file(1, 5, 0), Activity::Written, ms(0), Some(WALL), SETTLE);
        settle.changed(ms(900));
        assert_eq!(settle.due(SETTLE), ms(1900));
        assert!(settle.held_open());
        settle.heard(Activity::Closed, ms(1000));
        assert_eq!(settle.due(SETTLE), ms(1080));
        assert!(!settle.held_open());
        settle.changed(ms(1050));
        assert_eq!(settle.due(SETTLE), ms(1130));
        settle.heard(Activity::Written, ms(1100));
        assert_eq!(settle.due(SETTLE), ms(2100));
        settle.heard(Activity::Moved, ms(1200));
        assert!(settle.at_once());
        settle.changed(ms(1300));
        assert_eq!(settle.due(SETTLE), ms(2300));
    }

    #[test]
    fn a_rename_by_the_cleanup_does_not_mean_that_a_file_is_complete() {
        let mut settle = Settle::first_seen(&file(1, 5, 0), Activity::Moved, ms(0), None, SETTLE);
        settle.disturbed(ms(100));
        settle.heard(Activity::Moved, ms(110));
        assert_eq!(settle.due(SETTLE), ms(1100));
        settle.heard(Activity::Moved, ms(1100));
        assert!(settle.at_once());
    }

    #[test]
    fn the_wait_after_a_close_follows_the_setting() {
        for wait in [0, 50, 5000] {
            let waits = Waits { after_close: Duration::from_millis(wait), ..SETTLE };
            let mut settle =
                Settle::first_seen(&file(1, 5, 0), Activity::Closed, ms(0), None, waits);
            assert_eq!(settle.due(waits), ms(wait));
            // A document scanner opens its file for each page: the last close counts.
            settle.heard(Activity::Written, ms(300));
            settle.heard(Activity::Closed, ms(400));
            assert_eq!(settle.due(waits), ms(400 + wait));
            // A file that was renamed into place is ready at once in any case.
            settle.heard(Activity::Moved, ms(500));
            assert_eq!(settle.due(waits), ms(500));
        }
    }

    #[test]
    fn a_step_of_the_clock_is_noticed_and_trusted_again_later() {
        for step in [3600, -3600] {
            let mut clock = WallClock::new(ms(0), at(1000));
            let wait = SETTLE.settle;
            assert_eq!(clock.trusted(ms(30_000), at(1030), wait), Some(at(1030)));
            assert_eq!(clock.trusted(ms(60_000), at(1060 + step), wait), None);
            assert_eq!(clock.trusted(ms(61_000), at(1061 + step), wait), None);
            assert_eq!(clock.trusted(ms(62_000), at(1062 + step), wait), Some(at(1062 + step)));
        }
    }
}
