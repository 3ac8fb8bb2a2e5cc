//! Packet-train dispersion (Jain and Dovrolis 2002): packets that leave in one burst arrive spread
//! out by the slowest link, however little is sent overall. So Startup knows the path's rate before
//! it has filled the path.

use std::time::{Duration, Instant};

/// Packets that leave within this share of an RTT make one train, or, on short paths, within
/// [`MIN_SPAN`].
const SPAN: f64 = 1.0 / 64.0;
const MIN_SPAN: Duration = Duration::from_millis(1);
/// Minimum packets of a train, and batches of acknowledgements, for a measurement.
const MIN_PACKETS: u32 = 8;
const MIN_BATCHES: u32 = 2;
/// The path spread a train if it took this many times as long to arrive as to leave. Otherwise the
/// path was no slower than the sender.
const MIN_SPREAD: f64 = 1.5;
/// If a quarter of the trains arrived at more than this many times the rate of another quarter,
/// jitter spread them.
const MAX_RATE_RATIO: f64 = 1.5;
/// Minimum trains for an estimate.
const MIN_TRAINS: usize = 4;
/// Maximum trains of one round.
const MAX_TRAINS: usize = 256;
/// An estimate of an idle path uses this many of the newest trains.
const IDLE_TRAINS: usize = 8;

/// A train whose acknowledgements arrive.
#[derive(Clone, Copy, Debug)]
struct Train {
    first_sent: Instant,
    last_sent: Instant,
    first_acked: Instant,
    last_acked: Instant,
    /// Bytes acknowledged after the first batch.
    bytes: u64,
    packets: u32,
    batches: u32,
    best: Option<TrainSample>,
}

/// The measurement of one train.
#[derive(Clone, Copy, Debug)]
struct TrainSample {
    /// Bytes per second.
    rate: f64,
    /// It arrived more slowly than it left: `rate` is the path's rate. Otherwise the path carries
    /// `rate` or more.
    spread: bool,
    packets: u32,
}

/// An estimate of the path's rate, in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Estimate {
    /// The trains were too few, too short, or too different.
    Unknown,
    /// The path carries this rate.
    Capacity(f64),
    /// The path carries this rate or more.
    AtLeast(f64),
}

/// The trains of one round trip.
#[derive(Clone, Debug, Default)]
pub(super) struct Trains {
    train: Option<Train>,
    samples: Vec<TrainSample>,
}

impl Trains {
    /// A packet of `bytes` that was sent at `sent` was acknowledged; `rtt` is the minimum RTT, in
    /// seconds. Returns whether it ended a train and began another, so that the estimate may have
    /// changed.
    pub(super) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, rtt: f64) -> bool {
        let span = MIN_SPAN.max(Duration::from_secs_f64(SPAN * rtt));
        let Some(train) =
            self.train.as_mut().filter(|t| sent >= t.first_sent && sent <= t.first_sent + span)
        else {
            self.close();
            self.train = Some(Train {
                first_sent: sent,
                last_sent: sent,
                first_acked: now,
                last_acked: now,
                bytes: 0,
                packets: 1,
                batches: 1,
                best: None,
            });
            return true;
        };
        train.packets += 1;
        train.last_sent = train.last_sent.max(sent);
        if now == train.first_acked {
            return false;
        }
        if now != train.last_acked {
            train.measure();
            train.batches += 1;
            train.last_acked = now;
        }
        train.bytes += bytes;
        false
    }

    fn close(&mut self) {
        let Some(mut train) = self.train.take() else { return };
        train.measure();
        if let Some(sample) = train.best
            && self.samples.len() < MAX_TRAINS
        {
            self.samples.push(sample);
        }
    }

    /// The estimate of this round's trains so far.
    pub(super) fn estimate(&self) -> Estimate {
        self.agree_within(MAX_RATE_RATIO)
    }

    /// The estimate, if the rates of the middle half of the trains differ by at most this factor.
    fn agree_within(&self, max_ratio: f64) -> Estimate {
        if self.samples.len() < MIN_TRAINS {
            return Estimate::Unknown;
        }
        // If only a minority of trains was spread, delayed acknowledgements explain it.
        let spread = 2 * self.samples.iter().filter(|s| s.spread).count() > self.samples.len();
        let mut rates: Vec<_> =
            self.samples.iter().filter(|s| s.spread == spread).map(|s| s.rate).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let agree = rates[rates.len() * 3 / 4] <= max_ratio * rates[rates.len() / 4];
        match (spread, agree) {
            (true, true) => Estimate::Capacity(median),
            (true, false) => Estimate::Unknown,
            (false, _) => Estimate::AtLeast(median),
        }
    }

    /// The estimate of trains with pauses between them, on an idle path: the newest count, however
    /// much they differ. It only sets the first window, so a low estimate does no harm.
    pub(super) fn estimate_idle(&mut self) -> Estimate {
        self.samples.drain(..self.samples.len().saturating_sub(IDLE_TRAINS));
        self.agree_within(f64::MAX)
    }

    /// The round is over: returns the estimate of all its trains, and forgets them.
    pub(super) fn end_round(&mut self) -> Estimate {
        let estimate = self.estimate();
        self.samples.clear();
        estimate
    }
}

