//! Ctrl-C and the system's wish that the program ends: once to stop in order, twice to stop at once.

use super::exit;
use super::output::Output;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::sync::watch;

/// How long the last lines may take when everything is to stop at once.
const PATIENCE: Duration = Duration::from_millis(500);

/// What asks to stop.
enum Signal {
    Interrupt,
    Terminate,
}

/// Listens for signals from now on; the future completes at the first of them. A Ctrl-C after that ends
/// the process with 130. Needs a runtime.
///
/// # Errors
/// The system takes no handlers.
pub(crate) fn listen(output: Output) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::new()?;
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(async move {
        if matches!(signals.next().await, Signal::Interrupt) {
            output.interrupted();
        }
        // The terminal has shown a ^C in front of it.
        output.line("\nstopping; Ctrl-C once more stops at once".to_owned());
        stop.send_replace(true);
        while !matches!(signals.next().await, Signal::Interrupt) {}
        output.end(exit::INTERRUPTED, "stopped at once by a second Ctrl-C", PATIENCE);
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    // The sender lives as long as the task, which ends with the process.
    Ok(async move { drop(stopped.wait_for(|&stop| stop).await) })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

#[cfg(windows)]
struct Signals {
    ctrl_c: tokio::signal::windows::CtrlC,
    ctrl_break: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Self {
            ctrl_c: ctrl_c()?,
            ctrl_break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.ctrl_c.recv() => Signal::Interrupt,
            _ = self.ctrl_break.recv() => Signal::Interrupt,
            _ = self.close.recv() => Signal::Terminate,
            _ = self.shutdown.recv() => Signal::Terminate,
        }
    }
}
