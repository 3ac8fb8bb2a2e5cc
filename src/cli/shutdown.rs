//! Signals: those that stop `rft` (a second Ctrl-C at once), those that request the state, and those
//! whose default action would end the process.

use super::exit;
use super::log;
use super::output::Output;
use super::output::clock::Clock;
use super::output::state;
use rft::Handle;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// Time for the last lines after a second Ctrl-C.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Columns of the state that a signal requests: a line of the log is not folded.
const STATE_WIDTH: usize = usize::MAX;

/// The request of a signal.
pub(crate) enum Signal {
    Interrupt,
    Terminate,
    /// To print the state. Windows has no signal for it.
    #[cfg_attr(windows, allow(dead_code))]
    State,
}

/// The exit code of the signal that stopped `rft`.
#[derive(Clone)]
pub(crate) struct StoppedBy(Arc<AtomicU8>);

impl StoppedBy {
    /// 130 for a Ctrl-C, 143 for the others.
    pub(crate) fn code(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Handles signals from now on. The future completes at the first signal that stops `rft`; a Ctrl-C
/// after that ends the process with 130. A request for the state prints the state of `running`. Must be called
/// within a runtime.
///
/// # Errors
/// The system accepts no handlers.
pub(crate) fn listen(
    output: Output,
    running: Arc<OnceLock<Handle>>,
) -> io::Result<(impl Future<Output = ()> + Send + 'static, StoppedBy)> {
    let mut signals = Signals::new()?;
    let (stop, mut stopped) = watch::channel(false);
    let by = StoppedBy(Arc::new(AtomicU8::new(exit::TERMINATED)));
    let code = by.clone();
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            match (signals.next().await, stopping) {
                (Signal::State, _) => {
                    let status = running.get().map(Handle::status);
                    let text = state::text(status.as_ref(), &Clock::system(), STATE_WIDTH);
                    log::record::shown(&text);
                    output.report(text);
                }
                (Signal::Interrupt, true) => {
                    output.end(
                        exit::INTERRUPTED,
                        "stopped at once by a second Ctrl-C",
                        EXIT_TIMEOUT,
                    );
                    std::process::exit(i32::from(exit::INTERRUPTED));
                }
                (Signal::Terminate, true) => {}
                (signal, false) => {
                    if matches!(signal, Signal::Interrupt) {
                        code.0.store(exit::INTERRUPTED, Ordering::Relaxed);
                        output.interrupted();
                    }
                    output.line("stopping; another Ctrl-C stops at once".to_owned());
                    stop.send_replace(true);
                    stopping = true;
                }
            }
        }
    });
    // The task and its sender live until the process ends.
    Ok((async move { drop(stopped.wait_for(|&stop| stop).await) }, by))
}

/// Keeps signals from ending the process that are no request to stop: SIGXFSZ (a write beyond
/// `ulimit -f` then fails with EFBIG, an error of one file), those of timers, and SIGUSR1 until
/// [`listen`] handles it. A signal that the parent process had ignored is caught as well.
pub(crate) fn disarm() {
    #[cfg(unix)]
    {
        use rustix::process::Signal;
        let harmless = [
            Signal::USR1,
            Signal::USR2,
            Signal::QUIT,
            Signal::PIPE,
            Signal::IO,
            Signal::ALARM,
            Signal::VTALARM,
            Signal::PROF,
            Signal::XCPU,
            Signal::XFSZ,
            #[cfg(target_os = "linux")]
            Signal::POWER,
            #[cfg(all(
                target_os = "linux",
                not(any(target_arch = "mips", target_arch = "sparc64"))
            ))]
            Signal::STKFLT,
        ];
        register(&harmless);
    }
}

/// Keeps the signals that stop a service from ending this process: the helper of `--on-received`
/// ends with rft.
pub(crate) fn outlast() {
    disarm();
    #[cfg(unix)]
    {
        use rustix::process::Signal;
        // With SIGCHLD ignored, as a parent process may leave it, the end of a program would be lost.
        register(&[Signal::INT, Signal::TERM, Signal::HUP, Signal::CHILD]);
    }
}

/// Registers handlers that do nothing. They outlive the runtime, and start no thread.
#[cfg(unix)]
fn register(signals: &[rustix::process::Signal]) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return;
    };
    let _context = runtime.enter();
    for one in signals {
        // A signal that the system does not let a process catch keeps its default.
        let _ = signal(SignalKind::from_raw(one.as_raw()));
    }
}

/// The signals that stop rft or request its state.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` under `nohup`: SIGHUP stays ignored if the parent process ignored it.
    hangup: Option<tokio::signal::unix::Signal>,
    state: [tokio::signal::unix::Signal; 2],
}

#[cfg(unix)]
impl Signals {
    /// Receives signals from now on, instead of their default actions. Must be called within a
    /// runtime.
    ///
    /// # Errors
    /// The system accepts no handlers.
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let ignored = is_ignored(rustix::process::Signal::HUP);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignored { None } else { Some(signal(SignalKind::hangup())?) },
            state: [signal(SignalKind::user_defined1())?, signal(SignalKind::quit())?],
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        let [user, quit] = &mut self.state;
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = hangup => Signal::Terminate,
            _ = user.recv() => Signal::State,
            _ = quit.recv() => Signal::State,
        }
    }
}

/// Whether the process ignores a signal; before it installs handlers, that is inherited from its
/// parent. Known on Linux; on other systems this returns false.
#[cfg(unix)]
fn is_ignored(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw() - 1) & 1 == 1
}

/// A service of Windows is told to stop by a call and not by a signal.
#[cfg(windows)]
static REQUESTED: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// Stops the peer of this process in order.
#[cfg(windows)]
pub(crate) fn request() {
    REQUESTED.notify_one();
}

/// The signals that stop rft.
#[cfg(windows)]
pub(crate) struct Signals {
    ctrl_c: tokio::signal::windows::CtrlC,
    ctrl_break: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    /// Receives signals from now on, instead of their default actions. Must be called within a
    /// runtime.
    ///
    /// # Errors
    /// The system accepts no handlers.
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Self {
            ctrl_c: ctrl_c()?,
            ctrl_break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.ctrl_c.recv() => Signal::Interrupt,
            _ = self.ctrl_break.recv() => Signal::Interrupt,
            _ = self.close.recv() => Signal::Terminate,
            _ = self.shutdown.recv() => Signal::Terminate,
            () = REQUESTED.notified() => Signal::Terminate,
        }
    }
}
