//! How fast the path could take more: packets that leave in one burst arrive spread out by the
//! slowest link on the way, however little is sent on the whole (packet trains, Jain and Dovrolis
//! 2002). So start-up can see the path's rate before it has filled the path.

use std::time::{Duration, Instant};

/// Packets that leave within this much of a round trip make one train …
const SPAN: f64 = 1.0 / 64.0;
/// … or within this, on short paths.
const MIN_SPAN: Duration = Duration::from_millis(1);
/// A train of fewer packets, or whose acknowledgements came in fewer batches, says nothing.
const MIN_PACKETS: u32 = 8;
const MIN_BATCHES: u32 = 2;
/// The path has spread a train only if it took so many times as long to arrive as to leave; else it
/// was no slower than the sender, and that is all it says.
const SPREAD: f64 = 1.5;
/// Where a quarter of them came at more than so many times the rate of another quarter, it was
/// jitter that spread them.
const APART: f64 = 1.5;
/// So many trains make an estimate.
const MIN_TRAINS: usize = 4;
/// No more are kept.
const MAX_TRAINS: usize = 256;
/// And of an idle path no more.
const IDLE_TRAINS: usize = 8;

/// The train whose acknowledgements are coming in.
#[derive(Clone, Copy, Debug)]
struct Train {
    first_sent: Instant,
    last_sent: Instant,
    first_acked: Instant,
    last_acked: Instant,
    /// Bytes in the batches after the first.
    bytes: u64,
    packets: u32,
    batches: u32,
    arrived: Option<Spread>,
}

/// How a train arrived.
#[derive(Clone, Copy, Debug)]
struct Spread {
    /// Bytes per second.
    rate: f64,
    /// Slower than it left: that is the path's rate. Else the path carries as much or more.
    slowed: bool,
    /// Of so many packets.
    packets: u32,
}

/// What trains estimate of the path, in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimate {
    /// They were too few, too short, or too different.
    Unknown,
    /// It carries so much.
    Capacity(f64),
    /// It carries what was sent, or more.
    AtLeast(f64),
}

/// The trains of one round trip.
#[derive(Clone, Debug, Default)]
pub struct Trains {
    train: Option<Train>,
    arrived: Vec<Spread>,
}

impl Trains {
    /// A packet of `bytes` that left at `sent` was acknowledged; `rtt` is the least round-trip
    /// time, in seconds. Whether it was the first of another train, so that there is more to
    /// estimate.
    pub fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, rtt: f64) -> bool {
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
                arrived: None,
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
        if let Some(arrived) = train.arrived
            && self.arrived.len() < MAX_TRAINS
        {
            self.arrived.push(arrived);
        }
    }

    /// What the trains of this round estimate so far.
    pub fn estimate(&self) -> Estimate {
        self.agree_within(APART)
    }

    /// What they estimate if they are not further apart than this.
    fn agree_within(&self, apart: f64) -> Estimate {
        if self.arrived.len() < MIN_TRAINS {
            return Estimate::Unknown;
        }
        // A minority that was slowed down had a late acknowledgement, or a timer at the receiver's.
        let slowed =
            2 * self.arrived.iter().filter(|arrived| arrived.slowed).count() > self.arrived.len();
        let mut rates: Vec<_> =
            self.arrived.iter().filter(|a| a.slowed == slowed).map(|a| a.rate).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let agree = rates[rates.len() * 3 / 4] <= apart * rates[rates.len() / 4];
        match (slowed, agree) {
            (true, true) => Estimate::Capacity(median),
            (true, false) => Estimate::Unknown,
            (false, _) => Estimate::AtLeast(median),
        }
    }

    /// What the trains estimate that came one at a time, with pauses between them: only the newest
    /// count. As they estimate only what leaves at first, too little does no harm.
    pub fn estimate_idle(&mut self) -> Estimate {
        self.arrived.drain(..self.arrived.len().saturating_sub(IDLE_TRAINS));
        self.agree_within(f64::MAX)
    }

    /// The round is over: what all its trains estimate.
    pub fn end_round(&mut self) -> Estimate {
        let said = self.estimate();
        self.arrived.clear();
        said
    }
}

impl Train {
    /// The last packet's acknowledgement may be delayed: the best of the batches counts, of those
    /// that more than half of the train had come with, as a few packets may have come too close
    /// together.
    fn measure(&mut self) {
        let arriving = self.last_acked.saturating_duration_since(self.first_acked).as_secs_f64();
        let leaving = self.last_sent.saturating_duration_since(self.first_sent).as_secs_f64();
        if self.packets >= MIN_PACKETS && self.batches >= MIN_BATCHES && arriving > 0.0 {
            let (rate, slowed) = (self.bytes as f64 / arriving, arriving > SPREAD * leaving);
            let now = Spread { rate, slowed, packets: self.packets };
            if self
                .arrived
                .is_none_or(|best| now.rate > best.rate || now.packets > 2 * best.packets)
            {
                self.arrived = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1250;

    /// Trains of twenty packets, one every 20 ms, which leave at once, on a path of 50 ms: packet
    /// `n` of each is acknowledged when `arrives` says, in microseconds, two at a time.
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
    fn packets_that_arrive_spread_out_tell_the_slowest_links_rate() {
        // 1250 bytes every 100 microseconds are 12.5 MB/s, although only a tenth of that is sent.
        let says = measure(6, |_| 0, |n| 100 * n);
        assert!(matches!(says, Estimate::Capacity(11.9e6..13.1e6)), "{says:?}");
    }

    #[test]
    fn a_late_last_acknowledgement_changes_nothing() {
        let says = measure(6, |_| 0, |n| if n == 19 { 15_000 } else { 100 * n });
        assert!(matches!(says, Estimate::Capacity(11.9e6..13.1e6)), "{says:?}");
    }

    #[test]
    fn a_few_trains_with_late_acknowledgements_are_not_the_path() {
        // As fast as they leave, but every third waits 8 ms for its last acknowledgement.
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
    fn packets_that_come_as_they_left_tell_the_least() {
        let says = measure(6, |n| 50 * n, |n| 50 * n);
        assert!(matches!(says, Estimate::AtLeast(22e6..28e6)), "{says:?}");
    }

    #[test]
    fn trains_that_jitter_spread_say_nothing_of_a_busy_path() {
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
    fn nothing_is_told_by_few_trains_or_by_one_batch() {
        assert_eq!(measure(3, |_| 0, |n| 100 * n), Estimate::Unknown);
        assert_eq!(measure(6, |_| 0, |_| 0), Estimate::Unknown);
    }
}
