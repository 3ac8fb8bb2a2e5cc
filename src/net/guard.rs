//! What strangers may cost: connections, memory, guesses (protocol.md section 3.6).

use super::handshake::{AuthError, from_close};
use super::throttle::{HOPELESS, Pace, Throttle};
use quinn::{Connecting, Incoming};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections of strangers that may be unauthenticated at once.
const MAX_STRANGERS: usize = 8;
/// Connections from the address that the user named, beside those.
const MAX_NAMED: usize = 4;
/// With this many unauthenticated, a stranger must first show that it receives at its address
/// (stateless Retry, RFC 9000 section 8.1.2).
const RETRY_FROM: usize = 2;
/// Between two warnings of the same kind.
const WARNING_PACE: Duration = Duration::from_secs(60);
/// Wrong guesses in a row of which the user is told first.
const FIRST_ALARM: u32 = 20;

/// The limits, and what is used of them. The address that the user named has its own share, so that
/// a flood from elsewhere does not lock the peer out.
pub(super) struct Guard {
    strangers: Arc<AtomicUsize>,
    named_pending: Arc<AtomicUsize>,
    named: Mutex<HashSet<IpAddr>>,
    guesses: Mutex<Throttle>,
    named_guesses: Mutex<Throttle>,
    warned: Mutex<Option<Instant>>,
    /// With so many failures in a row the user is told next.
    alarm: AtomicU32,
}

impl Guard {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            strangers: Arc::default(),
            named_pending: Arc::default(),
            named: Mutex::default(),
            guesses: Mutex::new(Throttle::new(Pace::Strangers, now)),
            named_guesses: Mutex::new(Throttle::new(Pace::Named, now)),
            warned: Mutex::new(None),
            alarm: AtomicU32::new(FIRST_ALARM),
        }
    }

    /// The addresses that the peer's name has now.
    pub(super) fn set_named(&self, addresses: impl Iterator<Item = IpAddr>) {
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) =
            addresses.map(|ip| ip.to_canonical()).collect();
    }

    fn is_named(&self, ip: IpAddr) -> bool {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).contains(&ip.to_canonical())
    }

    /// Lets an incoming connection in, or answers it (Retry, refusal) and lets it go.
    pub(super) fn admit(&self, incoming: Incoming) -> Option<Place> {
        let named = self.is_named(incoming.remote_address().ip());
        let (pending, most) = match named {
            true => (&self.named_pending, MAX_NAMED),
            false => (&self.strangers, MAX_STRANGERS),
        };
        let now = pending.load(Ordering::Relaxed);
        if now >= RETRY_FROM && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            return None;
        }
        if now >= most {
            incoming.ignore();
            return None;
        }
        pending.fetch_add(1, Ordering::Relaxed);
        Some(Place { incoming, held: Seat(pending.clone()), named })
    }

    /// What the user should know about guesses that were not right, when there is news: after 20 in a row, and
    /// each time that they are five times as many.
    pub(super) fn alarm(&self) -> Option<String> {
        let of =
            |throttle: &Mutex<Throttle>| throttle.lock().unwrap_or_else(PoisonError::into_inner).failures();
        let (strangers, named) = (of(&self.guesses), of(&self.named_guesses));
        let failures = strangers.saturating_add(named);
        let due = self.alarm.load(Ordering::Relaxed);
        if failures < due {
            if failures < FIRST_ALARM {
                self.alarm.store(FIRST_ALARM, Ordering::Relaxed);
            }
            return None;
        }
        self.alarm.store(due.saturating_mul(5), Ordering::Relaxed);
        let advice = match strangers {
            HOPELESS.. => {
                "strangers get one try in five minutes from now on, until somebody knows the password; if you \
                 wait for a peer from an address that you did not name, name it, and keep others off the port \
                 by a firewall"
            }
            _ => "somebody may be guessing it; a pass phrase from `rft passphrase` cannot be guessed",
        };
        Some(format!("{failures} connections in a row did not know the password: {advice}"))
    }

    /// Whether a warning about strangers is due.
    pub(super) fn may_warn(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_PACE);
        if due {
            *warned = Some(now);
        }
        due
    }
}

/// A place among the unauthenticated, for one connection.
pub(super) struct Place {
    incoming: Incoming,
    held: Seat,
    named: bool,
}

/// Given back when dropped.
pub(super) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    pub(super) fn remote(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Begins the QUIC handshake. The guesses of this connection come out of the throttle returned,
    /// and its seat is free when the last part is dropped.
    pub(super) fn accept(self, guard: &Guard) -> Result<(Connecting, &Mutex<Throttle>, Seat), AuthError> {
        let throttle = if self.named { &guard.named_guesses } else { &guard.guesses };
        let connecting = self.incoming.accept().map_err(|error| from_close(&error))?;
        Ok((connecting, throttle, self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_told_of_wrong_guesses_now_and_then() {
        let mut now = Instant::now();
        let guard = Guard::new(now);
        let mut told = Vec::new();
        for n in 1..=600 {
            now += Duration::from_secs(301);
            assert!(guard.guesses.lock().unwrap().take(now));
            told.extend(guard.alarm().map(|text| (n, text.contains("one try in five minutes"))));
        }
        assert_eq!(told, [(20, false), (100, true), (500, true)]);
        guard.guesses.lock().unwrap().give_back();
        assert_eq!(guard.alarm(), None);
        for _ in 0..20 {
            now += Duration::from_secs(301);
            guard.named_guesses.lock().unwrap().take(now);
        }
        assert!(guard.alarm().is_some());
    }
}
