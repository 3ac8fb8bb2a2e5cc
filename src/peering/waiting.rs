//! When the user is told that there is no session, and why. Pure: time is passed in.

use crate::event::Occasion;
use crate::hindrance::{Finding, Hindrance};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A peer that runs answers within this time. After it the user is told that rft waits.
const WAITING_AFTER: Duration = Duration::from_millis(1500);
/// The user is told again after this time.
const REMINDER: Duration = Duration::from_secs(60);
/// The user is told of a session whose peer is silent after this time, and one RTT. A change of the
/// network on a mobile host takes less, and lost keep-alives do: one a second from each side.
const SILENT_AFTER: Duration = Duration::from_millis(2500);

/// The time without a session.
#[derive(Debug)]
pub(crate) struct WaitingNews {
    since: Instant,
    told: Option<ToldHindrance>,
}

#[derive(Debug)]
struct ToldHindrance {
    hindrance: Option<Hindrance>,
    at: Instant,
}

impl WaitingNews {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, told: None }
    }

    /// Begins anew: there is a session.
    pub(crate) fn is_over(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// What to tell now: the occasion, and how long there has been no session.
    pub(crate) fn due(
        &mut self,
        finding: Option<Finding>,
        now: Instant,
    ) -> Option<(Occasion, Duration)> {
        let elapsed = now.saturating_duration_since(self.since);
        let hindrance = finding.map(|finding| finding.hindrance);
        let occasion = match &self.told {
            None if elapsed < WAITING_AFTER => return None,
            None => Occasion::Begins,
            Some(told) if hindrance.is_some() && told.hindrance != hindrance => Occasion::Changes,
            // Without a cause there is nothing to remind of: this side only listens.
            Some(told)
                if hindrance.or(told.hindrance).is_some()
                    && now.saturating_duration_since(told.at) >= REMINDER =>
            {
                Occasion::Continues
            }
            Some(_) => return None,
        };
        // A hindrance that is not known for the moment is not over.
        let before = self.told.take().and_then(|told| told.hindrance);
        self.told = Some(ToldHindrance { hindrance: hindrance.or(before), at: now });
        Some((occasion, elapsed))
    }
}

/// A silence that is noticed later than this began while this process did not run. It counts only
/// when the peer then stays silent for the same time.
const LATE: Duration = Duration::from_millis(500);

/// The silence of a peer whose session is kept.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// The peer's address at the last look.
    peer: Option<SocketAddr>,
    /// Since when nothing has come, once the user has been told.
    told: Option<Instant>,
    /// When a silence was noticed late.
    late: Option<Instant>,
}

/// What to tell of a silence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SilenceNews {
    /// Nothing has come for this time.
    Begins(Duration),
    /// The peer is heard again, after this time.
    Ends(Duration),
}

impl Silence {
    /// Takes the state of the session with `peer`: for how long an answer is missing.
    pub(crate) fn look(
        &mut self,
        peer: SocketAddr,
        missing: Duration,
        rtt: Duration,
        now: Instant,
    ) -> Option<SilenceNews> {
        let limit = SILENT_AFTER + rtt;
        // A packet came from the new address, or this is another session.
        let moved = self.peer.replace(peer) != Some(peer);
        if moved || missing < limit {
            self.late = None;
            let since = self.told.take()?;
            return Some(SilenceNews::Ends(now.saturating_duration_since(since)));
        }
        if self.told.is_some() {
            return None;
        }
        let ran = self.late.is_some_and(|noticed| now.saturating_duration_since(noticed) >= LATE);
        if missing >= limit + LATE && !ran {
            self.late.get_or_insert(now);
            return None;
        }
        self.told = now.checked_sub(missing).or(Some(now));
        Some(SilenceNews::Begins(missing))
    }

    /// Whether the user knows of it.
    pub(crate) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Forgets it: the session is over, or another one.
    pub(crate) fn is_over(&mut self) {
        *self = Self::default();
    }

