//! Files that a user drops into Outgoing, and the expected result for each.

use super::writers::{self, Way, Work};
use crate::harness::tree::Entry;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CHUNK: u64 = 256 * 1024;
/// From an empty file to one with several checkpoints.
const SIZES: [u64; 10] =
    [0, 1, 700, 60_000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 3_000_000, 10_000_000];
const MODES: [u32; 5] = [0o644, 0o600, 0o444, 0o755, 0o711];
/// Path components that often cause trouble.
const ODD: [&[u8]; 6] = [
    b"two\nlines",
    b"\x1b[2J",
    b"caf\xe9 \xff",
    b"-rf *",
    "\u{202e}gpj.exe".as_bytes(),
    b"100%.txt.",
];

/// The expected result of one direction.
#[derive(Default)]
pub struct Expected {
    /// The receiver's Incoming at the end.
    pub arrives: BTreeMap<PathBuf, Entry>,
    /// Entries that may be seen at a name until then.
    pub meanwhile: BTreeMap<PathBuf, Entry>,
    /// Everything that was dropped.
    pub dropped: BTreeMap<PathBuf, Entry>,
    /// Dropped files that the receiver refuses.
    pub refused: BTreeMap<PathBuf, Entry>,
}

/// How taken names are handled (`--on-conflict`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Rename,
    Overwrite,
    Skip,
}

/// The user of one side.
pub struct Source {
    outgoing: PathBuf,
    /// A folder on the same volume; files are made here and then moved in.
    workshop: PathBuf,
    random: StdRng,
    count: u32,
    pub bytes: u64,
    expected: Arc<Mutex<Expected>>,
    writers: Vec<JoinHandle<()>>,
}

impl Source {
    pub fn new(outgoing: PathBuf, workshop: PathBuf, seed: u64) -> Self {
        fs::create_dir_all(&workshop).unwrap();
        let random = StdRng::seed_from_u64(seed);
        let (expected, writers) = (Arc::default(), Vec::new());
        Self { outgoing, workshop, random, count: 0, bytes: 0, expected, writers }
    }

    pub fn expected(&self) -> Arc<Mutex<Expected>> {
        self.expected.clone()
    }

    /// One file of each kind, for a run with one kill at a known place.
    pub fn one_of_each(&mut self) {
        for size in SIZES {
            self.move_in(size);
        }
        self.move_in(2_500_000);
        self.long_name();
        self.folder();
        self.write(400);
        // The ways whose close is an event. Files of the other ways are sent a second after it.
        for way in [Way::Two, Way::MovedIn, Way::Renamed] {
            self.hold_open(way, Duration::from_millis(20));
        }
    }

    /// Drops a random kind of file.
    pub fn anything(&mut self) {
        match self.random.random_range(0..24) {
            0 => self.folder(),
            1 => self.long_name(),
            2 | 3 => self.write_some(),
            20.. => {
                let way = Way::ALL.choose(&mut self.random).unwrap().or_possible();
                let pause = Duration::from_millis(self.random.random_range(1..400));
                self.hold_open(way, pause);
            }
            // Rarely, because the link is slow.
            4 => self.move_in(SIZES[9]),
            _ => {
                let size = *SIZES[..9].choose(&mut self.random).unwrap();
                self.move_in(size);
            }
        }
    }

    /// Names that are taken on the other side: by different content, and by the same content.
    pub fn onto(&mut self, incoming: &Path, taken: Taken) {
        fs::create_dir_all(incoming).unwrap();
        for (n, size) in [300, CHUNK + 300].into_iter().enumerate() {
            let name = PathBuf::from(format!("taken {n}.txt"));
            // Of the same size or not, because the receiver compares sizes first.
            let old = self.make(&incoming.join(&name), size + n as u64);
            let new = self.make(&self.workshop.join("made"), size);
            let mut expected = self.expected.lock().unwrap();
            expected.dropped.insert(name.clone(), new.clone());
            match taken {
                Taken::Rename => {
                    expected.arrives.insert(name.clone(), old);
                    expected.arrives.insert(format!("taken {n} (1).txt").into(), new);
                }
                Taken::Overwrite => {
                    expected.meanwhile.insert(name.clone(), old);
                    expected.arrives.insert(name.clone(), new);
                }
                Taken::Skip => {
                    expected.arrives.insert(name.clone(), old);
                    expected.refused.insert(name.clone(), new);
                }
            }
            drop(expected);
            fs::rename(self.workshop.join("made"), self.outgoing.join(&name)).unwrap();
        }
        let name = Path::new("same.txt");
        let made = self.workshop.join("made");
        let new = self.make(&made, 500);
        fs::copy(&made, incoming.join(name)).unwrap();
        let Entry::File { size, hash, .. } = new else { return };
        let old =
            set(&incoming.join(name), size, hash, 0o640, UNIX_EPOCH + Duration::new(86_400, 7));
        let mut expected = self.expected.lock().unwrap();
        expected.dropped.insert(name.to_owned(), new.clone());
        if taken == Taken::Overwrite {
            expected.meanwhile.insert(name.to_owned(), old);
            expected.arrives.insert(name.to_owned(), new);
        } else {
            // Mode and time of this entry are those that the user chose.
            expected.arrives.insert(name.to_owned(), old);
        }
        drop(expected);
        fs::rename(made, self.outgoing.join(name)).unwrap();
    }

    /// A file made elsewhere and moved in, complete at once.
    fn move_in(&mut self, size: u64) {
        let made = self.workshop.join("made");
        let entry = self.make(&made, size);
        let name = self.name();
        self.moved(&made, vec![(name.clone(), entry)], &name);
    }

