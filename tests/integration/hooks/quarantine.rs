//! `--quarantine`: a file appears only when the program has accepted it.

use super::{Rig, history, hook_of, not_within};
use crate::harness::events::of_transfer;
use crate::harness::files::{drop_content, drop_in, hash_of, names};
use crate::harness::{status, until};
use std::fs;
use std::process::Command;
use std::time::Duration;

const QUARANTINE: &[&str] = &["--quarantine", "--hook-retries", "0"];

#[test]
fn an_accepted_file_appears_and_its_receipt_says_so() {
    let rig = Rig::new(
        "echo \"$RFT_FILE\" >>$marks/file; ls $(dirname $RFT_FILE)/../../../Incoming >$marks/there
         cat \"$RFT_FILE\" | wc -c >$marks/size; [ -e $marks/go ] || sleep 2",
    );
    let (mut a, mut b) = rig.start(QUARANTINE);
    let hash = drop_in(&rig.pair.a, "report.pdf", 3_000_000);
    until("the program does not start", || rig.count("size") == 1);
    assert!(names(&rig.pair.b.incoming()).is_empty());
    // Both sides say what they wait for.
    status::wait(&rig.pair.a, Duration::from_secs(5), |status| {
        (status["peers"][0]["send"]["limit"] == "peer_check").then_some(())
    });
    assert!(status::text(&rig.pair.a).contains("waits for the receiver's check"));
    assert_eq!(status::of(&rig.pair.b)["peers"][0]["receive"]["limit"], "check");
    let done = a.waits_for("file_done", hook_of("report.pdf")).event;
    assert_eq!(done["checked"], true, "{done}");
    b.has_or_waits_for("hook_done", |event| event["quarantine"] == true && event["code"] == 0);
    assert_eq!(hash_of(&rig.pair.b.incoming().join("report.pdf")), hash);
    let file = rig.mark("file");
    assert!(file.contains("/.rft/quarantine/") && file.ends_with("/report.pdf\n"), "{file}");
    assert_eq!((rig.mark("size").trim(), rig.mark("there").trim()), ("3000000", ""));
    fs::write(rig.marks.join("go"), "").unwrap();
    drop_content(&rig.pair.a, "small", "x");
    b.waits_for("file_done", |event| event["path"] == "small" && event["checked"] == true);
    for host in [&rig.pair.a, &rig.pair.b] {
        let receipt = Command::new(env!("CARGO_BIN_EXE_rft"))
            .args(["receipt", "report.pdf", "--dir"])
            .arg(&host.dir)
            .output()
            .unwrap();
        let text = String::from_utf8(receipt.stdout).unwrap();
        assert!(text.contains("program accepted it before it appeared"), "{text}");
    }
    a.stop();
    b.stop();
    rig.pair.b.left_nothing_over();
    assert_eq!(fs::read_dir(rig.pair.b.state().join("quarantine")).unwrap().count(), 0);
    let entries = history(&rig.pair.a);
    assert!(entries.iter().any(|entry| entry["kind"] == "sent" && entry["checked"] == true));
}

#[test]
fn a_refused_file_stays_with_its_sender_and_is_sent_again_when_it_is_asked_for() {
    let rig = Rig::new(
        "echo \"$RFT_PATH\" >>$marks/runs; echo 'found Eicar'; [ -e $marks/clean ] || exit 1",
    );
    let (mut a, mut b) = rig.start(QUARANTINE);
    for (name, size) in [("small", 10), ("large", 2_000_000)] {
        drop_in(&rig.pair.a, name, size);
        let failed = a.waits_for("file_failed", of_transfer(name, "send")).event;
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains("check refused it") && error.contains("found Eicar"), "{error}");
        assert_eq!(failed["retry"], false);
        b.has_or_waits_for("file_failed", of_transfer(name, "receive"));
    }
    not_within(&mut b, Duration::from_secs(3), |event| event["event"] == "hook_done");
    assert_eq!((names(&rig.pair.b.incoming()).len(), rig.count("runs")), (0, 2));
    assert_eq!(names(&rig.pair.a.outgoing()), ["large", "small"]);
    rig.pair.b.left_nothing_over();
    assert_eq!(fs::read_dir(rig.pair.b.state().join("quarantine")).unwrap().count(), 0);
    fs::write(rig.marks.join("clean"), "").unwrap();
    let retry = Command::new(env!("CARGO_BIN_EXE_rft"))
        .args(["retry", "--dir"])
        .arg(&rig.pair.a.dir)
        .output()
        .unwrap();
    assert!(retry.status.success(), "{retry:?}");
    for name in ["small", "large"] {
        b.has_or_waits_for("file_done", of_transfer(name, "receive"));
    }
    assert_eq!(names(&rig.pair.b.incoming()), ["large", "small"]);
}

