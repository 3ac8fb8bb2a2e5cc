//! `rft top`: the state of the running rft on the whole screen, with the speed of the last minutes.

mod curve;
mod view;

use super::args::TopArgs;
use super::exit::{self, Failure};
use super::output::clock::Clock;
use super::shutdown::{Signal, Signals};
use super::status::{connect, failed};
use curve::Curves;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rft::Status;
use rft::cause;
use rft::control::{Answer, Client, ControlError, Request, name_programs};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use view::View;

/// Time between two looks at the running rft, and the time of one point of the curves.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time until a signal is noticed.
const KEY_TIMEOUT: Duration = Duration::from_millis(200);

/// Shows the running rft until the user leaves. While it does not run, waits for it.
///
/// # Errors
/// Exit code 18 if no rft runs there at the start, 2 without a terminal, 143 after SIGTERM.
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "rft top needs a terminal; use `rft status --watch`, or `rft status --json` for a program",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&args.dir, &error.into()))?;
    let client = runtime.block_on(connect(&args.dir));
    let client = client.map_err(|error| failed(&args.dir, &error))?;
    let signals = {
        let _context = runtime.enter();
        Signals::new().map_err(|error| failed(&args.dir, &error.into()))?
    };
    let mut terminal = ratatui::try_init().map_err(|error| on_screen(&error))?;
    let mut top = Top {
        dir: &args.dir,
        runtime,
        signals,
        client: Some(client),
        status: None,
        trouble: None,
        curves: Curves::default(),
        clock: Clock::system(),
    };
    let shown = top.show(&mut terminal);
    ratatui::restore();
    shown
}

fn on_screen(error: &io::Error) -> Failure {
    Failure::new(exit::UNKNOWN, format!("the terminal cannot be used: {}", cause::of(error)))
}

struct Top<'a> {
    dir: &'a Path,
    runtime: Runtime,
    signals: Signals,
    /// `None` while no rft answers.
    client: Option<Client>,
    /// The last answer.
    status: Option<Status>,
    /// Why there is no newer answer.
    trouble: Option<String>,
    curves: Curves,
    clock: Clock,
}

impl Top<'_> {
    fn show(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        loop {
            let begun = Instant::now();
            if let Some(end) = self.look() {
                return end;
            }
            loop {
                self.draw(terminal).map_err(|error| on_screen(&error))?;
                let left = INTERVAL.saturating_sub(begun.elapsed());
                if left.is_zero() {
                    break;
                }
                let has_key = event::poll(left.min(KEY_TIMEOUT));
                if has_key.map_err(|error| on_screen(&error))?
                    && leaves(&event::read().map_err(|error| on_screen(&error))?)
                {
                    return Ok(());
                }
                if let Some(end) = self.signal() {
                    return end;
                }
            }
        }
    }

    /// Asks for the state. Returns the result of the command if a signal ends it.
    fn look(&mut self) -> Option<Result<(), Failure>> {
        let (dir, signals) = (self.dir, &mut self.signals);
        let client = self.client.take();
        let asked = self.runtime.block_on(async {
            tokio::select! {
                signal = signals.next() => Err(signal),
                asked = ask(client, dir) => Ok(asked),
            }
        });
        match asked {
            Err(signal) => return ended_by(&signal),
            Ok(Ok((client, status))) => {
                self.client = Some(client);
                self.curves.add(&status);
                (self.status, self.trouble) = (Some(status), None);
            }
            Ok(Err(error)) => self.trouble = Some(failed(dir, &error).reason),
        }
        None
    }

    /// The result of the command if a signal has come.
    fn signal(&mut self) -> Option<Result<(), Failure>> {
        let signals = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                signal = signals.next() => ended_by(&signal),
                () = tokio::task::yield_now() => None,
            }
        })
    }

    fn draw(&self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let view = View {
            status: self.status.as_ref(),
            trouble: self.trouble.as_deref(),
            curves: &self.curves,
            clock: &self.clock,
            colours: console::colors_enabled(),
        };
        terminal.draw(|frame| view.draw(frame)).map(|_| ())
    }
}

/// The state, by this connection or a new one.
async fn ask(client: Option<Client>, dir: &Path) -> Result<(Client, Status), ControlError> {
    let mut client = match client {
        Some(client) => client,
        None => connect(dir).await?,
    };
    let Answer::Status(mut status) = client.ask(&Request::Status).await? else {
        return Err(ControlError::Unreadable);
    };
    name_programs(&mut status);
    Ok((client, *status))
}

/// Whether the user leaves with this key: q, Escape or Ctrl-C.
fn leaves(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return false;
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// The result of the command that a signal ends; `None` if it goes on.
fn ended_by(signal: &Signal) -> Option<Result<(), Failure>> {
    match signal {
        Signal::Interrupt => Some(Ok(())),
        Signal::Terminate => {
            Some(Err(Failure::new(exit::TERMINATED, "rft top was stopped by a signal")))
        }
        Signal::State => None,
    }
}
