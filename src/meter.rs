//! Where transfers spend their time. The waits of the last seconds show what limits the speed
//! (`daemon/bottleneck.rs`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A part of a transfer that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A delivery waits for its file to be read and sealed.
    Source,
    /// A delivery waits for QUIC to take a record.
    Path,
    /// A delivery waits for an answer of the receiver.
    Answer,
    /// A thread reads from the disk.
    Read,
    /// A thread hashes, compresses and seals.
    Seal,
    /// A received file waits for bytes of its stream.
    Arrive,
    /// A received file waits for the thread that opens and writes its records.
    Store,
    /// A thread opens, decompresses and hashes.
    Open,
    /// A thread writes to the disk, or waits for a sync.
    Write,
    /// A received file waits for the program that checks it.
    Check,
    /// The committing thread publishes a batch.
    Commit,
}

/// Number of stages.
const STAGES: usize = Stage::Commit as usize + 1;

/// The time spent in each stage, of all transfers together: two transfers that wait at once count
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spent([Duration; STAGES]);

impl Spent {
    /// The time in one stage.
    pub(crate) fn of(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }

    /// The time since an earlier moment.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut spent = *self;
        spent.0.iter_mut().zip(before.0).for_each(|(now, then)| *now = now.saturating_sub(then));
        spent
    }

    /// The sum of both.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let mut spent = *self;
        spent.0.iter_mut().zip(other.0).for_each(|(one, other)| *one += other);
        spent
    }

    #[cfg(test)]
    pub(crate) fn from_millis(stages: &[(Stage, u64)]) -> Self {
        let mut spent = Self::default();
        stages.iter().for_each(|(stage, time)| {
            spent.0[*stage as usize] = Duration::from_millis(*time);
        });
        spent
    }
}

/// Measures the stages of many transfers.
#[derive(Debug)]
pub(crate) struct Meter {
    begun: Instant,
    clocks: Mutex<[StageClock; STAGES]>,
}

/// One stage. A transfer that is in it counts too, so that a long wait shows before it ends: the
/// time is `offset` plus, for each transfer in the stage, the time until now.
#[derive(Debug, Clone, Copy, Default)]
struct StageClock {
    inside: u32,
    /// In nanoseconds.
    offset: i128,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), clocks: Mutex::default() }
    }

    /// A transfer enters a stage, and is in it until the guard is dropped.
    pub(crate) fn enter(&self, stage: Stage) -> Timed<'_> {
        self.change(None, Some(stage));
        Timed { meter: self, stage }
    }

    /// The time spent so far.
    pub(crate) fn spent(&self) -> Spent {
        let now = self.now();
        let clocks = self.clocks();
        Spent(clocks.map(|clock| {
            let nanos = clock.offset + i128::from(clock.inside) * now;
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
        }))
    }

    fn change(&self, from: Option<Stage>, to: Option<Stage>) {
        let now = self.now();
        let mut clocks = self.clocks();
        if let Some(stage) = from {
            let clock = &mut clocks[stage as usize];
            clock.inside -= 1;
            clock.offset += now;
        }
        if let Some(stage) = to {
            let clock = &mut clocks[stage as usize];
            clock.inside += 1;
            clock.offset -= now;
        }
    }

    fn now(&self) -> i128 {
        self.begun.elapsed().as_nanos() as i128
    }

    fn clocks(&self) -> MutexGuard<'_, [StageClock; STAGES]> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transfer in a stage.
#[derive(Debug)]
pub(crate) struct Timed<'a> {
    meter: &'a Meter,
    stage: Stage,
}

impl Timed<'_> {
    /// The transfer goes on to another stage.
    pub(crate) fn switch(&mut self, stage: Stage) {
        if stage != self.stage {
            self.meter.change(Some(self.stage), Some(stage));
            self.stage = stage;
        }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.meter.change(Some(self.stage), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    #[test]
    fn waits_count_while_they_last_and_add_up() {
        let meter = Meter::new();
        let mut one = meter.enter(Stage::Path);
        let two = meter.enter(Stage::Path);
        sleep(Duration::from_millis(20));
        let during = meter.spent();
        assert!(during.of(Stage::Path) >= Duration::from_millis(40), "{during:?}");
        assert_eq!(during.of(Stage::Read), Duration::ZERO);
        one.switch(Stage::Read);
        drop(two);
        let ended = meter.spent().of(Stage::Path);
        sleep(Duration::from_millis(10));
        drop(one);
        let after = meter.spent();
        assert_eq!(after.of(Stage::Path), ended);
        assert!(after.of(Stage::Read) >= Duration::from_millis(10), "{after:?}");
        assert_eq!(meter.spent().since(&after), Spent::default());
    }
}
