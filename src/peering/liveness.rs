//! Whether a session is alive: whether packets arrive in both directions. Pure: time is passed in.
//!
//! An idle session has a keep-alive and its acknowledgement about every second, so on a working
//! path packets arrive on both sides that often. A session that is not alive is not given up; a new
//! connection is dialled beside it.
//!
//! Only time in which this process ran counts as silence: a busy host must not look like a dead
//! path.

use crate::transport::connection_config::ACCEPTED_KEEP_ALIVE as KEEP_ALIVE;
use crate::transport::rate_limit::{Answers, PathState};
use quinn::Connection;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The peer is silent if no packet arrived for this time plus [`ROUND_TRIPS`]: two keep-alives are
/// lost.
const SILENCE: Duration = Duration::from_millis(2500);
/// A check that comes later than its interval and this did not run in time: the process was busy or
/// stopped. The excess does not count as silence.
const LATE: Duration = Duration::from_millis(20);
/// After a longer gap between two checks the host slept or was suspended. The peer has been
/// dialling meanwhile, so this side dials, too.
const ASLEEP: Duration = Duration::from_secs(3);
/// An acknowledgement is missing after this time plus [`ROUND_TRIPS`]: the packet is lost, and
/// QUIC's probes after it.
const NO_ANSWER: Duration = Duration::from_millis(700);
/// Factor on [`NO_ANSWER`] while packets from the peer still arrive. quinn sends no acknowledgement
/// while its window is full and more data waits. If both sides send much, the first probe after an
/// outage is acknowledged together with the second one, after twice the time.
const NO_ANSWER_FACTOR_WHILE_HEARD: u32 = 2;
/// On a new connection the first probe is sent after three round trips, and its acknowledgement
/// takes one more.
const ROUND_TRIPS: u32 = 4;

/// Counters of a connection since it began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    /// Received datagrams.
    pub(crate) received: u64,
    /// Received ACK frames that acknowledged something new.
    pub(crate) answers: u64,
    /// Sent frames that elicit an acknowledgement (RFC 9000 section 13.2).
    pub(crate) questions: u64,
    /// When the last datagram arrived, if that is known.
    pub(crate) received_at: Option<Instant>,
}

/// Reads the counters of one connection.
pub(crate) struct CounterReader {
    connection: Connection,
    /// The peer's address, to which `answers` belongs.
    address: SocketAddr,
    answers: Answers,
}

impl CounterReader {
    pub(crate) fn new(connection: Connection) -> Self {
        let (address, answers) = (connection.remote_address(), answers(&connection));
        Self { connection, address, answers }
    }

    /// The counters now, with the time of the last datagram if it is known.
    pub(crate) fn read(&mut self, received_at: Option<Instant>) -> Counters {
        let address = self.connection.remote_address();
        if self.address != address {
            (self.address, self.answers) = (address, answers(&self.connection));
        }
        let stats = self.connection.stats();
        Counters {
            received: stats.udp_rx.datagrams,
            answers: self.answers.count(),
            questions: stats.frame_tx.stream + stats.frame_tx.ping,
            received_at,
        }
    }
}

fn answers(connection: &Connection) -> Answers {
    PathState::of(connection).map(|state| state.answers).unwrap_or_default()
}

/// The liveness of one connection, checked every [`Liveness::interval`].
#[derive(Debug)]
pub(crate) struct Liveness {
    last: Counters,
    looked: Instant,
    heard: Instant,
    /// Since when a sent frame has had no acknowledgement.
    unanswered: Option<Instant>,
    /// How long after the last check the next one is due.
    interval: Duration,
}

impl Liveness {
    /// Time between two checks while data crosses or an acknowledgement is due.
    pub(crate) const BUSY_INTERVAL: Duration = Duration::from_millis(100);
    /// Maximum time between two checks of an idle session, where only keep-alives cross. A loss of
    /// the path is noticed later by this at most, and an idle process rarely wakes up.
    pub(crate) const IDLE_INTERVAL: Duration = Duration::from_secs(1);

