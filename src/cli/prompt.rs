//! The prompt for the password. A signal that stops rft while it asks leaves the terminal as it was.

use super::exit;
use super::shutdown::{Signal, Signals};
use std::io::{self, Write};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum PromptError {
    /// A signal stopped rft; its exit code.
    Stopped(u8),
    /// The terminal cannot be read.
    Terminal(io::Error),
}

/// Asks at the terminal. From the first prompt to the end of this value a signal that stops rft is
/// an answer, not the end of the process.
pub(crate) struct Prompt {
    runtime: Runtime,
    signals: Signals,
    settings: TerminalSettings,
}

impl Prompt {
    /// Takes the signals, before the first text is on the screen.
    ///
    /// # Errors
    /// The system accepts no signal handlers.
    pub(crate) fn open() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _context = runtime.enter();
            Signals::new()?
        };
        Ok(Self { runtime, signals, settings: TerminalSettings::read() })
    }

    /// Prints `prompt` and reads a line without echo.
    ///
    /// # Errors
    /// [`PromptError`]. After a signal the thread that reads goes on until the process ends.
    pub(crate) fn ask(&mut self, prompt: &str) -> Result<Zeroizing<String>, PromptError> {
        let (answer, answered) = oneshot::channel();
        let prompt = prompt.to_owned();
        let thread = std::thread::Builder::new()
            .name("rft-prompt".into())
            .spawn(move || {
                let _ = answer.send(rpassword::prompt_password(prompt).map(Zeroizing::new));
            })
            .map_err(PromptError::Terminal)?;
        let signals = &mut self.signals;
        let result = self.runtime.block_on(async {
            tokio::select! {
                biased;
                typed = answered => Ok(typed),
                code = stopped(signals) => Err(code),
            }
        });
        match result {
            Ok(typed) => {
                // The sandbox that comes next holds for threads that are started after it.
                let _ = thread.join();
                let typed = typed.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()));
                typed.map_err(|error| match error.kind() {
                    // The keys of a Ctrl-C.
                    io::ErrorKind::Interrupted => PromptError::Stopped(exit::INTERRUPTED),
                    _ => PromptError::Terminal(error),
                })
            }
            Err(code) => {
                self.settings.restore();
                Err(PromptError::Stopped(code))
            }
        }
    }
}

/// Waits for a signal that stops rft. Returns its exit code.
async fn stopped(signals: &mut Signals) -> u8 {
    loop {
        match signals.next().await {
            Signal::Interrupt => return exit::INTERRUPTED,
            Signal::Terminate => return exit::TERMINATED,
            Signal::State => {}
        }
    }
}

/// The settings of the terminal before the prompt. Windows restores a console's by itself.
struct TerminalSettings {
    #[cfg(unix)]
    before: Option<(std::fs::File, rustix::termios::Termios)>,
}

impl TerminalSettings {
    fn read() -> Self {
        Self {
            #[cfg(unix)]
            before: std::fs::File::options().read(true).write(true).open("/dev/tty").ok().and_then(
                |terminal| {
                    let settings = rustix::termios::tcgetattr(&terminal).ok()?;
                    Some((terminal, settings))
                },
            ),
        }
    }

    /// Restores them, and ends the line of the prompt.
    fn restore(&mut self) {
        #[cfg(unix)]
        if let Some((terminal, before)) = &mut self.before {
            use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
            // The reading thread switches echo off after it has printed the prompt: it must not do
            // so after this.
            for _ in 0..20 {
                if !tcgetattr(&*terminal)
                    .is_ok_and(|now| now.local_modes.contains(LocalModes::ECHO))
                {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let _ = tcsetattr(&*terminal, OptionalActions::Now, before);
            let _ = terminal.write_all(b"\n");
        }
        #[cfg(windows)]
        let _ = io::stderr().write_all(b"\n");
    }
}
