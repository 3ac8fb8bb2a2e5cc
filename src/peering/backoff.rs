//! When to dial: the interval between dials while the peer does not answer, and the wait after a
//! connection that did not become a session. Pure: time is passed in, and the caller adds jitter.

use crate::session::AuthError;
use crate::session::guess_limit::{GuessLimit, RefillRate};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Interval between the first two dials.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);
/// Interval between later dials. A path that works again is in use within two seconds, the
/// handshake included. Each dial is two packets of 1,200 bytes, the ClientHello, and one more when
/// it is given up; QUIC's own retransmissions are off (`connection_config::DIAL_RTT`).
const STEADY_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between dials when there was never a session within [`LONG`].
const IDLE_INTERVAL: Duration = Duration::from_secs(8);
/// A peer that was absent for this time is not expected within seconds.
const LONG: Duration = Duration::from_secs(3600);
/// Maximum number of dials in flight; one more replaces the oldest. With four addresses each dial
/// still waits for eight seconds.
const MAX_TRIES: usize = 32;
/// Wait after a responder refused the password, doubled each time: each dial gives a fake responder
/// one guess.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// Wait after the first refusal by a peer that keeps another session. If that session has just
/// died, the peer has noticed it by then.
const AFTER_CLASH: Duration = Duration::from_secs(5);
/// Wait after each further refusal of that kind: the other session may end at any time.
const CLASH_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of times that [`AFTER_REFUSAL`] is doubled.
const MAX_DOUBLINGS: u32 = 4;
/// Number of proofs that a reachable responder may leave unanswered. The last one counts as a
/// refusal.
const MAX_UNANSWERED: u32 = 3;
/// The user is told of another version after this many answers over this time. Before TLS is up an
/// attacker on the path can forge such an answer, but hardly all of them.
const MIN_ANSWERS: u32 = 5;
const MIN_ANSWERS_TIME: Duration = Duration::from_secs(4);

/// The interval between two dials.
#[derive(Debug)]
pub(crate) struct RetryInterval {
    begun: Instant,
    interval: Duration,
}

impl RetryInterval {
    /// Begins with the shortest interval.
    pub(crate) fn new(now: Instant) -> Self {
        Self { begun: now, interval: FIRST_INTERVAL }
    }

    /// Time until the next dial, if each of `addresses` addresses is to be dialled once per
    /// interval.
    pub(crate) fn next(&mut self, now: Instant, addresses: usize, had_session: bool) -> Duration {
        let wait = self.interval / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
        let lazy = !had_session && now.saturating_duration_since(self.begun) >= LONG;
        self.interval =
            (self.interval * 3 / 2).min(if lazy { IDLE_INTERVAL } else { STEADY_INTERVAL });
        wait
    }
}

/// The dials that may still be answered.
#[derive(Debug)]
pub(crate) struct InFlightDials<T>(VecDeque<T>);

impl<T> InFlightDials<T> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds a dial. Returns the one that is given up for it.
    pub(crate) fn push(&mut self, one: T) -> Option<T> {
        self.0.push_back(one);
        if self.0.len() > MAX_TRIES { self.0.pop_front() } else { None }
    }
}

/// The consequence of a failed dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextDial {
    /// Dial again after this time.
    Again(Duration),
    /// The responder has another password. A process that continues nevertheless dials again after
    /// this time.
    Refused(Duration),
}

