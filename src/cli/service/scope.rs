//! Where the services of the system and those of a user are.

use crate::cli::args::service::ServiceArgs;
use crate::cli::exit::Failure;
use std::path::PathBuf;

/// The system, or a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Started with the system.
    System,
    /// Started with the user's service manager.
    User {
        home: PathBuf,
        /// `~/.config`.
        config: PathBuf,
    },
}

impl Scope {
    /// The scope that the options select.
    ///
    /// # Errors
    /// The user's home folder is not known: exit code 2.
    pub(super) fn of(args: &ServiceArgs) -> Result<Self, Failure> {
        let root = is_root();
        if args.system || (root && !args.user) {
            return Ok(Self::System);
        }
        let folder = |variable: &str| {
            std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let home = folder("HOME").ok_or_else(|| {
            Failure::usage("HOME is not set, so the services of this user cannot be found; log in as that user")
        })?;
        let config = folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        Ok(Self::User { home, config })
    }

    /// The unit of a service.
    pub(super) fn unit(name: &str) -> String {
        format!("rft@{name}.service")
    }

    /// The folder of the units that an administrator or user writes.
    pub(super) fn units(&self) -> PathBuf {
        match self {
            Self::System => PathBuf::from("/etc/systemd/system"),
            Self::User { config, .. } => config.join("systemd/user"),
        }
    }

    /// The base folder of a service that names none.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        match self {
            Self::System => PathBuf::from("/srv/rft").join(name),
            Self::User { home, .. } => home.join("rft").join(name),
        }
    }

    /// The password file of a service that names none.
    pub(super) fn password(&self, name: &str) -> PathBuf {
        let folder = match self {
            Self::System => PathBuf::from("/etc/rft"),
            Self::User { config, .. } => config.join("rft"),
        };
        folder.join(format!("{name}.password"))
    }

    /// What `systemctl` and `rft service` need for this scope.
    pub(super) fn option(&self) -> &'static str {
        match self {
            Self::System => "--system",
            Self::User { .. } => "--user",
        }
    }

    /// A command line of rft for a service.
    pub(super) fn command(&self, action: &str, name: &str) -> String {
        format!("rft service {action} {} --name {name}", self.option())
    }

    /// Refuses a change of the system by another user than root.
    ///
    /// # Errors
    /// Exit code 2.
    pub(super) fn may_change(&self) -> Result<(), Failure> {
        if *self == Self::System && !is_root() {
            return Err(Failure::usage(
                "a service of the system is root's; type the same with sudo in front, or with --user instead of --system",
            ));
        }
        Ok(())
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
