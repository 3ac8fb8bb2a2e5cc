//! A host whose power may fail: its modelled disk is written to a real folder and recorded from
//! there.

use super::disk::{Body, Cover, Disk, Event, Inode, Log, Loss, Node, Part, ROOT, Sync};
use crate::recorder::{Recorder, open_dir};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rft::internals::store::{COPY_PREFIX, Calls, System, system_time_of};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The durable state of the disk, and everything that happened since.
#[derive(Clone)]
pub struct Host {
    pub start: Disk,
    pub log: Log,
    volumes: &'static [&'static str],
}

impl Host {
    /// An empty disk. These folders become volumes of their own once they are made.
    pub fn new(volumes: &'static [&'static str]) -> Self {
        let root =
            Inode { body: Body::Folder(BTreeMap::new()), mode: None, modified: None, volume: 0 };
        Self { start: Disk { nodes: BTreeMap::from([(ROOT, root)]) }, log: Log::default(), volumes }
    }

    /// The same with everything durable.
    pub fn settled(&self) -> Self {
        let end = self.log.events.len();
        self.lose_as(&vec![usize::MAX; end], end, Loss::Nothing)
    }

    /// See [`Log::whole_renames`].
    pub fn with_whole_renames(mut self) -> Self {
        self.log.whole_renames = true;
        self
    }

    /// Runs `work` on this disk. A panic counts as an error.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, String> + Send,
    ) -> Result<(Self, T), String> {
        let now = self.settled().start;
        // A disk in memory takes a fraction of the time.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        fill(&now, folder.path());
        // In a separate thread, whose calls are recorded.
        let (log, volumes) = (self.log.clone(), self.volumes);
        let ran = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                Recorder::start(folder.path(), log, now, volumes);
                work(folder.path()).map(|done| (Recorder::stop(), done))
            });
            thread.join()
        });
        let (recorder, done) = ran.map_err(|panic| match panic.downcast::<String>() {
            Ok(text) => format!("panicked: {text}"),
            Err(_) => "panicked".into(),
        })??;
        if self.start.tree().is_empty() {
            compare(&recorder.disk, folder.path());
        }
        Ok((Self { log: recorder.log, ..self.clone() }, done))
    }

    /// After a kill of the process at event `cut`; the host itself goes on.
    pub fn killed(&self, cut: usize) -> Self {
        let mut log = self.log.clone();
        log.events.truncate(cut);
        Self { log: log.without_promises(), ..self.clone() }
    }

    /// After a power loss at event `cut`. `safe` is the result of [`Log::safe_from`].
    pub fn lose_as(&self, safe: &[usize], cut: usize, loss: Loss) -> Self {
        let log = Log { whole_renames: self.log.whole_renames, ..Log::default() };
        Self { start: self.log.after_loss(&self.start, safe, cut, loss), log, ..self.clone() }
    }

    /// The moments at which a power loss may differ. Between the pages of one write only a few are
    /// chosen.
    pub fn moments(&self, random: &mut StdRng) -> Vec<usize> {
        let is_page =
            |at: usize| matches!(self.log.events.get(at), Some(Event::Part(Part::Write { .. })));
        let moments = 0..=self.log.events.len();
        moments.filter(|&at| !is_page(at) || random.random_ratio(1, 8)).collect()
    }

    /// The moments at which a process may die: not in the middle of a rename.
    pub fn kills(&self, random: &mut StdRng) -> Vec<usize> {
        let in_rename = |at: usize| {
            matches!(
                self.log.events.get(at),
                Some(Event::Part(Part::Leave { renamed: Some(_), .. }))
            )
        };
        self.moments(random).into_iter().filter(|&at| !in_rename(at)).collect()
    }

    /// The moments just after each rename.
    pub fn renames(&self) -> impl Iterator<Item = usize> {
        let is_rename =
            |event: &Event| matches!(event, Event::Part(Part::Leave { renamed: Some(_), .. }));
        self.log
            .events
            .iter()
            .enumerate()
            .filter(move |(_, event)| is_rename(event))
            .map(|(at, _)| at + 1)
    }

    /// The moment of the first promise.
    pub fn first_promise(&self) -> usize {
        self.log.events.iter().position(|event| matches!(event, Event::Promise(_))).unwrap()
    }

    /// The kinds of syncs from a moment on, each with its first moment.
    pub fn syncs(&self, from: usize) -> BTreeMap<Kind, usize> {
        let mut syncs = BTreeMap::new();
        for (at, event) in self.log.events.iter().enumerate().skip(from) {
            if let Event::Sync(sync) = event {
                syncs.entry(kind_of(sync)).or_insert(at);
            }
        }
        syncs
    }

    /// The same run as if the syncs of this kind had not been made.
    pub fn without(&self, kind: &Kind) -> Self {
        Self { log: self.log.without(|sync| kind_of(sync) == *kind), ..self.clone() }
    }
}

