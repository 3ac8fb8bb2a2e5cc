//! The log file at the default level, and the terminal with `-v`.

use super::put;
use crate::harness::peer::Pair;
use crate::harness::until;
use rustix::process::Signal;
use std::fs;

#[test]
fn the_log_has_every_file_and_session_and_v_prints_nothing_twice() {
    let pair = Pair::new();
    let (mut a, mut b) = pair.connected(&["-v"], &["--max-file-size", "10"]);
    std::os::unix::fs::symlink("/etc/passwd", pair.a.outgoing().join("outside")).unwrap();
    put(&pair.a, "f.txt", "four");
    b.waits_for("file_done", |event| event["path"] == "f.txt");
    put(&pair.a, "too large", "more than ten bytes");
    a.waits_for("file_failed", |event| event["path"] == "too large");
    a.has_or_waits_for("warning", |event| event["path"] == "outside");
    a.signal(Signal::USR1);
    // The state must not name the next file.
    let reported = || {
        let log = fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
        log.contains("state of rft")
    };
    until("the state is in the log", reported);
    put(&pair.a, "g.txt", "more");
    b.waits_for("file_done", |event| event["path"] == "g.txt");
    b.stop();
    a.waits_for("disconnected", |_| true);
    a.terminate();
    let (code, shown) = a.wait();
    assert_eq!(code, Some(0), "{shown}");

    let hash = blake3::hash(b"four").to_hex().to_string();
    let log = |host: &crate::harness::peer::Host| {
        fs::read_to_string(host.state().join("rft.log")).unwrap()
    };
    let (at_a, at_b) = (log(&pair.a), log(&pair.b));
    let has = |log: &str, parts: &[&str]| {
        let found = |line: &&str| parts.iter().all(|part| line.contains(part));
        assert_eq!(log.lines().filter(found).count(), 1, "{parts:?} in\n{log}");
    };
    has(&at_a, &["INFO", ": sent path=f.txt size=4 seconds=", &hash, "to=\"127.0.0.2\""]);
    has(&at_b, &["INFO", ": received path=f.txt size=4 seconds=", &hash, "from=\"127.0.0.1\""]);
    has(&at_a, &["WARN", ": not sent path=too large size=19", "error=", "retry=false"]);
    has(&at_b, &["WARN", ": not received path=too large size=19", "error="]);
    has(&at_a, &["WARN", "path=outside"]);
    has(&at_a, &["INFO", ": connected peer=127.0.0.2:", "session="]);
    has(&at_a, &["INFO", ": disconnected peer=127.0.0.2:", "reason=the peer left"]);
    has(&at_a, &["INFO", ": ended reason=\"stopped\""]);
    for line in at_a.lines().chain(at_b.lines()) {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{line}");
        let level = rest.split_whitespace().next().unwrap();
        assert!(["INFO", "WARN", "DEBUG", "ERROR"].contains(&level), "{line}");
    }

    for once in ["f.txt", "g.txt", "outside: ", "0 s, since ", "state of rft "] {
        assert_eq!(shown.matches(once).count(), 1, "{once:?} in\n{shown}");
    }
    // The log's own lines are there too.
    assert!(shown.contains("INFO rft::cli::peer: started"), "{shown}");
    let mut lines: Vec<_> = shown.lines().filter(|line| line.len() > 30).collect();
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all, "{shown}");
}
