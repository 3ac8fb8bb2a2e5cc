//! Pure: when an entry of Outgoing is complete enough to be sent (operation.md, "What is sent").
//!
//! | what is known | it is ready |
//! | --- | --- |
//! | it was renamed to where it is | at once |
//! | its writer closed it | when it then stays as it is for `after_close` |
//! | its times are older than `settle` when it is first seen, by a clock that has been steady | at once |
//! | anything else | when nothing about it has been seen to change for `settle` |
//!
//! Any change that is seen starts the wait anew. Waits run on the monotonic clock alone, so that
//! no step of the wall clock rushes or blocks a file.

use crate::config::Waits;
use crate::proto::message::Timestamp;
use crate::store::Meta;
use std::time::Duration;

/// A point on the monotonic clock: nanoseconds since the outbox was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub u64);

impl Moment {
    /// This much later; never wraps.
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long from then until `self`, zero when `then` is later.
    pub fn since(self, then: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(then.0))
    }
}

/// What was just learned about an entry, beside its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It stands there: from a scan, or from an event that says no more.
    Seen,
    /// Somebody has it open and may write.
    Written,
    /// The last of its writers closed it.
    Closed,
    /// It was renamed to where it is, or stands in a folder that was.
    Moved,
}

/// What is known about who writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Unknown,
    Open,
    Closed,
    Moved,
    Aged,
    /// It changed while it was in flight, and may have been put back: a rename proves nothing.
    Disturbed,
}

/// How long renames of a file that changed in flight are taken for our own putting back.
const PUT_BACK: Duration = Duration::from_secs(1);

/// How long an entry has been as it is, and what is known about its writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settle {
    since: Moment,
    writer: Writer,
}

impl Settle {
    /// An entry is seen for the first time. `wall` is the wall clock, `None` when it cannot be
    /// trusted.
    pub fn first_seen(
        meta: &Meta,
        signal: Signal,
        now: Moment,
        wall: Option<Timestamp>,
        waits: Waits,
    ) -> Self {
        let age = waits.settle.max(waits.after_close);
        let old = wall.is_some_and(|wall| {
            older(meta.modified, wall, age) && older(meta.identity.changed, wall, age)
        });
        let writer = match signal {
            Signal::Seen if old => Writer::Aged,
            Signal::Seen => Writer::Unknown,
            Signal::Written => Writer::Open,
            Signal::Closed => Writer::Closed,
            Signal::Moved => Writer::Moved,
        };
        Self { since: now, writer }
    }

    /// Its metadata is no more what it was: the wait starts anew.
    pub fn changed(&mut self, now: Moment) {
        self.since = now;
        if matches!(self.writer, Writer::Moved | Writer::Aged) {
            self.writer = Writer::Unknown;
        }
    }

    /// It changed while somebody had it.
    pub fn disturbed(&mut self, now: Moment) {
        *self = Self { since: now, writer: Writer::Disturbed };
    }

    /// An event told something about it.
    pub fn signal(&mut self, signal: Signal, now: Moment) {
        let own = self.writer == Writer::Disturbed && now.since(self.since) < PUT_BACK;
        if own && signal == Signal::Moved {
            return;
        }
        self.writer = match signal {
            Signal::Seen => return,
            Signal::Written => Writer::Open,
            Signal::Closed => Writer::Closed,
            Signal::Moved => Writer::Moved,
        };
        self.since = now;
    }

    /// Events were lost, so who has it open is not known any more.
    pub fn forget_writer(&mut self) {
        if matches!(self.writer, Writer::Open) {
            self.writer = Writer::Unknown;
        }
    }

    /// When it is ready, if nothing is seen to change until then.
    pub fn due(&self, waits: Waits) -> Moment {
        match self.writer {
            Writer::Moved | Writer::Aged => self.since,
            // Time for the `chmod` and `utimes` that copying programs do last.
            Writer::Closed => self.since.after(waits.after_close),
            Writer::Unknown | Writer::Open | Writer::Disturbed => self.since.after(waits.settle),
        }
    }

    /// Whether its last known event is that a writer closed it.
    pub fn was_closed(&self) -> bool {
        self.writer == Writer::Closed
    }

    /// Since when nothing is known to have changed.
    pub fn quiet_since(&self) -> Moment {
        self.since
    }

    /// It is ready with no second look.
    pub fn at_once(&self) -> bool {
        matches!(self.writer, Writer::Moved | Writer::Aged)
    }

    /// Its writer is known not to have closed it. It is sent once it is quiet, but taking it away
    /// from its writer would lose what is written next.
    pub fn held_open(&self) -> bool {
        self.writer == Writer::Open
    }
}

