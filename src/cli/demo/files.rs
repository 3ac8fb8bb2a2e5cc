//! The demo's folder and files, and the check that they arrived.

use rand::TryRng;
use rand::rngs::SysRng;
use rft::cause;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    Alice,
    Bob,
}

impl Host {
    /// The name, which the peer's folder has too.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file that was dropped.
#[derive(Debug, Clone)]
pub(super) struct DemoFile {
    pub(super) from: Host,
    /// Below Outgoing, with `/` between its parts.
    pub(super) path: String,
    pub(super) size: u64,
    hash: blake3::Hash,
}

/// Creates a new folder under a random name that only this user can read.
pub(super) fn create_base() -> io::Result<PathBuf> {
    let mut bits = [0; 8];
    SysRng.try_fill_bytes(&mut bits).map_err(io::Error::other)?;
    let base =
        std::env::temp_dir().join(format!("rft-demo-{}", data_encoding::HEXLOWER.encode(&bits)));
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&base)?;
    Ok(base)
}

/// Creates the files beside Outgoing and moves them in.
pub(super) fn drop_all(base: &Path) -> io::Result<Vec<DemoFile>> {
    let mut random = vec![0; 5_000_000];
    SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    let letter = b"Dear Bob,\nwhat I drop into Outgoing lands in your Incoming.\nAlice\n";
    [
        (Host::Alice, "letter.txt", &letter[..]),
        (Host::Alice, "photos/2026/beach.jpg", &random),
        (Host::Alice, "photos/empty", b""),
        (Host::Bob, "reply.txt", b"Dear Alice,\nand the other way round.\nBob\n"),
    ]
    .into_iter()
    .map(|(from, path, content)| drop_one(base, from, path, content))
    .collect()
}

fn drop_one(base: &Path, from: Host, path: &str, content: &[u8]) -> io::Result<DemoFile> {
    let peer = base.join(from.name());
    let (desk, target) = (peer.join("desk"), peer.join("Outgoing").join(path));
    fs::create_dir_all(&desk)?;
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(desk.join("new"), content)?;
    fs::rename(desk.join("new"), &target)?;
    Ok(DemoFile {
        from,
        path: path.to_owned(),
        size: content.len() as u64,
        hash: blake3::hash(content),
    })
}

/// Whether every dropped file has left Outgoing.
pub(super) fn outgoing_is_empty(base: &Path, dropped: &[DemoFile]) -> bool {
    dropped
        .iter()
        .all(|file| !base.join(file.from.name()).join("Outgoing").join(&file.path).exists())
}

/// Checks that the other host's Incoming has every file with the same hash, and no other file.
pub(super) fn verify(base: &Path, dropped: &[DemoFile]) -> Result<(), String> {
    for file in dropped {
        let path = base.join(file.from.other().name()).join("Incoming").join(&file.path);
        let hash =
            hash_of(&path).map_err(|error| format!("{}: {}", path.display(), cause::of(&error)))?;
        if hash != file.hash {
            return Err(format!("{} differs from the file that was sent", path.display()));
        }
    }
    let arrived: u64 = [Host::Alice, Host::Bob]
        .map(|host| count(&base.join(host.name()).join("Incoming")))
        .iter()
        .sum();
    if arrived != dropped.len() as u64 {
        return Err(format!("{arrived} files arrived instead of {}", dropped.len()));
    }
    if !outgoing_is_empty(base, dropped) {
        return Err("a file that arrived was not removed from Outgoing".to_owned());
    }
    Ok(())
}

fn hash_of(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            n => drop(hasher.update(&buffer[..n])),
        }
    }
}

/// Counts the files below a folder, at any depth; 0 if there is no folder.
fn count(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves the dropped files to the other host, as the peers would.
    fn carry(base: &Path, dropped: &[DemoFile]) {
        for file in dropped {
            let from = base.join(file.from.name()).join("Outgoing").join(&file.path);
            let to = base.join(file.from.other().name()).join("Incoming").join(&file.path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::rename(from, to).unwrap();
        }
    }

    #[test]
    fn only_a_complete_and_exact_exchange_passes() {
        let base = tempfile::tempdir().unwrap();
        let dropped = drop_all(base.path()).unwrap();
        assert!(
            verify(base.path(), &dropped).is_err() && !outgoing_is_empty(base.path(), &dropped)
        );
        carry(base.path(), &dropped);
        verify(base.path(), &dropped).unwrap();

        let letter = base.path().join("bob/Incoming/letter.txt");
        fs::copy(&letter, base.path().join("bob/Incoming/letter (1).txt")).unwrap();
        assert!(verify(base.path(), &dropped).unwrap_err().contains("5 files"));
        fs::remove_file(base.path().join("bob/Incoming/letter (1).txt")).unwrap();
        fs::write(&letter, "changed").unwrap();
        assert!(verify(base.path(), &dropped).unwrap_err().contains("differs"));
    }

    #[test]
    fn every_demo_has_its_own_folder() {
        let (one, two) = (create_base().unwrap(), create_base().unwrap());
        assert_ne!(one, two);
        for folder in [one, two] {
            fs::remove_dir(folder).unwrap();
        }
    }
}
