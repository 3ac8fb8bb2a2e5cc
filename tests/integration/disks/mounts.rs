//! Mounts inside Incoming and Outgoing, and a read-only Outgoing, where the system permits mounts.

use super::stop;
use super::volumes::{may_mount, run_beside, seen_by};
use crate::harness::events::of_transfer;
use crate::harness::files::drop_in;
use crate::harness::peer::{Host, Pair};
use std::fs;
use std::time::Duration;

/// Starts this host's program with these mounts, which no other process sees.
fn mounted(host: &mut Host, mounts: &str) {
    let script = format!(r#"{mounts} && exec "$0" "$@""#);
    host.wrapper = ["unshare", "--mount", "sh", "-c", &script].map(str::to_owned).to_vec();
}

#[test]
fn a_mount_inside_incoming_is_named_and_delayed_files_follow() {
    let mut pair = Pair::new();
    if !may_mount() {
        return;
    }
    let inside = pair.b.incoming().join("d");
    fs::create_dir_all(&inside).unwrap();
    mounted(&mut pair.b, &format!("mount -t tmpfs none {}", inside.display()));
    let (mut a, b) = pair.connected(&[], &[]);
    let mut b = b.with_timeout(Duration::from_secs(50));
    fs::create_dir_all(pair.a.dir.join("made")).unwrap();
    fs::write(pair.a.dir.join("made/f"), "content").unwrap();
    fs::rename(pair.a.dir.join("made"), pair.a.outgoing().join("d")).unwrap();
    drop_in(&pair.a, "beside", 100);
    b.waits_for("file_failed", |event| {
        let error = event["error"].as_str().unwrap();
        event["path"] == "d/f"
            && error.contains("another volume is mounted there")
            && !error.contains("os error")
    });
    a.has_or_waits_for("file_failed", |event| event["path"] == "d/f" && event["retry"] == true);
    b.has_or_waits_for("file_done", of_transfer("beside", "receive"));
    run_beside(b.id(), &["umount", inside.to_str().unwrap()]);
    b.has_or_waits_for("file_done", of_transfer("d/f", "receive"));
    assert_eq!(fs::read_to_string(inside.join("f")).unwrap(), "content");
    stop([a, b]);
}

#[test]
fn a_mount_inside_outgoing_is_sent_and_named_once() {
    let mut pair = Pair::new();
    if !may_mount() {
        return;
    }
    let inside = pair.a.outgoing().join("m");
    fs::create_dir_all(&inside).unwrap();
    mounted(&mut pair.a, &format!("mount -t tmpfs none {}", inside.display()));
    let (mut a, mut b) = pair.connected(&[], &[]);
    let there = seen_by(a.id(), &inside);
    for name in ["one", "two"] {
        fs::write(there.join(name), name).unwrap();
        let path = format!("m/{name}");
        b.has_or_waits_for("file_done", of_transfer(&path, "receive"));
    }
    a.has_or_waits_for("warning", |event| {
        event["message"].as_str().unwrap().contains("this folder is a mount inside Outgoing")
    });
    drop_in(&pair.a, "last", 100);
    b.has_or_waits_for("file_done", of_transfer("last", "receive"));
    assert!(there.join("one").exists() && there.join("two").exists());
    let events = a.stop();
    let told = |event: &&serde_json::Value| {
        event["message"].as_str().is_some_and(|m| m.contains("is a mount"))
    };
    assert_eq!(events.iter().filter(told).count(), 1, "{events:#?}");
    b.stop();
}

#[test]
fn from_a_read_only_outgoing_files_are_sent_once_and_kept() {
    let mut pair = Pair::new();
    if !may_mount() {
        return;
    }
    let outgoing = pair.a.outgoing();
    fs::create_dir_all(outgoing.join("d")).unwrap();
    fs::write(outgoing.join("d/f"), "content").unwrap();
    let path = outgoing.display();
    mounted(&mut pair.a, &format!("mount --bind {path} {path} && mount -o remount,ro,bind {path}"));
    let keep = ["--after-send", "keep"];
    for round in 0..2 {
        let (a, mut b) = pair.connected(&keep, &[]);
        if round == 0 {
            b.has_or_waits_for("file_done", of_transfer("d/f", "receive"));
            b.has_or_waits_for("file_done", of_transfer("d", "receive"));
        } else {
            // It comes after everything that would be sent again.
            drop_in(&pair.b, "back", 10);
            b.has_or_waits_for("file_done", of_transfer("back", "send"));
        }
        let at_a = a.stop();
        let sent =
            at_a.iter().filter(|e| e["event"] == "file_done" && e["direction"] == "send").count();
        assert_eq!(sent, if round == 0 { 2 } else { 0 }, "{at_a:#?}");
        assert!(!at_a.iter().any(|event| event["event"] == "file_failed"), "{at_a:#?}");
        b.stop();
    }
    assert_eq!(fs::read_to_string(outgoing.join("d/f")).unwrap(), "content");
}
