//! The rate limit of this side's sending (`--limit-rate`): every byte of UDP payload that leaves the
//! socket counts, of whatever kind and connection.
//!
//! The `bucket` has the arithmetic. The [`socket`](LimitedSocket) lets a datagram leave only while
//! the bucket is open. quinn builds a packet before it asks the socket, so a packet that waits there
//! would be old when it leaves: its RTT sample and the probe timeout would include the wait.
//! Therefore the [`controller`](LimitedFactory) shows quinn a full congestion window while the
//! bucket is closed, and quinn builds the packet when it can leave. [`RateLimit::run`] wakes the
//! connections at that moment.

mod bucket;
mod controller;
mod socket;
#[cfg(test)]
mod tests;

use bucket::Bucket;
pub(crate) use controller::{Answers, LimitedFactory, PathState};
pub(crate) use socket::LimitedSocket;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Value of [`Shared::opens`] without a limit.
const UNLIMITED: u64 = 0;

/// The rate limit of one socket, which all of its connections share. It can be changed at any time.
/// Clones share one state.
#[derive(Clone)]
pub struct RateLimit(Arc<Shared>);

struct Shared {
    begin: Instant,
    bucket: Mutex<Option<Bucket>>,
    /// When the bucket opens, in nanoseconds after `begin`, or [`UNLIMITED`]: a copy for readers
    /// that must not wait for the lock.
    opens: AtomicU64,
    /// Size of the datagrams in the last batch, bytes.
    datagram: AtomicUsize,
    /// Told when the bucket has closed, and when the limit changes.
    changed: Notify,
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// A connection that sends through the socket.
#[derive(Default)]
struct Connection {
    /// Wakes the connection's driver.
    waker: Mutex<Option<Waker>>,
    /// When it last was allowed to send, in nanoseconds after [`Shared::begin`].
    served: AtomicU64,
}

/// quinn requires `Debug` of a socket.
impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RateLimit").field(&self.get()).finish()
    }
}

impl Default for RateLimit {
    /// No limit.
    fn default() -> Self {
        Self(Arc::new(Shared {
            begin: Instant::now(),
            bucket: Mutex::default(),
            opens: AtomicU64::new(UNLIMITED),
            datagram: AtomicUsize::new(0),
            changed: Notify::new(),
            connections: Mutex::default(),
        }))
    }
}

impl RateLimit {
    /// Limits sending to this many bytes of UDP payload per second from now on; `None` for no
    /// limit.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        let now = Instant::now();
        let mut bucket = lock(&self.0.bucket);
        match (&mut *bucket, bytes_per_second) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
            (bucket, rate) => *bucket = rate.map(|rate| Bucket::new(rate, now)),
        }
        self.publish(bucket.as_ref());
        self.0.changed.notify_one();
    }

    /// The limit in bytes per second; `None` if there is none.
    pub fn get(&self) -> Option<u64> {
        lock(&self.0.bucket).map(|bucket| bucket.rate())
    }

    /// Whether this many bytes may leave in one burst after a pause.
    pub(crate) fn allows_burst(&self, bytes: usize) -> bool {
        self.get().is_none_or(|rate| bytes as f64 <= rate as f64 * bucket::CREDIT.as_secs_f64())
    }

    /// Wakes the connections each time that the bucket opens. Runs for the life of the socket.
    pub(crate) async fn run(self) {
        loop {
            self.0.changed.notified().await;
            while let Some(wait) = self.wait() {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.0.changed.notified() => continue,
                }
                self.wake().await;
            }
            self.wake().await;
        }
    }

    /// Wakes the connections one by one until one of them has closed the bucket: first those that
    /// have waited longest.
    async fn wake(&self) {
        let mut connections = lock(&self.0.connections).clone();
        connections.sort_by_key(|connection| connection.served.load(Ordering::Relaxed));
        for connection in connections {
            let waker = lock(&connection.waker).clone();
            if let Some(waker) = waker {
                waker.wake();
                // The connection sends meanwhile.
                tokio::task::yield_now().await;
                if self.is_closed() {
                    return;
                }
            }
        }
    }

    /// The time until the bucket opens; `None` while it is open.
    fn wait(&self) -> Option<Duration> {
        let opens = self.0.opens.load(Ordering::Relaxed);
        if opens == UNLIMITED {
            return None;
        }
        let wait = opens.saturating_sub(self.nanos());
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Whether no datagram may leave at the moment.
    fn is_closed(&self) -> bool {
        self.wait().is_some()
    }

    /// Whether a datagram may leave that cannot wait.
    fn admits_urgent(&self) -> bool {
        self.0.opens.load(Ordering::Relaxed) == UNLIMITED
            || lock(&self.0.bucket).is_none_or(|bucket| bucket.admits_urgent(Instant::now()))
    }

    /// `bytes` have left, in datagrams of up to `datagram` bytes; `urgent` ones could not wait.
    fn charge(&self, bytes: usize, datagram: usize, urgent: bool) {
        self.0.datagram.store(datagram, Ordering::Relaxed);
        if self.0.opens.load(Ordering::Relaxed) == UNLIMITED {
            return;
        }
        let now = Instant::now();
        let mut bucket = lock(&self.0.bucket);
        let Some(bucket) = &mut *bucket else { return };
        if urgent {
            bucket.charge_urgent(bytes, now);
        } else {
            bucket.charge(bytes, now);
        }
        self.publish(Some(bucket));
        if bucket.opens() > now {
            self.0.changed.notify_one();
        }
    }

    /// Number of datagrams that may leave in one call, at most `max`.
    fn batch(&self, max: usize) -> usize {
        if self.0.opens.load(Ordering::Relaxed) == UNLIMITED {
            return max;
        }
        let datagram = self.0.datagram.load(Ordering::Relaxed);
        lock(&self.0.bucket).map_or(max, |bucket| bucket.batch(datagram).min(max))
    }

    /// Copies the bucket's state to where it can be read without the lock.
    fn publish(&self, bucket: Option<&Bucket>) {
        let opens = bucket.map_or(UNLIMITED, |bucket| {
            let nanos = bucket.opens().saturating_duration_since(self.0.begin).as_nanos();
            u64::try_from(nanos).unwrap_or(u64::MAX).max(UNLIMITED + 1)
        });
        self.0.opens.store(opens, Ordering::Relaxed);
    }

    /// Nanoseconds since this limit was made.
    fn nanos(&self) -> u64 {
        u64::try_from(self.0.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