/// Whether `time` lies at least `age` before `now`. Times of the future are not old.
pub(crate) fn older(time: Timestamp, now: Timestamp, age: Duration) -> bool {
    nanos(time) + i128::try_from(age.as_nanos()).unwrap_or(i128::MAX / 2) <= nanos(now)
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// Watches the wall clock against the monotonic one. After a step, the times of files that were
/// written before it say nothing about their age, until they have been quiet by observation.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// Wall clock minus monotonic clock, in nanoseconds, when last looked at.
    offset: i128,
    /// Ages are not believed before then.
    distrusted_until: Moment,
}

/// Clocks that are slewed drift apart more slowly than this between two looks.
const STEP: i128 = 200_000_000;

impl WallClock {
    /// The first look.
    pub fn new(now: Moment, wall: Timestamp) -> Self {
        Self { offset: nanos(wall) - i128::from(now.0), distrusted_until: now }
    }

    /// The wall clock's time if ages by it can be believed.
    pub fn trusted(&mut self, now: Moment, wall: Timestamp, settle: Duration) -> Option<Timestamp> {
        let offset = nanos(wall) - i128::from(now.0);
        if (offset - self.offset).abs() > STEP {
            self.distrusted_until = now.after(settle).after(Duration::from_secs(1));
        }
        self.offset = offset;
        (now >= self.distrusted_until).then_some(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::queue::table::model::file;

    const SETTLE: Waits = Waits::DEFAULT;
    const WALL: Timestamp = Timestamp { seconds: 1_000_000, nanos: 0 };

    fn ms(n: u64) -> Moment {
        Moment(n * 1_000_000)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn each_kind_of_knowledge_has_its_wait() {
        let first_offer = file(1, 5, WALL.seconds);
        for (signal, due) in [
            (Signal::Seen, 1500),
            (Signal::Written, 1500),
            (Signal::Closed, 580),
            (Signal::Moved, 500),
        ] {
            let settle = Settle::first_seen(&first_offer, signal, ms(500), Some(WALL), SETTLE);
            assert_eq!(settle.due(SETTLE), ms(due), "{signal:?}");
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
            let settle = Settle::first_seen(&file(1, 5, time), Signal::Seen, ms(0), wall, SETTLE);
            assert_eq!(settle.at_once(), at_once, "{time}");
        }
        // An old mtime alone is what `cp -p` and `tar` leave on a file that is still being written.
        let mut copied = file(1, 5, 0);
        copied.identity.changed = WALL;
        assert!(!Settle::first_seen(&copied, Signal::Seen, ms(0), Some(WALL), SETTLE).at_once());
        // Nor does age count for one that is being written now.
        assert!(
            !Settle::first_seen(&file(1, 5, 0), Signal::Written, ms(0), Some(WALL), SETTLE)
                .at_once()
        );
    }

    #[test]
    fn changes_and_events_start_the_wait_anew() {
        let mut settle =
            Settle::first_seen(&file(1, 5, 0), Signal::Written, ms(0), Some(WALL), SETTLE);
        settle.changed(ms(900));
        assert_eq!(settle.due(SETTLE), ms(1900));
        assert!(settle.held_open());
        settle.signal(Signal::Closed, ms(1000));
        assert_eq!(settle.due(SETTLE), ms(1080));
        assert!(!settle.held_open());
        settle.changed(ms(1050));
        assert_eq!(settle.due(SETTLE), ms(1130));
        settle.signal(Signal::Written, ms(1100));
        assert_eq!(settle.due(SETTLE), ms(2100));
        settle.signal(Signal::Moved, ms(1200));
        assert!(settle.at_once());
        settle.changed(ms(1300));
        assert_eq!(settle.due(SETTLE), ms(2300));
    }

    #[test]
    fn putting_a_file_back_is_no_sign_that_it_is_complete() {
        let mut settle = Settle::first_seen(&file(1, 5, 0), Signal::Moved, ms(0), None, SETTLE);
        settle.disturbed(ms(100));
        settle.signal(Signal::Moved, ms(110));
        assert_eq!(settle.due(SETTLE), ms(1100));
        settle.signal(Signal::Moved, ms(1100));
        assert!(settle.at_once());
    }

    #[test]
    fn the_wait_after_a_close_is_as_the_user_says() {
        for wait in [0, 50, 5000] {
            let waits = Waits { after_close: Duration::from_millis(wait), ..SETTLE };
            let mut settle = Settle::first_seen(&file(1, 5, 0), Signal::Closed, ms(0), None, waits);
            assert_eq!(settle.due(waits), ms(wait));
            // A scanner that opens its file for each page: the last close counts.
            settle.signal(Signal::Written, ms(300));
            settle.signal(Signal::Closed, ms(400));
            assert_eq!(settle.due(waits), ms(400 + wait));
            // What was moved in goes at once all the same.
            settle.signal(Signal::Moved, ms(500));
            assert_eq!(settle.due(waits), ms(500));
        }
    }

    #[test]
    fn a_step_of_the_clock_is_found_and_outlived() {
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
