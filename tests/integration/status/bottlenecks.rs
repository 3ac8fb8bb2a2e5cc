//! Each cause that can limit the speed is put in place, and both sides name it.

use super::TIMEOUT;
use crate::harness::MEASURING;
use crate::harness::files::plant_big;
use crate::harness::peer::{Host, Pair};
use crate::harness::status;
use std::fs;

/// Large enough to cross for longer than the test asks.
const SIZE: u64 = 128 << 20;

fn drop_big(host: &Host) {
    let aside = host.dir.join("aside");
    plant_big(&aside, SIZE, 1);
    fs::rename(aside, host.outgoing().join("big")).unwrap();
}

/// Waits until the sender and the receiver name these causes.
fn is_limited(pair: &Pair, sender: &str, receiver: &str) {
    for (host, direction, word) in [(&pair.a, "send", sender), (&pair.b, "receive", receiver)] {
        status::wait(host, TIMEOUT, |status| {
            let peer = &status["peers"][0];
            (peer[direction]["limit"] == word && peer[direction]["rate"].as_u64()? > 0)
                .then_some(())
        });
    }
}

/// Sends a large file between peers with these failpoints and options of the sender.
fn limited(failpoints: [&str; 2], options: &[&str], sender: &str, receiver: &str) {
    let _alone = MEASURING.blocking_lock();
    let mut pair = Pair::new();
    (pair.a.failpoints, pair.b.failpoints) = (failpoints[0].into(), failpoints[1].into());
    let _running = pair.connected(options, &[]);
    drop_big(&pair.a);
    is_limited(&pair, sender, receiver);
}

#[test]
fn the_path() {
    let _alone = MEASURING.blocking_lock();
    let (pair, relay) = Pair::linked(1);
    relay.edit_both(|line| line.rate = Some(1_000_000));
    let _running = pair.connected(&[], &[]);
    drop_big(&pair.a);
    is_limited(&pair, "path", "path");
    // At first QUIC fills its buffer without the path.
    let status = status::wait(&pair.a, TIMEOUT, |status| {
        (status["peers"][0]["send"]["rate"].as_u64()? < 1_100_000).then(|| status.clone())
    });
    let send = &status["peers"][0]["send"];
    // The rest and its time shrink while the one file crosses.
    assert!((1..SIZE).contains(&send["bytes_left"].as_u64().unwrap()), "{send}");
    assert_eq!(send["files_left"], 1);
    let (left, rate) = (send["bytes_left"].as_f64().unwrap(), send["rate"].as_f64().unwrap());
    assert!((send["seconds_left"].as_f64().unwrap() - left / rate).abs() < 1.0, "{send}");
    assert!(rate > 500_000.0, "{send}");
    let path = &status["peers"][0]["session"]["path"];
    let measured = path["rate"].as_u64().unwrap();
    assert!((500_000..2_000_000).contains(&measured), "{path}");
    let file = &status["peers"][0]["in_flight"][0];
    assert_eq!((&file["path"], &file["size"]), (&"big".into(), &SIZE.into()));
    let text = status::text(&pair.a);
    assert!(text.contains("limited by the path (about "), "{text}");
}

#[test]
fn the_rate_limit() {
    limited(["", ""], &["--limit-rate", "1M"], "rate_limit", "peer_rate_limit");
}

#[test]
fn nothing_to_send_and_no_peer() {
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("waiting", |_| true);
    let limit = |word: &str| {
        status::wait(&pair.a, TIMEOUT, |status| {
            (status["peers"][0]["send"]["limit"] == word).then_some(())
        });
    };
    limit("nothing_to_send");
    drop_big(&pair.a);
    limit("waiting");
}

/// Slow disks and processors are failpoints that rest or use a core.
#[cfg(feature = "failpoints")]
mod slow {
    use super::limited;

    #[test]
    fn the_disk_of_the_sender() {
        limited(["send.read=sleep200", ""], &[], "disk", "peer_disk");
    }

    #[test]
    fn the_disk_of_the_receiver() {
        limited(["", "stage.written=sleep200"], &[], "peer_disk", "disk");
    }

    #[test]
    fn the_processor_of_the_sender() {
        limited(["send.sealing=spin200", ""], &[], "processor", "peer_processor");
    }

    #[test]
    fn the_processor_of_the_receiver() {
        limited(["", "stage.opened=spin200"], &[], "peer_processor", "processor");
    }
}
