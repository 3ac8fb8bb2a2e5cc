//! `rft cancel` of the real program: in flight, queued, kept, refused and killed.

use crate::harness::command::{run, says};
use crate::harness::files::{drop_content, drop_in, hash_of, names};
use crate::harness::peer::{Host, Pair};
use crate::harness::{status, until};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Asserts that a cancel is refused with this sentence.
fn refused(host: &Host, name: &str, sentence: &str) {
    let output = run(host, "cancel", &[name]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains(sentence), "{output:?}");
}

fn cancelled(host: &Host) -> std::path::PathBuf {
    host.state().join("cancelled")
}

/// Waits until so many entries of Outgoing are known.
fn waits_for(host: &Host, entries: usize) {
    status::wait(host, Duration::from_secs(20), |status| {
        (status["peers"][0]["waiting"].as_array()?.len() == entries).then_some(())
    });
}

/// The kinds of the entries of a name in the history.
fn history(host: &Host, name: &str) -> Vec<(String, String)> {
    let lines = says(host, "history", &["--json", name]);
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines.map(|line| (text(&line["kind"]), text(&line["direction"]))).collect()
}

#[test]
fn a_file_in_flight_is_stopped_and_the_peer_drops_its_part() {
    let pair = Pair::new();
    let options = ["--limit-rate", "1M", "--compress", "never"];
    let (mut a, mut b) = pair.connected(&options, &[]);
    let hash = drop_in(&pair.a, "large", 20_000_000);
    b.waits_for("file_progress", |event| event["path"] == "large");
    assert!(!names(&pair.b.state().join("stage")).is_empty());
    let shown = says(&pair.a, "cancel", &["large"]);
    assert!(shown.contains("large (20.0 MB) is not sent; it is /"), "{shown}");
    let failed = b.waits_for("file_failed", |event| event["path"] == "large");
    assert_eq!(
        (&failed.event["error"], &failed.event["retry"]),
        (&"the sender cancelled it".into(), &false.into())
    );
    let told = a.waits_for("file_cancelled", |event| event["path"] == "large");
    let moved_to = told.event["moved_to"].as_str().unwrap().to_owned();
    assert!(shown.contains(&moved_to) && std::path::Path::new(&moved_to).is_absolute(), "{told:?}");
    until("the peer keeps its part", || names(&pair.b.state().join("stage")).is_empty());
    assert!(names(&pair.a.outgoing()).is_empty() && names(&pair.b.incoming()).is_empty());
    assert_eq!(hash_of(&cancelled(&pair.a).join("large")), hash);
    let status = status::of(&pair.a);
    assert_eq!(status["peers"][0]["send"]["files_left"], 0, "{status}");
    assert_eq!(history(&pair.a, "large"), [("cancelled".into(), "send".into())]);
    assert_eq!(history(&pair.b, "large"), [("cancelled".into(), "receive".into())]);
    assert!(says(&pair.b, "history", &[]).contains("cancelled  large  20.0 MB, by 127.0.0.1"));
    refused(&pair.a, "large", "Outgoing has no large");
    // It is sent after all.
    says(&pair.a, "limit", &["off"]);
    fs::rename(&moved_to, pair.a.outgoing().join("large")).unwrap();
    b.waits_for("file_done", |event| event["path"] == "large");
    assert_eq!(hash_of(&pair.b.incoming().join("large")), hash);
    status::wait(&pair.a, Duration::from_secs(20), |status| {
        (status["peers"][0]["send"]["files_left"] == 0).then_some(())
    });
    refused(&pair.a, "large", "large was sent: the peer has it");
}

#[test]
fn queued_files_and_folders_leave_the_queue_whole() {
    let pair = Pair::new();
    let (_a, mut b) = pair.connected(&[], &[]);
    says(&pair.a, "pause", &[]);
    let folder = pair.a.dir.join("d");
    fs::create_dir_all(folder.join("e")).unwrap();
    for name in ["x", "y", "e/z"] {
        fs::write(folder.join(name), name).unwrap();
    }
    fs::rename(&folder, pair.a.outgoing().join("d")).unwrap();
    drop_content(&pair.a, "other", "x");
    waits_for(&pair.a, 6);
    let path = pair.a.outgoing().join("d/x");
    assert!(says(&pair.a, "cancel", &[path.to_str().unwrap()]).contains("d/x (1 B) is not sent"));
    let shown = says(&pair.a, "cancel", &["d"]);
    assert!(shown.contains("d (4 entries, 4 B) is not sent"), "{shown}");
    assert!(shown.contains("cancelled/d (1) now"), "{shown}");
    drop_content(&pair.a, "waited for", "x");
    let mut put = Command::new(env!("CARGO_BIN_EXE_rft"));
    let source = pair.a.dir.join("work");
    fs::write(&source, "x").unwrap();
    put.args(["put", "--wait", "--as", "put", "--dir"]).arg(&pair.a.dir).arg(&source);
    let put = put.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let put = put.unwrap();
    waits_for(&pair.a, 3);
    says(&pair.a, "cancel", &["put"]);
    let output = put.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && errors.contains("put: it was cancelled"),
        "{errors}"
    );
    says(&pair.a, "resume", &[]);
    for name in ["other", "waited for"] {
        b.has_or_waits_for("file_done", |event| event["path"] == name);
    }
    assert_eq!(names(&pair.b.incoming()), ["other", "waited for"]);
    assert_eq!(names(&cancelled(&pair.a)), ["d", "d (1)", "put"]);
    assert_eq!(fs::read_to_string(cancelled(&pair.a).join("d (1)/e/z")).unwrap(), "e/z");
}

