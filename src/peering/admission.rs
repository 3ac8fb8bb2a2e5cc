//! Limits for unauthenticated connections: slots, memory and password guesses (protocol.md section
//! 3.6).

use super::attempts::{Attempt, Attempts};
use crate::crypto::handshake::Role;
use crate::session::AuthError;
use crate::session::canonical;
use crate::session::close;
use crate::session::close::HandshakePhase;
use crate::session::guess_limit::{GuessLimit, HOPELESS, RefillRate};
use crate::transport::connection_config::ConnectionConfig;
use quinn::{Connecting, Incoming};
use quinn_proto::congestion::{Controller, ControllerFactory};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of unauthenticated connections from unknown addresses.
const MAX_UNKNOWN: usize = 8;
/// Maximum number of unauthenticated connections from the named port of the peer's address, and as
/// many again from its other ports. A peer's dials overlap; all except one are closed, and these
/// hold their slots for some round trips longer.
const MAX_NAMED: usize = 8;
/// From this number of unauthenticated connections on, a new client must first prove that it
/// receives packets at its address (Retry, RFC 9000 section 8.1.2).
const RETRY_FROM: usize = 2;
/// Minimum time between two warnings of the same kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Number of consecutive wrong guesses after which the user is warned for the first time.
const FIRST_ALARM: u32 = 20;

/// The source of an incoming connection, judged by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The address and port that the user named. A peer dials from the port on which it listens. An
    /// attacker can forge this source address, but then does not receive a Retry.
    NamedPeer,
    /// Another port of that address: another program behind the same NAT or on the same host, or
    /// the peer, if a NAT changed its port or the port was taken.
    SameAddress,
    /// Any other address.
    Unknown,
}

/// The limits and their present use. Each kind of source has limits of its own, so that a flood
/// from other sources, even from the peer's address, does not lock the peer out.
pub(crate) struct Admission {
    peer: SourceLimits,
    same_address: SourceLimits,
    unknown: SourceLimits,
    attempts: Mutex<Attempts>,
    /// The present addresses of the peer's name.
    named: Mutex<Vec<SocketAddr>>,
    warned: Mutex<Option<Instant>>,
    /// Number of consecutive failures at which the user is warned next.
    alarm: AtomicU32,
}

/// The limits of one kind of source.
struct SourceLimits {
    max_pending: usize,
    pending: Arc<AtomicUsize>,
    guesses: Mutex<GuessLimit>,
}

impl SourceLimits {
    fn new(max_pending: usize, rate: RefillRate, now: Instant) -> Self {
        Self {
            max_pending,
            pending: Arc::default(),
            guesses: Mutex::new(GuessLimit::new(rate, now)),
        }
    }

    fn failures(&self) -> u32 {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner).failures()
    }
}

impl Admission {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            peer: SourceLimits::new(MAX_NAMED, RefillRate::NamedPeer, now),
            same_address: SourceLimits::new(MAX_NAMED, RefillRate::SameAddress, now),
            unknown: SourceLimits::new(MAX_UNKNOWN, RefillRate::Unknown, now),
            attempts: Mutex::default(),
            named: Mutex::default(),
            warned: Mutex::new(None),
            alarm: AtomicU32::new(FIRST_ALARM),
        }
    }

    /// Sets the present addresses of the peer's name, with the port on which the peer listens and
    /// from which it dials.
    pub(crate) fn set_named(&self, addresses: &[SocketAddr]) {
        *self.named.lock().unwrap_or_else(PoisonError::into_inner) =
            addresses.iter().map(|addr| canonical(*addr)).collect();
    }

    fn source(&self, from: SocketAddr) -> Source {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let from = canonical(from);
        if named.iter().any(|addr| addr.ip() == from.ip() && addr.port() == from.port()) {
            Source::NamedPeer
        } else if named.iter().any(|addr| addr.ip() == from.ip()) {
            Source::SameAddress
        } else {
            Source::Unknown
        }
    }

    fn share(&self, source: Source) -> &SourceLimits {
        match source {
            Source::NamedPeer => &self.peer,
            Source::SameAddress => &self.same_address,
            Source::Unknown => &self.unknown,
        }
    }

    /// Admits an incoming connection, or answers it with a Retry or drops it.
    pub(crate) fn admit(&self, incoming: Incoming) -> Option<PendingConnection> {
        let source = self.source(incoming.remote_address());
        let share = self.share(source);
        let now = share.pending.load(Ordering::Relaxed);
        // A late packet of an attempt that was already handled gets no slot. A Retry needs no slot,
        // and helps a client that missed the first one.
        let late = !self.is_new(&incoming);
        if (now >= RETRY_FROM || late)
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            let _ = incoming.retry();
            return None;
        }
        if now >= share.max_pending || late {
            incoming.ignore();
            return None;
        }
        share.pending.fetch_add(1, Ordering::Relaxed);
        Some(PendingConnection { incoming, held: Slot::new(share.pending.clone()), source })
    }

    fn is_new(&self, incoming: &Incoming) -> bool {
        let attempt = Attempt {
            from: canonical(incoming.remote_address()),
            id: incoming.orig_dst_cid(),
            validated: incoming.remote_address_validated(),
        };
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).is_new(attempt, Instant::now())
    }

    /// A warning about wrong guesses: after 20 in a row, and again each time that the number is
    /// five times as large.
    pub(crate) fn alarm(&self) -> Option<String> {
        let strangers = self.unknown.failures();
        let named = self.peer.failures().saturating_add(self.same_address.failures());
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
                "unknown addresses get one guess in five minutes from now on, until one of them knows the password; if you \
                 wait for a peer from an address that you did not name, name it, and keep others off the port \
                 by a firewall"
            }
            _ => {
                "the password may be under attack; a pass phrase from `rft passphrase` cannot be guessed"
            }
        };
        Some(format!("{failures} connections in a row did not know the password: {advice}"))
    }

    /// Whether enough time has passed for another warning about strangers.
    pub(crate) fn may_warn(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_INTERVAL);
        if due {
            *warned = Some(now);
        }
        due
    }
}

