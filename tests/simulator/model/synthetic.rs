//! Synthetic recordings: mobile links and Wi-Fi, each generated from a seed.

use super::{Recording, Rng};

/// Length of a synthetic recording, seconds.
const SECONDS: f64 = 60.0;

/// Calls `next` whenever the time that it returned last is over. It returns a rate in Mbit/s and for
/// how many seconds the link keeps it.
fn pieces(mut next: impl FnMut() -> (f64, f64)) -> Recording {
    let (mut rate, mut until) = (0.0, 0.0);
    Recording::with_rate(SECONDS, move |t| {
        while until <= t {
            let (new_rate, seconds) = next();
            (rate, until) = (new_rate, until + seconds);
        }
        rate
    })
}

/// Uniform between two values.
fn between(rng: &mut Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * rng.unit()
}

/// A constant rate, in Mbit/s.
pub fn constant(mbit: f64) -> Recording {
    Recording::with_rate(SECONDS, |_| mbit)
}

/// The logarithm of the rate walks at random: every 100 ms the rate changes by up to 1.35 times,
/// between 1 and 40 Mbit/s.
pub fn random_walk(seed: u64) -> Recording {
    let (mut rng, mut rate) = (Rng::new(seed), 8.0_f64);
    pieces(move || {
        rate = (rate * 1.35_f64.powf(between(&mut rng, -1.0, 1.0))).clamp(1.0, 40.0);
        (rate, 0.1)
    })
}

/// The rate halves or doubles every 0.3 to 3 s, between 2 and 32 Mbit/s.
pub fn steps(seed: u64) -> Recording {
    let (mut rng, mut rate) = (Rng::new(seed), 8.0);
    pieces(move || {
        let doubles = if rate <= 2.0 || rate >= 32.0 { rate <= 2.0 } else { rng.chance(0.5) };
        rate *= if doubles { 2.0 } else { 0.5 };
        (rate, between(&mut rng, 0.3, 3.0))
    })
}

/// 12 Mbit/s with gaps of 0.3 to 2 s, 2 to 8 s apart.
pub fn gaps(seed: u64) -> Recording {
    let (mut rng, mut open) = (Rng::new(seed), false);
    pieces(move || {
        open = !open;
        match open {
            true => (12.0, between(&mut rng, 2.0, 8.0)),
            false => (0.0, between(&mut rng, 0.3, 2.0)),
        }
    })
}

/// Wi-Fi: aggregates of 1 to 4 ms at 80 Mbit/s, with other stations' 1 to 6 ms between them. One in
/// fifty is retransmitted for 20 to 150 ms, which delays the packets behind it and loses none.
pub fn wifi(seed: u64) -> Recording {
    let (mut rng, mut ours) = (Rng::new(seed), false);
    pieces(move || {
        ours = !ours;
        match ours {
            true => (80.0, between(&mut rng, 0.001, 0.004)),
            false if rng.chance(0.02) => (0.0, between(&mut rng, 0.02, 0.15)),
            false => (0.0, between(&mut rng, 0.001, 0.006)),
        }
    })
}

/// A drive: the random walk, with steps down to a quarter and gaps of 0.3 to 1.5 s now and then.
pub fn drive(seed: u64) -> Recording {
    let (mut rng, mut rate) = (Rng::new(seed), 8.0_f64);
    pieces(move || {
        rate = (rate * 1.5_f64.powf(between(&mut rng, -1.0, 1.0))).clamp(0.5, 40.0);
        match rng.unit() {
            0.0..0.01 => (0.0, between(&mut rng, 0.3, 1.5)),
            0.01..0.03 => {
                rate = (rate / 4.0).max(0.5);
                (rate, 0.1)
            }
            _ => (rate, 0.1),
        }
    })
}
