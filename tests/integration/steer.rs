//! `rft pause`, `resume`, `limit` and `retry` of the real program.

use crate::harness::command::{run, says};
use crate::harness::files::drop_content;
use crate::harness::peer::Pair;
use crate::harness::{status, until};
use serde_json::Value;
use std::fs;
use std::time::Duration;

#[test]
fn a_pause_holds_files_back_and_receives() {
    let pair = Pair::new();
    let (_a, _b) = pair.connected(&[], &[]);
    assert!(says(&pair.a, "pause", &[]).contains("paused: no further file is sent"));
    drop_content(&pair.a, "held", "x");
    drop_content(&pair.b, "back", "x");
    until("nothing is received", || pair.a.incoming().join("back").exists());
    status::wait(&pair.a, Duration::from_secs(20), |status| {
        let peer = &status["peers"][0];
        assert_eq!(peer["paused"], true);
        (peer["waiting"][0]["reason"] == "ready").then_some(())
    });
    assert!(status::text(&pair.a).contains("paused (`rft resume`)"));
    assert!(!pair.b.incoming().join("held").exists());
    let later = pair.a.dir.join("later");
    fs::write(&later, "x").unwrap();
    assert!(says(&pair.a, "put", &[later.to_str().unwrap()]).contains("after `rft resume`"));
    assert_eq!(says(&pair.a, "resume", &[]), "files are sent\n");
    until("it is not sent", || pair.b.incoming().join("held").exists());
    assert_eq!(status::of(&pair.a)["peers"][0]["paused"], false);
}

#[test]
fn the_limit_changes_at_once() {
    let pair = Pair::new();
    let (_a, mut b) = pair.connected(&["--limit-rate", "100K"], &[]);
    assert_eq!(status::of(&pair.a)["limit_rate"], 100_000);
    // 80 seconds at this rate.
    drop_content(&pair.a, "large", vec![b'x'; 8_000_000].as_slice());
    assert!(says(&pair.a, "limit", &["50M"]).contains("at most 50.0 MB/s"));
    assert_eq!(status::of(&pair.a)["limit_rate"], 50_000_000);
    assert!(status::text(&pair.a).contains("at most 50.0 MB/s sent"));
    b.waits_for("file_done", |event| event["path"] == "large");
    assert!(says(&pair.a, "limit", &["off"]).contains("without a limit"));
    assert!(status::of(&pair.a)["limit_rate"].is_null());
    assert_eq!(run(&pair.a, "limit", &["fast"]).status.code(), Some(14));
    assert_eq!(run(&pair.a, "limit", &["0"]).status.code(), Some(14));
}

#[test]
fn the_limit_follows_a_schedule() {
    let pair = Pair::new();
    let (_a, mut b) = pair.connected(&["--limit-rate", "00:00-24:00 100K, 5M"], &[]);
    let state = status::of(&pair.a);
    assert_eq!((&state["limit_rate"], &state["limit_until"]), (&100_000.into(), &Value::Null));
    assert_eq!(state["limit_schedule"], "00:00-24:00 100K, 5M");
    drop_content(&pair.a, "large", vec![b'x'; 8_000_000].as_slice());
    // One of the two windows counts at any time.
    let shown = says(&pair.a, "limit", &["00:00-12:00 40M,", "12:00-00:00 50M"]);
    assert!(shown.contains("it sends at most ") && shown.contains(", by its schedule"), "{shown}");
    let state = status::of(&pair.a);
    let rate = state["limit_rate"].as_u64().unwrap();
    assert!([40_000_000, 50_000_000].contains(&rate), "{state}");
    assert!(state["limit_until"].as_str().is_some_and(|until| until.ends_with(":00.000Z")));
    let shown = status::text(&pair.a);
    assert!(
        shown.contains("sent until 12:00")
            || shown.contains("sent until 00:00")
            || shown.contains(" 00:00"),
        "{shown}"
    );
    b.waits_for("file_done", |event| event["path"] == "large");
    let log = fs::read_to_string(pair.a.state().join("rft.log")).unwrap();
    assert!(log.contains("the user changed the limit of the rate"), "{log}");
    let output = run(&pair.a, "limit", &["08:00-18:00"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(14), "{errors}");
    assert!(errors.contains("there is no rate after the times"), "{errors}");
}

#[test]
fn a_retry_offers_what_was_refused() {
    let pair = Pair::new();
    fs::create_dir_all(pair.b.incoming()).unwrap();
    fs::write(pair.b.incoming().join("f"), "another").unwrap();
    let (mut a, _b) = pair.connected(&[], &["--on-conflict", "skip"]);
    assert_eq!(says(&pair.a, "retry", &[]), "nothing waits for another attempt\n");
    drop_content(&pair.a, "f", "x");
    a.waits_for("file_failed", |event| event["path"] == "f");
    let occupied = |reason: &str| {
        status::wait(&pair.a, Duration::from_secs(20), |status| {
            (status["peers"][0]["waiting"][0]["reason"] == reason).then_some(())
        });
    };
    occupied("occupied");
    fs::remove_file(pair.b.incoming().join("f")).unwrap();
    assert_eq!(says(&pair.a, "retry", &["other"]), "nothing waits for another attempt\n");
    assert_eq!(says(&pair.a, "retry", &["f"]), "1 entry is offered again now\n");
    // Without the retry it would take up to 20 s.
    a.sees_within(Duration::from_secs(10), |event| {
        event["event"] == "file_done" && event["path"] == "f"
    })
    .expect("it is offered at once");
}

#[test]
fn without_a_running_peer_they_say_so() {
    let pair = Pair::new();
    for (command, arguments) in [
        ("pause", vec![]),
        ("resume", vec![]),
        ("limit", vec!["2M"]),
        ("retry", vec![]),
        ("cancel", vec!["f"]),
    ] {
        let output = run(&pair.a, command, &arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(18), "{command}: {errors}");
        assert!(errors.contains("no rft runs in"), "{errors}");
    }
}
