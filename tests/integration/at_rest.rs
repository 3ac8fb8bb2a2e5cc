//! Two connected peers with nothing to send: their processes hardly run.

use crate::harness::peer::{Pair, Running};
use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Most wake-ups of a process in a second.
const MAX_WAKES: u64 = 10;
/// What begins with a session is over after this time.
const BEGINNING: Duration = Duration::from_secs(4);
/// Seconds that are measured. An odd number, so that one of them is the median.
const SECONDS: usize = 11;

#[test]
fn an_idle_process_wakes_at_most_ten_times_a_second() {
    let pair = Pair::new();
    let (a, b) = pair.connected(&[], &[]);
    sleep(BEGINNING);
    let mut wakes: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..SECONDS {
        let before = [&a, &b].map(switches);
        sleep(Duration::from_secs(1));
        for (wakes, (before, after)) in
            wakes.iter_mut().zip(before.iter().zip([&a, &b].map(switches)))
        {
            let new = |(thread, count): (&u32, &u64)| count - before.get(thread).unwrap_or(&0);
            wakes.push(after.iter().map(new).sum());
        }
    }
    // A single second may include the end of a thread or the rarer of the timers.
    let medians = wakes.each_mut().map(|wakes| {
        wakes.sort_unstable();
        wakes[SECONDS / 2]
    });
    println!("wake-ups of each process in a second: {wakes:?}");
    assert!(medians.iter().all(|&median| median <= MAX_WAKES), "{wakes:?}");
}

/// How often each thread of a process has waited for something and run again.
fn switches(process: &Running) -> BTreeMap<u32, u64> {
    let threads = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    threads
        .filter_map(|thread| {
            let thread = thread.ok()?;
            // A thread may end meanwhile.
            let status = fs::read_to_string(thread.path().join("status")).ok()?;
            let count =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            let number = thread.file_name().to_str()?.parse().ok()?;
            Some((number, count.trim().parse().ok()?))
        })
        .collect()
}
