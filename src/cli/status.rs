//! `rft status`: shows the state of the running rft, once or every second.

use super::args::StatusArgs;
use super::exit::{self, Failure};
use super::output::area::Area;
use super::output::clock::Clock;
use super::output::{json, state, text};
use rft::Status;
use rft::config::Folders;
use rft::control::{Answer, Client, ControlError, Request, name_programs};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

/// Time between two views of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Columns of the view outside of a terminal.
const PLAIN_WIDTH: usize = 100;
/// A narrower view would be folded into single words; its lines are cut instead.
const MIN_WIDTH: usize = 20;

/// Asks the running rft and prints its answer.
///
/// # Errors
/// Exit code 18 if no rft runs there, 1 if it does not answer or its answer cannot be printed.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&args.dir, &error.into()))?;
    runtime.block_on(watch(args))
}

async fn watch(args: &StatusArgs) -> Result<(), Failure> {
    let failed = |error: ControlError| failed(&args.dir, &error);
    let mut client = connect(&args.dir).await.map_err(failed)?;
    let mut view = StatusView::new(args);
    loop {
        let status = ask(&mut client).await.map_err(failed)?;
        match view.show(&status) {
            Ok(()) if args.watch => tokio::time::sleep(WATCH_INTERVAL).await,
            Ok(()) => return Ok(()),
            Err(error) => return super::not_printed(error),
        }
    }
}

/// Connects to the rft that runs in this folder.
pub(super) async fn connect(dir: &Path) -> Result<Client, ControlError> {
    Client::connect(&Folders::in_dir(dir).state).await
}

/// The state now, with the programs that have waiting files open.
pub(super) async fn ask(client: &mut Client) -> Result<Status, ControlError> {
    let Answer::Status(mut status) = client.ask(&Request::Status).await? else {
        return Err(ControlError::Unreadable);
    };
    name_programs(&mut status);
    Ok(*status)
}

/// The state now of the rft that runs in this folder.
pub(super) fn now(dir: &Path) -> Result<Status, ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { ask(&mut connect(dir).await?).await })
}

/// Prints one state after the other; on a terminal in the same place.
struct StatusView {
    json: bool,
    clock: Clock,
    /// The place on the terminal, for `--watch`.
    area: Option<Area>,
    /// Columns of a line.
    width: usize,
    first: bool,
}

impl StatusView {
    fn new(args: &StatusArgs) -> Self {
        let terminal = (!args.json && io::stdout().is_terminal()).then(Area::stdout);
        let width = terminal.as_ref().map_or(PLAIN_WIDTH, Area::width);
        let area = terminal.filter(|_| args.watch);
        Self { json: args.json, clock: Clock::system(), area, width, first: true }
    }

    fn show(&mut self, status: &Status) -> io::Result<()> {
        if self.json {
            return super::write_all(&json::line_of(status)?);
        }
        let width = self.area.as_ref().map_or(self.width, Area::width).max(MIN_WIDTH);
        let text = state::text(Some(status), &self.clock, width) + &other_version(status);
        let mut lines: Vec<_> = text.lines().map(|line| text::for_terminal(line, false)).collect();
        let Some(area) = &mut self.area else {
            let gap = if std::mem::take(&mut self.first) { "" } else { "\n" };
            return super::write_all(format!("{gap}{}\n", lines.join("\n")).as_bytes());
        };
        // The first lines say the most.
        lines.truncate(area.height());
        let cut = |line: &String| console::truncate_str(line, area.width(), "…").into_owned();
        area.set(lines.iter().map(cut).collect());
        area.draw(&[]);
        Ok(())
    }
}

/// A line that says that the running rft is another version than this command, as after an upgrade.
fn other_version(status: &Status) -> String {
    let (own, running) = (env!("CARGO_PKG_VERSION"), text::printable(&status.version));
    match running == own {
        true => String::new(),
        false => {
            format!("\nthis is rft {own}, and rft {running} runs: restart it to change to {own}")
        }
    }
}

/// The error for people, with the command that starts an rft.
pub(super) fn failed(dir: &Path, error: &ControlError) -> Failure {
    let shown = dir.display();
    let code = match error {
        ControlError::NotRunning => exit::NOT_RUNNING,
        _ => exit::UNKNOWN,
    };
    let reason = match error {
        ControlError::NotRunning if dir == Path::new(".") => {
            "no rft runs in this folder; start it with `rft PEER PORT`, or name its folder with --dir"
                .to_owned()
        }
        ControlError::NotRunning => {
            format!("no rft runs in {shown}; start it with `rft --dir {shown} PEER PORT`")
        }
        error => format!("{shown}: {error}"),
    };
    Failure::new(code, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::sample;

    #[test]
    fn another_version_is_named() {
        let mut status = sample::busy();
        status.version = env!("CARGO_PKG_VERSION").to_owned();
        assert_eq!(other_version(&status), "");
        status.version = "0.0.9".to_owned();
        assert!(other_version(&status).contains("rft 0.0.9 runs: restart it"));
    }
}
