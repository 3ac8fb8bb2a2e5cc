//! Delivery-rate samples (draft-ietf-ccwg-bbr, section 4.1) from what quinn tells a controller.
//!
//! quinn reports an acknowledged packet by the time at which it was sent, not by its number, so the
//! state at each sending is kept in a log ordered by that time, and looked up when the
//! acknowledgement comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The sender's counters when packets left.
#[derive(Clone, Copy, Debug)]
struct Departure {
    sent: Instant,
    first_sent: Instant,
    delivered: u64,
    delivered_at: Instant,
    app_limited: bool,
    phase: u64,
}

/// What one batch of acknowledgements says about the path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Bytes per second delivered between the newest acknowledged packet's departure and now.
    pub rate: f64,
    /// How long that was, seconds: the longer of the sending and the acknowledging interval.
    pub interval: f64,
    /// The packet left when the application gave less than the path could take.
    pub app_limited: bool,
    /// Bytes delivered in all when the packet left: marks the round trips.
    pub delivered_before: u64,
    /// The state machine's phase in which the packet left.
    pub phase: u64,
}

/// Keeps the log and makes the samples.
#[derive(Clone, Debug)]
pub struct Sampler {
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    log: VecDeque<Departure>,
    newest: Option<Departure>,
    /// Packets that leave before this many bytes are delivered are application-limited.
    app_limited_until: u64,
}

impl Sampler {
    /// A sampler that has seen nothing.
    pub fn new(now: Instant) -> Self {
        Self {
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            log: VecDeque::new(),
            newest: None,
            app_limited_until: 0,
        }
    }

    /// Bytes delivered so far.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Packets left at `now`, in the state machine's `phase`. `idle` says that nothing was in
    /// flight before them: the intervals then start here, so that the pause does not count.
    pub fn on_sent(&mut self, now: Instant, phase: u64, idle: bool) {
        if idle {
            self.first_sent = now;
            self.delivered_at = now;
        }
        // All packets of one call share their departure; a clock that stands still merges calls.
        if self.log.back().is_some_and(|d| d.sent >= now) {
            return;
        }
        self.log.push_back(Departure {
            sent: now,
            first_sent: self.first_sent,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            app_limited: self.delivered < self.app_limited_until,
            phase,
        });
    }

    /// A packet of `bytes` that left at `sent` was acknowledged. Returns the phase it left in.
    pub fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) -> Option<u64> {
        self.delivered += bytes;
        self.delivered_at = now;
        let found = self.find(sent)?;
        if self.newest.is_none_or(|n| found.sent >= n.sent) {
            self.newest = Some(found);
        }
        Some(found.phase)
    }

    /// The phase in which a packet left that is now known to be lost.
    pub fn phase_of(&self, sent: Instant) -> Option<u64> {
        self.find(sent).map(|d| d.phase)
    }

    fn find(&self, sent: Instant) -> Option<Departure> {
        let i = self.log.partition_point(|d| d.sent < sent);
        self.log.get(i).filter(|d| d.sent == sent).copied()
    }

    /// The batch is complete: its sample, if it acknowledged anything known. What left longer than
    /// `keep` ago is acknowledged or lost by now, and is forgotten.
    pub fn finish(&mut self, now: Instant, keep: Duration) -> Option<Sample> {
        while self.log.front().is_some_and(|d| d.sent + keep < now) {
            self.log.pop_front();
        }
        let newest = self.newest.take()?;
        self.first_sent = newest.sent;
        let acking = now.saturating_duration_since(newest.delivered_at);
        let sending = newest.sent.saturating_duration_since(newest.first_sent);
        let interval = acking.max(sending).as_secs_f64();
        let bytes = self.delivered.saturating_sub(newest.delivered);
        Some(Sample {
            rate: bytes as f64 / interval.max(1e-6),
            interval,
            app_limited: newest.app_limited,
            delivered_before: newest.delivered,
            phase: newest.phase,
        })
    }

    /// The application has nothing to send while `in_flight` bytes are under way: samples say
    /// nothing about the path until these are delivered.
    pub fn app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = self.delivered + in_flight.max(1);
    }
}