/// An admitted connection that is not authenticated yet.
pub(crate) struct PendingConnection {
    incoming: Incoming,
    held: Slot,
    source: Source,
}

/// A counted slot of an unauthenticated connection. It is released when the peer has proved that it
/// knows the password, or when quinn drops the connection's state: for some round trips after a
/// close, quinn keeps at least 20 kB to answer late packets (RFC 9000 section 10.2). Clones share
/// the slot.
#[derive(Clone)]
pub(crate) struct Slot(Arc<SlotCount>);

struct SlotCount {
    pending: Arc<AtomicUsize>,
    released: AtomicBool,
}

impl Slot {
    fn new(pending: Arc<AtomicUsize>) -> Self {
        Self(Arc::new(SlotCount { pending, released: AtomicBool::new(false) }))
    }

    /// Releases the slot: the peer has proved that it knows the password.
    pub(crate) fn release(&self) {
        self.0.release();
    }

    /// Wraps a connection's factory of congestion controllers so that it holds this slot. quinn
    /// drops the factory together with the connection's state.
    pub(crate) fn held_by(
        &self,
        factory: Arc<dyn ControllerFactory + Send + Sync>,
    ) -> Arc<dyn ControllerFactory + Send + Sync> {
        Arc::new(Holding { factory, _slot: self.clone() })
    }
}

impl SlotCount {
    fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for SlotCount {
    fn drop(&mut self) {
        self.release();
    }
}

struct Holding {
    factory: Arc<dyn ControllerFactory + Send + Sync>,
    _slot: Slot,
}

impl ControllerFactory for Holding {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        self.factory.clone().build(now, current_mtu)
    }
}

impl PendingConnection {
    pub(crate) fn remote(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Begins the QUIC handshake. Returns the guess limit that applies to this connection, too.
    pub(crate) fn accept<'a>(
        self,
        admission: &'a Admission,
        config: &ConnectionConfig,
    ) -> Result<(Connecting, &'a Mutex<GuessLimit>, Slot), AuthError> {
        let connecting = config
            .accept(self.incoming, |factory| self.held.held_by(factory))
            .map_err(|error| close::ended(Role::Responder, HandshakePhase::Tls, &error))?;
        Ok((connecting, &admission.share(self.source).guesses, self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart_by_address_and_port() {
        let admission = Admission::new(Instant::now());
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(admission.source(addr("192.0.2.1:4000")), Source::Unknown);
        admission.set_named(&[addr("192.0.2.1:4000"), addr("[fe80::1%3]:4000")]);
        for (from, source) in [
            ("192.0.2.1:4000", Source::NamedPeer),
            // The form that a dual-stack socket reports.
            ("[::ffff:192.0.2.1]:4000", Source::NamedPeer),
            ("[fe80::1]:4000", Source::NamedPeer),
            ("192.0.2.1:4001", Source::SameAddress),
            ("[::ffff:192.0.2.1]:1", Source::SameAddress),
            ("192.0.2.2:4000", Source::Unknown),
        ] {
            assert_eq!(admission.source(addr(from)), source, "{from}");
        }
        // The peer's name has another address now.
        admission.set_named(&[addr("192.0.2.2:4000")]);
        assert_eq!(admission.source(addr("192.0.2.1:4000")), Source::Unknown);
        assert_eq!(admission.source(addr("192.0.2.2:4000")), Source::NamedPeer);
    }

    #[test]
    fn the_user_is_told_of_wrong_guesses_now_and_then() {
        let mut now = Instant::now();
        let admission = Admission::new(now);
        let mut told = Vec::new();
        for n in 1..=600 {
            now += Duration::from_secs(301);
            assert!(admission.unknown.guesses.lock().unwrap().take(now));
            told.extend(
                admission.alarm().map(|text| (n, text.contains("one guess in five minutes"))),
            );
        }
        assert_eq!(told, [(20, false), (100, true), (500, true)]);
        admission.unknown.guesses.lock().unwrap().give_back();
        assert_eq!(admission.alarm(), None);
        for _ in 0..20 {
            now += Duration::from_secs(301);
            admission.peer.guesses.lock().unwrap().take(now);
        }
        assert!(admission.alarm().is_some());
    }
}
