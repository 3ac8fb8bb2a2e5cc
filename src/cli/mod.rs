//! The command line: arguments in, events and an exit code out.

mod args;
mod check;
mod demo;
mod exit;
mod log;
mod manual;
mod output;
mod passphrase;
mod password;
mod peer;
mod sandbox;
mod shutdown;

use args::{Command, CommandLine};
use clap::Parser;
use exit::Failure;
use output::text::{self, Palette};
use rft::cause;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help goes to stdout; a reader may close the pipe before its end.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::ARGUMENTS));
        }
    };
    let result = match &line.command {
        None => return peer::run(&line),
        Some(Command::Check(args)) => return check::run(args),
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Passphrase) => passphrase::generate()
            .map(|phrase| print(format!("{}\n", *phrase).as_bytes()))
            .map_err(|error| unknown("the system has no random numbers", &error)),
        Some(Command::Completions { shell }) => {
            print(&manual::completions(*shell));
            Ok(())
        }
        Some(Command::Man) => manual::man_page()
            .map(|page| print(&page))
            .map_err(|error| unknown("the man page cannot be written", &error)),
    };
    result.map_or_else(|failure| fail(&failure), |()| ExitCode::SUCCESS)
}

fn unknown(what: &str, error: &dyn Error) -> Failure {
    Failure::new(exit::UNKNOWN, format!("{what}: {}", cause::without_number(&error.to_string())))
}

/// Prints to stdout. A reader may close the pipe before the end.
fn print(text: &[u8]) {
    let mut stdout = io::stdout().lock();
    drop(stdout.write_all(text).and_then(|()| stdout.flush()));
}

/// Prints the failure to stderr; for commands without a printing thread.
fn fail(failure: &Failure) -> ExitCode {
    let palette = Palette { colours: console::colors_enabled_stderr() };
    let line = format!("{} {}", palette.bad("rft:"), text::printable(&failure.reason));
    drop(writeln!(io::stderr(), "{line}"));
    failure.exit_code()
}
