//! An event queue that overflows, and too few watches.

use super::start_by;
use crate::harness::events::{of_path, with_message};
use crate::harness::peer::Pair;
use crate::harness::until;
use std::fs::{self, File};
use std::process::Command;

/// More events than the system queues while the program is stopped.
#[test]
fn an_event_queue_overflow_is_reported_and_loses_nothing() {
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    if most > 100_000 {
        println!("SKIPPED: the queue of events takes {most}");
        return;
    }
    let pair = Pair::new();
    let mut a = pair.a.start(&[]);
    a.waits_for("listening", |_| true);
    // The first scan is over and the watch works.
    fs::write(pair.a.outgoing().join("first"), "").unwrap();
    let mut b = pair.b.start(&[]);
    b.waits_for("file_done", of_path("first"));
    a.suspend();
    // Each file is created, opened and closed: three events.
    let files = most / 3 + 100;
    for n in 0..files {
        drop(File::create(pair.a.outgoing().join(format!("f{n}"))).unwrap());
    }
    a.resume();
    a.waits_for("warning", with_message("max_queued_events"));
    until("all are sent", || fs::read_dir(pair.a.outgoing()).unwrap().count() == 0);
    assert_eq!(fs::read_dir(pair.b.incoming()).unwrap().count(), files + 1);
}

/// Fewer watches than Outgoing has folders, in a user namespace with a low limit.
#[test]
fn too_few_watches_are_reported_and_lose_nothing() {
    const LIMIT: &str = "echo 4 > /proc/sys/user/max_inotify_watches";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Ur", "sh", "-c", script]);
        command
    };
    if !unshare(LIMIT).output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no namespace of users to be had here");
        return;
    }
    let pair = Pair::new();
    for n in 0..10 {
        fs::create_dir_all(pair.a.outgoing().join(format!("d{n}/keep"))).unwrap();
        fs::write(pair.a.outgoing().join(format!("d{n}/keep/f")), "x").unwrap();
    }
    let mut limited = unshare(&format!("{LIMIT} && exec \"$0\" \"$@\""));
    limited.arg(env!("CARGO_BIN_EXE_rft"));
    // With `keep`, the folders stay and so do their watches.
    let mut a = start_by(&pair.a, limited, &["--after-send", "keep"]);
    a.waits_for("warning", with_message("max_user_watches"));
    let mut b = pair.b.start(&[]);
    b.waits_for("file_done", of_path("d9"));
    fs::write(pair.a.outgoing().join("d9/keep/later"), "no event tells of it").unwrap();
    b.waits_for("file_done", of_path("d9/keep/later"));
}