/// The failures of dialling so far.
#[derive(Debug)]
pub(crate) struct DialFailures {
    lost: u32,
    refused: u32,
    unanswered: u32,
    clashes: u32,
    told_self: bool,
    other_version: OtherVersion,
    /// Each proof that this side sends lets a fake responder test one password, even if the
    /// connection then dies.
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
            unanswered: 0,
            clashes: 0,
            told_self: false,
            other_version: OtherVersion::default(),
            proofs: GuessLimit::new(RefillRate::NamedPeer, now),
        }
    }

    /// Counts an answer that was not rft/1. Returns whether the user is to be told: once, after
    /// several answers over several seconds.
    pub(crate) fn answered_as_another(&mut self, now: Instant) -> bool {
        let seen = &mut self.other_version;
        let first = *seen.first.get_or_insert(now);
        seen.answers = seen.answers.saturating_add(1);
        let enough =
            seen.answers >= MIN_ANSWERS && now.saturating_duration_since(first) >= MIN_ANSWERS_TIME;
        enough && !std::mem::replace(&mut seen.told, true)
    }

    /// Counts a proof that this side sent. Called before [`DialFailures::verdict`], whether the
    /// proof was answered or not.
    pub(crate) fn proof_sent(&mut self, now: Instant) {
        self.proofs.take(now);
    }

    /// Resets the counts: the responder has proved that it knows the password.
    pub(crate) fn peer_authenticated(&mut self) {
        self.proofs.give_back();
        (self.lost, self.refused, self.unanswered) = (0, 0, 0);
        self.other_version = OtherVersion::default();
    }

    /// The peer accepts this side as its partner.
    pub(crate) fn accepted(&mut self) {
        self.clashes = 0;
    }

    /// Whether this is the first answer from this side's own address.
    pub(crate) fn is_first_self_answer(&mut self) -> bool {
        !std::mem::replace(&mut self.told_self, true)
    }

    /// Time until another proof is allowed, and so until the next dial.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.proofs.wait(now)
    }

    /// The consequence of this failure, given the earlier ones.
    pub(crate) fn verdict(&mut self, error: &AuthError) -> NextDial {
        NextDial::Again(match error {
            AuthError::WrongPassword => return self.refusal(),
            AuthError::Unanswered => {
                self.unanswered += 1;
                if self.unanswered >= MAX_UNANSWERED {
                    return self.refusal();
                }
                FIRST_INTERVAL
            }
            AuthError::Itself => Duration::from_secs(10),
            AuthError::Busy | AuthError::Malformed | AuthError::Unwrap => Duration::from_secs(5),
            AuthError::OtherVersion => STEADY_INTERVAL,
            AuthError::PeerRefuses(_) => {
                self.clashes = self.clashes.saturating_add(1);
                if self.clashes == 1 { AFTER_CLASH } else { CLASH_INTERVAL }
            }
            AuthError::Duplicate | AuthError::WeRefuse(_) => Duration::from_secs(1),
            // Finding this out took some time already.
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

    /// The times of all dials within `time`.
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
    fn a_lost_path_is_dialled_once_a_second_without_end() {
        let day = tries(24 * HOUR, 1, true);
        assert_eq!(longest_gap(&day), Duration::from_secs(1));
        // This sends 3.6 kB a second.
        assert!(day.len() < 24 * 3600 + 10, "{} tries", day.len());
        // The first few come sooner, for a path that works.
        assert!(day.iter().filter(|at| at.as_secs() < 2).count() >= 4);
    }

    #[test]
    fn a_peer_that_never_answered_is_dialled_less_often_after_an_hour() {
        let all = tries(3 * HOUR, 1, false);
        let (first, later): (Vec<_>, Vec<_>) = all.iter().partition(|at| **at < HOUR);
        assert_eq!(longest_gap(&first), Duration::from_secs(1));
        let steady = &later[20..];
        assert!(steady.windows(2).all(|two| two[1] - two[0] == IDLE_INTERVAL), "{steady:?}");
    }

    #[test]
    fn each_of_several_addresses_is_dialled_once_per_interval() {
        let all = tries(Duration::from_secs(100), 4, true);
        let one: Vec<_> = all.iter().copied().step_by(4).collect();
        assert!(longest_gap(&one) <= Duration::from_secs(1), "{one:?}");
    }

    #[test]
    fn the_oldest_dial_is_given_up_after_enough_time() {
        for addresses in [1, 4] {
            let mut open = InFlightDials::new();
            let mut given_up = 0;
            for at in tries(Duration::from_secs(300), addresses, true) {
                if let Some(begun) = open.push(at) {
                    // The oldest is given up first, after more than the longest round trip.
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
            failures.proof_sent(now);
            assert!(matches!(failures.verdict(&AuthError::Unanswered), NextDial::Again(_)));
        }
        // A lost connection in between changes nothing.
        assert!(matches!(failures.verdict(&lost()), NextDial::Again(_)));
        assert_eq!(failures.verdict(&AuthError::Unanswered), NextDial::Refused(AFTER_REFUSAL));
        let waits: Vec<_> = (0..6).map(|_| failures.verdict(&AuthError::WrongPassword)).collect();
        assert_eq!(waits[0], NextDial::Refused(AFTER_REFUSAL * 2));
        assert_eq!(waits[5], NextDial::Refused(Duration::from_secs(8 * 60)));
        failures.peer_authenticated();
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
                failures.peer_authenticated();
            }
        }
    }

    #[test]
    fn a_peer_that_keeps_another_session_is_tried_once_a_minute() {
        let mut failures = DialFailures::new(Instant::now());
        let mut wait = || {
            failures.proof_sent(Instant::now());
            failures.peer_authenticated();
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

    /// An attacker on the path drops each connection once it has this side's proof, and lets one in
    /// four through.
    #[test]
    fn an_attacker_who_drops_connections_after_the_proof_gets_a_limited_number_of_guesses() {
        for sessions in [false, true] {
            let begun = Instant::now();
            let (mut failures, mut now, mut guesses) =
                (DialFailures::new(begun), begun, Vec::new());
            while now < begun + HOUR {
                guesses.push(now - begun);
                failures.proof_sent(now);
                let NextDial::Again(wait) = failures.verdict(&lost()) else { panic!("refused") };
                now += wait + Duration::from_millis(100);
                now += failures.wait(now);
                if sessions && guesses.len() % 4 == 0 {
                    failures.proof_sent(now);
                    failures.peer_authenticated();
                }
            }
            let most = if sessions { 5 + 6 * 60 } else { 5 + 20 + 60 };
            assert!((60..=most).contains(&guesses.len()), "{}", guesses.len());
            assert!(guesses[5] > Duration::from_secs(8), "{:?}", &guesses[..6]);
        }
    }
}
