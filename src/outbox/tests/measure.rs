//! Figures.

use super::*;

/// Resident memory of this process in KiB.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// User and system time of this process so far.
#[cfg(target_os = "linux")]
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: Vec<u64> =
        stat.split_whitespace().skip(13).take(2).map(|t| t.parse().unwrap()).collect();
    Duration::from_millis((ticks[0] + ticks[1]) * 10)
}

/// Figures, not a test: `cargo test --release outbox::tests::measure -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "prints figures"]
#[cfg(target_os = "linux")]
async fn measure() {
    for (folders, files) in [(100, 100), (1, 200_000)] {
        let dirs = TestDirs::at(tempfile::tempdir_in("/dev/shm").unwrap());
        let aside = dirs.dir.path().join("tree");
        for d in 0..folders {
            fs::create_dir_all(aside.join(d.to_string())).unwrap();
            for f in 0..files {
                fs::write(
                    aside.join(format!("{d}/file-{f}")),
                    vec![0; if folders > 1 { 4096 } else { 16 }],
                )
                .unwrap();
            }
        }
        let outbox = dirs.start(Duration::from_secs(1));
        drained(&outbox).await;
        let (rss, cpu_before, begin) = (resident(), cpu(), Instant::now());
        fs::rename(aside, dirs.path("tree")).unwrap();
        let mut first = None;
        let mut items = Vec::new();
        while items.len() < folders * files {
            items.push(next(&outbox).await);
            first.get_or_insert_with(|| begin.elapsed());
        }
        let (out, rss_out, cpu_out) = (begin.elapsed(), resident(), cpu());
        for item in items {
            outbox.delivered(item);
        }
        let folders_sent = take_all(&outbox).await.len();
        let n = u32::try_from(folders * files).unwrap();
        println!(
            "{n} files in {folders}: first {:?}, all out {out:?} ({:?} CPU a file), removed after {:?} \
             ({:?} CPU a file), {folders_sent} folders, RSS {rss} -> {rss_out} KiB",
            first.unwrap(),
            (cpu_out - cpu_before) / n,
            begin.elapsed(),
            (cpu() - cpu_out) / n,
        );
    }
}
