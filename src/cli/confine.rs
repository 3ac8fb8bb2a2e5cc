//! The process confines itself: from the start on it writes only beneath its own folders, whatever a peer
//! makes it do. Linux has Landlock for that; elsewhere there is nothing that a user may ask of the system.
//!
//! Reading is not confined: names are resolved by libraries of the system that read where they like.

use std::path::Path;

/// Why the process is not confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotConfined {
    /// As it is on this system; nothing that the user could change now.
    #[error("this system has no way to confine the process to its folders")]
    Unsupported,
    /// It should have worked.
    #[cfg(target_os = "linux")]
    #[error("the process could not be confined to its folders ({0}); --no-sandbox goes without")]
    Failed(String),
}

/// Confines the calling thread, and each that it starts from now on, to writing beneath these folders, which
/// must be there already. Nothing can be executed any more.
///
/// # Errors
/// [`NotConfined`]; the thread may then do what it could before.
#[cfg(target_os = "linux")]
pub(crate) fn to_folders(folders: &[&Path]) -> Result<(), NotConfined> {
    use landlock::{
        ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetError, RulesetStatus,
    };
    let failed = |error: &dyn std::error::Error| NotConfined::Failed(error.to_string());
    let in_folders = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::Refer;
    // A kernel that knows no rule for renames from one folder into another (before 5.19) forbids them all to
    // whoever is confined, and every file goes that way. What newer kernels can forbid besides is a bonus.
    let required = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)
        .map_err(|_| NotConfined::Unsupported)?;
    let mut rules = required
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(ABI::V5) | AccessFs::Execute)
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    for folder in folders {
        let held = PathFd::new(folder).map_err(|error| failed(&error))?;
        rules = rules.add_rule(PathBeneath::new(held, in_folders)).map_err(|error| failed(&error))?;
    }
    // The prompt for the password opens the terminal by this name.
    if let Ok(terminal) = PathFd::new("/dev/tty") {
        let rights = AccessFs::WriteFile | AccessFs::IoctlDev;
        rules = rules.add_rule(PathBeneath::new(terminal, rights)).map_err(|error| failed(&error))?;
    }
    let status = rules.restrict_self().map_err(|error: RulesetError| failed(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced { Err(NotConfined::Unsupported) } else { Ok(()) }
}

/// See the other one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn to_folders(_folders: &[&Path]) -> Result<(), NotConfined> {
    Err(NotConfined::Unsupported)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind::{CrossesDevices, PermissionDenied};
    use std::net::ToSocketAddrs;
    use std::os::unix::fs::symlink;

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
        // A thread of its own: the others of this test program stay free. A thread of a confined one is confined.
        let confined = std::thread::spawn(move || {
            to_folders(&[&incoming, &state])?;
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
                std::io::Result::Ok(kinds.map(|one| matches!(one, Err(PermissionDenied | CrossesDevices))))
            };
            Ok(std::thread::spawn(work).join().unwrap())
        });
        match confined.join().unwrap() {
            Ok(denied) => assert_eq!(denied.unwrap(), [true; 10]),
            Err(NotConfined::Unsupported) => eprintln!("this kernel has no Landlock: nothing was tested"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(fs::read_to_string(at("outside/canary")).unwrap(), "alive");
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let missing = base.path().join("missing");
        std::thread::spawn(move || assert!(to_folders(&[&missing]).is_err())).join().unwrap();
        fs::write(base.path().join("free"), "still").unwrap();
    }
}
