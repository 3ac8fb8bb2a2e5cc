//! Recorded links in mahimahi's format (Winstein, Sivaraman, Balakrishnan, NSDI 2013), and synthetic
//! recordings of the same kind.

use super::Rng;

/// Bytes that one delivery opportunity carries.
pub const OPPORTUNITY: f64 = 1504.0;

/// The delivery opportunities of a link. It repeats after its end.
#[derive(Clone, Debug)]
pub struct Recording {
    /// When each opportunity is, seconds from the start, in order.
    times: Vec<f64>,
    length: f64,
}

impl Recording {
    /// Parses a recording: each line is the time of one opportunity in milliseconds, and the last
    /// line is the length.
    pub fn parse(text: &str) -> Option<Self> {
        let times: Option<Vec<f64>> = text
            .split_whitespace()
            .map(|t| t.parse::<u32>().ok().map(|ms| f64::from(ms) / 1e3))
            .collect();
        let times = times.filter(|t| t.is_sorted())?;
        let length = *times.last()?;
        (length > 0.0).then_some(Self { times, length })
    }

    /// A recording whose rate in Mbit/s is `rate(second)`, in whole milliseconds as a real one.
    pub fn with_rate(seconds: f64, mut rate: impl FnMut(f64) -> f64) -> Self {
        let (mut times, mut credit) = (Vec::new(), 0.0);
        for ms in 0..(seconds * 1e3) as u32 {
            let at = f64::from(ms) / 1e3;
            credit += rate(at) * 1e6 / 8.0 / 1e3;
            while credit >= OPPORTUNITY {
                credit -= OPPORTUNITY;
                times.push(at);
            }
        }
        times.push(seconds);
        Self { times, length: seconds }
    }

    /// A rate that changes between 4, 16 and 8 Mbit/s every few seconds.
    pub fn steps() -> Self {
        Self::with_rate(60.0, |t| [16.0, 4.0, 8.0, 16.0, 8.0, 4.0][(t / 4.0) as usize % 6])
    }

    /// A random walk between 1 and 40 Mbit/s: the rate changes by up to half each 200 ms.
    pub fn random_walk(seed: u64) -> Self {
        let (mut rng, mut rate, mut turn) = (Rng::new(seed), 12.0_f64, 0);
        Self::with_rate(60.0, move |t| {
            while f64::from(turn) * 0.2 <= t {
                turn += 1;
                rate = (rate * (0.67 + 0.83 * rng.unit())).clamp(1.0, 40.0);
            }
            rate
        })
    }

    /// 12 Mbit/s with a gap of a second every eight seconds.
    pub fn gaps() -> Self {
        Self::with_rate(60.0, |t| if t % 8.0 >= 7.0 { 0.0 } else { 12.0 })
    }

    /// Bursts as of Wi-Fi: 3 ms at 100 Mbit/s, then a random pause of 1 to 20 ms.
    pub fn bursts(seed: u64) -> Self {
        let (mut rng, mut from, mut until) = (Rng::new(seed), 0.0, 0.003);
        Self::with_rate(60.0, move |t| {
            if t >= until {
                from = t + 0.001 + 0.019 * rng.unit();
                until = from + 0.003;
            }
            if t >= from { 100.0 } else { 0.0 }
        })
    }

    /// Mean rate, bits per second.
    pub fn mean_rate(&self) -> f64 {
        self.times.len() as f64 * OPPORTUNITY * 8.0 / self.length
    }

    /// Length, seconds.
    pub fn length(&self) -> f64 {
        self.length
    }

    /// Bytes that the link can carry between two points of time.
    pub fn capacity(&self, from: f64, to: f64) -> f64 {
        (self.first_at(to) - self.first_at(from)) as f64 * OPPORTUNITY
    }

    /// When the opportunity with this number is, seconds.
    pub fn time(&self, n: u64) -> f64 {
        let count = self.times.len() as u64;
        (n / count) as f64 * self.length + self.times[(n % count) as usize]
    }

    /// The number of the first opportunity at `t` or later.
    pub fn first_at(&self, t: f64) -> u64 {
        let round = (t / self.length).floor();
        let into = t - round * self.length;
        round as u64 * self.times.len() as u64 + self.times.partition_point(|at| *at < into) as u64
    }
}
