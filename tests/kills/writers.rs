//! Programs that write a file in Outgoing slowly and keep it open meanwhile.

use super::source::since_1970;
use crate::harness::files::has_python;
use crate::harness::tree::Entry;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// How a program writes its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In pieces with pauses, in place.
    Pauses,
    /// Two programs at once; one of them closes the file early.
    Two,
    /// Begun elsewhere and moved in while it is open.
    MovedIn,
    /// Renamed inside Outgoing while it is open.
    Renamed,
    /// In a new folder.
    NewFolder,
    /// Through shared memory, after the descriptor was closed.
    Mapped,
}

impl Way {
    pub const ALL: [Self; 6] =
        [Self::Pauses, Self::Two, Self::MovedIn, Self::Renamed, Self::NewFolder, Self::Mapped];

    /// Another way if this host does not support this one.
    pub fn or_possible(self) -> Self {
        static CAN_MAP: LazyLock<bool> = LazyLock::new(has_python);
        if self == Self::Mapped && !*CAN_MAP { Self::Pauses } else { self }
    }
}

/// The content that a program writes, and the properties that it gives the file at the end.
pub struct Work {
    pub bytes: Vec<u8>,
    pub mode: u32,
    pub modified: SystemTime,
    /// Time between two pieces.
    pub pause: Duration,
}

impl Work {
    /// The complete file.
    pub fn entry(&self) -> Entry {
        let (seconds, nanos) = since_1970(self.modified);
        let hash = blake3::hash(&self.bytes);
        Entry::File { size: self.bytes.len() as u64, hash, mode: self.mode, seconds, nanos }
    }

    fn pieces(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.bytes.len() / 2)
    }

    /// Writes these bytes in four pieces, with a pause before each.
    fn write(&self, file: &mut File, bytes: &[u8]) {
        for piece in bytes.chunks(bytes.len() / 4 + 1) {
            std::thread::sleep(self.pause);
            file.write_all(piece).unwrap();
        }
    }

    fn complete(&self, file: &File) {
        file.set_permissions(Permissions::from_mode(self.mode)).unwrap();
        file.set_modified(self.modified).unwrap();
    }
}

/// Starts a program that writes `work` to `name` in `outgoing`. When this returns, the program has
/// the file open there.
pub fn start(
    way: Way,
    work: Work,
    outgoing: &Path,
    name: PathBuf,
    workshop: &Path,
) -> JoinHandle<()> {
    let path = outgoing.join(&name);
    match way {
        Way::Mapped => return map(&work, &path, &workshop.join(name)),
        Way::NewFolder => fs::create_dir(path.parent().unwrap()).unwrap(),
        Way::Pauses | Way::Two | Way::MovedIn | Way::Renamed => {}
    }
    let first = match way {
        Way::MovedIn => workshop.join(&name),
        Way::Renamed => path.with_extension("other name"),
        _ => path.clone(),
    };
    let mut file = File::create(&first).unwrap();
    let mut other = (way == Way::Two).then(|| File::options().append(true).open(&first).unwrap());
    let (begin, end) = {
        let (begin, end) = work.pieces();
        (begin.to_vec(), end.to_vec())
    };
    if way == Way::MovedIn {
        file.write_all(&begin).unwrap();
        fs::rename(&first, &path).unwrap();
    }
    std::thread::spawn(move || {
        if way != Way::MovedIn {
            work.write(&mut file, &begin);
        }
        if way == Way::Renamed {
            fs::rename(&first, &path).unwrap();
        }
        if let Some(other) = other.take() {
            file = other;
        }
        work.write(&mut file, &end);
        work.complete(&file);
    })
}

/// The same through shared memory. `content` is a file to create with the bytes to write.
fn map(work: &Work, path: &Path, content: &Path) -> JoinHandle<()> {
    const PROGRAM: &str = "import mmap, os, sys, time
path, content, pause, mode, nanos = sys.argv[1:]
content = open(content, 'rb').read()
file = os.open(path, os.O_RDWR | os.O_CREAT)
os.truncate(file, len(content))
memory = mmap.mmap(file, len(content))
os.close(file)
print('open', flush=True)
step = len(content) // 4 + 1
for at in range(0, len(content), step):
    time.sleep(float(pause))
    memory[at : at + step] = content[at : at + step]
memory.flush()
os.chmod(path, int(mode))
os.utime(path, ns=(int(nanos), int(nanos)))
memory.close()
";
    fs::write(content, &work.bytes).unwrap();
    let (seconds, nanos) = since_1970(work.modified);
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (pause, mode) = (work.pause.as_secs_f64().to_string(), work.mode.to_string());
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM])
        .args([path, content])
        .args([pause, mode, nanos.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The program prints a word once it has the file open.
    let mut word = [0; 4];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
    std::thread::spawn(move || assert!(child.wait().unwrap().success()))
}