    /// The liveness of a new connection.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last: Counters::default(),
            looked: now,
            heard: now,
            unanswered: None,
            interval: Self::BUSY_INTERVAL,
        }
    }

    /// Takes the connection's counters at `now`.
    pub(crate) fn look(&mut self, counters: Counters, now: Instant) {
        let since = now.saturating_duration_since(self.looked);
        if since < ASLEEP + (self.interval - Self::BUSY_INTERVAL) {
            let missed = since.saturating_sub(self.interval + LATE);
            self.heard += missed;
            self.unanswered = self.unanswered.map(|since| since + missed);
        }
        let before = self.looked.min(now);
        self.looked = self.looked.max(now);
        if counters.received != self.last.received {
            // The last datagram of the socket may be of another connection.
            self.heard = counters.received_at.map_or(now, |at| at.min(now).max(before));
        }
        if counters.answers != self.last.answers {
            self.unanswered = None;
        } else if counters.questions != self.last.questions {
            // In an idle session the keep-alive is the only question.
            let idle = self.interval == Self::IDLE_INTERVAL;
            let asked = if idle { (self.heard + KEEP_ALIVE).max(before).min(now) } else { now };
            self.unanswered.get_or_insert(asked);
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

    /// For how long nothing has come from the peer. While packets still arrive, half of the time for
    /// which a frame has had no acknowledgement: after a short gap QUIC's probes are late by as much
    /// as the gap, and the peer has been heard again before the first of them is answered.
    pub(crate) fn missing(&self, now: Instant) -> Duration {
        let since = |then: Instant| now.saturating_duration_since(then);
        since(self.heard).max(self.unanswered.map_or(Duration::ZERO, |asked| since(asked) / 2))
    }

    /// Whether a packet arrived recently, and acknowledgements are not overdue.
    pub(crate) fn alive(&self, rtt: Duration, now: Instant) -> bool {
        let within = |since: Instant, time| now.saturating_duration_since(since) < time;
        let (silence, no_answer) = (SILENCE + rtt * ROUND_TRIPS, NO_ANSWER + rtt * ROUND_TRIPS);
        let times = if within(self.heard, no_answer) { NO_ANSWER_FACTOR_WHILE_HEARD } else { 1 };
        within(self.heard, silence)
            && self.unanswered.is_none_or(|since| within(since, no_answer * times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);
    const STEP: Duration = Duration::from_millis(100);

    /// Advances in steps and applies `each` to the counters, until the session counts as dead.
    /// Returns the time that took.
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
        liveness.look(
            Counters { received: 100, answers: 50, questions: 100, received_at: None },
            begin,
        );
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
    fn a_missing_acknowledgement_is_noticed_sooner_than_silence() {
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
        // Without unacknowledged frames only silence counts.
        let over = dies_after(&mut busy(begin), begin, |_| {});
        assert!(over >= Some(SILENCE), "{over:?}");
    }

    #[test]
    fn a_session_that_works_in_one_direction_only_is_not_alive() {
        let begin = Instant::now();
        let deaf = dies_after(&mut busy(begin), begin, |c| {
            (c.received, c.questions) = (c.received + 9, c.questions + 1)
        });
        let time = NO_ANSWER * NO_ANSWER_FACTOR_WHILE_HEARD;
        assert!(deaf.is_some_and(|after| after >= time && after < time + 4 * STEP), "{deaf:?}");
        // A peer that only sends is owed no acknowledgement; a peer that acknowledges is alive.
        assert_eq!(dies_after(&mut busy(begin), begin, |c| c.received += 9), None);
        let answered = |c: &mut Counters| {
            *c = Counters {
                received: c.received + 1,
                answers: c.answers + 1,
                questions: c.questions + 5,
                received_at: None,
            };
        };
        assert_eq!(dies_after(&mut busy(begin), begin, answered), None);
    }

    #[test]
    fn a_peer_that_is_heard_has_twice_the_time_to_answer() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut liveness = busy(begin);
        assert_eq!(liveness.missing(at(300)), Duration::from_millis(300));
        let asks = |n| Counters { received: n, questions: n, ..Counters::default() };
        liveness.look(asks(200), at(100));
        assert_eq!(liveness.missing(at(300)), Duration::from_millis(200), "neither");
        for n in 2..5 {
            liveness.look(asks(199 + n), at(100 * n));
        }
        assert_eq!(liveness.missing(at(440)), Duration::from_millis(120), "heard, not answered");
        let answered = Counters { answers: 51, ..asks(204) };
        liveness.look(answered, at(500));
        assert_eq!(liveness.missing(at(550)), Duration::from_millis(50));
    }

    #[test]
    fn a_long_round_trip_is_no_silence() {
        let begin = Instant::now();
        let mut liveness = busy(begin);
        liveness.look(Counters { questions: 200, ..liveness.last }, begin);
        // A lost packet of a new connection is sent again after three round trips.
        let answer = Duration::from_millis(4100);
        assert!(liveness.alive(Duration::from_secs(1), begin + answer));
        assert!(!liveness.alive(Duration::from_secs(1), begin + Duration::from_secs(5)));
    }

    #[test]
    fn a_process_that_did_not_run_does_not_count_that_as_silence() {
        let begin = Instant::now();
        // An answer at every third check, and each check is late.
        let late = Duration::from_millis(500);
        let mut liveness = busy(begin);
        let slow = |c: &mut Counters| {
            c.questions += 1;
            (c.received, c.answers) = (c.received + 1, c.questions / 3);
        };
        assert_eq!(dies_in_steps(late, &mut liveness, begin, slow), None);
        // If no packet arrives at all, the session is dead after a bounded number of checks.
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
    fn a_short_pause_of_the_process_does_not_count_and_a_long_one_does() {
        let begin = Instant::now();
        let asked = |since: Instant| {
            let mut liveness = busy(since);
            liveness.look(Counters { questions: 200, ..liveness.last }, since);
            liveness
        };
        // A frame sent before the pause is not overdue because of the pause.
        let (mut liveness, wakes) = (asked(begin), begin + Duration::from_millis(2900));
        liveness.look(liveness.last, wakes);
        assert!(liveness.alive(RTT, wakes));
        let gone = dies_after(&mut liveness, wakes, |_| {});
        assert!(gone.is_some_and(|after| after < NO_ANSWER + STEP), "{gone:?}");
        // The peer answers.
        let answers = |c: &mut Counters| (c.received, c.answers) = (c.received + 1, c.answers + 1);
        assert_eq!(dies_after(&mut asked(begin), wakes, answers), None);
        // After a sleep the session is dead at once, unless a packet arrives at once.
        for sleep in [3, 3600] {
            let wakes = begin + Duration::from_secs(sleep);
            let mut liveness = asked(begin);
            liveness.look(liveness.last, wakes);
            assert!(!liveness.alive(RTT, wakes), "after {sleep} s");
            assert_eq!(dies_after(&mut asked(begin), wakes - STEP, answers), None);
        }
    }
}
