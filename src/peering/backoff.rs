//! When to dial: how soon one try follows another while nobody answers, and how long to wait after
//! a connection that did not become a session. Pure: time is passed in, and chance is added by the
//! caller.

use crate::session::AuthError;
use crate::session::guess_limit::{GuessLimit, RefillRate};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between the first two tries.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);
/// Between tries later, so that a link that comes back is used within two seconds, handshake and
/// all. Each is two packets of 1,200 bytes, the ClientHello, and another when it is given up:
/// QUIC's own repetitions are off (`endpoint::DIAL_RTT`).
const STEADY_INTERVAL: Duration = Duration::from_secs(1);
/// Between tries when there was never a session, and nobody came for [`LONG`].
const IDLE_INTERVAL: Duration = Duration::from_secs(8);
/// A peer that was not there for so long is not expected this second.
const LONG: Duration = Duration::from_secs(3600);
/// InFlightDials that wait for an answer at once; one more takes the place of the oldest. With four
/// addresses each still waits for eight seconds.
const MAX_TRIES: usize = 32;
/// Wait after a responder that said no to the password, doubled each time: a fake responder gets a
/// guess for every dial.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// Wait after the first refusal by a peer that keeps another session. One that has just died is
/// known to be dead by then.
const AFTER_CLASH: Duration = Duration::from_secs(5);
/// And after each further one: the other peer may leave, some day.
const CLASH_INTERVAL: Duration = Duration::from_secs(60);
/// The longest such wait is [`AFTER_REFUSAL`] doubled so often.
const MAX_DOUBLINGS: u32 = 4;
/// Proofs that a responder which is there may leave without an answer before that counts as a
/// refusal.
const MAX_UNEXPLAINED: u32 = 3;
/// Answers of another version, and the time between the first and the last of them, after which the
/// user is told. Before TLS is up anybody on the path can forge one, but hardly all of them.
const MIN_ANSWERS: u32 = 5;
const MIN_ANSWERS_TIME: Duration = Duration::from_secs(4);

/// How soon one try follows another.
#[derive(Debug)]
pub(crate) struct RetryInterval {
    begun: Instant,
    interval: Duration,
}

impl RetryInterval {
    /// Dialling begins.
    pub(crate) fn new(now: Instant) -> Self {
        Self { begun: now, interval: FIRST_INTERVAL }
    }

    /// How long after a try the next one follows, when each of `addresses` is to have its turn at
    /// this interval.
    pub(crate) fn next(&mut self, now: Instant, addresses: usize, had_session: bool) -> Duration {
        let wait = self.interval / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
        let lazy = !had_session && now.saturating_duration_since(self.begun) >= LONG;
        self.interval =
            (self.interval * 3 / 2).min(if lazy { IDLE_INTERVAL } else { STEADY_INTERVAL });
        wait
    }
}

/// The tries that may still be answered.
#[derive(Debug)]
pub(crate) struct InFlightDials<T>(VecDeque<T>);

impl<T> InFlightDials<T> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// One more, and which of them is given up for it.
    pub(crate) fn push(&mut self, one: T) -> Option<T> {
        self.0.push_back(one);
        if self.0.len() > MAX_TRIES { self.0.pop_front() } else { None }
    }
}

/// What a failed dial means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextDial {
    /// Dial again after so long.
    Again(Duration),
    /// The password is not the responder's. A process that goes on all the same dials again after
    /// so long.
    Refused(Duration),
}

/// Failures so far.
#[derive(Debug)]
pub(crate) struct DialFailures {
    lost: u32,
    refused: u32,
    unexplained: u32,
    clashes: u32,
    told_self: bool,
    other_version: OtherVersion,
    /// A responder to which we proved ourselves can test a password by that, whatever becomes of
    /// the connection.
    proofs: GuessLimit,
}

/// Answers of another version since the last authenticated connection.
#[derive(Debug, Default)]
struct OtherVersion {
    first: Option<Instant>,
    answers: u32,
    told: bool,
}

