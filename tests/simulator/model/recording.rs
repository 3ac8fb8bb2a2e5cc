//! Recorded links in mahimahi's format (Winstein, Sivaraman, Balakrishnan, NSDI 2013).

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
