//! The command line: arguments in, events and an exit code out.

mod args;
mod check;
mod config;
mod demo;
mod exit;
mod history;
mod host;
mod launch;
mod log;
mod manual;
mod once;
mod output;
mod passphrase;
mod password;
mod peer;
mod prompt;
mod put;
mod sandbox;
mod service;
mod shutdown;
mod status;
mod steer;
mod supervisor;
mod top;

use args::Command;
use args::wrong::{self, Unparsed};
use exit::Failure;
use output::text::{self, Palette};
use rft::cause;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == rft::HELPER_COMMAND) {
        return rft::run_helper(words, shutdown::outlast);
    }
    let line = match wrong::parse() {
        Ok(line) => line,
        Err(Unparsed::Wrong(failure)) => return fail(&failure),
        Err(Unparsed::Text(text)) => {
            let printed = text.print().and_then(|()| io::stdout().flush());
            return printed
                .or_else(not_printed)
                .map_or_else(|failure| fail(&failure), |()| ExitCode::SUCCESS);
        }
    };
    let result = match &line.command {
        None => return ExitCode::from(peer::run(&line)),
        Some(Command::Send(args)) => return once::send(args),
        Some(Command::Receive(args)) => return once::receive(args),
        Some(Command::Check(args)) => return check::run(args),
        Some(Command::Status(args)) => status::run(args),
        Some(Command::Top(args)) => top::run(args),
        Some(Command::Put(args)) => put::run(args),
        Some(Command::Pause(args)) => steer::pause(args, true),
        Some(Command::Resume(args)) => steer::pause(args, false),
        Some(Command::Limit(args)) => steer::limit(args),
        Some(Command::Retry(args)) => steer::retry(args),
        Some(Command::Cancel(args)) => steer::cancel(args),
        Some(Command::History(args)) => history::run(args),
        Some(Command::Receipt(args)) => history::run_receipt(args),
        Some(Command::Config(args)) => config::run(&line, args),
        Some(Command::Service(args)) => service::run(args),
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Passphrase) => passphrase::generate()
            .map_err(|error| unknown("the system has no random numbers", &error))
            .and_then(|phrase| print(format!("{}\n", *phrase).as_bytes())),
        Some(Command::Completions { shell }) => print(&manual::completions(*shell)),
        Some(Command::Man { list: true, .. }) => print(manual::page_names().as_bytes()),
        Some(Command::Man { command, .. }) => {
            manual::man_page(command.as_deref()).and_then(|page| print(&page))
        }
    };
    result.map_or_else(|failure| fail(&failure), |()| ExitCode::SUCCESS)
}

fn unknown(what: &str, error: &dyn Error) -> Failure {
    Failure::new(exit::UNKNOWN, format!("{what}: {}", cause::without_number(&error.to_string())))
}

/// Prints to stdout.
///
/// # Errors
/// The text is not all out, for example on a full disk.
fn print(text: &[u8]) -> Result<(), Failure> {
    write_all(text).or_else(not_printed)
}

/// Writes to stdout, at once.
fn write_all(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush())
}

/// The result of a command whose text could not be printed: a failure, unless the reader closed the
/// pipe, as `head` does. Its reader has read enough.
fn not_printed(error: io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    let reason = format!("the standard output cannot be written: {}", cause::of(&error));
    Err(Failure::new(exit::UNKNOWN, reason))
}

/// Prints the failure to stderr; for commands without a printing thread.
fn fail(failure: &Failure) -> ExitCode {
    let palette = Palette { colours: console::colors_enabled_stderr() };
    let line = format!("{} {}", palette.bad("rft:"), text::printable(&failure.reason));
    drop(writeln!(io::stderr(), "{line}"));
    failure.exit_code()
}
