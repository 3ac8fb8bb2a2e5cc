//! Limits that an operator sets on received files: both users are told, all other transfers go on,
//! and a refused file follows when the limit is lifted. `disks.rs` tests the limit on Incoming as a
//! whole.

use crate::harness::events::of_transfer;
use crate::harness::files::{drop_in, hash_of, names};
use crate::harness::peer::{Pair, Running};
use serde_json::Value;

/// Two peers; b has this limit.
struct Limited {
    pair: Pair,
    a: Running,
    b: Running,
}

impl Limited {
    fn start(limit: &[&str]) -> Self {
        let pair = Pair::new();
        let (a, b) = pair.connected(&[], limit);
        Self { pair, a, b }
    }

    /// The file is refused; both sides report it with these texts, and with `retry` if it is tried
    /// again automatically.
    fn refuses(&mut self, name: &str, retry: bool, [at_sender, at_receiver]: [&'static str; 2]) {
        let told = |name, way, text: &'static str| {
            let of = of_transfer(name, way);
            move |event: &Value| {
                of(event)
                    && event["retry"] == retry
                    && event["error"].as_str().unwrap().contains(text)
            }
        };
        self.a.has_or_waits_for("file_failed", told(name, "send", at_sender));
        self.b.has_or_waits_for("file_failed", told(name, "receive", at_receiver));
        assert!(!self.pair.b.incoming().join(name).exists(), "{name} is there");
        assert!(self.pair.a.outgoing().join(name).exists(), "{name} is lost");
    }

    /// Other transfers go on, in both directions.
    fn serves(&mut self, name: &str, size: u64) {
        let hash = drop_in(&self.pair.a, name, size);
        drop_in(&self.pair.b, &format!("{name} back"), 2_000_000);
        self.b.has_or_waits_for("file_done", of_transfer(name, "receive"));
        self.a.has_or_waits_for("file_done", of_transfer(&format!("{name} back"), "receive"));
        assert_eq!(hash_of(&self.pair.b.incoming().join(name)), hash);
    }

    /// The operator restarts b with this limit; a keeps running.
    fn lifted(self, limit: &[&str]) -> Self {
        self.b.stop();
        let b = self.pair.b.start(limit);
        Self { b, ..self }
    }

    fn brings(&mut self, name: &str, hash: blake3::Hash) {
        self.b.has_or_waits_for("file_done", of_transfer(name, "receive"));
        self.a.has_or_waits_for("file_done", of_transfer(name, "send"));
        assert_eq!(hash_of(&self.pair.b.incoming().join(name)), hash);
    }

    fn ends(self, arrived: &[&str]) {
        for one in [self.a, self.b] {
            one.stop();
        }
        assert_eq!(names(&self.pair.b.incoming()), arrived);
        self.pair.b.left_nothing_over();
    }
}

#[test]
fn a_file_larger_than_allowed_is_refused_until_more_is_allowed() {
    let mut limited = Limited::start(&["--max-file-size", "1M"]);
    let hash = drop_in(&limited.pair.a, "large", 1_000_001);
    limited.refuses(
        "large",
        false,
        ["the limit there is 1000000 bytes", "larger than allowed here"],
    );
    limited.serves("just so", 1_000_000);
    let mut limited = limited.lifted(&["--max-file-size", "2M"]);
    limited.brings("large", hash);
    limited.ends(&["just so", "large"]);
}

#[test]
fn a_file_that_would_leave_too_little_free_space_waits() {
    // More than any volume has.
    let mut limited = Limited::start(&["--min-free", "1000000T"]);
    let hash = drop_in(&limited.pair.a, "large", 1_000_000);
    let small = drop_in(&limited.pair.a, "small", 10);
    for name in ["large", "small"] {
        limited.refuses(name, true, ["disk is full", "not enough free space"]);
    }
    // It refuses every file that has bytes, but still sends its own.
    drop_in(&limited.pair.b, "back", 2_000_000);
    limited.a.has_or_waits_for("file_done", of_transfer("back", "receive"));
    let mut limited = limited.lifted(&["--min-free", "0"]);
    limited.brings("large", hash);
    limited.brings("small", small);
    limited.ends(&["large", "small"]);
}
