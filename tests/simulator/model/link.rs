//! One direction of a link: a policer, a drop-tail queue, a transmitter, loss on the wire, delay,
//! jitter and reordering, in that order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Rng;
use super::recording::{OPPORTUNITY, Recording};

/// Bytes that IPv4 and UDP add to a datagram.
pub const HEADERS: f64 = 28.0;

/// Loss on the wire, after transmission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each packet independently, with this probability.
    Random(f64),
    /// Gilbert-Elliott: mean share lost, and the mean length of a burst in packets.
    Burst(f64, f64),
}

/// A token bucket that drops what exceeds it and delays nothing.
#[derive(Clone, Copy, Debug)]
pub struct Policer {
    /// Bytes per second.
    pub rate: f64,
    /// Bytes.
    pub bucket: f64,
}

/// The properties of a link. Times in seconds, rates in bits per second.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// From this time on, this rate; the first entry starts at 0.
    pub rates: Vec<(f64, f64)>,
    /// Round-trip time without queueing: half of it is spent in each direction.
    pub rtt: f64,
    /// Drop-tail queue, as the time to send it at the current rate.
    pub queue: f64,
    /// Loss in both directions.
    pub loss: Loss,
    /// Uniform extra delay that keeps the order.
    pub jitter: f64,
    /// Share of packets held back, and for how long.
    pub reorder: (f64, f64),
    /// A policer before the queue, in the direction of the data.
    pub policer: Option<Policer>,
    /// A recording of each direction, instead of `rates`, and the size of its queue in bytes.
    pub recordings: Option<([Arc<Recording>; 2], f64)>,
}

impl LinkConfig {
    /// A clean link: `mbit` Mbit/s, `rtt_ms`, and a queue of 100 ms.
    pub fn new(mbit: f64, rtt_ms: f64) -> Self {
        Self {
            rates: vec![(0.0, mbit * 1e6)],
            rtt: rtt_ms / 1e3,
            queue: 0.1,
            loss: Loss::Random(0.0),
            jitter: 0.0,
            reorder: (0.0, 0.0),
            policer: None,
            recordings: None,
        }
    }

    /// A link that plays recordings, with a queue of `queue` bytes in each direction.
    pub fn recorded(forward: Recording, backward: Recording, rtt_ms: f64, queue: f64) -> Self {
        let mut link = Self::new(forward.mean_rate() / 1e6, rtt_ms);
        link.recordings = Some(([Arc::new(forward), Arc::new(backward)], queue));
        link
    }

    /// The same with random loss, in percent.
    pub fn lossy(mut self, percent: f64) -> Self {
        self.loss = Loss::Random(percent / 100.0);
        self
    }

    /// The same with a queue of `ms`.
    pub fn queue_ms(mut self, ms: f64) -> Self {
        self.queue = ms / 1e3;
        self
    }

    /// Mean share of packets that the wire loses.
    pub fn mean_loss(&self) -> f64 {
        match self.loss {
            Loss::Random(p) | Loss::Burst(p, _) => p,
        }
    }

    /// Rate at `t`, bits per second.
    pub fn rate_at(&self, t: f64) -> f64 {
        let started = self.rates.iter().rev().find(|r| r.0 <= t);
        started.map_or(self.rates[0].1, |r| r.1)
    }
}

/// One direction of a running link.
pub struct Link {
    config: LinkConfig,
    player: Option<Player>,
    rng: Rng,
    busy_until: f64,
    last_arrival: f64,
    bursting: bool,
    tokens: f64,
    tokens_at: f64,
    /// Packets dropped before the wire (queue or policer).
    pub dropped: u64,
    /// Packets lost on the wire.
    pub lost: u64,
    /// Packets offered.
    pub offered: u64,
    /// Longest queueing delay, seconds.
    pub queue_max: f64,
    /// Sum of the queueing delays, for the mean.
    pub queue_sum: f64,
}

