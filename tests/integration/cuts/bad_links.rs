//! Slow, lossy and stalling links, which are not cut.

use super::{RATE, SMALL, TIMEOUT, cut, drop_small_files};
use crate::harness::MEASURING;
use crate::harness::files::plant_big;
use crate::harness::peer::{Pair, Running};
use crate::harness::relay::BOTH;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A slow, lossy or briefly stalled link is not cut: the session stays the same.
#[test]
fn a_bad_link_is_no_cut() {
    let _alone = MEASURING.blocking_lock();
    let seed = rand::random();
    let links = [
        ("long", 500, 0.05, 0),
        ("lossy", 20, 0.3, 0),
        ("both", 300, 0.1, 0),
        ("halting", 10, 0.0, 250),
    ];
    std::thread::scope(|scope| {
        for (name, delay, loss, halt) in links {
            scope.spawn(move || {
                stays_connected(name, Duration::from_millis(delay), loss, halt, seed)
            });
        }
    });
}

/// Runs a session over a link with this one-way delay and loss. The link stalls for `halt`
/// milliseconds now and then.
fn stays_connected(name: &str, delay: Duration, loss: f64, halt: u64, seed: u64) {
    let (hosts, link) = Pair::linked(seed);
    link.edit_both(|line| (line.delay, line.loss, line.rate) = (delay, loss, Some(RATE)));
    let mut running = [&hosts.a, &hosts.b].map(|host| host.start(&[]).with_timeout(TIMEOUT));
    running.iter_mut().for_each(|side| {
        side.waits_for("connected", |_| true);
    });
    // By now, dials that crossed each other are over.
    sleep(Duration::from_secs(3) + 10 * delay);
    let before = running.each_mut().map(connections);
    for host in [&hosts.a, &hosts.b] {
        plant_big(&host.dir.join("big"), 6 << 20, seed);
        fs::rename(host.dir.join("big"), host.outgoing().join("big")).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let dropper = scope.spawn(|| drop_small_files([&hosts.a, &hosts.b], SMALL, &stop));
        for _ in 0..10 {
            sleep(Duration::from_secs(1));
            if halt > 0 {
                cut(&link, &BOTH, Duration::from_millis(halt));
            }
        }
        stop.store(true, Ordering::Relaxed);
        dropper.join().unwrap();
    });
    let after = running.each_mut().map(connections);
    println!("{name}: connected {before:?} times before, {after:?} after");
    assert_eq!(after, before, "{name}");
}

fn connections(side: &mut Running) -> usize {
    side.events().iter().filter(|seen| seen.event["event"] == "connected").count()
}
