//! The sandbox: from its start the process can write only beneath its own folders, even if a peer
//! takes it over. Linux offers Landlock for that; other systems offer nothing to an ordinary user.
//!
//! Reading stays allowed, since the system's resolver reads many files.

use rft::config::Folders;
use std::path::{Path, PathBuf};

/// The folders that the process may write to: its own, the folder of the log, and each parent that
/// contains only these. A Landlock rule belongs to a folder, not to a path. A folder that replaces
/// Incoming (created anew, or on a disk that was mounted again) has no rule; the rule of the parent
/// then allows writing to it.
pub(crate) fn folders_of(own: &Folders, log: Option<&Path>) -> Vec<PathBuf> {
    let outgoing = (!own.reads_outgoing).then_some(&own.outgoing);
    let own_three: Vec<_> = outgoing.into_iter().chain([&own.incoming, &own.state]).collect();
    let mut ours: Vec<_> = own_three
        .iter()
        .flat_map(|path| [path.canonicalize().ok(), named(path)])
        .flatten()
        .collect();
    let start = ours.clone();
    ours.extend(log.and_then(named));
    let state = own.state.canonicalize().unwrap_or_else(|_| own.state.clone());
    let mut rules: Vec<_> = own_three.into_iter().cloned().collect();
    rules.extend(log.filter(|log| *log != own.state).map(Path::to_owned));
    for path in start {
        let mut inner = path;
        while let Some(parent) =
            inner.parent().filter(|parent| contains_only(parent, &ours)).map(Path::to_owned)
        {
            let is_removable = is_mount_point(&parent) && !state.starts_with(&parent);
            if !rules.contains(&parent) {
                rules.push(parent.clone());
            }
            if !is_removable {
                break;
            }
            // A disk is mounted there. If it is mounted again, its root is another folder.
            ours.push(parent.clone());
            inner = parent;
        }
    }
    rules
}

/// The path with the links in its parents resolved. The last component may be a link.
fn named(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

/// The folder that `mkfs.ext4` creates on each disk.
const LOST_AND_FOUND: &str = "lost+found";

/// Whether a folder has no entries but `ours`.
fn contains_only(folder: &Path, ours: &[PathBuf]) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.all(|entry| {
            entry.is_ok_and(|entry| {
                entry.file_name() == LOST_AND_FOUND || ours.contains(&entry.path())
            })
        })
    })
}

#[cfg(unix)]
fn is_mount_point(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    folder.parent().is_some_and(|parent| device(parent) != device(folder))
}

#[cfg(not(unix))]
fn is_mount_point(_folder: &Path) -> bool {
    false
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSandbox {
    /// This system has none, or the kernel is too old.
    #[error("this system cannot limit the process to its folders")]
    Unsupported,
    /// The kernel refused a rule.
    #[cfg(target_os = "linux")]
    #[error(
        "the process could not be limited to its folders ({0}); --no-sandbox omits this warning"
    )]
    Failed(String),
}