impl Link {
    /// An idle link.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        let player =
            config.recordings.clone().map(|([recording, _], max)| Player::new(recording, max));
        Self {
            player,
            tokens: config.policer.map_or(0.0, |p| p.bucket),
            config,
            rng: Rng::new(seed),
            busy_until: 0.0,
            last_arrival: 0.0,
            bursting: false,
            tokens_at: 0.0,
            dropped: 0,
            lost: 0,
            offered: 0,
            queue_max: 0.0,
            queue_sum: 0.0,
        }
    }

    /// Sends a datagram of `size` bytes at `now`. Returns when it arrives, or `None` if it is lost.
    pub fn carry(&mut self, now: f64, size: usize) -> Option<f64> {
        let bytes = size as f64 + HEADERS;
        self.offered += 1;
        if !self.police(now, bytes) {
            self.dropped += 1;
            return None;
        }
        if let Some(player) = &mut self.player {
            let Some(leaves) = player.carry(now, bytes) else {
                self.dropped += 1;
                return None;
            };
            self.queue_max = self.queue_max.max(leaves - now);
            self.queue_sum += leaves - now;
            self.busy_until = leaves;
            return self.deliver();
        }
        let waiting = (self.busy_until - now).max(0.0);
        self.queue_max = self.queue_max.max(waiting);
        self.queue_sum += waiting;
        let transmit = bytes * 8.0 / self.config.rate_at(now);
        // The queue always holds one packet. Otherwise a slow link with a short queue would carry
        // none.
        if waiting > 0.0 && waiting + transmit > self.config.queue.max(2.0 * transmit) {
            self.dropped += 1;
            return None;
        }
        self.busy_until = now.max(self.busy_until) + transmit;
        self.deliver()
    }

    /// The wire: when a packet arrives that the transmitter has sent at `busy_until`.
    fn deliver(&mut self) -> Option<f64> {
        if self.loses() {
            self.lost += 1;
            return None;
        }
        let there = self.busy_until + self.config.rtt / 2.0;
        let arrival = there + self.rng.unit() * self.config.jitter;
        self.last_arrival = self.last_arrival.max(arrival);
        // Jitter keeps the order. A reordered packet is held back, and others overtake it.
        let held = self.rng.chance(self.config.reorder.0);
        Some(self.last_arrival + if held { self.config.reorder.1 } else { 0.0 })
    }

    /// How long a small packet that comes at `now` would wait, seconds.
    pub fn delay(&self, now: f64) -> f64 {
        match &self.player {
            Some(player) => player.delay(now),
            None => (self.busy_until - now).max(0.0),
        }
    }

    fn police(&mut self, now: f64, bytes: f64) -> bool {
        let Some(policer) = self.config.policer else {
            return true;
        };
        let earned = (now - self.tokens_at) * policer.rate;
        self.tokens = (self.tokens + earned).min(policer.bucket);
        self.tokens_at = now;
        if self.tokens < bytes {
            return false;
        }
        self.tokens -= bytes;
        true
    }

    fn loses(&mut self) -> bool {
        match self.config.loss {
            Loss::Random(p) => self.rng.chance(p),
            Loss::Burst(mean, length) => {
                let leave = 1.0 / length;
                let enter = mean * leave / (1.0 - mean);
                let turn = if self.bursting { leave } else { enter };
                if self.rng.chance(turn) {
                    self.bursting = !self.bursting;
                }
                self.bursting
            }
        }
    }
}

/// Plays a recording with a drop-tail queue.
struct Player {
    recording: Arc<Recording>,
    /// Size of the queue, bytes.
    max: f64,
    /// The opportunity in use, and its bytes that are left.
    opportunity: u64,
    left: f64,
    /// When each packet in the queue leaves, and its bytes.
    waiting: VecDeque<(f64, f64)>,
    waiting_bytes: f64,
}

impl Player {
    fn new(recording: Arc<Recording>, max: f64) -> Self {
        let waiting = VecDeque::new();
        Self { recording, max, opportunity: 0, left: OPPORTUNITY, waiting, waiting_bytes: 0.0 }
    }

    /// When a packet of `bytes` leaves that comes at `now`; `None` if the queue is full.
    fn carry(&mut self, now: f64, bytes: f64) -> Option<f64> {
        while let Some((_, gone)) = self.waiting.pop_front_if(|(leaves, _)| *leaves <= now) {
            self.waiting_bytes -= gone;
        }
        if !self.waiting.is_empty() && self.waiting_bytes + bytes > self.max {
            return None;
        }
        let first = self.recording.first_at(now);
        if first > self.opportunity {
            // Unused opportunities are gone.
            (self.opportunity, self.left) = (first, OPPORTUNITY);
        }
        let mut need = bytes;
        while need > self.left {
            need -= self.left;
            (self.opportunity, self.left) = (self.opportunity + 1, OPPORTUNITY);
        }
        self.left -= need;
        let leaves = self.recording.time(self.opportunity).max(now);
        self.waiting.push_back((leaves, bytes));
        self.waiting_bytes += bytes;
        Some(leaves)
    }

    fn delay(&self, now: f64) -> f64 {
        let next = self.opportunity.max(self.recording.first_at(now));
        (self.recording.time(next) - now).max(0.0)
    }
}
