//! Trials of a folder for `rft check`: whether it takes a file, and how fast its volume is. The trial
//! file has no name where the system allows that, and otherwise loses it at once: a check that is
//! killed leaves nothing, and a running rft sees nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The trial file's size in bytes, and the time after which it is left shorter.
const TRIAL_LEN: usize = 64 << 20;
const TRIAL_TIME: Duration = Duration::from_secs(3);
const BLOCK: usize = 1 << 20;
/// Number of syncs of a few bytes.
const SYNCS: usize = 7;

/// The speed of a volume.
#[derive(Debug, Clone, Copy)]
pub struct DiskSpeed {
    /// Bytes per second of a file that is written and synced.
    pub write_rate: f64,
    /// Time of the sync of a few bytes, the median of several.
    pub sync: Duration,
}

/// Creates and removes a file in this folder.
///
/// # Errors
/// The system's error.
pub fn try_file(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder).map(drop)
}

/// Writes, syncs and removes a file of at most 64 MiB in this folder.
///
/// # Errors
/// The system's error.
pub fn try_speed(folder: &Path) -> io::Result<DiskSpeed> {
    measure(&mut tempfile::tempfile_in(folder)?)
}

fn measure(file: &mut File) -> io::Result<DiskSpeed> {
    // Zeros would be compressed, or become holes.
    let block: Vec<u8> = (0..BLOCK / 8).flat_map(|_| rand::random::<u64>().to_ne_bytes()).collect();
    let (begun, mut written) = (Instant::now(), 0);
    while written < TRIAL_LEN && begun.elapsed() < TRIAL_TIME {
        file.write_all(&block)?;
        written += block.len();
    }
    file.sync_all()?;
    let write_rate = written as f64 / begun.elapsed().as_secs_f64().max(1e-6);
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&block[..4096])?;
        let begun = Instant::now();
        file.sync_all()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(DiskSpeed { write_rate, sync: times[SYNCS / 2] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_a_file_and_keeps_none() {
        let base = tempfile::tempdir().unwrap();
        try_file(base.path()).unwrap();
        let speed = try_speed(base.path()).unwrap();
        assert!(speed.write_rate > 1000.0 && speed.sync > Duration::ZERO, "{speed:?}");
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
        assert!(try_file(&base.path().join("missing")).is_err());
    }
}