#[test]
fn what_is_not_queued_is_refused_with_a_sentence() {
    let pair = Pair::new();
    fs::write(pair.a.outgoing().join(".rftignore"), "*.tmp\n").unwrap();
    let (_a, mut b) = pair.connected(&[], &[]);
    refused(&pair.a, "none", "Outgoing has no none");
    drop_content(&pair.a, "x.tmp", "x");
    refused(&pair.a, "x.tmp", "it is left alone, or ignored");
    drop_content(&pair.a, "f", "x");
    b.waits_for("file_done", |event| event["path"] == "f");
    status::wait(&pair.a, Duration::from_secs(20), |status| {
        (status["peers"][0]["send"]["files_left"] == 0).then_some(())
    });
    refused(&pair.a, "f", "f was sent: the peer has it");
    assert_eq!(run(&pair.a, "cancel", &["../f"]).status.code(), Some(2));
    assert!(!cancelled(&pair.a).exists());
}

#[test]
fn a_kept_file_stays_and_is_not_sent_until_it_changes() {
    let pair = Pair::new();
    let options = ["--after-send", "keep"];
    let (a, mut b) = pair.connected(&options, &[]);
    drop_content(&pair.a, "sent", "x");
    b.waits_for("file_done", |event| event["path"] == "sent");
    status::wait(&pair.a, Duration::from_secs(20), |status| {
        (status["peers"][0]["send"]["files_left"] == 0).then_some(())
    });
    refused(&pair.a, "sent", "the peer has sent already; it stays in Outgoing");
    says(&pair.a, "pause", &[]);
    drop_content(&pair.a, "f", "one");
    waits_for(&pair.a, 1);
    let shown = says(&pair.a, "cancel", &["f"]);
    assert_eq!(shown, "f (3 B) is not sent until it changes; it stays in Outgoing\n");
    says(&pair.a, "resume", &[]);
    drop_content(&pair.a, "g", "x");
    b.waits_for("file_done", |event| event["path"] == "g");
    // A restart remembers it.
    a.stop();
    let _a = pair.a.start(&options);
    drop_content(&pair.a, "h", "x");
    b.waits_for("file_done", |event| event["path"] == "h");
    assert!(!pair.b.incoming().join("f").exists() && pair.a.outgoing().join("f").exists());
    fs::write(pair.a.outgoing().join("f"), "another").unwrap();
    b.waits_for("file_done", |event| event["path"] == "f");
    assert_eq!(fs::read_to_string(pair.b.incoming().join("f")).unwrap(), "another");
}

#[test]
fn a_kill_leaves_the_file_whole_in_one_place() {
    for (place, is_moved) in [("moving", false), ("moved", true)] {
        let pair = Pair::new();
        let killed = Host { failpoints: format!("test.cancel_{place}=kill"), ..pair.a.clone() };
        let mut a = killed.start(&[]);
        a.waits_for("waiting", |_| true);
        drop_content(&pair.a, "f", "content");
        waits_for(&pair.a, 1);
        assert_eq!(run(&pair.a, "cancel", &["f"]).status.code(), Some(18), "{place}");
        assert_eq!(a.killed().0, None, "{place}: it has been killed");
        let (here, there) = (pair.a.outgoing().join("f"), cancelled(&pair.a).join("f"));
        assert_eq!((here.exists(), there.exists()), (!is_moved, is_moved), "{place}");
        let (_a, mut b) = pair.connected(&[], &[]);
        drop_content(&pair.a, "g", "x");
        b.waits_for("file_done", |event| event["path"] == "g");
        if is_moved {
            assert_eq!(fs::read_to_string(&there).unwrap(), "content");
            assert_eq!(names(&pair.b.incoming()), ["g"]);
        } else {
            until("it is not sent", || pair.b.incoming().join("f").exists());
        }
    }
}

#[test]
fn a_file_that_cannot_be_moved_is_sent_as_before() {
    let pair = Pair::new();
    let trouble = pair.a.dir.join("trouble");
    let host =
        Host { failpoints: format!("os.rename=EACCES@{}", trouble.display()), ..pair.a.clone() };
    let _a = host.start(&["--limit-rate", "1M", "--compress", "never"]);
    let mut b = pair.b.start(&[]);
    b.waits_for("connected", |_| true);
    drop_in(&pair.a, "large", 8_000_000);
    b.waits_for("file_progress", |event| event["path"] == "large");
    fs::write(&trouble, "").unwrap();
    refused(&pair.a, "large", "large stays as it is: ");
    fs::remove_file(&trouble).unwrap();
    says(&pair.a, "limit", &["off"]);
    b.waits_for("file_done", |event| event["path"] == "large");
}

#[test]
fn a_file_to_a_peer_that_does_not_answer_is_cancelled_at_once() {
    let pair = Pair::new();
    let options = ["--limit-rate", "1M", "--compress", "never"];
    let (_a, mut b) = pair.connected(&options, &[]);
    drop_in(&pair.a, "large", 20_000_000);
    b.waits_for("file_progress", |event| event["path"] == "large");
    b.suspend();
    let begun = std::time::Instant::now();
    says(&pair.a, "cancel", &["large"]);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    b.resume();
    b.waits_for("file_failed", |event| event["error"] == "the sender cancelled it");
}
