//! The process confines itself: from the start on it writes only beneath its own folders, whatever
//! a peer makes it do. Linux has Landlock for that; elsewhere there is nothing that a user may ask
//! of the system.
//!
//! Reading is not confined: names are resolved by libraries of the system that read where they
//! like.

use rft::config::Folders;
use std::path::{Path, PathBuf};

/// What the process writes to: its folders, those above them that hold nothing else, and that of
/// the log. A rule of Landlock is for a folder, not for its path. So the one that takes the place
/// of Incoming, made anew or on a disk that is back, has none of its own and is written to by that
/// for the folder above it.
pub(crate) fn folders_of(own: &Folders, log: Option<&Path>) -> Vec<PathBuf> {
    let own_three = [&own.outgoing, &own.incoming, &own.state];
    let mut ours: Vec<_> = own_three
        .iter()
        .flat_map(|path| [path.canonicalize().ok(), named(path)])
        .flatten()
        .collect();
    let begin = ours.clone();
    ours.extend(log.and_then(named));
    let state = own.state.canonicalize().unwrap_or_else(|_| own.state.clone());
    let mut rules: Vec<_> = own_three.into_iter().cloned().collect();
    rules.extend(log.filter(|log| *log != own.state).map(Path::to_owned));
    for path in begin {
        let mut inner = path;
        while let Some(above) =
            inner.parent().filter(|above| holds_only(above, &ours)).map(Path::to_owned)
        {
            let comes_and_goes = is_mount_point(&above) && !state.starts_with(&above);
            if !rules.contains(&above) {
                rules.push(above.clone());
            }
            if !comes_and_goes {
                break;
            }
            // Its disk is mounted there: what is mounted there later is another folder.
            ours.push(above.clone());
            inner = above;
        }
    }
    rules
}

/// A path without the links above it: its last one is where the user put it.
fn named(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

/// What ext4 makes on each disk, for what it may find one day.
const EMPTY_DISK: &str = "lost+found";

/// Whether nothing else stands in a folder.
fn holds_only(folder: &Path, ours: &[PathBuf]) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.all(|entry| {
            entry.is_ok_and(|entry| entry.file_name() == EMPTY_DISK || ours.contains(&entry.path()))
        })
    })
}

#[cfg(unix)]
fn is_mount_point(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    folder.parent().is_some_and(|above| device(above) != device(folder))
}

#[cfg(not(unix))]
fn is_mount_point(_folder: &Path) -> bool {
    false
}

/// Why the process is not confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSandbox {
    /// As it is on this system; nothing that the user could change now.
    #[error("this system has no way to confine the process to its folders")]
    Unsupported,
    /// It should have worked.
    #[cfg(target_os = "linux")]
    #[error("the process could not be confined to its folders ({0}); --no-sandbox goes without")]
    Failed(String),
}

/// Confines the calling thread, and each that it starts from now on, to writing beneath these
/// folders, which must be there already. Nothing can be executed any more.
///
/// # Errors
/// [`NoSandbox`]; the thread may then do what it could before.
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
    // A kernel that knows no rule for renames from one folder into another (before 5.19) forbids
    // them all to whoever is confined, and every file goes that way. What newer kernels can forbid
    // besides is a bonus.
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

/// See the other one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn restrict_writes(_folders: &[PathBuf]) -> Result<(), NoSandbox> {
    Err(NoSandbox::Unsupported)
}

#[cfg(unix)]
#[cfg(test)]
mod rules {
    use super::*;
    use std::fs::{self, create_dir_all};

