//! The attacked peer and everything around it that must not change.

use crate::harness::peer::{Host, Running, free_port};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder with canaries around and inside the peer's base folder.
pub struct Ground {
    base: tempfile::TempDir,
    pub host: Host,
    before: BTreeMap<PathBuf, Found>,
}

/// Everything that can be observed of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    kind: fs::FileType,
    content: Option<Vec<u8>>,
    modified: SystemTime,
    read_only: bool,
}

impl Ground {
    pub fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let host = Host::new(base.path().join("home/peer"), "127.0.0.1", "127.0.0.2", free_port());
        for canary in [
            "canary",
            "home/canary",
            "home/peer/canary",
            "outside/canary",
            "home/peer/Outgoing/.rftkeep",
        ] {
            let path = base.path().join(canary);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "alive").unwrap();
        }
        for own in [host.incoming(), host.state()] {
            fs::create_dir_all(own).unwrap();
        }
        let mut ground = Self { base, host, before: BTreeMap::new() };
        ground.before = ground.manifest();
        ground
    }

    pub fn outside(&self) -> PathBuf {
        self.base.path().join("outside")
    }

    /// Declares the present state, with the entries that the test planted, as the one to keep.
    pub fn is_so_from_now_on(&mut self) {
        self.before = self.manifest();
    }

    /// Starts the peer listening for any address. The kernel does not confine it: the test shows
    /// that it needs no sandbox.
    pub fn listens(&self, options: &[&str]) -> (Running, SocketAddr) {
        let mut running =
            self.host.listen(&[&["--no-sandbox", "--memory", "32Mi"], options].concat());
        running.waits_for("listening", |_| true);
        (running, SocketAddr::from(([127, 0, 0, 1], self.host.port)))
    }

    /// Nothing has changed outside Incoming and `.rft`, and Incoming holds these entries.
    pub fn is_as_before(&self) {
        assert_eq!(self.manifest(), self.before, "something outside Incoming and .rft changed");
    }

    fn manifest(&self) -> BTreeMap<PathBuf, Found> {
        let mut found = BTreeMap::new();
        self.look(self.base.path(), &mut found);
        found
    }

    fn look(&self, folder: &Path, found: &mut BTreeMap<PathBuf, Found>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let own = path == self.host.incoming() || path == self.host.state();
            // Files that come and go here change the times of these folders, but not those of their
            // parents. At its start the peer tries in Outgoing whether a rename works.
            let timeless = own || path == self.host.outgoing();
            let modified = if timeless { SystemTime::UNIX_EPOCH } else { meta.modified().unwrap() };
            let content = meta.is_file().then(|| fs::read(&path).unwrap());
            let read_only = meta.permissions().readonly();
            found.insert(
                path.clone(),
                Found { kind: meta.file_type(), content, modified, read_only },
            );
            if meta.is_dir() && !own {
                self.look(&path, found);
            }
        }
    }

    /// The paths of everything in Incoming.
    pub fn arrived(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.host.incoming())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Number of files in the stage.
    pub fn staged(&self) -> usize {
        fs::read_dir(self.host.state().join("stage")).map_or(0, Iterator::count)
    }

    /// An honest peer.
    pub fn honest_peer(&self) -> Host {
        Host::new(self.base.path().join("initiator"), "127.0.0.2", "127.0.0.1", self.host.port)
    }

    /// The peer still serves an honest one and stops in order, and nothing else has changed on the
    /// host.
    pub fn survives(&self, running: Running) {
        let initiator = self.honest_peer();
        fs::write(initiator.outgoing().join("honest"), "honest").unwrap();
        initiator.start(&["--drain", "--no-sandbox"]).ends(0);
        assert_eq!(fs::read(self.host.incoming().join("honest")).unwrap(), b"honest");
        running.stop();
        fs::remove_dir_all(&initiator.dir).unwrap();
        self.is_as_before();
    }
}