#[test]
fn a_check_that_fails_to_judge_is_repeated_without_sending_a_large_file_again() {
    let rig = Rig::new("echo $$ >>$marks/runs; [ -e $marks/up ] && exit 0; echo down; exit 75");
    let (mut a, mut b) = rig.start(QUARANTINE);
    let hash = drop_in(&rig.pair.a, "large", 30_000_000);
    let failed = a.waits_for("file_failed", of_transfer("large", "send")).event;
    assert!(failed["error"].as_str().unwrap().contains("could not check it"), "{failed}");
    assert_eq!(failed["retry"], true);
    fs::write(rig.marks.join("up"), "").unwrap();
    b.has_or_waits_for("file_done", of_transfer("large", "receive"));
    let done = a.waits_for("file_done", of_transfer("large", "send")).event;
    assert!(done["offset"].as_u64().unwrap() > 10_000_000, "{done}");
    assert_eq!(hash_of(&rig.pair.b.incoming().join("large")), hash);
}

#[test]
fn a_program_that_changes_the_file_publishes_nothing() {
    let rig = Rig::new("[ -e $marks/go ] || printf evil | dd of=\"$RFT_FILE\" conv=notrunc");
    let (mut a, mut b) = rig.start(QUARANTINE);
    drop_in(&rig.pair.a, "f", 1_000_000);
    let failed = a.waits_for("file_failed", of_transfer("f", "send")).event;
    assert!(failed["error"].as_str().unwrap().contains("the program changed it"), "{failed}");
    b.has_or_waits_for("file_failed", of_transfer("f", "receive"));
    assert!(names(&rig.pair.b.incoming()).is_empty());
    rig.pair.b.left_nothing_over();
}

#[test]
fn a_kill_while_it_is_checked_publishes_nothing_and_loses_nothing() {
    let rig = Rig::new("echo $$ >>$marks/$RFT_PATH; [ -e $marks/go ] || sleep 79");
    let (mut a, b) = rig.start(QUARANTINE);
    let hash = drop_in(&rig.pair.a, "large", 30_000_000);
    drop_content(&rig.pair.a, "small", "x");
    until("the programs do not start", || rig.count("large") + rig.count("small") == 2);
    b.kill();
    assert!(names(&rig.pair.b.incoming()).is_empty());
    fs::write(rig.marks.join("go"), "").unwrap();
    let mut b = rig.pair.b.start(&rig.options(QUARANTINE));
    for name in ["large", "small"] {
        b.has_or_waits_for("file_done", of_transfer(name, "receive"));
        a.has_or_waits_for("file_done", of_transfer(name, "send"));
        assert_eq!(rig.count(name), 2, "each attempt is checked");
    }
    assert_eq!(hash_of(&rig.pair.b.incoming().join("large")), hash);
    assert_eq!(names(&rig.pair.b.incoming()), ["large", "small"]);
    a.stop();
    b.stop();
    rig.pair.b.left_nothing_over();
}

#[test]
fn without_its_helper_no_file_is_received() {
    let rig = Rig::new("exit 0");
    let (mut a, mut b) = rig.start(QUARANTINE);
    let helper = rustix::process::Pid::from_raw(super::helpers(&b)[0]).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
    b.waits_for("warning", |event| {
        event["message"].as_str().unwrap().contains("no file is received")
    });
    drop_content(&rig.pair.a, "f", "x");
    let failed = a.waits_for("file_failed", of_transfer("f", "send")).event;
    assert!(failed["error"].as_str().unwrap().contains("start rft again"), "{failed}");
    assert_eq!(failed["retry"], true);
    assert!(names(&rig.pair.b.incoming()).is_empty());
    b.stop();
    let mut b = rig.pair.b.start(&rig.options(QUARANTINE));
    b.has_or_waits_for("file_done", of_transfer("f", "receive"));
}

#[test]
fn many_small_files_are_each_checked_once() {
    let rig = Rig::new("case $RFT_PATH in *7) exit 1;; esac");
    for n in 0..500 {
        fs::write(rig.pair.a.outgoing().join(format!("{n:03}")), n.to_string()).unwrap();
    }
    let (_a, mut b) = rig.start(QUARANTINE);
    for _ in 0..500 {
        b.waits_for("hook_done", |_| true);
    }
    until("the accepted files do not arrive", || names(&rig.pair.b.incoming()).len() == 450);
    assert!(names(&rig.pair.b.incoming()).iter().all(|name| !name.ends_with('7')));
    until("the refused files do not stay", || names(&rig.pair.a.outgoing()).len() == 50);
}

#[test]
fn a_kill_while_a_refused_file_is_removed_publishes_nothing() {
    let mut rig = Rig::new("exit 1");
    rig.pair.b.failpoints = "test.quarantine.discarding=kill".into();
    let (mut a, mut b) = rig.start(QUARANTINE);
    drop_in(&rig.pair.a, "large", 2_000_000);
    assert_eq!(b.wait().0, None, "it is killed");
    rig.pair.b.failpoints.clear();
    let mut b = rig.pair.b.start(&rig.options(QUARANTINE));
    let refused = |event: &serde_json::Value| {
        event["path"] == "large" && event["error"].as_str().unwrap().contains("refused it")
    };
    b.has_or_waits_for("file_failed", refused);
    a.has_or_waits_for("file_failed", refused);
    assert!(names(&rig.pair.b.incoming()).is_empty());
    assert_eq!(names(&rig.pair.a.outgoing()), ["large"]);
    a.stop();
    b.stop();
    rig.pair.b.left_nothing_over();
}
