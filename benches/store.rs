//! The cost of an entry beside its bytes: messages, ledger commits, and publication into Incoming.
//!
//!     cargo bench --bench store -- [DIR]
//!
//! The folders are made in `DIR`, by default the system's temporary folder, so the figures are
//! those of its disk. Medians of several samples.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for people, not a part of the library"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rft::config::{Folders, OnConflict};
use rft::internals::proto::message::{EntryKind, Offer, Outcome, Timestamp, TransferId};
use rft::internals::proto::name::Name;
use rft::internals::store::publish;
use rft::internals::store::{Arrived, ArrivedHook, Content, Delivered, Incoming, Ledger, StateDir};

const SAMPLES: usize = 9;
const SIZE: usize = 4096;

fn main() {
    // cargo passes an option of its own to a benchmark first.
    let dir = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let base = dir.map_or_else(std::env::temp_dir, PathBuf::from);
    let base = base.join(format!("rft-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&base).expect("a folder");
    messages();
    let folders = Folders::in_dir(&base);
    let state = StateDir::open(&folders).expect("the state folder");
    let ledger = Ledger::open(&state).expect("a ledger");
    let incoming = Incoming::open(&folders.incoming, &state).expect("Incoming");
    for count in [1, 64, 512] {
        commits(&ledger, count);
    }
    for count in [1, 64, 512] {
        publications(&incoming, &ledger, count);
    }
    std::fs::remove_dir_all(base).expect("removes the folder");
}

fn id(n: u64) -> TransferId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    TransferId(id)
}

fn offer(n: u64) -> Offer {
    Offer {
        id: id(n),
        name: Name::parse(format!("some folder/file {n}.txt").as_bytes()).expect("a name"),
        kind: EntryKind::File { size: SIZE as u64 },
        modified: Timestamp { seconds: 1_700_000_000, nanos: 1 },
        mode: Some(0o644),
        inline: true,
    }
}

fn messages() {
    let count = 100_000;
    let offers: Vec<Offer> = (0..count).map(offer).collect();
    let outcomes: Vec<Outcome> = offers
        .iter()
        .map(|o| Outcome::Done { hash: [7; 32], saved_as: o.name.clone(), checked: false })
        .collect();
    let mut out = BytesMut::with_capacity(1024);
    each("offer, to bytes and back", count, || {
        for offer in &offers {
            out.clear();
            offer.encode(&mut out);
            black_box(Offer::decode(&out).expect("an offer"));
        }
    });
    each("receipt, to bytes and back", count, || {
        for outcome in &outcomes {
            out.clear();
            outcome.encode(&mut out);
            black_box(Outcome::decode(&out).expect("a receipt"));
        }
    });
}

/// Durable commits of the ledger with `count` entries.
fn commits(ledger: &Ledger, count: u64) {
    let mut next = 0;
    each(&format!("ledger, {count} an fsync"), count, || {
        let ids: Vec<_> = (next..next + count).map(|n| (id(n), Delivered::default())).collect();
        next += count;
        ledger.mark_delivered(&ids).expect("marks");
    });
}

/// Batches of `count` small files into Incoming, from memory to the receipt.
fn publications(incoming: &Incoming, ledger: &Ledger, count: u64) {
    let bytes = Bytes::from(vec![7; SIZE]);
    let hash = *blake3::hash(&bytes).as_bytes();
    let mut next = count << 32;
    each(&format!("published, {count} together"), count, || {
        let batch: Vec<Arrived> = (next..next + count)
            .map(|n| Arrived {
                offer: offer(n),
                content: Content::Bytes(bytes.clone()),
                hash,
                hook: ArrivedHook::None,
            })
            .collect();
        next += count;
        let outcomes = publish(incoming, ledger, OnConflict::Rename, batch);
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })),
            "{outcomes:?}"
        );
    });
}

/// Prints the time of a sample, and the time for each of its `count` entries.
fn each(what: &str, count: u64, mut sample: impl FnMut()) {
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            sample();
            start.elapsed()
        })
        .collect();
    times.sort();
    let micros = times[SAMPLES / 2].as_secs_f64() * 1e6;
    println!("{what:28} {:10.2} us each  ({:.2} ms in all)", micros / count as f64, micros / 1e3);
}