    /// The rules beyond those of the three, relative to the base, with what a test makes of the
    /// base and its folders.
    fn beyond(log: Option<&str>, make: impl FnOnce(&Path, &mut Folders)) -> Vec<PathBuf> {
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
    fn a_base_folder_of_its_own_is_one_of_them_and_a_shared_one_is_not() {
        let other = |_: &Path, _: &mut Folders| {};
        assert_eq!(beyond(None, other), paths(&["dir"]));
        assert_eq!(beyond(Some("dir/.rft"), other), paths(&["dir"]));
        assert_eq!(beyond(Some("dir/log"), other), paths(&["dir/log", "dir"]));
        for beside in ["dir/notes", "dir/.config/x"] {
            assert_eq!(
                beyond(None, |root, _| create_dir_all(root.join(beside)).unwrap()),
                paths(&[])
            );
        }
        let file = |root: &Path, _: &mut Folders| {
            create_dir_all(root.join("dir")).unwrap();
            fs::write(root.join("dir/password"), "x").unwrap();
        };
        assert_eq!(beyond(None, file), paths(&[]));
    }

    #[test]
    fn a_folder_elsewhere_counts_where_it_is() {
        let alone = |root: &Path, own: &mut Folders| own.incoming = root.join("disk/in");
        assert_eq!(beyond(None, alone), paths(&["dir", "disk"]));
        let new_disk = |root: &Path, own: &mut Folders| {
            own.incoming = root.join("disk/in");
            create_dir_all(root.join("disk/lost+found")).unwrap();
        };
        assert_eq!(beyond(None, new_disk), paths(&["dir", "disk"]));
        let shared = |root: &Path, own: &mut Folders| {
            own.incoming = root.join("disk/in");
            create_dir_all(root.join("disk/photos")).unwrap();
        };
        assert_eq!(beyond(None, shared), paths(&["dir"]));
        // Left over from before.
        let unused = |root: &Path, own: &mut Folders| {
            own.incoming = root.join("disk/in");
            create_dir_all(root.join("dir/Incoming")).unwrap();
        };
        assert_eq!(beyond(None, unused), paths(&["disk"]));
    }

    #[test]
    fn a_link_to_a_folder_counts_as_that_folder() {
        let linked = |root: &Path, own: &mut Folders| {
            create_dir_all(root.join("disk/in")).unwrap();
            create_dir_all(root.join("dir")).unwrap();
            std::os::unix::fs::symlink(root.join("disk/in"), &own.incoming).unwrap();
        };
        assert_eq!(beyond(None, linked), paths(&["dir", "disk"]));
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
    fn writes_outside_fail_and_inside_they_do_not() {
        let base = tempfile::tempdir().unwrap();
        let (at, outside) = (|name: &str| base.path().join(name), base.path().join("outside"));
        for folder in ["Incoming", ".rft/stage", "outside"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(outside.join("canary"), "alive").unwrap();
        symlink(&outside, at("Incoming/planted")).unwrap();
        let (incoming, state) = (at("Incoming"), at(".rft"));
        // A thread of its own: the others of this test program stay free. A thread of a confined
        // one is confined.
        let confined = std::thread::spawn(move || {
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
                // A link across the border is refused as one between two volumes.
                let kinds = denied.map(|one| one.map_err(|error| error.kind()));
                std::io::Result::Ok(
                    kinds.map(|one| matches!(one, Err(PermissionDenied | CrossesDevices))),
                )
            };
            Ok(std::thread::spawn(work).join().unwrap())
        });
        match confined.join().unwrap() {
            Ok(denied) => assert_eq!(denied.unwrap(), [true; 10]),
            Err(NoSandbox::Unsupported) => not_tested(),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(fs::read_to_string(at("outside/canary")).unwrap(), "alive");
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 1);
    }

    /// A skipped test is taken for one that passed: where CI runs them, the kernel must have
    /// Landlock.
    fn not_tested() {
        assert!(
            std::env::var_os("CI").is_none(),
            "this kernel has no Landlock, which CI must have"
        );
        eprintln!("this kernel has no Landlock: nothing was tested");
    }

    /// Whether a confined thread may write to an Incoming that took the place of the one it was
    /// confined to.
    fn a_new_incoming_is_written_to(base: &Path) -> Option<bool> {
        let incoming = base.join("Incoming");
        let rules = folders_of(&Folders::in_dir(base), None);
        let (path, step) = (incoming.clone(), Arc::new(Barrier::new(2)));
        let steps = Arc::clone(&step);
        let confined = std::thread::spawn(move || {
            let confined = restrict_writes(&rules);
            // It is made anew between these two.
            steps.wait();
            steps.wait();
            confined.map(|()| fs::write(path.join("new"), "x").map_err(|error| error.kind()))
        });
        step.wait();
        fs::rename(&incoming, base.join("away")).unwrap();
        fs::create_dir(&incoming).unwrap();
        step.wait();
        match confined.join().unwrap() {
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
    fn a_folder_made_anew_is_written_to_where_the_one_above_holds_nothing_else() {
        for (beside, expected) in [(None, true), (Some("notes"), false)] {
            let base = tempfile::tempdir().unwrap();
            for folder in ["Incoming", "Outgoing", ".rft"].into_iter().chain(beside) {
                fs::create_dir(base.path().join(folder)).unwrap();
            }
            let written = a_new_incoming_is_written_to(base.path());
            assert!(
                written.is_none_or(|written| written == expected),
                "beside {beside:?}: {written:?}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let missing = base.path().join("missing");
        std::thread::spawn(move || assert!(restrict_writes(&[missing]).is_err())).join().unwrap();
        fs::write(base.path().join("free"), "still").unwrap();
    }
}