/// Leaves out each kind of sync from a moment on, one at a time, except those in `needed`. `holds`
/// checks a host without a kind that was first made at the given moment. Returns the kinds without
/// which every promise holds, and adds the others to `needed`.
pub fn needless_syncs(
    host: &Host,
    from: usize,
    needed: &mut BTreeSet<Kind>,
    mut holds: impl FnMut(&Host, usize) -> Result<(), String>,
) -> BTreeSet<Kind> {
    let mut needless = BTreeSet::new();
    for (kind, from) in host.syncs(from) {
        if needed.contains(&kind) {
            continue;
        }
        match holds(&host.without(&kind), from) {
            Ok(()) => needless.insert(kind),
            Err(broken) => {
                eprintln!("without the sync of {} after {:?}: {broken}", kind.1, kind.0);
                needed.insert(kind)
            }
        };
    }
    needless
}

/// The kind of a sync: the failpoint before it, and the synced path without its numbers.
pub type Kind = (&'static str, String);

fn kind_of(sync: &Sync) -> Kind {
    let general = |part: std::path::Component<'_>| match part.as_os_str().to_string_lossy() {
        part if part.starts_with(COPY_PREFIX) => format!("{COPY_PREFIX}#"),
        part => part.trim_end_matches(|end: char| end.is_ascii_digit()).to_owned(),
    };
    let path = sync.path.components().map(general).collect::<Vec<_>>().join("/");
    let path = if let Cover::Volume(_) = sync.cover { format!("{path}, the volume") } else { path };
    (sync.place, path)
}

/// The losses to try at a moment: everything, a random selection, and one of the others in turn.
pub fn losses(moment: usize, random: &mut StdRng) -> [Loss; 3] {
    let turn = [Loss::Nothing, Loss::Content, Loss::Zeros, Loss::Names];
    [Loss::All, Loss::Some(random.random()), turn[moment % turn.len()]]
}

/// A random generator whose seed is printed, so that a failure can be repeated.
pub fn seeded() -> StdRng {
    let seed = std::env::var("RFT_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("RFT_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Writes the modelled disk into an empty folder.
fn fill(disk: &Disk, folder: &Path) {
    let mut known: BTreeMap<Node, PathBuf> = BTreeMap::new();
    let tree = disk.tree();
    for (path, node) in &tree {
        let at = folder.join(path);
        if let Some(first) = known.get(node) {
            fs::hard_link(first, at).unwrap();
            continue;
        }
        match &disk.nodes[node].body {
            Body::Folder(_) => fs::create_dir(&at).unwrap(),
            Body::File(content) => write(&at, content),
            Body::Link(target) => symlink(String::from_utf8_lossy(target).as_ref(), &at).unwrap(),
        }
        known.insert(*node, at);
    }
    // The contents of a folder before the folder itself, whose time they would change.
    for (path, node) in tree.iter().rev() {
        let (at, inode) = (folder.join(path), &disk.nodes[node]);
        if let Body::Link(_) = inode.body {
            let dir = open_dir(at.parent().unwrap());
            let modified = inode.modified.unwrap_or_default();
            System.set_link(&dir, at.file_name().unwrap(), modified).unwrap();
            continue;
        }
        if let Some(modified) = inode.modified {
            let time = system_time_of(modified);
            File::open(&at).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        }
        if let Some(mode) = inode.mode {
            fs::set_permissions(&at, Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// Leaves holes in place of zero pages: most of the ledger is zeros.
fn write(path: &Path, content: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (number, page) in content.chunks(4096).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, number as u64 * 4096).unwrap();
        }
    }
}

/// Checks that every change was recorded.
fn compare(disk: &Disk, folder: &Path) {
    let (mut folders, mut found) = (vec![PathBuf::new()], BTreeSet::new());
    let tree = disk.tree();
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(folder.join(&path)).unwrap() {
            let path = path.join(entry.unwrap().file_name());
            let at = folder.join(&path);
            let Some(node) = tree.get(&path) else { panic!("{} was not recorded", path.display()) };
            match &disk.nodes[node].body {
                Body::Folder(_) => folders.push(path.clone()),
                Body::File(content) => {
                    assert!(fs::read(&at).unwrap() == *content, "{} differs", path.display());
                }
                Body::Link(target) => {
                    let real = fs::read_link(&at).unwrap();
                    assert_eq!(real.as_os_str().as_encoded_bytes(), target, "{}", path.display());
                }
            }
            found.insert(path);
        }
    }
    assert!(tree.keys().all(|path| found.contains(path)), "a removal was not recorded");
}
