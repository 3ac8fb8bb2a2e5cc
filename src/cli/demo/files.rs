//! The demo's folder, what is dropped in it, and whether that arrived.

use rand::TryRng;
use rand::rngs::SysRng;
use rft::cause;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Alice,
    Bob,
}

impl Who {
    /// Also the name of the peer's folder.
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

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file as it was dropped.
#[derive(Debug, Clone)]
pub(super) struct Dropped {
    pub(super) from: Who,
    /// `/`-separated, below Outgoing.
    pub(super) path: String,
    pub(super) size: u64,
    hash: blake3::Hash,
}

/// A folder of our own: nobody else could have made it before, nor look into it.
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

/// Makes the files beside Outgoing and moves them in, as whoever saves a file does.
pub(super) fn drop_all(base: &Path) -> io::Result<Vec<Dropped>> {
    let mut random = vec![0; 5_000_000];
    SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    let letter = b"Dear Bob,\nwhat I drop into Outgoing lands in your Incoming.\nAlice\n";
    [
        (Who::Alice, "letter.txt", &letter[..]),
        (Who::Alice, "photos/2026/beach.jpg", &random),
        (Who::Alice, "photos/empty", b""),
        (Who::Bob, "reply.txt", b"Dear Alice,\nand the other way round.\nBob\n"),
    ]
    .into_iter()
    .map(|(from, path, content)| drop_one(base, from, path, content))
    .collect()
}

fn drop_one(base: &Path, from: Who, path: &str, content: &[u8]) -> io::Result<Dropped> {
    let peer = base.join(from.name());
    let (desk, target) = (peer.join("desk"), peer.join("Outgoing").join(path));
    fs::create_dir_all(&desk)?;
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(desk.join("new"), content)?;
    fs::rename(desk.join("new"), &target)?;
    Ok(Dropped {
        from,
        path: path.to_owned(),
        size: content.len() as u64,
        hash: blake3::hash(content),
    })
}

/// Whether every file has gone from where it was dropped.
pub(super) fn outgoing_is_empty(base: &Path, dropped: &[Dropped]) -> bool {
    dropped
        .iter()
        .all(|file| !base.join(file.from.name()).join("Outgoing").join(&file.path).exists())
}

/// Every file stands in the other's Incoming with the same hash, and nothing else does.
pub(super) fn verify(base: &Path, dropped: &[Dropped]) -> Result<(), String> {
    for file in dropped {
        let path = base.join(file.from.other().name()).join("Incoming").join(&file.path);
        let hash =
            hash_of(&path).map_err(|error| format!("{}: {}", path.display(), cause::of(&error)))?;
        if hash != file.hash {
            return Err(format!("{} has other content than what was sent", path.display()));
        }
    }
    let arrived: u64 = [Who::Alice, Who::Bob]
        .map(|who| count(&base.join(who.name()).join("Incoming")))
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

/// Files below a folder, at any depth; none where there is no folder.
fn count(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries over what was dropped, as the peers would.
    fn carry(base: &Path, dropped: &[Dropped]) {
        for file in dropped {
            let from = base.join(file.from.name()).join("Outgoing").join(&file.path);
            let to = base.join(file.from.other().name()).join("Incoming").join(&file.path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::rename(from, to).unwrap();
        }
    }

    #[test]
    fn only_what_arrived_whole_passes() {
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
        assert!(verify(base.path(), &dropped).unwrap_err().contains("other content"));
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
