//! Runs the corpus, and random inputs in the number that the table of targets sets.

use super::TARGETS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::Path;

fn replay(target: &str) {
    let (name, body, random) = TARGETS.iter().find(|(name, ..)| *name == target).unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut inputs = Vec::new();
    for file in files {
        println!("{}", file.display());
        let input = fs::read(file).unwrap();
        body(&input);
        inputs.push(input);
    }
    // A slightly changed input of the fuzzer reaches further than noise.
    for seed in 0..u64::from(*random) {
        println!("{name}, seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut input = inputs[rng.random_range(0..inputs.len())].clone();
        if seed % 2 == 0 {
            input = (0..rng.random_range(0..200)).map(|_| rng.random()).collect();
        }
        for _ in 0..rng.random_range(0..8) {
            match rng.random_range(0..3) {
                0 if !input.is_empty() => {
                    let at = rng.random_range(0..input.len());
                    input[at] = rng.random();
                }
                1 => input.truncate(rng.random_range(0..=input.len())),
                _ => input.insert(rng.random_range(0..=input.len()), rng.random()),
            }
        }
        body(&input);
    }
}

#[test]
fn messages() {
    replay("messages");
}

#[test]
fn names() {
    replay("names");
}

#[test]
fn records() {
    replay("records");
}

#[test]
fn handshake() {
    replay("handshake");
}

#[test]
fn reassembly() {
    replay("reassembly");
}

#[test]
fn active_transfers() {
    replay("active_transfers");
}

#[test]
fn table() {
    replay("table");
}

#[test]
fn ignore_file() {
    replay("ignore_file");
}

#[test]
fn transfer() {
    replay("transfer");
}

#[test]
fn every_target_is_replayed_and_can_be_run() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut named: Vec<_> = fs::read_dir(fuzz.join("targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    named.sort();
    let mut listed: Vec<_> = TARGETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(named, listed);
    let tests = include_str!("tests.rs");
    for name in listed {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no binary of fuzz/");
        assert!(tests.contains(&format!("replay(\"{name}\")")), "{name} is not replayed");
    }
}

#[test]
fn requests() {
    replay("requests");
}

#[test]
fn repair() {
    replay("repair");
}

#[test]
fn probe_answers() {
    replay("probe_answers");
}

#[test]
fn history_blocks() {
    replay("history_blocks");
}
