//! Asks systemd, by its own commands.

use super::scope::Scope;
use crate::cli::exit::{self, Failure};
use crate::cli::output::text;
use rft::cause;
use std::collections::BTreeMap;
use std::process::{Command, Output};

/// The oldest systemd that hands credentials to the services of a user too.
const MIN_VERSION: u32 = 250;

/// systemd, for one scope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Systemctl<'a>(pub(super) &'a Scope);

impl Systemctl<'_> {
    /// Runs a command.
    ///
    /// # Errors
    /// It fails: exit code 1, with its words.
    pub(super) fn run(self, words: &[&str]) -> Result<String, Failure> {
        let output = self.output(words)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = text::printable(&said.trim().replace('\n', "; "));
        let line = format!("systemctl {} {}", self.0.option(), words.join(" "));
        let hint = match self.0 {
            Scope::User { .. } if said.contains("connect to bus") => format!(
                "; log in as this user itself (ssh or a console, not su), or set XDG_RUNTIME_DIR=/run/user/{}",
                rustix::process::geteuid().as_raw()
            ),
            _ => String::new(),
        };
        Err(Failure::new(exit::UNKNOWN, format!("`{line}` failed: {said}{hint}")))
    }

    fn output(self, words: &[&str]) -> Result<Output, Failure> {
        run("systemctl", &[&[self.0.option()], words].concat())
    }

    /// Checks that systemd is there, and new enough.
    ///
    /// # Errors
    /// Exit code 1.
    pub(super) fn check(self) -> Result<(), Failure> {
        let said = self.run(&["--version"])?;
        let version = said.split_whitespace().nth(1).and_then(|word| {
            let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        match version {
            Some(version) if version < MIN_VERSION => Err(Failure::new(
                exit::UNKNOWN,
                format!(
                    "systemd {version} is too old: rft needs {MIN_VERSION} or later; run rft by other means, with --password-file"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Properties of a unit.
    ///
    /// # Errors
    /// systemd does not answer: exit code 1.
    pub(super) fn show(self, unit: &str) -> Result<Properties, Failure> {
        const NAMES: &str = "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,MainPID,NRestarts,Result,StatusText,StateChangeTimestamp,ExecMainStatus,ExecMainCode";
        let said = self.run(&["show", "--property", NAMES, "--", unit])?;
        let pair = |line: &str| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Ok(Properties(said.lines().filter_map(pair).collect()))
    }

    /// The names of all rft services that have a unit here, or that systemd has loaded.
    ///
    /// # Errors
    /// systemd does not answer: exit code 1.
    pub(super) fn names(self) -> Result<Vec<String>, Failure> {
        let name_of = |word: &str| {
            let name = word.strip_prefix("rft@")?.strip_suffix(".service")?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        let files = std::fs::read_dir(self.0.units()).into_iter().flatten().flatten();
        let files = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = files.filter_map(|file| name_of(&file)).collect();
        let loaded =
            self.run(&["list-units", "--all", "--plain", "--no-legend", "--", "rft@*.service"])?;
        names.extend(loaded.split_whitespace().filter_map(name_of));
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The named service, or the only one.
    ///
    /// # Errors
    /// There is none, or several: exit codes 18 and 2.
    pub(super) fn only(self, action: &str, name: Option<&str>) -> Result<String, Failure> {
        let names = self.names()?;
        match (name, &names[..]) {
            (Some(name), _) if names.iter().any(|other| other == name) => Ok(name.to_owned()),
            (None, [only]) => Ok(only.clone()),
            (None, [_, _, ..]) => Err(Failure::usage(format!(
                "there are several services: {}; type: {}",
                names.join(", "),
                self.0.command(action, &names[0])
            ))),
            (name, _) => Err(self.none(name, &names)),
        }
    }

    /// There is no such service.
    pub(super) fn none(self, name: Option<&str>, names: &[String]) -> Failure {
        let whose = match self.0 {
            Scope::System => "of the system (those of a user: --user)",
            Scope::User { .. } => "of this user (those of the system: --system)",
        };
        let called = name.map(|name| format!(" {}", text::printable(name))).unwrap_or_default();
        let others = match names.is_empty() {
            true => String::new(),
            false => format!("; there are: {}", names.join(", ")),
        };
        let reason = format!("no rft service{called} is installed among those {whose}{others}");
        Failure::new(exit::NOT_RUNNING, reason)
    }
}

/// Properties of a unit, by name.
#[derive(Debug)]
pub(super) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Empty if systemd did not name it.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The exit code of the last process; `None` if a signal ended it, or it has not ended.
    pub(super) fn exit_code(&self) -> Option<u8> {
        // CLD_EXITED of waitid(2).
        (self.get("ExecMainCode") == "1").then(|| self.get("ExecMainStatus").parse().ok())?
    }
}

/// What the exit code of a service means: that of rft, or of systemd, which has not started it
/// (systemd.exec(5), "Process Exit Codes").
pub(super) fn meaning(code: u8) -> &'static str {
    match code {
        203 => "systemd cannot start the program; is it still there, and may the user run it?",
        217 => "the user of the service does not exist",
        226 => "a folder of the service does not exist, or is no folder",
        243 => "systemd cannot read the password file",
        200..=242 => "systemd could not prepare the service; its journal says more",
        code => exit::meaning(code),
    }
}

/// Runs a command of the system.
///
/// # Errors
/// It cannot be started: exit code 1.
pub(super) fn run(program: &str, words: &[&str]) -> Result<Output, Failure> {
    Command::new(program).args(words).env("LC_ALL", "C").output().map_err(|error| {
        let why = cause::of(&error);
        Failure::new(
            exit::UNKNOWN,
            format!("`{program}` cannot be started: {why}; does this system use systemd?"),
        )
    })
}

/// The first line that a command prints; `None` if it fails.
pub(super) fn answer(program: &str, words: &[&str]) -> Option<String> {
    let output = run(program, words).ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}
