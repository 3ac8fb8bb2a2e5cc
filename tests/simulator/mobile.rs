//! The controller on links whose rate changes all the time: recordings of mobile links, and synthetic
//! ones.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bulk;
use crate::model::{FlowConfig, Kind, LinkConfig, Recording, World};

/// Plays a recording each way, with a queue of `queue` kB. Prints the share of the capacity that an
/// endless transfer used, and the queueing delay that a ping would meet.
fn play(name: &str, kind: Kind, [forward, backward]: [&Recording; 2], queue: f64, seed: u64) {
    let seconds = forward.length().min(140.0);
    let link = LinkConfig::recorded(forward.clone(), backward.clone(), 40.0, queue * 1e3);
    let flow = FlowConfig { probe: true, repair: true, ..bulk(kind, 1 << 40) };
    let start = crate::model::node::IDLE;
    let (reports, wire) = World::new(link, &[flow], seed).run(start + seconds);
    let r = &reports[0];
    let share = r.rate(start, start + seconds) * seconds / forward.capacity(start, start + seconds);
    let samples = &r.queue[(start * 10.0) as usize..];
    let mut delays: Vec<f64> = samples.iter().map(|(delay, _)| *delay).collect();
    delays.sort_by(f64::total_cmp);
    let queue = [50, 95].map(|percent| delays[delays.len() * percent / 100]);
    let mut phases = BTreeMap::<&str, usize>::new();
    for (_, phase) in samples {
        *phases.entry(phase).or_default() += 1;
    }
    let phases: Vec<String> = phases
        .iter()
        .map(|(phase, n)| format!("{phase} {:.0}", 100.0 * *n as f64 / samples.len() as f64))
        .collect();
    println!(
        "{name:24} {kind:?} seed {seed}: {:5.1} %, queue p50 {:4.0} p95 {:4.0} ms, lost {}/{} ({} dropped), {}",
        100.0 * share,
        1e3 * queue[0],
        1e3 * queue[1],
        r.packets.1,
        r.packets.0,
        wire.dropped,
        phases.join(" "),
    );
    assert!(r.failure.is_none(), "{:?}", r.failure);
}

fn synthetic() -> [(&'static str, Recording); 5] {
    [
        ("steps", Recording::steps()),
        ("random walk 1", Recording::random_walk(1)),
        ("random walk 2", Recording::random_walk(2)),
        ("gaps", Recording::gaps()),
        ("bursts", Recording::bursts(1)),
    ]
}

#[test]
#[ignore = "a survey, not a test: plays the recordings in the folder RFT_TRACES, NAME.down and NAME.up"]
fn recordings() {
    for (name, recording) in synthetic() {
        for kind in [Kind::Ours, Kind::Cubic] {
            play(name, kind, [&recording, &Recording::with_rate(60.0, |_| 10.0)], 256.0, 1);
        }
    }
    let Ok(folder) = std::env::var("RFT_TRACES") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "down"));
    files.sort();
    let read = |file: &Path| Recording::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let pair = [read(&file), read(&file.with_extension("up"))];
        for seed in [1, 2] {
            play(&name, Kind::Ours, [&pair[0], &pair[1]], 256.0, seed);
        }
        play(&name, Kind::Cubic, [&pair[0], &pair[1]], 256.0, 1);
    }
}
