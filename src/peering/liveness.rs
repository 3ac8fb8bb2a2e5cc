//! Whether a session is alive: whether the peer is heard, and hears us. Pure: time is passed in.
//!
//! With keep-alives every second neither side is ever silent for long on a link that works. A
//! session that is not alive is not given up; a new connection is dialled beside it.
//!
//! Time counts by looks: what a process that was not let run did not hear meanwhile is nobody's
//! silence.

use quinn::Connection;
use std::time::{Duration, Instant};

/// Silence means trouble after this and [`ROUND_TRIPS`]: two keep-alives are lost.
const SILENCE: Duration = Duration::from_millis(2500);
/// A check that comes later than its interval and this did not run in time: the process was busy or
/// stopped. The excess does not count as silence.
const LATE: Duration = Duration::from_millis(20);
/// Who did not look for longer than this slept, or was suspended: the peer has long begun to dial,
/// and so should we.
const ASLEEP: Duration = Duration::from_secs(3);
/// No answer does so after this and [`ROUND_TRIPS`]: what asked for it is lost, and so are QUIC's
/// probes after it.
const NO_ANSWER: Duration = Duration::from_millis(700);
/// From a peer that is heard meanwhile, after so many times that. quinn sends no acknowledgement
/// while the window is full and more waits to be sent: where both sides have much to send, the
/// probe that follows a halt of the link is answered with the next one, twice as long after it.
const TIMES_FROM_WHO_IS_HEARD: u32 = 2;
/// The first probe of a connection that has just begun takes three round trips, and its answer
/// another.
const ROUND_TRIPS: u32 = 4;

/// What a connection has counted since it began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    /// Datagrams that came.
    pub(crate) received: u64,
    /// Acknowledgements that came.
    pub(crate) answers: u64,
    /// Frames sent that ask for an acknowledgement.
    pub(crate) questions: u64,
}

impl Counters {
    /// Of this connection.
    pub(crate) fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        Self {
            received: stats.udp_rx.datagrams,
            answers: stats.frame_rx.acks,
            questions: stats.frame_tx.stream + stats.frame_tx.ping,
        }
    }
}

/// Looked at every so often while the session lasts.
#[derive(Debug)]
pub(crate) struct Liveness {
    last: Counters,
    looked: Instant,
    heard: Instant,
    /// Since when something that was sent has no answer.
    unanswered: Option<Instant>,
    /// How long after the last check the next one is due.
    interval: Duration,
}

impl Liveness {
    /// Time between two checks while data crosses or an acknowledgement is due.
    pub(crate) const BUSY_INTERVAL: Duration = Duration::from_millis(100);
    /// Time between two checks of an idle session, where only keep-alives cross. A loss of the path
    /// is noticed later by this at most, and an idle process rarely wakes up.
    pub(crate) const IDLE_INTERVAL: Duration = Duration::from_millis(500);

