//! Options of `rft service`, and what it needs to know of the peer's command line.

use super::{CommandLine, place};
use crate::cli::exit::Failure;
use clap::{ArgAction, Args, CommandFactory, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::path::Path;

/// Options of `rft service`.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// What to do
    #[arg(value_name = "ACTION", value_enum)]
    pub(crate) action: ServiceAction,
    /// A service of the whole system: it starts with the host [default for root]
    #[arg(long, conflicts_with = "user")]
    pub(crate) system: bool,
    /// A service of this user (Linux) [default for everybody else]
    #[arg(long)]
    pub(crate) user: bool,
    /// The service's name, also that of its folder [default: that of PEER]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The user that a service of the system runs as; created if it is rft (Linux)
    #[arg(long, value_name = "USER", default_value = "rft", value_hint = ValueHint::Username)]
    pub(crate) run_as: String,
    /// install: print what would be installed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// install: the words after `rft` of the peer: [OPTIONS] <PEER> <PORT>
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<OsString>,
}

/// What `rft service` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceAction {
    /// Check what the service needs, install it, start it, and wait until it is ready
    Install,
    /// Show the services, how they ended last, and what they do
    Status,
    /// Stop a service and remove it; its folders stay
    Remove,
    /// What the service manager of Windows starts
    #[cfg(windows)]
    #[value(hide = true)]
    Run,
}

impl CommandLine {
    /// PEER without a port, as it was typed.
    pub(crate) fn host_word(&self) -> Option<&str> {
        self.place.host_word()
    }

    /// The base folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Refuses a line that is no peer's but a command's.
    ///
    /// # Errors
    /// Exit code 2.
    pub(crate) fn must_be_a_peer(&self) -> Result<(), Failure> {
        match self.command {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!(
                "a service runs a peer, and no other command; type: rft service install PEER PORT, for example: rft service install bob.example.org {}",
                place::EXAMPLE_PORT
            ))),
        }
    }
}

/// The long names of the peer's options that take a path.
pub(crate) fn path_options() -> Vec<String> {
    let is_path = |arg: &&clap::Arg| {
        matches!(arg.get_value_hint(), ValueHint::DirPath | ValueHint::FilePath)
            && matches!(arg.get_action(), ArgAction::Set)
    };
    let command = CommandLine::command();
    let paths = command.get_arguments().filter(is_path);
    paths.filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
}
