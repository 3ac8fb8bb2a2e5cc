//! Signals: Ctrl-C and the system's wish that the program ends (once to stop in order, twice to
//! stop at once), a question for the state, and those that are not to end it.

use super::exit;
use super::output::Output;
use super::output::state;
use rft::daemon::Status;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How long the last lines may take when everything is to stop at once.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// What the user or the system wants.
enum Signal {
    Interrupt,
    Terminate,
    /// To know the state. Windows has no signal for it.
    #[cfg_attr(windows, allow(dead_code))]
    State,
}

/// Which signal asked to stop, as an exit code.
#[derive(Clone)]
pub(crate) struct StoppedBy(Arc<AtomicU8>);

impl StoppedBy {
    /// 130 for a Ctrl-C, 143 for everything else.
    pub(crate) fn code(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Listens for signals from now on; the future completes at the first that asks to stop. A Ctrl-C
/// after that ends the process with 130. A question for the state is answered from `status`. Needs
/// a runtime.
///
/// # Errors
/// The system takes no handlers.
pub(crate) fn listen(
    output: Output,
    status: Status,
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
                    let text = state::text(status.state().as_ref());
                    text.lines().for_each(|line| tracing::info!("{line}"));
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
                    output.line("stopping; Ctrl-C once more stops at once".to_owned());
                    stop.send_replace(true);
                    stopping = true;
                }
            }
        }
    });
    // The sender lives as long as the task, which ends with the process.
    Ok((async move { drop(stopped.wait_for(|&stop| stop).await) }, by))
}

/// From now on a Ctrl-C does not end the process by itself: for a prompt, which puts the terminal
/// right again before it says that there was one.
pub(crate) fn survive_interrupt() {
    #[cfg(unix)]
    register(&[rustix::process::Signal::INT]);
}

/// Takes the deadly default from signals that are no wish to end the program: SIGXFSZ (a write
/// beyond `ulimit -f` then fails with EFBIG, and that is an error of one file), those of timers,
/// and SIGUSR1 until somebody listens for it. A signal that the parent had ignored is caught and
/// dropped as well.
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

/// Registers handlers that do nothing. They stay when the runtime is gone, and no thread is
/// started.
#[cfg(unix)]
fn register(signals: &[rustix::process::Signal]) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return;
    };
    let _context = runtime.enter();
    for one in signals {
        // What the system does not let be caught keeps its default.
        let _ = signal(SignalKind::from_raw(one.as_raw()));
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// None under `nohup`: a signal that the parent had ignored stays ignored.
    hangup: Option<tokio::signal::unix::Signal>,
    state: [tokio::signal::unix::Signal; 2],
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let ignored = is_ignored(rustix::process::Signal::HUP);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignored { None } else { Some(signal(SignalKind::hangup())?) },
            state: [signal(SignalKind::user_defined1())?, signal(SignalKind::quit())?],
        })
    }

    async fn next(&mut self) -> Signal {
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

/// Whether the process ignores a signal, which it can only have from its parent before it has
/// handlers. Linux tells; elsewhere none counts as ignored.
#[cfg(unix)]
fn is_ignored(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw() - 1) & 1 == 1
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
