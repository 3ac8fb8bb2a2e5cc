//! `rft status`: shows the state of the running rft, once or every second.

use super::args::StatusArgs;
use super::exit::{self, Failure};
use super::output::clock::Clock;
use super::output::{json, state, text};
use console::Term;
use rft::Status;
use rft::config::Folders;
use rft::control::{Answer, Client, ControlError, Request, name_programs};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// Time between two views of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Columns of the view outside of a terminal.
const PLAIN_WIDTH: usize = 100;

/// Asks the running rft and prints its answer.
///
/// # Errors
/// Exit code 18 if no rft runs there, 1 if it does not answer.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&args.dir, &error.into()))?;
    let watched = runtime.block_on(watch(args));
    watched.map_err(|error| failed(&args.dir, &error))
}

/// Connects to the rft that runs in this folder.
pub(super) async fn connect(dir: &Path) -> Result<Client, ControlError> {
    Client::connect(&Folders::in_dir(dir).state).await
}

async fn watch(args: &StatusArgs) -> Result<(), ControlError> {
    let mut client = connect(&args.dir).await?;
    let mut view = View::new(args.json);
    loop {
        let Answer::Status(mut status) = client.ask(&Request::Status).await? else {
            return Err(ControlError::Unreadable);
        };
        name_programs(&mut status);
        // A reader may close the pipe.
        if view.show(&status).is_err() || !args.watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

/// Prints one state after the other; on a terminal in the same place.
struct View {
    json: bool,
    clock: Clock,
    term: Option<Term>,
    /// Lines on the terminal.
    shown: usize,
    first: bool,
}

impl View {
    fn new(json: bool) -> Self {
        let term = (!json && io::stdout().is_terminal()).then(Term::buffered_stdout);
        Self { json, clock: Clock::system(), term, shown: 0, first: true }
    }

    fn show(&mut self, status: &Status) -> io::Result<()> {
        if self.json {
            return print(&json::line_of(status)?);
        }
        let width = self.term.as_ref().map_or(PLAIN_WIDTH, |term| {
            // The last column stays free: some terminals wrap a line that fills it.
            usize::from(term.size().1).saturating_sub(1).max(20)
        });
        let text = state::text(Some(status), &self.clock, width);
        let lines: Vec<String> = text.lines().map(|line| text::for_terminal(line, false)).collect();
        let first = std::mem::take(&mut self.first);
        let Some(term) = &self.term else {
            let gap = if first { "" } else { "\n" };
            return print(format!("{gap}{}\n", lines.join("\n")).as_bytes());
        };
        let rows = usize::from(term.size().0).saturating_sub(1);
        term.clear_last_lines(self.shown)?;
        // More lines than the screen has could not be replaced.
        let visible =
            if first && lines.len() > rows { &lines[..] } else { &lines[..lines.len().min(rows)] };
        for line in visible {
            term.write_line(&console::truncate_str(line, width, "…"))?;
        }
        self.shown = visible.len().min(rows);
        term.flush()
    }
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush())
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
