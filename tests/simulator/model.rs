//! A deterministic simulator: pairs of `quinn_proto` connections joined by a modelled link in
//! virtual time. Same seed, same result; no sockets, no threads, no clock.

pub mod link;
pub mod node;
pub mod path_probe;
pub mod recording;
pub mod repair;
pub mod synthetic;
pub mod world;

pub use link::{Link, LinkConfig, Loss, Policer};
pub use node::{FlowConfig, Kind, Source};
pub use recording::Recording;
pub use world::{Report, World};

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, and good enough for random losses.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }
}
