//! A witness watches Incoming during the run and judges everything at the end.

use super::source::Expected;
use crate::harness::peer::Host;
use crate::harness::tree::{Entry, snapshot};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Broken promises, counted by kind.
#[derive(Debug, Default)]
pub struct Findings {
    /// Files that did not arrive, or disappeared afterwards.
    pub lost: u64,
    /// Files that arrived under another name, or more than once.
    pub doubled: u64,
    /// Files seen in Incoming with content other than the source's.
    pub partial: u64,
    /// Files with a wrong mode or time.
    pub wrong: u64,
    /// The program panicked.
    pub panics: u64,
    /// Remains in Outgoing or `.rft`, or a wrong exit code.
    pub unclean: u64,
    /// Descriptions.
    pub faults: Vec<String>,
}

impl Findings {
    pub fn sum(&self) -> u64 {
        self.lost + self.doubled + self.partial + self.wrong + self.panics + self.unclean
    }

    pub fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.partial += other.partial;
        self.wrong += other.wrong;
        self.panics += other.panics;
        self.unclean += other.unclean;
        self.faults.extend(other.faults);
    }

    pub fn note(&mut self, count: impl FnOnce(&mut Self) -> &mut u64, text: String) {
        *count(self) += 1;
        self.faults.push(text);
    }

    /// Checks a program's stderr after its end.
    pub fn heard(&mut self, stderr: &str) {
        if stderr.contains("panicked") {
            self.note(|all| &mut all.panics, stderr.to_owned());
        }
    }
}

/// A thread that watches one Incoming until told to stop.
pub struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Findings>,
}

impl Witness {
    pub fn start(incoming: PathBuf, expected: Arc<Mutex<Expected>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut watch =
                Watch { incoming, expected, seen: HashMap::new(), findings: Findings::default() };
            while !stopped.load(Ordering::Relaxed) {
                watch.look();
                std::thread::sleep(INTERVAL);
            }
            watch.look();
            watch.findings
        });
        Self { stop, thread }
    }

    pub fn findings(self) -> Findings {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Identifies the version of a file at a name: inode and change time.
type Stamp = (u64, i64, i64);

struct Watch {
    incoming: PathBuf,
    expected: Arc<Mutex<Expected>>,
    /// Files that were whole when last read. Each fault is reported once.
    seen: HashMap<PathBuf, Stamp>,
    findings: Findings,
}

impl Watch {
    fn look(&mut self) {
        let mut there = HashMap::new();
        let mut folders = vec![self.incoming.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.map_while(Result::ok) {
                let path = entry.path();
                // It was removed since the listing; the comparison below reports that.
                let Ok(meta) = path.symlink_metadata() else { continue };
                if meta.is_dir() {
                    folders.push(path);
                } else if meta.is_file() {
                    let name = path.strip_prefix(&self.incoming).unwrap().to_owned();
                    // An empty file with which the program tries at its start whether a rename
                    // works. It must be gone at the end, and no user's file has this name.
                    if name.as_os_str() == ".rft-probe" {
                        continue;
                    }
                    let stamp = stamp(&meta);
                    if self.seen.get(&name) != Some(&stamp) {
                        self.judge(&path, &name);
                    }
                    there.insert(name, stamp);
                }
            }
        }
        for name in self.seen.keys().filter(|name| !there.contains_key(*name)) {
            self.findings.note(|all| &mut all.lost, format!("{} vanished", name.display()));
        }
        self.seen = there;
    }

    fn judge(&mut self, path: &Path, name: &Path) {
        let Some(found) = read(path) else { return };
        let expected = self.expected.lock().unwrap();
        let allowed = [expected.arrives.get(name), expected.meanwhile.get(name)];
        if allowed.contains(&Some(&found)) {
            return;
        }
        let text = format!("{} was seen as {found:?}, not as {allowed:?}", path.display());
        match allowed.iter().flatten().next() {
            None => self.findings.note(|all| &mut all.doubled, text),
            Some(Entry::File { hash, .. }) if of_content(&found) == Some(*hash) => {
                // A file with the same content was there before and is just getting the time and
                // mode of the new one.
                if !expected.meanwhile.contains_key(name) {
                    self.findings.note(|all| &mut all.wrong, text);
                }
            }
            Some(_) => self.findings.note(|all| &mut all.partial, text),
        }
    }
}

fn of_content(entry: &Entry) -> Option<blake3::Hash> {
    if let Entry::File { hash, .. } = entry { Some(*hash) } else { None }
}

/// The entry at this path, read through one handle.
fn read(path: &Path) -> Option<Entry> {
    let mut file = File::options().read(true).open(path).ok()?;
    let meta = file.metadata().ok()?;
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer).ok()?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
    }
    let (seconds, nanos) = (meta.mtime(), meta.mtime_nsec());
    Some(Entry::File { size, hash: hasher.finalize(), mode: meta.mode() & 0o777, seconds, nanos })
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.ino(), meta.ctime(), meta.ctime_nsec())
}

/// Judges the result of one direction.
pub fn judge_incoming(incoming: &Path, expected: &Expected, findings: &mut Findings) {
    compare(incoming, &expected.arrives, findings);
}

/// Judges one host after both have stopped. `kept` and `archived` are the entries that its options
/// leave in Outgoing and in the archive.
pub fn judge_host(
    host: &Host,
    expected: &Expected,
    kept: bool,
    archived: bool,
    findings: &mut Findings,
) {
    let stays = if kept { &expected.dropped } else { &expected.refused };
    let left = snapshot(&host.outgoing());
    if left != *stays {
        let text = format!("Outgoing holds {:?}, and should {:?}", left.keys(), stays.keys());
        findings.note(|all| &mut all.unclean, text);
    }
    if archived {
        let mut sent = expected.dropped.clone();
        // Folders are not archived; those with files in them are made again in the archive.
        sent.retain(|name, entry| {
            !matches!(entry, Entry::Folder { .. }) && !expected.refused.contains_key(name)
        });
        let mut there = snapshot(&host.state().join("sent"));
        there.retain(|_, entry| !matches!(entry, Entry::Folder { .. }));
        if there != sent {
            let text = format!("sent holds {:?}, and should {:?}", there.keys(), sent.keys());
            findings.note(|all| &mut all.unclean, text);
        }
    }
    for folder in ["stage", "removing"] {
        let left = snapshot(&host.state().join(folder));
        if !left.is_empty() {
            findings.note(|all| &mut all.unclean, format!("{folder} holds {left:?}"));
        }
    }
    for entry in fs::read_dir(host.state()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.contains("damaged") {
            findings.note(|all| &mut all.unclean, format!("the ledger was damaged: {name}"));
        }
    }
    findings.heard(&String::from_utf8_lossy(
        &fs::read(host.state().join("rft.log")).unwrap_or_default(),
    ));
}

fn compare(root: &Path, expected: &BTreeMap<PathBuf, Entry>, findings: &mut Findings) {
    let found = snapshot(root);
    for (name, entry) in expected {
        match found.get(name) {
            Some(there) if there == entry => {}
            None => findings
                .note(|all| &mut all.lost, format!("{} is not there", root.join(name).display())),
            Some(there) => {
                let same =
                    matches!(entry, Entry::Folder { .. }) || of_content(there) == of_content(entry);
                let text = format!("{} is {there:?}, not {entry:?}", root.join(name).display());
                findings.note(|all| if same { &mut all.wrong } else { &mut all.partial }, text);
            }
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        findings.note(|all| &mut all.doubled, format!("{} is too much", root.join(name).display()));
    }
}
