//! A tree with every kind of entry that is transferred, and snapshots to compare trees.

use super::files::hash_of;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The transferred properties of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    File { size: u64, hash: blake3::Hash, mode: u32, seconds: i64, nanos: i64 },
    Folder { mode: u32 },
    Link(PathBuf),
}

/// Fills `root` with such a tree.
pub fn plant(root: &Path) {
    let since = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
    let before_1970 = UNIX_EPOCH - Duration::new(86_400, 500_000_001);
    let now = SystemTime::now();
    file(root, b"plain.txt", b"plain", 0o644, since(1_234_567_890, 123_456_789));
    file(root, b"empty", b"", 0o600, since(1, 1));
    file(root, b"old", b"before the epoch", 0o640, before_1970);
    file(root, b"future", b"2100", 0o755, since(4_102_444_800, 1));
    file(root, b"read only", b"r", 0o444, now);
    file(root, b"two\nlines", b"newline", 0o644, now);
    file(root, b"\x1b[2J\x1b]0;title\x07", b"escape sequence", 0o644, now);
    file(root, b"caf\xe9 \xff\xfe", b"not UTF-8", 0o644, now);
    file(root, &[b'x'; 255], b"long", 0o644, now);
    file(root, b"-rf *", b"options", 0o644, now);
    file(root, "d\u{fc}nn/\u{202e}gpj.exe".as_bytes(), b"direction override", 0o644, now);
    file(
        root,
        b"sub/folder/deep/down",
        &vec![7; 300_000],
        0o711,
        since(1_000_000_000, 999_999_999),
    );
    file(root, b"sub/chunk", &vec![8; 256 * 1024], 0o644, now);
    fs::create_dir_all(root.join("sub/empty/emptier")).unwrap();
    fs::set_permissions(root.join("sub/empty"), Permissions::from_mode(0o750)).unwrap();
    symlink("../chunk", root.join("sub/folder/link")).unwrap();
    symlink("sub/folder", root.join("link to a folder")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
}

fn file(root: &Path, name: &[u8], content: &[u8], mode: u32, modified: SystemTime) {
    let path = root.join(OsStr::from_bytes(name));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
}

/// Everything below a folder, by relative path.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mode = meta.mode() & 0o777;
            let entry = if meta.is_symlink() {
                Entry::Link(fs::read_link(&path).unwrap())
            } else if meta.is_dir() {
                folders.push(path.clone());
                Entry::Folder { mode }
            } else {
                let (seconds, nanos) = (meta.mtime(), meta.mtime_nsec());
                Entry::File { size: meta.len(), hash: hash_of(&path), mode, seconds, nanos }
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
        }
    }
    found
}