impl DialFailures {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            lost: 0,
            refused: 0,
            unexplained: 0,
            clashes: 0,
            told_self: false,
            other_version: OtherVersion::default(),
            proofs: GuessLimit::new(RefillRate::Peer, now),
        }
    }

    /// The peer's address answered as another program or version does. Whether the user is to be
    /// told: once, after several answers over several seconds.
    pub(crate) fn answered_as_another(&mut self, now: Instant) -> bool {
        let seen = &mut self.other_version;
        let first = *seen.first.get_or_insert(now);
        seen.answers = seen.answers.saturating_add(1);
        let enough =
            seen.answers >= MIN_ANSWERS && now.saturating_duration_since(first) >= MIN_ANSWERS_TIME;
        enough && !std::mem::replace(&mut seen.told, true)
    }

    /// The responder has got our proof. To be called whether it was answered or not, before the
    /// verdict.
    pub(crate) fn proved(&mut self, now: Instant) {
        self.proofs.take(now);
    }

    /// The responder has proved itself, so nothing counts any more.
    pub(crate) fn over(&mut self) {
        self.proofs.give_back();
        (self.lost, self.refused, self.unexplained) = (0, 0, 0);
        self.other_version = OtherVersion::default();
    }

    /// The peer takes this side's connection.
    pub(crate) fn accepted(&mut self) {
        self.clashes = 0;
    }

    /// Whether it is the first time that our own address answered.
    pub(crate) fn is_news(&mut self) -> bool {
        !std::mem::replace(&mut self.told_self, true)
    }

    /// How long until there may be another proof, and so until it makes sense to dial.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.proofs.wait(now)
    }

    /// What this failure means, after those before.
    pub(crate) fn verdict(&mut self, error: &AuthError) -> NextDial {
        NextDial::Again(match error {
            AuthError::WrongPassword => return self.refusal(),
            AuthError::Unexplained => {
                self.unexplained += 1;
                if self.unexplained >= MAX_UNEXPLAINED {
                    return self.refusal();
                }
                FIRST_INTERVAL
            }
            AuthError::Itself => Duration::from_secs(10),
            AuthError::Busy | AuthError::NotRft | AuthError::Unwrap => Duration::from_secs(5),
            AuthError::OtherVersion => STEADY_INTERVAL,
            AuthError::PeerRefuses(_) => {
                self.clashes = self.clashes.saturating_add(1);
                if self.clashes == 1 { AFTER_CLASH } else { CLASH_INTERVAL }
            }
            AuthError::Duplicate | AuthError::WeRefuse(_) => Duration::from_secs(1),
            // It took a while already to find out.
            AuthError::Lost(_) | AuthError::Wrap | AuthError::KeysRefused => {
                self.lost = (self.lost + 1).min(4);
                (FIRST_INTERVAL * 2u32.pow(self.lost - 1)).min(STEADY_INTERVAL)
            }
        })
    }

    fn refusal(&mut self) -> NextDial {
        self.refused = (self.refused + 1).min(MAX_DOUBLINGS + 1);
        NextDial::Refused(AFTER_REFUSAL * 2u32.pow(self.refused - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::installation::Clash;

    const HOUR: Duration = Duration::from_secs(3600);

    /// The instants of all tries within `time`, from the first on.
    fn tries(time: Duration, addresses: usize, had_session: bool) -> Vec<Duration> {
        let begun = Instant::now();
        let (mut cadence, mut at) = (RetryInterval::new(begun), Duration::ZERO);
        let mut all = Vec::new();
        while at < time {
            all.push(at);
            at += cadence.next(begun + at, addresses, had_session);
        }
        all
    }

    fn longest_gap(tries: &[Duration]) -> Duration {
        tries.windows(2).map(|two| two[1] - two[0]).max().unwrap()
    }

    #[test]
    fn a_link_is_tried_once_a_second_for_as_long_as_it_is_away() {
        let day = tries(24 * HOUR, 1, true);
        assert_eq!(longest_gap(&day), Duration::from_secs(1));
        // And 3.6 kB a second are sent for it.
        assert!(day.len() < 24 * 3600 + 10, "{} tries", day.len());
        // The first few come sooner: most links are not away.
        assert!(day.iter().filter(|at| at.as_secs() < 2).count() >= 4);
    }

    #[test]
    fn a_peer_that_never_came_is_tried_less_often_after_an_hour() {
        let all = tries(3 * HOUR, 1, false);
        let (first, later): (Vec<_>, Vec<_>) = all.iter().partition(|at| **at < HOUR);
        assert_eq!(longest_gap(&first), Duration::from_secs(1));
        let steady = &later[20..];
        assert!(steady.windows(2).all(|two| two[1] - two[0] == IDLE_INTERVAL), "{steady:?}");
    }

    #[test]
    fn each_of_several_addresses_has_its_turn_as_often() {
        let all = tries(Duration::from_secs(100), 4, true);
        let one: Vec<_> = all.iter().copied().step_by(4).collect();
        assert!(longest_gap(&one) <= Duration::from_secs(1), "{one:?}");
    }

    #[test]
    fn the_oldest_try_makes_room_and_had_its_time() {
        for addresses in [1, 4] {
            let mut open = InFlightDials::new();
            let mut given_up = 0;
            for at in tries(Duration::from_secs(300), addresses, true) {
                if let Some(begun) = open.push(at) {
                    // In the order in which they began, each after more than the longest round
                    // trip.
                    assert_eq!(begun, tries(Duration::from_secs(300), addresses, true)[given_up]);
                    assert!(
                        given_up < MAX_TRIES || at - begun > Duration::from_secs(5),
                        "{begun:?} at {at:?}"
                    );
                    given_up += 1;
                }
                assert!(open.0.len() <= MAX_TRIES);
            }
            assert!(given_up > 100);
        }
    }

    fn lost() -> AuthError {
        AuthError::Lost("nothing came".into())
    }

    #[test]
    fn connections_that_die_are_no_refusal_and_are_dialled_again_at_once() {
        let now = Instant::now();
        let mut failures = DialFailures::new(now);
        for n in 0..1000 {
            let NextDial::Again(wait) = failures.verdict(&lost()) else { panic!("refused") };
            assert!(wait <= STEADY_INTERVAL, "{n}: {wait:?}");
        }
    }

    #[test]
    fn a_responder_that_is_there_and_does_not_answer_three_proofs_has_refused() {
        let now = Instant::now();
        let mut failures = DialFailures::new(now);
        for _ in 0..2 {
            failures.proved(now);
            assert!(matches!(failures.verdict(&AuthError::Unexplained), NextDial::Again(_)));
        }
        // What dies in between says nothing for it or against it.
        assert!(matches!(failures.verdict(&lost()), NextDial::Again(_)));
        assert_eq!(failures.verdict(&AuthError::Unexplained), NextDial::Refused(AFTER_REFUSAL));
        let waits: Vec<_> = (0..6).map(|_| failures.verdict(&AuthError::WrongPassword)).collect();
        assert_eq!(waits[0], NextDial::Refused(AFTER_REFUSAL * 2));
        assert_eq!(waits[5], NextDial::Refused(Duration::from_secs(8 * 60)));
        failures.over();
        assert_eq!(failures.verdict(&AuthError::WrongPassword), NextDial::Refused(AFTER_REFUSAL));
    }

    #[test]
    fn another_version_is_told_once_after_several_answers_over_several_seconds() {
        let begin = Instant::now();
        let told = |answers: &[f64]| {
            let mut failures = DialFailures::new(begin);
            let at = |seconds: &f64| begin + Duration::from_secs_f64(*seconds);
            answers
                .iter()
                .map(|seconds| failures.answered_as_another(at(seconds)))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&[0.0; 100]), [false; 100], "a burst");
        assert_eq!(told(&[0.0, 60.0, 120.0, 180.0]), [false; 4], "a few");
        assert_eq!(
            told(&[0.0, 1.0, 2.0, 3.0, 3.9, 4.0, 5.0]),
            [false, false, false, false, false, true, false]
        );
        let mut failures = DialFailures::new(begin);
        for n in 0..20u64 {
            let news = failures.answered_as_another(begin + Duration::from_secs(n));
            assert_eq!(news, n == 4 || n == 14, "{n}");
            if n == 9 {
                failures.over();
            }
        }
    }

    #[test]
    fn a_peer_that_keeps_another_session_is_tried_once_a_minute() {
        let mut failures = DialFailures::new(Instant::now());
        let mut wait = || {
            failures.proved(Instant::now());
            failures.over();
            failures.verdict(&AuthError::PeerRefuses(Clash::Occupied))
        };
        assert_eq!(wait(), NextDial::Again(AFTER_CLASH));
        for _ in 0..100 {
            assert_eq!(wait(), NextDial::Again(CLASH_INTERVAL));
        }
        failures.accepted();
        assert_eq!(
            failures.verdict(&AuthError::PeerRefuses(Clash::Copied)),
            NextDial::Again(AFTER_CLASH)
        );
    }

    /// Somebody on the path who lets each connection die when it has our proof, and now and then
    /// lets one through.
    #[test]
    fn who_lets_proofs_die_gets_no_more_guesses_than_a_stranger_at_a_responder() {
        for sessions in [false, true] {
            let begun = Instant::now();
            let (mut failures, mut now, mut guesses) =
                (DialFailures::new(begun), begun, Vec::new());
            while now < begun + HOUR {
                guesses.push(now - begun);
                failures.proved(now);
                let NextDial::Again(wait) = failures.verdict(&lost()) else { panic!("refused") };
                now += wait + Duration::from_millis(100);
                now += failures.wait(now);
                if sessions && guesses.len() % 4 == 0 {
                    failures.proved(now);
                    failures.over();
                }
            }
            let most = if sessions { 5 + 6 * 60 } else { 5 + 20 + 60 };
            assert!((60..=most).contains(&guesses.len()), "{}", guesses.len());
            assert!(guesses[5] > Duration::from_secs(8), "{:?}", &guesses[..6]);
        }
    }
}