/// Limits the calling thread, and every thread that it starts later, to writing beneath these
/// folders, which must exist. They can no longer execute programs.
///
/// # Errors
/// [`NoSandbox`]; the thread then has the rights of before.
#[cfg(target_os = "linux")]
pub(crate) fn restrict_writes(folders: &[PathBuf]) -> Result<(), NoSandbox> {
    use landlock::{
        ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetError, RulesetStatus,
    };
    let failed = |error: &dyn std::error::Error| {
        NoSandbox::Failed(rft::cause::without_number(&error.to_string()))
    };
    let in_folders = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::Refer;
    // Before 5.19 Landlock forbids every rename from one folder into another, and every received
    // file takes such a rename. Rights that newer kernels add are forbidden where they exist.
    let required = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)
        .map_err(|_| NoSandbox::Unsupported)?;
    let mut rules = required
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(ABI::V5) | AccessFs::Execute)
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    for folder in folders {
        let held = PathFd::new(folder).map_err(|error| failed(&error))?;
        rules =
            rules.add_rule(PathBeneath::new(held, in_folders)).map_err(|error| failed(&error))?;
    }
    let status = rules.restrict_self().map_err(|error: RulesetError| failed(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced { Err(NoSandbox::Unsupported) } else { Ok(()) }
}

/// Not available on this system.
///
/// # Errors
/// Always [`NoSandbox::Unsupported`].
#[cfg(not(target_os = "linux"))]
pub(crate) fn restrict_writes(_folders: &[PathBuf]) -> Result<(), NoSandbox> {
    Err(NoSandbox::Unsupported)
}

#[cfg(unix)]
#[cfg(test)]
mod rules {
    use super::*;
    use std::fs::{self, create_dir_all};

    /// The rules besides those of the three folders, relative to the base. `make` prepares the base
    /// and may move the folders.
    fn further_rules(log: Option<&str>, make: impl FnOnce(&Path, &mut Folders)) -> Vec<PathBuf> {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().canonicalize().unwrap();
        let mut own = Folders::in_dir(root.join("dir"));
        make(&root, &mut own);
        for folder in [&own.outgoing, &own.incoming, &own.state] {
            create_dir_all(folder).unwrap();
        }
        let log = log.map(|log| root.join(log));
        let rules = folders_of(&own, log.as_deref());
        assert_eq!(rules[..3], [own.outgoing, own.incoming, own.state]);
        rules[3..].iter().map(|rule| rule.strip_prefix(&root).unwrap().to_owned()).collect()
    }

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_base_folder_without_other_files_gets_a_rule_and_a_shared_one_does_not() {
        let other = |_: &Path, _: &mut Folders| {};
        assert_eq!(further_rules(None, other), paths(&["dir"]));
        assert_eq!(further_rules(Some("dir/.rft"), other), paths(&["dir"]));
        assert_eq!(further_rules(Some("dir/log"), other), paths(&["dir/log", "dir"]));
        for beside in ["dir/notes", "dir/.config/x"] {
            assert_eq!(
                further_rules(None, |root, _| create_dir_all(root.join(beside)).unwrap()),
                paths(&[])
            );
        }
        let file = |root: &Path, _: &mut Folders| {
            create_dir_all(root.join("dir")).unwrap();
            fs::write(root.join("dir/password"), "x").unwrap();
        };
        assert_eq!(further_rules(None, file), paths(&[]));
    }

    #[test]
    fn a_folder_elsewhere_gets_a_rule_for_its_own_parent() {
        let alone = |root: &Path, own: &mut Folders| own.incoming = root.join("disk/in");
        assert_eq!(further_rules(None, alone), paths(&["dir", "disk"]));
        let new_disk = |root: &Path, own: &mut Folders| {
            own.incoming = root.join("disk/in");
            create_dir_all(root.join("disk/lost+found")).unwrap();
        };
        assert_eq!(further_rules(None, new_disk), paths(&["dir", "disk"]));
        let shared = |root: &Path, own: &mut Folders| {
            own.incoming = root.join("disk/in");
            create_dir_all(root.join("disk/photos")).unwrap();
        };
        assert_eq!(further_rules(None, shared), paths(&["dir"]));
        // An Incoming of an earlier start, unused now.
        let unused = |root: &Path, own: &mut Folders| {
            own.incoming = root.join("disk/in");
            create_dir_all(root.join("dir/Incoming")).unwrap();
        };
        assert_eq!(further_rules(None, unused), paths(&["disk"]));
    }

    #[test]
    fn a_link_to_a_folder_gets_the_rule_of_its_target() {
        let linked = |root: &Path, own: &mut Folders| {
            create_dir_all(root.join("disk/in")).unwrap();
            create_dir_all(root.join("dir")).unwrap();
            std::os::unix::fs::symlink(root.join("disk/in"), &own.incoming).unwrap();
        };
        assert_eq!(further_rules(None, linked), paths(&["dir", "disk"]));
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind::{CrossesDevices, PermissionDenied};
    use std::net::ToSocketAddrs;
    use std::os::unix::fs::symlink;
    use std::sync::{Arc, Barrier};

    #[test]
    fn writes_outside_the_folders_fail_and_inside_succeed() {
        let base = tempfile::tempdir().unwrap();
        let (at, outside) = (|name: &str| base.path().join(name), base.path().join("outside"));
        for folder in ["Incoming", ".rft/stage", "outside"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(outside.join("canary"), "alive").unwrap();
        symlink(&outside, at("Incoming/planted")).unwrap();
        let (incoming, state) = (at("Incoming"), at(".rft"));
        // In a thread, so that the other tests stay unrestricted. Its own thread inherits the
        // sandbox.
        let sandboxed = std::thread::spawn(move || {
            restrict_writes(&[incoming.clone(), state.clone()])?;
            let work = move || {
                fs::write(state.join("stage/a"), "a")?;
                fs::create_dir(incoming.join("d"))?;
                fs::rename(state.join("stage/a"), incoming.join("d/a"))?;
                symlink("a", incoming.join("d/l"))?;
                fs::OpenOptions::new().append(true).open(incoming.join("d/a"))?;
                fs::File::create(incoming.join("d/a"))?;
                fs::remove_file(incoming.join("d/l"))?;
                fs::read(outside.join("canary"))?;
                ("localhost", 1).to_socket_addrs()?;
                let denied = [
                    fs::write(outside.join("new"), "x"),
                    fs::write(outside.join("canary"), "dead"),
                    fs::write(incoming.join("planted/new"), "x"),
                    fs::create_dir(outside.join("new")),
                    symlink("canary", outside.join("new")),
                    fs::rename(incoming.join("d/a"), outside.join("new")),
                    fs::rename(outside.join("canary"), incoming.join("taken")),
                    fs::hard_link(outside.join("canary"), incoming.join("taken")),
                    fs::remove_file(outside.join("canary")),
                    std::process::Command::new("/bin/true").status().map(|_| ()),
                ];
                // The kernel refuses a hard link from outside as one between two volumes.
                let kinds = denied.map(|one| one.map_err(|error| error.kind()));
                std::io::Result::Ok(
                    kinds.map(|one| matches!(one, Err(PermissionDenied | CrossesDevices))),
                )
            };
            Ok(std::thread::spawn(work).join().unwrap())
        });
        match sandboxed.join().unwrap() {
            Ok(denied) => assert_eq!(denied.unwrap(), [true; 10]),
            Err(NoSandbox::Unsupported) => not_tested(),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(fs::read_to_string(at("outside/canary")).unwrap(), "alive");
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 1);
    }

    /// A skipped test would look like one that passed: in CI the kernel must have Landlock.
    fn not_tested() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this kernel has no Landlock, and CI must have it"
        );
        eprintln!("this kernel has no Landlock: nothing was tested");
    }

    /// Whether a sandboxed thread can write to an Incoming that was replaced after its start.
    fn can_write_to_new_incoming(base: &Path) -> Option<bool> {
        let incoming = base.join("Incoming");
        let rules = folders_of(&Folders::in_dir(base), None);
        let (path, step) = (incoming.clone(), Arc::new(Barrier::new(2)));
        let steps = Arc::clone(&step);
        let sandboxed = std::thread::spawn(move || {
            let sandboxed = restrict_writes(&rules);
            // Incoming is replaced between these two.
            steps.wait();
            steps.wait();
            sandboxed.map(|()| fs::write(path.join("new"), "x").map_err(|error| error.kind()))
        });
        step.wait();
        fs::rename(&incoming, base.join("away")).unwrap();
        fs::create_dir(&incoming).unwrap();
        step.wait();
        match sandboxed.join().unwrap() {
            Ok(Ok(())) => Some(true),
            Ok(Err(PermissionDenied)) => Some(false),
            Ok(Err(error)) => panic!("{error}"),
            Err(NoSandbox::Unsupported) => {
                not_tested();
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_new_folder_is_writable_if_its_parent_has_no_other_entries() {
        for (beside, expected) in [(None, true), (Some("notes"), false)] {
            let base = tempfile::tempdir().unwrap();
            for folder in ["Incoming", "Outgoing", ".rft"].into_iter().chain(beside) {
                fs::create_dir(base.path().join(folder)).unwrap();
            }
            let written = can_write_to_new_incoming(base.path());
            assert!(
                written.is_none_or(|written| written == expected),
                "beside {beside:?}: {written:?}"
            );
        }
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let missing = base.path().join("missing");
        std::thread::spawn(move || assert!(restrict_writes(&[missing]).is_err())).join().unwrap();
        fs::write(base.path().join("free"), "still").unwrap();
    }
}
