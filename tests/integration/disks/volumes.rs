//! Real volumes that fail, where the system permits mounts.

use super::{Way, failed, stop};
use crate::harness::events::of_transfer;
use crate::harness::files::{drop_in, hash_of};
use crate::harness::peer::{Host, Pair, Running};
use crate::harness::until;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether this user may mount. Prints a note if not.
pub fn may_mount() -> bool {
    let may =
        Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let may = may.is_ok_and(|done| done.status.success());
    if !may {
        eprintln!("NOT TESTED on a real volume: this user may not mount");
    }
    may
}

/// A path as this process sees it.
pub fn seen_by(process: u32, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root")).join(path.strip_prefix("/").unwrap())
}

/// Runs a command in the mount namespace of this process.
pub fn run_beside(process: u32, command: &[&str]) {
    let process = process.to_string();
    let done = Command::new("nsenter").args(["-t", &process, "-m"]).args(command).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// A volume of its own at a path, visible only to the process that [`Host::wrapper`] starts.
struct Volume {
    path: PathBuf,
}

impl Volume {
    /// `None`, with a note, if this user may not mount.
    fn of(host: &mut Host, options: &str) -> Option<Self> {
        if !may_mount() {
            return None;
        }
        let path = host.dir.join("disk");
        fs::create_dir_all(&path).unwrap();
        let mount =
            format!(r#"mount -t tmpfs -o {options} rft-test {} && exec "$0" "$@""#, path.display());
        host.wrapper = ["unshare", "--mount", "sh", "-c", &mount].map(str::to_owned).to_vec();
        Some(Self { path })
    }

    /// The volume as this process sees it.
    fn seen_by(&self, process: u32) -> PathBuf {
        seen_by(process, &self.path)
    }

    /// Replaces the disk by another one with these folders on it.
    fn is_replaced(&self, process: u32, folders: &str, meanwhile: impl FnOnce()) {
        let path = self.path.to_str().unwrap();
        run_beside(process, &["umount", "--lazy", path]);
        meanwhile();
        run_beside(process, &["mount", "-t", "tmpfs", "rft-test", path]);
        fs::create_dir_all(self.seen_by(process).join(folders)).unwrap();
    }
}

#[test]
fn full_and_unplugged_volumes_are_reported_and_recover() {
    let mut pair = Pair::new();
    let Some(volume) = Volume::of(&mut pair.b, "size=4m,nr_inodes=40") else { return };
    let incoming = volume.path.join("Incoming");
    let options = ["--incoming", incoming.to_str().unwrap(), "--min-free", "0"];
    let (mut a, mut b) = pair.connected(&[], &options);
    let disk = volume.seen_by(b.id());
    let to = disk.join("Incoming");

    // Full.
    let filler = disk.join("filler");
    let mut size = 4 << 20;
    while fs::write(&filler, vec![0; size]).is_err() {
        size -= 4096;
    }
    let mut way = Way { from: &pair.a, sender: &mut a, to: to.clone(), receiver: &mut b };
    let files = way.is_refused("full", "no space");
    fs::remove_file(&filler).unwrap();
    way.follows(&files);

    // No inodes left.
    let mut more = 0;
    while fs::write(disk.join(format!("inode-{more}")), "").is_ok() {
        more += 1;
    }
    let files = way.is_refused("inodes", "no inode");
    for number in 0..more {
        fs::remove_file(disk.join(format!("inode-{number}"))).unwrap();
    }
    way.follows(&files);

    // Unplugged: the mount point is there and empty, and nothing may be put into it.
    let away = pair.b.dir.join("away");
    fs::create_dir(&away).unwrap();
    fs::create_dir(volume.path.join("Incoming")).unwrap();
    let path = volume.path.to_str().unwrap();
    run_beside(way.receiver.id(), &["mount", "--move", path, away.to_str().unwrap()]);
    let files = way.is_refused("unplugged", "the folder is gone");
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
    run_beside(way.receiver.id(), &["mount", "--move", away.to_str().unwrap(), path]);
    way.follows(&files);
    stop([a, b]);
}

/// To the system, a disk that was unplugged and returns is a different one.
#[test]
fn a_remounted_disk_is_used_again() {
    let mut pair = Pair::new();
    let (Some(out), Some(disk)) =
        (Volume::of(&mut pair.a, "size=8m"), Volume::of(&mut pair.b, "size=8m"))
    else {
        return;
    };
    // The mount point must be empty.
    fs::remove_dir(pair.a.outgoing()).unwrap();
    let (outgoing, incoming) = (out.path.join("Outgoing"), disk.path.join("Incoming"));
    let from = ["--outgoing", outgoing.to_str().unwrap()];
    let (mut a, mut b) =
        pair.connected(&from, &["--incoming", incoming.to_str().unwrap(), "--min-free", "0"]);
    let (at_a, at_b) = (a.id(), b.id());
    let put = |name: &str, text: &str| {
        fs::write(out.seen_by(at_a).join("Outgoing").join(name), text).unwrap();
    };
    let arrives = |b: &mut Running, name: &str, text: &str| {
        b.has_or_waits_for("file_done", of_transfer(name, "receive"));
        assert_eq!(
            fs::read_to_string(disk.seen_by(at_b).join("Incoming").join(name)).unwrap(),
            text
        );
    };
    put("before", "b");
    arrives(&mut b, "before", "b");
    disk.is_replaced(at_b, "Incoming/.rft", || {
        put("while Incoming is away", "i");
        a.waits_for("file_failed", failed("while Incoming is away", "send", "the folder is gone"));
    });
    b.waits_for("file_failed", failed("while Incoming is away", "receive", "the folder is gone"));
    arrives(&mut b, "while Incoming is away", "i");
    out.is_replaced(at_a, "Outgoing/.rft", || {
        a.waits_for("warning", |event| {
            event["message"].as_str().unwrap().contains("the folder is gone")
        });
    });
    put("from the new one", "n");
    arrives(&mut b, "from the new one", "n");
    // A disk that rft has never used is not accepted. When it goes, the earlier files are there
    // again.
    run_beside(b.id(), &["mount", "-t", "tmpfs", "rft-test", incoming.to_str().unwrap()]);
    put("under another", "u");
    b.waits_for("file_failed", failed("under another", "receive", "the folder is gone"));
    run_beside(b.id(), &["umount", incoming.to_str().unwrap()]);
    arrives(&mut b, "under another", "u");
    stop([a, b]);
}

/// The archive is on a volume of its own, which also has the ledger and the log, and a file does not
/// fit: nothing of it stays there, and it follows when there is room.
#[test]
fn a_full_archive_is_reported_and_the_file_follows() {
    let mut pair = Pair::new();
    if !may_mount() {
        return;
    }
    let state = pair.a.state();
    fs::create_dir(&state).unwrap();
    let path = state.to_str().unwrap().to_owned();
    let mount = format!(r#"mount -t tmpfs -o size=12m rft-test {path} && exec "$0" "$@""#);
    pair.a.wrapper = ["unshare", "--mount", "sh", "-c", &mount].map(str::to_owned).to_vec();
    let (mut a, mut b) = pair.connected(&["--after-send", "archive"], &[]);
    let sent = seen_by(a.id(), &state).join("sent");
    let hash = drop_in(&pair.a, "f", 20 << 20);
    b.has_or_waits_for("file_done", of_transfer("f", "receive"));
    a.has_or_waits_for("warning", |event| {
        let message = event["message"].as_str().unwrap();
        event["path"] == "f" && message.contains("no space") && message.contains("make room")
    });
    assert_eq!(fs::read_dir(&sent).unwrap().count(), 0);
    assert!(pair.a.outgoing().join("f").exists());
    run_beside(a.id(), &["mount", "-o", "remount,size=64m", &path]);
    until("it is archived", || sent.join("f").exists() && !pair.a.outgoing().join("f").exists());
    assert_eq!(hash_of(&sent.join("f")), hash);
    stop([a, b]);
}