    /// Of a connection that just came up.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last: Counters::default(),
            looked: now,
            heard: now,
            unanswered: None,
            interval: Self::BUSY_INTERVAL,
        }
    }

    /// Takes note of what the connection has counted.
    pub(crate) fn look(&mut self, counters: Counters, now: Instant) {
        let since = now.saturating_duration_since(self.looked);
        if since < ASLEEP {
            let missed = since.saturating_sub(self.interval + LATE);
            self.heard += missed;
            self.unanswered = self.unanswered.map(|since| since + missed);
        }
        self.looked = self.looked.max(now);
        if counters.received != self.last.received {
            self.heard = now;
        }
        if counters.answers != self.last.answers {
            self.unanswered = None;
        } else if counters.questions != self.last.questions {
            self.unanswered.get_or_insert(now);
        }
        // A keep-alive is one question.
        let busy = self.unanswered.is_some() || counters.questions > self.last.questions + 1;
        self.interval = if busy { Self::BUSY_INTERVAL } else { Self::IDLE_INTERVAL };
        self.last = counters;
    }

    /// How long to wait before the next check.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the peer was heard lately, and has answered what was sent.
    pub(crate) fn alive(&self, rtt: Duration, now: Instant) -> bool {
        let within = |since: Instant, time| now.saturating_duration_since(since) < time;
        let (silence, no_answer) = (SILENCE + rtt * ROUND_TRIPS, NO_ANSWER + rtt * ROUND_TRIPS);
        let times = if within(self.heard, no_answer) { TIMES_FROM_WHO_IS_HEARD } else { 1 };
        within(self.heard, silence)
            && self.unanswered.is_none_or(|since| within(since, no_answer * times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);
    const STEP: Duration = Duration::from_millis(100);

    /// Steps through time, with what is counted in each step, until the session seems dead.
    fn dies_after(
        liveness: &mut Liveness,
        begin: Instant,
        each: impl Fn(&mut Counters),
    ) -> Option<Duration> {
        dies_in_steps(STEP, liveness, begin, each)
    }

    fn dies_in_steps(
        step: Duration,
        liveness: &mut Liveness,
        begin: Instant,
        each: impl Fn(&mut Counters),
    ) -> Option<Duration> {
        let mut counters = liveness.last;
        (1..400).map(|n| step * n).find(|after| {
            each(&mut counters);
            liveness.look(counters, begin + *after);
            !liveness.alive(RTT, begin + *after)
        })
    }

    fn busy(begin: Instant) -> Liveness {
        let mut liveness = Liveness::new(begin);
        liveness.look(Counters { received: 100, answers: 50, questions: 100 }, begin);
        liveness
    }

    #[test]
    fn an_idle_session_is_alive_and_dies_of_silence() {
        let begin = Instant::now();
        // The keep-alive of the peer, and now and then our own with its answer.
        let mut idle = Liveness::new(begin);
        assert_eq!(dies_after(&mut idle, begin, |c| c.received += 1), None);
        let silent = dies_after(&mut Liveness::new(begin), begin, |_| {});
        assert!(
            silent.is_some_and(|after| after >= SILENCE && after < SILENCE + 2 * STEP),
            "{silent:?}"
        );
    }

    #[test]
    fn no_answer_is_noticed_sooner_than_silence() {
        let begin = Instant::now();
        let sooner = |after: Option<Duration>| {
            after.is_some_and(|after| after >= NO_ANSWER && after < NO_ANSWER + 3 * STEP)
        };
        let cut = dies_after(&mut busy(begin), begin, |c| c.questions += 1);
        assert!(sooner(cut), "{cut:?}");
        // A single question, and QUIC's probes do not count here.
        let mut liveness = busy(begin);
        liveness.look(Counters { questions: 101, ..liveness.last }, begin);
        let cut = dies_after(&mut liveness, begin, |_| {});
        assert!(sooner(cut), "{cut:?}");
        // When all is answered it is over, and nothing was broken off.
        let over = dies_after(&mut busy(begin), begin, |_| {});
        assert!(over >= Some(SILENCE), "{over:?}");
    }

    #[test]
    fn a_peer_that_is_heard_and_does_not_hear_us_is_not_alive() {
        let begin = Instant::now();
        let deaf = dies_after(&mut busy(begin), begin, |c| {
            (c.received, c.questions) = (c.received + 9, c.questions + 1)
        });
        let time = NO_ANSWER * TIMES_FROM_WHO_IS_HEARD;
        assert!(deaf.is_some_and(|after| after >= time && after < time + 4 * STEP), "{deaf:?}");
        // One that only sends is owed no answer, and one that answers is alive.
        assert_eq!(dies_after(&mut busy(begin), begin, |c| c.received += 9), None);
        let answered = |c: &mut Counters| {
            *c = Counters {
                received: c.received + 1,
                answers: c.answers + 1,
                questions: c.questions + 5,
            };
        };
        assert_eq!(dies_after(&mut busy(begin), begin, answered), None);
    }

    #[test]
    fn a_long_round_trip_is_waited_for() {
        let begin = Instant::now();
        let mut liveness = busy(begin);
        liveness.look(Counters { questions: 200, ..liveness.last }, begin);
        // A packet that is lost on a new connection is sent again after three of them.
        let answer = Duration::from_millis(4100);
        assert!(liveness.alive(Duration::from_secs(1), begin + answer));
        assert!(!liveness.alive(Duration::from_secs(1), begin + Duration::from_secs(5)));
    }

    #[test]
    fn who_was_not_let_run_does_not_take_that_for_silence() {
        let begin = Instant::now();
        // An answer to every third look, each of them late.
        let late = Duration::from_millis(500);
        let mut liveness = busy(begin);
        let slow = |c: &mut Counters| {
            c.questions += 1;
            (c.received, c.answers) = (c.received + 1, c.questions / 3);
        };
        assert_eq!(dies_in_steps(late, &mut liveness, begin, slow), None);
        // Whoever hears nothing however often it looks finds out, by so many looks.
        let looks = |step, liveness: &mut Liveness, each: fn(&mut Counters)| {
            let after = dies_in_steps(step, liveness, begin, each).unwrap();
            after.as_millis() / step.as_millis()
        };
        let cut = looks(late, &mut busy(begin), |c| c.questions += 1);
        let busy_step = (Liveness::BUSY_INTERVAL + LATE).as_millis();
        assert!((NO_ANSWER.as_millis() / busy_step..10).contains(&cut), "{cut}");
        let silent = looks(late, &mut Liveness::new(begin), |_| {});
        assert!((SILENCE.as_millis() / late.as_millis()..30).contains(&silent), "{silent}");
    }

    #[test]
    fn a_halt_does_not_count_and_a_sleep_does() {
        let begin = Instant::now();
        let asked = |since: Instant| {
            let mut liveness = busy(since);
            liveness.look(Counters { questions: 200, ..liveness.last }, since);
            liveness
        };
        // What asked before the halt need not be asked again.
        let (mut liveness, wakes) = (asked(begin), begin + Duration::from_millis(2900));
        liveness.look(liveness.last, wakes);
        assert!(liveness.alive(RTT, wakes));
        let gone = dies_after(&mut liveness, wakes, |_| {});
        assert!(gone.is_some_and(|after| after < NO_ANSWER + STEP), "{gone:?}");
        // The peer is there and answers.
        let answers = |c: &mut Counters| (c.received, c.answers) = (c.received + 1, c.answers + 1);
        assert_eq!(dies_after(&mut asked(begin), wakes, answers), None);
        // Who wakes up dials at once, unless the peer is heard at once.
        for sleep in [3, 3600] {
            let wakes = begin + Duration::from_secs(sleep);
            let mut liveness = asked(begin);
            liveness.look(liveness.last, wakes);
            assert!(!liveness.alive(RTT, wakes), "after {sleep} s");
            assert_eq!(dies_after(&mut asked(begin), wakes - STEP, answers), None);
        }
    }
}