    /// When to look again, if nothing comes until then.
    pub(crate) fn next(missing: Duration, rtt: Duration, now: Instant) -> Option<Instant> {
        (SILENT_AFTER + rtt).checked_sub(missing).map(|left| now + left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(hindrance: Hindrance) -> Option<Finding> {
        Some(Finding { hindrance, address: "192.0.2.1:4000".parse().unwrap() })
    }

    #[test]
    fn waiting_is_told_once_then_at_each_change_and_each_minute() {
        let begin = Instant::now();
        let at = |seconds: f64| begin + Duration::from_secs_f64(seconds);
        let mut waiting = WaitingNews::new(begin);
        let closed = finding(Hindrance::PortClosed);
        let silent = finding(Hindrance::NoAnswer);
        let mut occasion =
            |finding, seconds| waiting.due(finding, at(seconds)).map(|(occasion, _)| occasion);
        assert_eq!(occasion(closed, 1.0), None);
        assert_eq!(occasion(None, 1.5), Some(Occasion::Begins));
        assert_eq!(occasion(None, 1.6), None);
        assert_eq!(occasion(closed, 1.7), Some(Occasion::Changes));
        assert_eq!(occasion(closed, 61.6), None);
        assert_eq!(occasion(closed, 61.8), Some(Occasion::Continues));
        assert_eq!(occasion(None, 70.0), None, "nothing new");
        assert_eq!(occasion(closed, 71.0), None, "nor is it new again");
        assert_eq!(occasion(silent, 72.0), Some(Occasion::Changes));
        assert_eq!(waiting.due(silent, at(132.0)), Some((Occasion::Continues, at(132.0) - begin)));
        let mut listening = WaitingNews::new(begin);
        assert!(
            listening.due(None, at(2.0)).is_some() && listening.due(None, at(1000.0)).is_none()
        );
        waiting.is_over(at(140.0));
        assert_eq!(waiting.due(silent, at(141.0)), None);
        let again = Some((Occasion::Begins, Duration::from_millis(1500)));
        assert_eq!(waiting.due(silent, at(141.5)), again);
    }

    #[test]
    fn a_silence_is_told_after_a_gap_of_a_mobile_link_and_when_it_ends() {
        let now = Instant::now() + Duration::from_secs(60);
        let rtt = Duration::from_millis(40);
        let millis = Duration::from_millis;
        let bob = "192.0.2.1:4000".parse().unwrap();
        let mut silence = Silence::default();
        for gap in [0, 1000, 2000, 2500, 0] {
            assert_eq!(silence.look(bob, millis(gap), rtt, now), None, "{gap}");
        }
        let news = silence.look(bob, millis(2550), rtt, now);
        assert_eq!(news, Some(SilenceNews::Begins(millis(2550))));
        assert_eq!(silence.look(bob, millis(2950), rtt, now + millis(400)), None, "told once");
        let news = silence.look(bob, millis(10), rtt, now + millis(1450));
        assert_eq!(news, Some(SilenceNews::Ends(millis(4000))));
        assert_eq!(silence.look(bob, millis(10), rtt, now), None);
        let carol = "192.0.2.2:4000".parse().unwrap();
        assert!(silence.look(bob, millis(2550), rtt, now).is_some());
        let news = silence.look(carol, millis(2600), rtt, now + millis(50));
        assert_eq!(news, Some(SilenceNews::Ends(millis(2600))), "heard from another address");
        assert_eq!(Silence::next(millis(500), rtt, now), Some(now + millis(2040)));
        assert_eq!(Silence::next(millis(2600), rtt, now), None);
    }

    #[test]
    fn a_sleep_of_this_host_is_no_silence_of_the_peer() {
        let now = Instant::now() + Duration::from_secs(60);
        let (millis, rtt) = (Duration::from_millis, Duration::from_millis(40));
        let bob = "192.0.2.1:4000".parse().unwrap();
        let mut silence = Silence::default();
        assert_eq!(silence.look(bob, millis(20_000), rtt, now), None);
        assert_eq!(silence.look(bob, millis(20_100), rtt, now + millis(100)), None);
        assert_eq!(silence.look(bob, millis(10), rtt, now + millis(200)), None, "it was there");
        assert_eq!(silence.look(bob, millis(30_000), rtt, now), None);
        let news = silence.look(bob, millis(30_600), rtt, now + millis(600));
        assert_eq!(news, Some(SilenceNews::Begins(millis(30_600))), "it stays away");
    }
}
