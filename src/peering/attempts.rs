//! Memory of recent connection attempts. Pure: time is passed in.
//!
//! A ClientHello with X25519MLKEM768 takes two Initial packets. quinn hands both over as one
//! attempt, unless the second arrives when the first has been answered by a Retry, was ignored or
//! has led to a connection that is gone. Then it looks like an attempt of its own, which could
//! never complete and would hold a slot until the deadline.

use quinn::ConnectionId;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A packet of an attempt does not arrive later than this: the dial has ended by then.
const LIFETIME: Duration = Duration::from_secs(10);
/// Maximum number of remembered attempts. In a flood the oldest are forgotten sooner.
const MAX_ATTEMPTS: usize = 4096;

/// The properties that all Initial packets of one attempt share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    /// The address that the packet came from.
    pub from: SocketAddr,
    /// The destination connection ID that the client chose.
    pub id: ConnectionId,
    /// Whether the packet carries the token of a Retry. That is a second attempt with the same id.
    pub validated: bool,
}

/// The attempts of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    known: HashSet<Attempt>,
    order: VecDeque<(Instant, Attempt)>,
}

impl Attempts {
    /// Whether this is the first packet of `attempt`, which is remembered.
    pub(crate) fn is_new(&mut self, attempt: Attempt, now: Instant) -> bool {
        while let Some((at, oldest)) = self.order.front().copied()
            && (now.saturating_duration_since(at) >= LIFETIME || self.order.len() >= MAX_ATTEMPTS)
        {
            self.order.pop_front();
            self.known.remove(&oldest);
        }
        let new = self.known.insert(attempt);
        if new {
            self.order.push_back((now, attempt));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(port: u16, id: u8, validated: bool) -> Attempt {
        Attempt { from: ([192, 0, 2, 1], port).into(), id: ConnectionId::new(&[id; 8]), validated }
    }

    #[test]
    fn the_second_packet_of_an_attempt_is_not_new() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        assert!(attempts.is_new(attempt(1, 1, false), now));
        for other in [attempt(1, 1, true), attempt(1, 2, false), attempt(2, 1, false)] {
            assert!(attempts.is_new(other, now), "{other:?}");
            assert!(!attempts.is_new(other, now), "{other:?}");
        }
        assert!(!attempts.is_new(attempt(1, 1, false), now + LIFETIME - Duration::from_millis(1)));
        assert!(attempts.is_new(attempt(1, 1, false), now + LIFETIME));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let many = u16::try_from(3 * MAX_ATTEMPTS).unwrap();
        for port in 1..=many {
            assert!(attempts.is_new(attempt(port, 1, false), now));
            assert!(
                attempts.known.len() <= MAX_ATTEMPTS
                    && attempts.order.len() == attempts.known.len()
            );
        }
        assert!(!attempts.is_new(attempt(many, 1, false), now));
        assert!(attempts.is_new(attempt(1, 1, false), now));
    }
}
