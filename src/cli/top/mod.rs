//! `rft top`: the state of the running rft on the whole screen, with the speed of the last minutes,
//! and keys that steer it.

mod curve;
mod foot;
mod keys;
mod rows;
mod view;

use super::args::TopArgs;
use super::exit::{self, Failure};
use super::output::clock::Clock;
use super::shutdown::{Signal, Signals};
use super::status::{self, connect, failed};
use curve::Curves;
use keys::{Deed, KeyAnswer, Keys};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use rft::Status;
use rft::cause;
use rft::control::{Client, ControlError, Request};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use view::View;

/// Time between two looks at the running rft, and the time of one point of the curves.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between two frames, so that a changed size of the terminal is seen soon.
const FRAME_INTERVAL: Duration = Duration::from_millis(200);

/// Shows the running rft until the user leaves. While it does not run, waits for it.
///
/// # Errors
/// Exit code 18 if no rft runs there at the start, 2 without a terminal. A signal ends the
/// process with its own code.
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
    std::thread::Builder::new()
        .name("rft-signals".into())
        .spawn(end_at_a_signal)
        .map_err(|error| failed(&args.dir, &error.into()))?;
    let mut terminal = ratatui::try_init().map_err(|error| on_screen(&error))?;
    let mut top = Top {
        dir: &args.dir,
        runtime,
        client: Some(client),
        status: None,
        trouble: None,
        curves: Curves::default(),
        keys: Keys::default(),
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
    /// `None` while no rft answers.
    client: Option<Client>,
    /// The last answer.
    status: Option<Status>,
    /// Why there is no newer answer.
    trouble: Option<String>,
    curves: Curves,
    keys: Keys,
    clock: Clock,
}

impl Top<'_> {
    fn show(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        loop {
            let begun = Instant::now();
            self.look();
            loop {
                self.draw(terminal).map_err(|error| on_screen(&error))?;
                let left = INTERVAL.saturating_sub(begun.elapsed());
                if left.is_zero() {
                    break;
                }
                let has_key = event::poll(left.min(FRAME_INTERVAL));
                if !has_key.map_err(|error| on_screen(&error))? {
                    continue;
                }
                let event = event::read().map_err(|error| on_screen(&error))?;
                let Some(key) = pressed(&event) else { continue };
                // While there is no answer, no key acts.
                let status = self.status.as_ref().filter(|_| self.trouble.is_none());
                match self.keys.press(key, status) {
                    Deed::Nothing => {}
                    Deed::Leave => return Ok(()),
                    Deed::Ask(request) => {
                        self.keys.said =
                            Some(KeyAnswer { text: keys::doing(&request), is_error: false });
                        self.draw(terminal).map_err(|error| on_screen(&error))?;
                        self.steer(&request);
                    }
                }
            }
        }
    }

    /// Asks for the state, for a point of the curves.
    fn look(&mut self) {
        self.ask();
        if let Some(status) = self.status.as_ref().filter(|_| self.trouble.is_none()) {
            self.curves.add(status);
            self.keys.look_at(status);
        }
    }

    /// Asks for the state.
    fn ask(&mut self) {
        let client = self.client.take();
        match self.runtime.block_on(ask(client, self.dir)) {
            Ok((client, status)) => {
                self.client = Some(client);
                (self.status, self.trouble) = (Some(status), None);
            }
            Err(error) => self.trouble = Some(failed(self.dir, &error).reason),
        }
    }

    /// Sends a command to the rft whose state is on the screen: not to a new one.
    fn steer(&mut self, request: &Request) {
        let answer = match &mut self.client {
            Some(client) => self.runtime.block_on(client.ask(request)),
            None => Err(ControlError::NotRunning),
        };
        let answer = answer.map_err(|error| {
            // A refusal leaves the connection usable.
            if !matches!(error, ControlError::Refused(_)) {
                self.client = None;
            }
            failed_briefly(self.dir, &error)
        });
        self.ask();
        self.keys.answered(request, answer, self.status.as_ref(), &self.clock);
    }

    fn draw(&self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let view = View {
            status: self.status.as_ref(),
            trouble: self.trouble.as_deref(),
            curves: &self.curves,
            keys: &self.keys,
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
    let status = status::ask(&mut client).await?;
    Ok((client, status))
}

/// The error in a line of its own; a refusal is a sentence already.
fn failed_briefly(dir: &Path, error: &ControlError) -> String {
    match error {
        ControlError::Refused(refused) => refused.to_string(),
        error => failed(dir, error).reason,
    }
}

/// The key of an event, if one was pressed.
fn pressed(event: &Event) -> Option<KeyEvent> {
    match event {
        Event::Key(key @ KeyEvent { kind: KeyEventKind::Press, .. }) => Some(*key),
        _ => None,
    }
}

/// Waits for a signal, or for the terminal to go away, and ends the process. It has its own thread:
/// at a terminal that is gone, the one that reads keys may never return.
fn end_at_a_signal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let code = runtime.block_on(async {
        let mut signals = Signals::new().ok()?;
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Interrupt => return Some(exit::INTERRUPTED),
                    Signal::Terminate => return Some(exit::TERMINATED),
                    Signal::State => {}
                },
                () = tokio::time::sleep(INTERVAL) => {
                    if !io::stdin().is_terminal() {
                        return Some(exit::TERMINATED);
                    }
                }
            }
        }
    });
    if let Some(code) = code {
        ratatui::restore();
        std::process::exit(code.into());
    }
}