    /// A name that is too long for `.rft/removing`.
    fn long_name(&mut self) {
        let made = self.workshop.join("made");
        let entry = self.make(&made, 2000);
        let number = self.number();
        let mut name = number.into_bytes();
        name.resize(255, b'\n');
        let name = PathBuf::from(OsStr::from_bytes(&name));
        self.moved(&made, vec![(name.clone(), entry)], &name);
    }

    /// A folder with a file and an empty folder in it, moved in as a whole.
    fn folder(&mut self) {
        let made = self.workshop.join("tree");
        let name = PathBuf::from(format!("{} folder", self.number()));
        fs::create_dir_all(made.join("deep/er/down")).unwrap();
        fs::create_dir_all(made.join("empty")).unwrap();
        fs::set_permissions(made.join("empty"), Permissions::from_mode(0o750)).unwrap();
        let mut entries = Vec::new();
        for folder in ["", "deep", "deep/er", "deep/er/down", "empty"] {
            let mode = fs::metadata(made.join(folder)).unwrap().permissions().mode() & 0o777;
            let name = if folder.is_empty() { name.clone() } else { name.join(folder) };
            entries.push((name, Entry::Folder { mode }));
        }
        for (leaf, size) in
            [("deep/er/down/small", 300), ("deep/larger", CHUNK + 9), ("deep/none", 0)]
        {
            entries.push((name.join(leaf), self.make(&made.join(leaf), size)));
        }
        symlink("../larger", made.join("deep/er/link")).unwrap();
        entries.push((name.join("deep/er/link"), Entry::Link("../larger".into())));
        self.moved(&made, entries, &name);
    }

    fn write_some(&mut self) {
        let size = *SIZES[1..8].choose(&mut self.random).unwrap();
        self.write(size);
    }

    /// A file written in place, piece by piece.
    fn write(&mut self, size: u64) {
        let name = PathBuf::from(format!("{} written", self.number()));
        let bytes = self.content(size);
        let (mode, modified) = self.properties();
        let entry = Entry::File {
            size,
            hash: blake3::hash(&bytes),
            mode,
            seconds: since_1970(modified).0,
            nanos: since_1970(modified).1,
        };
        self.note(vec![(name.clone(), entry)]);
        let mut file = File::create(self.outgoing.join(name)).unwrap();
        for piece in bytes.chunks(100_000) {
            file.write_all(piece).unwrap();
        }
        file.set_permissions(Permissions::from_mode(mode)).unwrap();
        file.set_modified(modified).unwrap();
    }

    /// A file that a program keeps open for a while.
    fn hold_open(&mut self, way: Way, pause: Duration) {
        let size = *SIZES[1..9].choose(&mut self.random).unwrap();
        let bytes = self.content(size);
        let (mode, modified) = self.properties();
        let work = Work { bytes, mode, modified, pause };
        let mut name = PathBuf::from(format!("{} {way:?}", self.number()));
        let mut entries = Vec::new();
        if way == Way::NewFolder {
            entries.push((name.clone(), Entry::Folder { mode: 0o755 }));
            name.push("file");
        }
        entries.push((name.clone(), work.entry()));
        self.note(entries);
        self.writers.push(writers::start(way, work, &self.outgoing, name, &self.workshop));
    }

    /// Waits until no program has a file open.
    pub fn all_closed(&mut self) {
        for writer in self.writers.drain(..) {
            writer.join().unwrap();
        }
    }

    fn moved(&mut self, made: &Path, entries: Vec<(PathBuf, Entry)>, name: &Path) {
        // Before the rename: the file may arrive before the next statement.
        self.note(entries);
        fs::rename(made, self.outgoing.join(name)).unwrap();
    }

    fn note(&mut self, entries: Vec<(PathBuf, Entry)>) {
        let mut expected = self.expected.lock().unwrap();
        for (name, entry) in entries {
            expected.dropped.insert(name.clone(), entry.clone());
            expected.arrives.insert(name, entry);
        }
    }

    fn make(&mut self, path: &Path, size: u64) -> Entry {
        let bytes = self.content(size);
        fs::write(path, &bytes).unwrap();
        let (mode, modified) = self.properties();
        set(path, size, blake3::hash(&bytes), mode, modified)
    }

    /// Content that was never used before.
    fn content(&mut self, size: u64) -> Vec<u8> {
        self.bytes += size;
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        self.random.fill(&mut bytes[..]);
        bytes
    }

    fn properties(&mut self) -> (u32, SystemTime) {
        let mode = *MODES.choose(&mut self.random).unwrap();
        let (seconds, nanos) = (
            self.random.random_range(0..4_000_000_000),
            self.random.random_range(0..1_000_000_000),
        );
        (mode, UNIX_EPOCH + Duration::new(seconds, nanos))
    }

    fn name(&mut self) -> PathBuf {
        let mut name = self.number().into_bytes();
        name.push(b' ');
        name.extend_from_slice(ODD.choose(&mut self.random).unwrap());
        PathBuf::from(OsStr::from_bytes(&name))
    }

    fn number(&mut self) -> String {
        self.count += 1;
        format!("{:05}", self.count)
    }
}

fn set(path: &Path, size: u64, hash: blake3::Hash, mode: u32, modified: SystemTime) -> Entry {
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let (seconds, nanos) = since_1970(modified);
    Entry::File { size, hash, mode, seconds, nanos }
}

pub fn since_1970(time: SystemTime) -> (i64, i64) {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    (since.as_secs().cast_signed(), since.subsec_nanos().into())
}
