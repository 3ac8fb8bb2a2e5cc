//! How fast one core seals and opens records, and how many streams per second get their keys.
//!
//!     cargo bench --bench seal
//!
//! GB/s is 10^9 bytes of plaintext per second: the median of seven samples, and the best. Buffers
//! are allocated beforehand and reused, so the allocator is not measured.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for people, not a part of the library"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rft::internals::crypto::seal::{HEADER_LEN, UnsealedHalf};
use rft::internals::crypto::{
    ChannelBinding, ChunkSize, Initiator, PasswordKey, PeerId, RecordKind, Responder, Role, Sealer,
    SessionKeys,
};

const SAMPLES: usize = 7;

fn main() {
    let keys = session();
    for len in [4 * 1024, 64 * 1024, 256 * 1024] {
        records(&keys, len);
    }
    hashing();
    streams(&keys);
    handshakes();
}

/// A stream that consists of its number.
struct Number(u64);

impl UnsealedHalf for Number {
    type Opened = ();

    fn stream_id(&self) -> u64 {
        self.0
    }

    fn opened(self) {}
}

/// Seals and opens 64 MiB in records of `len` bytes a sample.
fn records(keys: &SessionKeys, len: usize) {
    let count = 64 * 1024 * 1024 / len;
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    for stream in 0..SAMPLES as u64 {
        let mut sealer = keys.sealer(Role::Responder, Number(stream)).1;
        let mut opener = keys.opener(Role::Responder, stream);
        let mut buffer = Sealer::buffer(len);
        let (mut seal_time, mut open_time) = (Duration::ZERO, Duration::ZERO);
        for index in 0..count as u64 {
            buffer.resize(HEADER_LEN + len, 0);
            let start = Instant::now();
            let record = sealer.seal(RecordKind::Data, buffer).expect("seals");
            seal_time += start.elapsed();
            let mut record = BytesMut::from(record);
            let start = Instant::now();
            black_box(opener.open(index, &mut record).expect("opens"));
            open_time += start.elapsed();
            buffer = record;
        }
        sealing.push(rate(count * len, seal_time));
        opening.push(rate(count * len, open_time));
    }
    report(&format!("seal {} KiB", len / 1024), sealing);
    report(&format!("open {} KiB", len / 1024), opening);
}

fn hashing() {
    let size = ChunkSize::new(256 * 1024).expect("a power of two");
    let chunk = vec![7; 256 * 1024];
    let samples = (0..SAMPLES).map(|_| {
        let start = Instant::now();
        for index in 0..256 {
            black_box(size.hash(index, &chunk).expect("fits"));
        }
        rate(256 * chunk.len(), start.elapsed())
    });
    report("chunk hash 256 KiB", samples.collect());
}

/// Derives the sealer of a stream and uses it once, which derives the keys of its epoch too.
fn streams(keys: &SessionKeys) {
    let mut times = Vec::new();
    for sample in 0..SAMPLES as u64 {
        let start = Instant::now();
        for stream in 0..10_000 {
            let mut sealer = keys.sealer(Role::Initiator, Number(sample << 32 | stream)).1;
            black_box(sealer.seal(RecordKind::Offer, Sealer::buffer(0)).expect("seals"));
        }
        times.push(start.elapsed());
    }
    let median = median(&mut times);
    println!("stream keys + 1 record {:9.0} /s  ({:.2} us each)", 1e4 / median, median * 1e2);
}

/// Both sides of a handshake, without Argon2id.
fn handshakes() {
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let start = Instant::now();
            black_box(session());
            start.elapsed()
        })
        .collect();
    println!("handshake, both sides  {:9.0} us", median(&mut times) * 1e6);
}

fn session() -> SessionKeys {
    let mut rng = StdRng::seed_from_u64(1);
    let (key, binding) =
        (PasswordKey::from_bytes([1; 32]), ChannelBinding::from_exporter(&[2; 96]));
    let (initiator, m1) = Initiator::start(&key, &binding, PeerId([1; 16]), &mut rng).expect("M1");
    let (responder, m2) =
        Responder::on_m1(&key, &binding, PeerId([2; 16]), &m1, &mut rng).expect("M2");
    let (initiator, m3) = initiator.on_m2(&m2).expect("M3");
    let (_, m4) = responder.on_m3(&m3, &mut rng).expect("M4");
    initiator.on_m4(&m4).expect("keys").keys
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e9
}

fn report(what: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    println!("{what:22} {:9.2} GB/s  (best {:.2})", samples[SAMPLES / 2], samples[SAMPLES - 1]);
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
