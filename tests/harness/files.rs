//! Files to send, and how to compare received ones.

use super::peer::Host;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes an incompressible file without repetitions, whose content follows from `seed`. Returns
/// its hash.
pub fn plant_big(path: &Path, size: u64, seed: u64) -> blake3::Hash {
    let mut content = blake3::Hasher::new_derive_key("rft tests big file");
    let mut content = content.update(&seed.to_be_bytes()).finalize_xof();
    let (mut file, mut hasher) = (File::create(path).unwrap(), blake3::Hasher::new());
    let mut chunk = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left.min(chunk.len() as u64)).unwrap();
        content.fill(&mut chunk[..length]);
        hasher.update(&chunk[..length]);
        file.write_all(&chunk[..length]).unwrap();
        left -= length as u64;
    }
    hasher.finalize()
}

/// Puts a file whose content follows from `name` and `size` into Outgoing by a rename. Returns its
/// hash.
pub fn drop_in(host: &Host, name: &str, size: u64) -> blake3::Hash {
    let aside = host.dir.join("aside");
    let hash = plant_big(&aside, size, name.len() as u64);
    fs::rename(aside, host.outgoing().join(name)).unwrap();
    hash
}

/// The same with a given content.
pub fn drop_content(host: &Host, name: &str, content: impl AsRef<[u8]>) {
    let aside = host.dir.join("aside");
    fs::write(&aside, content).unwrap();
    fs::rename(aside, host.outgoing().join(name)).unwrap();
}

/// BLAKE3 of a file.
pub fn hash_of(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finalize()
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Whether Python is installed. Only a Python program can write through shared memory (mmap): safe
/// Rust cannot. Prints a note if it is missing.
#[cfg(unix)]
pub fn has_python() -> bool {
    let answer = std::process::Command::new("python3").args(["-c", "import mmap"]).status();
    let there = answer.is_ok_and(|status| status.success());
    if !there {
        println!("not run: files that are written through shared memory need python3");
    }
    there
}
