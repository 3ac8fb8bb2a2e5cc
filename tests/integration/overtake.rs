//! `rft put --urgent` of the real program: it overtakes, also after a restart.

use crate::harness::files::{drop_in, names, plant_big};
use crate::harness::peer::{Host, Pair, Running};
use crate::harness::{status, until};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// One file at once and slowly, so that the order of sending is that of the arrivals.
const SLOW: [&str; 6] = ["--in-flight", "1", "--limit-rate", "4M", "--compress", "never"];

/// Puts a file of this size, and returns what the command prints.
fn put(host: &Host, name: &str, size: u64, arguments: &[&str]) -> String {
    let source = host.dir.join("work");
    plant_big(&source, size, name.len() as u64);
    let mut put = Command::new(env!("CARGO_BIN_EXE_rft"));
    put.args(["put", "--as", name, "--dir"]).arg(&host.dir).args(arguments).arg(&source);
    let output = put.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names in the order of their arrival.
fn arrivals(peer: &mut Running, count: usize) -> Vec<String> {
    let done = |event: &serde_json::Value| event["event"] == "file_done";
    let next = |_| peer.sees_within(Duration::from_secs(40), done).expect("a file");
    (0..count).map(next).map(|seen| seen.event["path"].as_str().unwrap().to_owned()).collect()
}

fn marks(host: &Host) -> usize {
    let folder = host.state().join("urgent");
    if folder.exists() { names(&folder).len() } else { 0 }
}

#[test]
fn an_urgent_file_overtakes_the_queue_and_large_files_in_flight() {
    let pair = Pair::new();
    let (_a, mut b) = pair.connected(&SLOW, &[]);
    for name in ["old 1", "old 2"] {
        drop_in(&pair.a, name, 12_000_000);
    }
    b.waits_for("file_progress", |event| event["path"] == "old 1");
    let shown = put(&pair.a, "urgent", 2_500_000, &["--urgent"]);
    assert!(shown.contains("it is sent now, before all that waits"), "{shown}");
    put(&pair.a, "d/urgent", 2_000_000, &["-u"]);
    // The first goes on, but its bytes follow those of the urgent ones.
    let mut first = arrivals(&mut b, 2);
    first.sort();
    assert_eq!(first, ["d/urgent", "urgent"]);
    let mut others = arrivals(&mut b, 3);
    others.sort();
    assert_eq!(others, ["d", "old 1", "old 2"]);
    until("the marks stay", || marks(&pair.a) == 0);
}

/// The buffer of unacknowledged data is full of the other files when it comes.
#[test]
fn an_urgent_file_gets_the_path_although_many_files_are_in_flight() {
    let pair = Pair::new();
    let (_a, mut b) = pair.connected(&["--limit-rate", "4M", "--compress", "never"], &[]);
    let old = ["old 1", "old 2", "old 3", "old 4"];
    for name in old {
        drop_in(&pair.a, name, 12_000_000);
    }
    b.waits_for("file_progress", |event| event["path"] == "old 1");
    std::thread::sleep(Duration::from_secs(2));
    let received = |b: &mut Running| -> u64 {
        let events = b.events();
        let most = |name: &str| {
            let own = events.iter().filter(|seen| seen.event["path"] == name);
            own.filter_map(|seen| seen.event["bytes"].as_u64()).max().unwrap_or(0)
        };
        old.map(most).iter().sum()
    };
    let before = received(&mut b);
    put(&pair.a, "urgent", 4_000_000, &["--urgent"]);
    assert_eq!(arrivals(&mut b, 1), ["urgent"]);
    let meanwhile = received(&mut b) - before;
    assert!(meanwhile < 11_000_000, "{meanwhile} bytes of the others came before it");
}

#[test]
fn it_is_remembered_without_a_running_rft_and_over_a_restart() {
    let pair = Pair::new();
    for name in ["old 1", "old 2"] {
        drop_in(&pair.a, name, 3_000_000);
    }
    let shown = put(&pair.a, "urgent 1", 2_000_000, &["--urgent"]);
    assert!(
        shown.contains(
            "no rft runs in this folder, so it waits until one does, and is sent first then"
        ),
        "{shown}"
    );
    assert_eq!(marks(&pair.a), 1);
    // Nobody is connected.
    let mut a = pair.a.start(&SLOW);
    a.waits_for("waiting", |_| true);
    drop_in(&pair.a, "old 3", 3_000_000);
    let shown = put(&pair.a, "urgent 2", 1_500_000, &["--urgent"]);
    assert!(
        shown.contains("it is sent when the peer is connected, before all that waits"),
        "{shown}"
    );
    status::wait(&pair.a, Duration::from_secs(20), |status| {
        let urgent = |n: usize| status["peers"][0]["waiting"][n]["urgent"] == true;
        (urgent(0) && urgent(1) && !urgent(2)).then_some(())
    });
    assert!(status::text(&pair.a).contains("waits:     urgent 1: urgent; ready to be sent"));
    a.kill();
    assert_eq!(marks(&pair.a), 2);
    let (_a, mut b) = pair.connected(&SLOW, &[]);
    let mut first = arrivals(&mut b, 2);
    first.sort();
    assert_eq!(first, ["urgent 1", "urgent 2"]);
    until("the marks stay", || marks(&pair.a) == 0);
}

#[test]
fn a_file_that_is_not_put_leaves_no_mark() {
    let pair = Pair::new();
    drop_in(&pair.a, "f", 10);
    let a = pair.b.start(&[]);
    for host in [&pair.a, &pair.b] {
        fs::write(host.outgoing().join("taken"), "x").unwrap();
        let mut put = Command::new(env!("CARGO_BIN_EXE_rft"));
        put.args(["put", "--urgent", "--as", "taken", "--dir"]).arg(&host.dir);
        let output = put.arg(pair.a.outgoing().join("../missing")).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(marks(host), 0);
    }
    drop(a);
}
