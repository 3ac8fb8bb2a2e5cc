//! The program is killed at every named step of a file's path, and at random. Nothing may be lost,
//! duplicated or half-written (design.md, "Tests under kills").
#![cfg(unix)]
#![allow(clippy::print_stdout)] // seeds and tallies

#[path = "../harness/mod.rs"]
mod harness;
mod places;
mod source;
mod witness;
mod world;
mod writers;

use places::{CONFLICTS, HOOKS, Plan, RECEIVER, SENDER, START};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use witness::Findings;
use world::{Outcome, World};

/// Kills in one random run.
const AT_RANDOM: u64 = 22;
/// Options of the two sides in the random runs.
const RANDOM_RUNS: [[&[&str]; 2]; 4] = [
    [&[], &[]],
    [&["--after-send", "archive"], &["--on-conflict", "overwrite"]],
    [&["--after-send", "keep"], &["--after-send", "archive", "--on-conflict", "skip"]],
    [&["--on-conflict", "skip"], &["--after-send", "keep", "--on-conflict", "overwrite"]],
];

fn die_by(plans: &[Plan]) {
    for (n, plan) in plans.iter().enumerate() {
        let outcome = World::direct(n as u64, [plan.options, &[]]).die(plan);
        assert_eq!(outcome.kills, plan.deaths.len() as u64);
        no_findings(&outcome.findings);
    }
}

fn kill_at_random(run: usize) {
    let seed = rand::random::<u32>().into();
    let outcome = World::lossy(seed, RANDOM_RUNS[run]).kill(AT_RANDOM, Duration::from_millis(600));
    assert!(outcome.kills >= AT_RANDOM && outcome.files > 0);
    no_findings(&outcome.findings);
}

fn no_findings(findings: &Findings) {
    assert_eq!(findings.sum(), 0, "{findings:#?}");
}

#[test]
fn a_peer_dies_at_each_step_of_its_start() {
    die_by(START);
}

#[test]
fn a_peer_dies_at_each_step_of_sending() {
    die_by(SENDER);
}

#[test]
fn a_peer_dies_at_each_step_of_receiving() {
    die_by(RECEIVER);
}

#[test]
fn a_peer_dies_at_each_step_of_a_hook() {
    die_by(HOOKS);
}

#[test]
fn a_peer_dies_at_each_step_of_a_name_conflict() {
    die_by(CONFLICTS);
}

#[test]
fn peers_die_at_random() {
    kill_at_random(0);
}

#[test]
fn peers_die_at_random_and_archive_and_overwrite() {
    kill_at_random(1);
}

#[test]
fn peers_die_at_random_and_keep_and_skip() {
    kill_at_random(2);
}

#[test]
fn peers_die_at_random_and_skip_and_keep() {
    kill_at_random(3);
}

/// The totals of the tests above.
#[test]
fn there_are_at_least_two_hundred_kills_and_one_at_every_place() {
    let planned: u64 = places::all().map(|plan| plan.deaths.len() as u64).sum();
    assert!(planned + AT_RANDOM * RANDOM_RUNS.len() as u64 >= 200, "{planned} are planned");
    let used: BTreeSet<&str> = places::all()
        .flat_map(|plan| plan.deaths)
        .map(|death| death.split_once('=').unwrap().0)
        .collect();
    let mut named = BTreeSet::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = String::new();
    read_all(&src, &mut text);
    const CALL: &str = "fail_point(\"";
    for (at, _) in text.match_indices(CALL) {
        named.insert(text[at + CALL.len()..].split('"').next().unwrap());
    }
    named.retain(|name| !name.starts_with("test."));
    let unused: Vec<_> = named.difference(&used).collect();
    assert_eq!(unused, [&""; 0], "places without a kill");
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// `scripts/soak`: runs for a given time, over a link that loses packets and is cut, and prints a
/// tally.
#[test]
#[ignore = "runs for as long as it is told to: scripts/soak"]
fn soak() {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_secs_f64(60.0 * of("RFT_SOAK_MINUTES").unwrap_or(1) as f64);
    let seed = of("RFT_SOAK_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    println!("soak: {time:?}, seed {seed}");
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let tally = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                while begun.elapsed() < time {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let options = RANDOM_RUNS[n as usize % RANDOM_RUNS.len()];
                    let outcome =
                        World::lossy(seed + n, options).kill(60, Duration::from_millis(700));
                    let mut tally = tally.lock().unwrap();
                    for fault in &outcome.findings.faults {
                        println!("soak: FAULT in world {n}: {fault}");
                    }
                    tally.add(outcome);
                    println!("soak: {:4.0} s: {tally}", begun.elapsed().as_secs_f64());
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    println!("soak: done: {tally}");
    no_findings(&tally.findings);
}

/// Concurrent pairs of peers in a soak.
const WORLDS: usize = 2;