impl Train {
    /// Measures the train after each batch and keeps the best rate, because the acknowledgement of
    /// the last packet may be delayed. A measurement of over twice as many packets replaces a
    /// better one, because a few packets may arrive too close together.
    fn measure(&mut self) {
        let arriving = self.last_acked.saturating_duration_since(self.first_acked).as_secs_f64();
        let leaving = self.last_sent.saturating_duration_since(self.first_sent).as_secs_f64();
        if self.packets >= MIN_PACKETS && self.batches >= MIN_BATCHES && arriving > 0.0 {
            let (rate, spread) = (self.bytes as f64 / arriving, arriving > MIN_SPREAD * leaving);
            let now = TrainSample { rate, spread, packets: self.packets };
            if self.best.is_none_or(|best| now.rate > best.rate || now.packets > 2 * best.packets) {
                self.best = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1250;

    /// Trains of twenty packets, one train every 20 ms, on a path of 50 ms RTT. Packet `n` of each
    /// leaves after `leaves(n)` and is acknowledged after 50 ms and `arrives(n)`, in microseconds,
    /// two packets at a time.
    fn measure(count: u64, leaves: impl Fn(u64) -> u64, arrives: impl Fn(u64) -> u64) -> Estimate {
        let start = Instant::now();
        let mut trains = Trains::default();
        for train in 0..count {
            for n in 0..20 {
                let sent = start + Duration::from_micros(20_000 * train + leaves(n));
                let now = start + Duration::from_micros(20_000 * train + 50_000 + arrives(n | 1));
                trains.on_ack(now, sent, PACKET, 0.05);
            }
        }
        trains.end_round()
    }

    #[test]
    fn spread_trains_show_the_slowest_links_rate() {
        // 1,250 bytes every 100 microseconds are 12.5 MB/s, at a tenth of the sending rate.
        let estimate = measure(6, |_| 0, |n| 100 * n);
        assert!(matches!(estimate, Estimate::Capacity(11.9e6..13.1e6)), "{estimate:?}");
    }

    #[test]
    fn a_late_last_acknowledgement_does_not_change_the_estimate() {
        let estimate = measure(6, |_| 0, |n| if n == 19 { 15_000 } else { 100 * n });
        assert!(matches!(estimate, Estimate::Capacity(11.9e6..13.1e6)), "{estimate:?}");
    }

    #[test]
    fn a_minority_of_trains_with_late_acknowledgements_is_ignored() {
        // Trains arrive as fast as they leave, but the last acknowledgement of every third is 8 ms
        // late.
        let start = Instant::now();
        let mut trains = Trains::default();
        for train in 0..9 {
            for n in 0..20 {
                let late = if train % 3 == 0 && n >= 18 { 8_000 } else { 0 };
                let sent = start + Duration::from_micros(20_000 * train + 50 * n);
                let now =
                    start + Duration::from_micros(20_000 * train + 50_000 + 50 * (n | 1) + late);
                trains.on_ack(now, sent, PACKET, 0.05);
            }
        }
        assert!(matches!(trains.end_round(), Estimate::AtLeast(22e6..28e6)));
    }

    #[test]
    fn unspread_trains_show_a_lower_bound() {
        let estimate = measure(6, |n| 50 * n, |n| 50 * n);
        assert!(matches!(estimate, Estimate::AtLeast(22e6..28e6)), "{estimate:?}");
    }

    #[test]
    fn trains_spread_by_jitter_give_no_estimate_of_a_busy_path() {
        // One packet every 40, 80, … 240 microseconds.
        let start = Instant::now();
        let mut trains = Trains::default();
        for train in 0..6 {
            for n in 0..20 {
                let sent = start + Duration::from_micros(20_000 * train);
                let now = sent + Duration::from_micros(50_000 + 40 * (train + 1) * (n | 1));
                trains.on_ack(now, sent, PACKET, 0.05);
            }
        }
        assert!(matches!(trains.clone().estimate_idle(), Estimate::Capacity(_)));
        assert_eq!(trains.end_round(), Estimate::Unknown);
    }

    #[test]
    fn few_trains_or_a_single_batch_give_no_estimate() {
        assert_eq!(measure(3, |_| 0, |n| 100 * n), Estimate::Unknown);
        assert_eq!(measure(6, |_| 0, |_| 0), Estimate::Unknown);
    }
}
