//! Ten thousand hostile connections against the running program: the transfer goes on, memory stays
//! bounded, and the configured peer can connect.

mod attacker;
mod closers;

use crate::harness::MEASURING;
use crate::harness::files::plant_big;
use crate::harness::peer::{Pair, Running};
use attacker::{Attack, use_up_all_guesses};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// All hostile connections.
const HOSTILE: usize = 10_000;
/// Of each kind of finished handshake that is refused, or denied its wish.
const REFUSED: usize = 100;
/// Connections that the deadline of 10 s ended.
const ENDED: usize = 16;
/// First packets answered with a Retry.
const RETRIES: usize = 1000;
/// First packets that close the connection they open.
const CLOSED: usize = 2000;
/// Slots for strangers.
const PLACES: usize = 8;
/// Most password guesses that regrow during the test.
const GUESSES: usize = 6;
/// Size of the file sent during the attack.
const SIZE: u64 = 40_000_000;
/// Rate limit of the sender: far below what two cores can do, because the attacker shares them.
const RATE: &str = "10M";
/// Most memory by which the process may grow.
const GROWTH: u64 = 64 << 20;

fn has(counter: &AtomicUsize, at_least: usize) -> bool {
    counter.load(Ordering::Relaxed) >= at_least
}

/// Sends a file from b to a. Returns the seconds that it took.
fn transfer(pair: &Pair, at_a: &mut Running, name: &str) -> f64 {
    let written = pair.b.dir.join(name);
    let hash = plant_big(&written, SIZE, 1);
    fs::rename(written, pair.b.outgoing().join(name)).unwrap();
    let done = at_a.waits_for("file_done", |event| event["path"] == name).event;
    assert_eq!(done["blake3"], hash.to_hex().as_str());
    done["seconds"].as_f64().unwrap()
}

/// Slow: three files of four seconds each, and slow attackers that are ended after ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_hostile_connections_disturb_no_transfer() {
    let _alone = MEASURING.lock().await;
    let pair = Pair::new();
    let (mut a, mut b) = (pair.a.start(&[]), pair.b.start(&["--limit-rate", RATE]));
    a.waits_for("connected", |_| true);
    b.waits_for("connected", |_| true);
    let alone = transfer(&pair, &mut a, "alone");
    let before = a.memory();

    let at = SocketAddr::from(([127, 0, 0, 1], pair.a.port));
    use_up_all_guesses(at).await;
    let attack = Attack::start(at);
    let attacked = transfer(&pair, &mut a, "attacked");
    // Connections that are refused at once try again and again.
    attack
        .until("refusals", |tally| {
            has(&tally.oversized_refused, REFUSED)
                && has(&tally.streams_denied, REFUSED)
                && has(&tally.guesses_denied, REFUSED)
                && has(&tally.closed_at_once, REFUSED)
                && has(&tally.closed_first, CLOSED)
        })
        .await;
    // Slow strangers hold all slots, and the strangers' guesses are used up, when the configured
    // peer connects anew.
    attack.takes_all_places();
    attack.until("all places are held", |tally| has(&tally.held, PLACES)).await;
    b.kill();
    let begun = Instant::now();
    let mut b = pair.b.start(&["--limit-rate", RATE]);
    b.waits_for("connected", |_| true);
    let in_again = begun.elapsed();
    attack.until("slow clients", |tally| has(&tally.slow_ended, ENDED)).await;
    attack.until("all", |tally| tally.total() >= HOSTILE && has(&tally.retries, RETRIES)).await;
    let grown = a.peak().saturating_sub(before);
    let report = format!(
        "alone {alone:.1} s, attacked {attacked:.1} s, in again after {in_again:.1?}, grown by {} KiB, {:?}",
        grown / 1024,
        attack.tally
    );
    eprintln!("{report}");
    assert!(attacked <= 2.0 * alone, "{report}");
    assert!(in_again < Duration::from_secs(15), "{report}");
    assert!(grown < GROWTH, "{report}");
    // Some strangers learn late that another one has their slot.
    assert!(!has(&attack.tally.held_most, 2 * PLACES), "{report}");
    assert!(!has(&attack.tally.guesses_answered, GUESSES), "{report}");
    // A stranger that only closes a connection has not guessed. For guesses, one line per minute is
    // logged.
    let told = a.events().iter().filter(|seen| seen.event["event"] == "auth_failed").count();
    assert!(told <= 3, "{told} events of failed guesses, {report}");
    let log = fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
    let lines = log.matches("an incoming connection was not accepted").count();
    assert!(lines <= 120, "{lines} lines of the log");
    assert!(!log.contains("forged"), "a stranger wrote into the log");
    drop(attack);
    transfer(&pair, &mut a, "afterwards");
    for peer in [a, b] {
        peer.stop();
    }
}

/// Slow: clients that close after TLS get a slot only when QUIC has dropped earlier connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_closers_of_each_kind_disturb_no_transfer() {
    let _alone = MEASURING.lock().await;
    let time = Duration::from_secs(90);
    let sender = &["--limit-rate", RATE];
    // If each closed connection had a slot at once, QUIC would keep several times as many of them.
    let growth = 16 << 20;
    let scale = closers::Scale { closers: 500, file: SIZE, files: 1, sender, growth, time };
    eprintln!("{}", closers::measure(&scale).await);
}

/// A measurement (docs/security.md) that takes some minutes: `cargo test --release --test
/// integration flood::ten_thousand_closers -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of some minutes"]
async fn ten_thousand_closers_of_each_kind() {
    let _alone = MEASURING.lock().await;
    let time = Duration::from_secs(900);
    let (file, growth) = (1 << 30, GROWTH);
    let scale = closers::Scale { closers: 10_000, file, files: 6, sender: &[], growth, time };
    eprintln!("{}", closers::measure(&scale).await);
}
