//! `--limit-rate` is the rate of all UDP payload that leaves a host, for files of any size and for
//! the receipts of the other direction. A relay between two real processes measures it.

use crate::harness::files::plant_big;
use crate::harness::peer::{Host, Pair, waited_for_processor};
use crate::harness::relay::{Arrival, Way};
use std::fs;
use std::time::{Duration, Instant};

/// The time of the measurement. It begins when the transfer is under way.
const TIME: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
/// The time in which a sender may send no more than the rate, with this tolerance and one datagram.
const SHORT: Duration = Duration::from_millis(100);
const SHORT_TOLERANCE: f64 = 0.3;
const DATAGRAM: f64 = 1452.0;
/// Tolerance over the whole time.
const TOLERANCE: f64 = 0.03;

/// Moves files into Outgoing together.
fn send(host: &Host, name: &str, files: u64, size: u64) {
    let folder = host.dir.join("new");
    fs::create_dir(&folder).unwrap();
    for n in 0..files {
        plant_big(&folder.join(n.to_string()), size, n);
    }
    fs::rename(folder, host.outgoing().join(name)).unwrap();
}

/// For how long the sender and the relay were ready to run and had no processor. Meanwhile the one
/// sends nothing, and the other collects packets.
#[derive(Clone, Copy)]
struct Waited {
    sender: Duration,
    relay: Duration,
}

/// Asserts that these packets left at `rate`, evenly.
fn left_at(rate: u64, begin: Instant, packets: &[Arrival], waited: Waited, what: &str) {
    let within = |from: Instant, time: Duration| {
        let packets = packets.iter().filter(|(at, _)| (from..from + time).contains(at));
        packets.map(|(_, bytes)| *bytes as f64).sum::<f64>()
    };
    let share = within(begin, TIME) / TIME.as_secs_f64() / rate as f64;
    let short = rate as f64 * SHORT.as_secs_f64();
    let starts = (0..(TIME - SHORT).as_millis() as u64 / 10).map(|n| Duration::from_millis(10 * n));
    let largest = starts.map(|start| within(begin + start, SHORT)).fold(0.0, f64::max);
    let Waited { sender, relay } = waited;
    let report = format!(
        "{what}: {share:.4} of the rate, at most {largest} bytes in 100 ms instead of {short}; the \
         sender waited {sender:.1?}, the relay {relay:.1?}"
    );
    let busy = sender.div_duration_f64(TIME);
    eprintln!("{report}");
    assert!((1.0 - TOLERANCE - busy..1.0 + TOLERANCE).contains(&share), "{report}");
    let late = rate as f64 * relay.as_secs_f64();
    assert!(largest <= short * (1.0 + SHORT_TOLERANCE) + DATAGRAM + late, "{report}");
}

/// Sends `files` of `size` bytes from a to b, and the same back if `both`, with this limit at both.
fn measure(rate: u64, files: u64, size: u64, both: bool) {
    let (pair, link) = Pair::linked(1);
    let limit = ["--limit-rate", &rate.to_string(), "--compress", "never"];
    send(&pair.a, "files", files, size);
    if both {
        send(&pair.b, "files", files, size);
    }
    let ways: &[Way] = if both { &[Way::AToB, Way::BToA] } else { &[Way::AToB] };
    let (a, b) = pair.connected(&limit, &limit);
    std::thread::sleep(WARM_UP);
    let begin = Instant::now();
    ways.iter().for_each(|way| link.note_arrivals(*way));
    let waited = || {
        let relay = waited_for_processor("self", |thread| thread == link.thread_name());
        [&a, &b].map(|peer| {
            let sender = waited_for_processor(&peer.id().to_string(), |_| true);
            Waited { sender, relay }
        })
    };
    let before = waited();
    std::thread::sleep(TIME);
    let after = waited();
    for way in ways {
        let (before, after) = (before[*way as usize], after[*way as usize]);
        let sender = after.sender.saturating_sub(before.sender);
        let relay = after.relay.saturating_sub(before.relay);
        let what = format!("{files} files of {size} bytes, both ways: {both}, {way:?}");
        left_at(rate, begin, &link.arrivals(*way), Waited { sender, relay }, &what);
    }
}

#[test]
fn small_files_leave_at_the_limit() {
    measure(50_000, 2000, 100, false);
}

#[test]
fn medium_files_leave_at_the_limit() {
    measure(300_000, 100, 64 << 10, false);
}

#[test]
fn a_large_file_leaves_at_the_limit() {
    measure(100_000, 1, 4 << 20, false);
}

#[test]
fn a_large_file_leaves_at_a_high_limit() {
    measure(5_000_000, 1, 60 << 20, false);
}

#[test]
fn receipts_and_acknowledgements_count_beside_files() {
    measure(60_000, 2000, 100, true);
    measure(500_000, 1, 8 << 20, true);
}
