//! Whether a session is alive: whether the peer is heard, and hears us. Pure: time is passed in.
//!
//! With keep-alives every second neither side is ever silent for long on a link that works. A
//! session that is not alive is not given up; a new connection is dialled beside it.

use quinn::Connection;
use std::time::{Duration, Instant};

/// Silence means trouble after this and [`ROUND_TRIPS`]: two keep-alives are lost.
const SILENCE: Duration = Duration::from_millis(2500);
/// No answer does so after this and [`ROUND_TRIPS`]: what asked for it is lost, and so are QUIC's probes after it.
const NO_ANSWER: Duration = Duration::from_millis(700);
/// The first probe of a connection that has just begun takes three round trips, and its answer another.
const ROUND_TRIPS: u32 = 4;

/// What a connection has counted since it began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    /// Datagrams that came.
    pub(super) received: u64,
    /// Acknowledgements that came.
    pub(super) answers: u64,
    /// Frames sent that ask for an acknowledgement.
    pub(super) questions: u64,
}

impl Counters {
    /// Of this connection.
    pub(super) fn of(connection: &Connection) -> Self {
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
pub(super) struct Liveness {
    last: Counters,
    heard: Instant,
    /// Since when something that was sent has no answer.
    unanswered: Option<Instant>,
}

impl Liveness {
    /// Of a connection that just came up.
    pub(super) fn new(now: Instant) -> Self {
        Self { last: Counters::default(), heard: now, unanswered: None }
    }

    /// Takes note of what the connection has counted.
    pub(super) fn look(&mut self, counters: Counters, now: Instant) {
        if counters.received != self.last.received {
            self.heard = now;
        }
        if counters.answers != self.last.answers {
            self.unanswered = None;
        } else if counters.questions != self.last.questions {
            self.unanswered.get_or_insert(now);
        }
        self.last = counters;
    }

    /// Whether the peer was heard lately, and has answered what was sent.
    pub(super) fn alive(&self, rtt: Duration, now: Instant) -> bool {
        let within = |since: Instant, time| now.saturating_duration_since(since) < time + rtt * ROUND_TRIPS;
        within(self.heard, SILENCE) && self.unanswered.is_none_or(|since| within(since, NO_ANSWER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);
    const STEP: Duration = Duration::from_millis(100);

    /// Steps through time, with what is counted in each step, until the session seems dead.
    fn dies_after(liveness: &mut Liveness, begin: Instant, each: impl Fn(&mut Counters)) -> Option<Duration> {
        let mut counters = liveness.last;
        (1..400).map(|n| STEP * n).find(|after| {
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
        assert!(silent.is_some_and(|after| after >= SILENCE && after < SILENCE + 2 * STEP), "{silent:?}");
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
        assert!(deaf.is_some_and(|after| after < NO_ANSWER + 3 * STEP), "{deaf:?}");
        // One that only sends is owed no answer, and one that answers is alive.
        assert_eq!(dies_after(&mut busy(begin), begin, |c| c.received += 9), None);
        let answered = |c: &mut Counters| {
            *c = Counters { received: c.received + 1, answers: c.answers + 1, questions: c.questions + 5 };
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
}
