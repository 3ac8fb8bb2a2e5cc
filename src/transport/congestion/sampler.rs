//! Delivery-rate samples (draft-ietf-ccwg-bbr, section 4.1) from what quinn tells a controller.
//!
//! quinn identifies an acknowledged packet by its send time, not by its number. The sampler keeps a
//! log of departures ordered by send time and looks each acknowledged packet up in it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::model::Load;

/// The sender's counters at a send time.
#[derive(Clone, Copy, Debug)]
struct Departure {
    sent: Instant,
    first_sent: Instant,
    delivered: u64,
    delivered_at: Instant,
    app_limited: bool,
    load: Load,
    outages: Duration,
}

/// The delivery rate that one batch of acknowledgements shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Bytes per second delivered between the newest acknowledged packet's departure and now.
    pub rate: f64,
    /// How long that was, seconds: the longer of the sending and the acknowledging interval.
    pub interval: f64,
    /// The application limited the rate when the packet was sent.
    pub app_limited: bool,
    /// Bytes delivered in total when the packet was sent: delimits the rounds.
    pub delivered_before: u64,
}

/// Keeps the log and computes the samples.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    log: VecDeque<Departure>,
    newest: Option<Departure>,
    /// Packets are application-limited if they are sent before this many bytes are delivered.
    app_limited_until: u64,
    /// Outages of the path so far: times with bytes in flight and no acknowledgement.
    outages: Duration,
}

impl Sampler {
    /// A sampler for a new path.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            log: VecDeque::new(),
            newest: None,
            app_limited_until: 0,
            outages: Duration::ZERO,
        }
    }

    /// Bytes delivered so far.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Packets were sent at `now` and load the path by `load`. `idle` says that nothing was in
    /// flight before them: the intervals then start here, so that the pause does not count.
    pub(super) fn on_sent(&mut self, now: Instant, load: Load, idle: bool) {
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
            load,
            outages: self.outages,
        });
    }

    /// A packet of `bytes` that was sent at `sent` was acknowledged. No acknowledgement for
    /// `min_outage` or longer is an outage of the path, which says nothing about its rate. Returns
    /// the packet's load, if the log still has it.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        min_outage: Duration,
    ) -> Option<Load> {
        let silence = now.saturating_duration_since(self.delivered_at);
        if silence >= min_outage {
            self.outages += silence;
        }
        self.delivered += bytes;
        self.delivered_at = now;
        let found = self.find(sent)?;
        if self.newest.is_none_or(|n| found.sent >= n.sent) {
            self.newest = Some(found);
        }
        Some(found.load)
    }

    /// The load of the packets that were sent at `sent`, if the log still has them.
    pub(super) fn load_of(&self, sent: Instant) -> Option<Load> {
        self.find(sent).map(|d| d.load)
    }

    fn find(&self, sent: Instant) -> Option<Departure> {
        let i = self.log.partition_point(|d| d.sent < sent);
        self.log.get(i).filter(|d| d.sent == sent).copied()
    }

    /// The batch is complete: returns its sample, if it acknowledged a packet in the log. Removes
    /// packets that were sent longer than `keep` ago: they are acknowledged or lost by now.
    pub(super) fn finish(&mut self, now: Instant, keep: Duration) -> Option<Sample> {
        while self.log.front().is_some_and(|d| d.sent + keep < now) {
            self.log.pop_front();
        }
        let newest = self.newest.take()?;
        self.first_sent = newest.sent;
        let outages = self.outages.saturating_sub(newest.outages);
        let acking = now.saturating_duration_since(newest.delivered_at).saturating_sub(outages);
        let sending = newest.sent.saturating_duration_since(newest.first_sent);
        let interval = acking.max(sending).as_secs_f64();
        let bytes = self.delivered.saturating_sub(newest.delivered);
        Some(Sample {
            rate: bytes as f64 / interval.max(1e-6),
            interval,
            app_limited: newest.app_limited,
            delivered_before: newest.delivered,
        })
    }

    /// The application has nothing more to send while `in_flight` bytes are unacknowledged. Samples
    /// are application-limited until these are delivered.
    pub(super) fn app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = self.delivered + in_flight.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last delivery rate, in packets per second, of ten packets that leave 10 ms apart and are
    /// acknowledged 50 ms later, or after `pause` more from the sixth on.
    fn rate_with(pause: Duration) -> f64 {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let (mut sampler, mut rate) = (Sampler::new(start), 0.0);
        let sent = |n: u32| start + n * ms(10);
        for n in 0..15 {
            if n < 10 {
                sampler.on_sent(sent(n), Load::Full, n == 0);
            }
            if n >= 5 {
                let late = if n >= 10 { pause } else { Duration::ZERO };
                let now = sent(n) + late;
                sampler.on_ack(now, sent(n - 5), 1, ms(100));
                rate = sampler.finish(now, ms(10_000)).unwrap().rate;
            }
        }
        rate
    }

    #[test]
    fn an_outage_does_not_lower_the_delivery_rate() {
        assert!((99.0..101.0).contains(&rate_with(Duration::ZERO)));
        assert!((99.0..130.0).contains(&rate_with(Duration::from_secs(1))));
        // A shorter pause is a slower path.
        assert!(rate_with(Duration::from_millis(80)) < 60.0);
    }
}
