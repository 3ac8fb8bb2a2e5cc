//! `rft PEER PORT`: runs one peer, from its arguments to its exit code.

use super::args::CommandLine;
use super::args::choices::Progress;
use super::exit::{self, Failure};
use super::launch::{Launch, Once, PasswordSource, ShowOptions};
use super::output::Output;
use super::output::banner;
use super::output::json::Json;
use super::output::state;
use super::output::terminal::{Show, Terminal};
use super::password::{ONCE, TWICE};
use super::sandbox::{self, NoSandbox};
use super::{host, log, password, shutdown, supervisor};
use rft::cause;
use rft::config::Config;
use rft::control::ControlSocket;
use rft::error::{Finished, RunError};
use rft::event::{Event, PeerEvent};
use rft::metrics::MetricsServer;
use rft::{Daemon, Handle, HookHelper, LockedFolders, Port};
use rft::{Password, PasswordKey};
use std::io::{self, BufWriter, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Time for the last lines, long enough for a slow reader of the events.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for tasks to end after the engine has returned.
const TASKS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the peer and prints its events and its end. Returns the exit code.
pub(crate) fn run(line: &CommandLine) -> u8 {
    launch(Launch::of(line)).code
}

/// The end of a run.
pub(crate) struct RunEnd {
    pub(crate) code: u8,
    /// A file was sent or received, at least in part.
    pub(crate) moved: bool,
}

/// Runs a peer and prints its events and its end.
pub(crate) fn launch(mut launch: Launch) -> RunEnd {
    let show = show(launch.show);
    shutdown::disarm();
    // Before any other thread exists: a thread inherits the sandbox of the one that starts it.
    let prepared = prepare(&mut launch);
    let moved = Arc::new(AtomicBool::new(false));
    let json =
        launch.show.json.then(|| Json::new(BufWriter::with_capacity(64 * 1024, io::stdout())));
    // Set once the process has started.
    let running = Arc::new(OnceLock::<Handle>::new());
    let shown = running.clone();
    let source = Box::new(move || shown.get().map(Handle::summary));
    let terminal = Terminal::stderr(show, source);
    let terminal = if launch.once.is_some() { terminal.of_one_exchange() } else { terminal };
    let output = match Output::start(terminal, json) {
        Ok(output) => output,
        Err(error) => {
            let why = cause::of(&error);
            let reason = format!("the output thread cannot be started: {why}");
            super::fail(&Failure::new(exit::UNKNOWN, reason));
            return RunEnd { code: exit::UNKNOWN, moved: false };
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("rft").build();
    let result = match &runtime {
        Ok(runtime) => {
            let told = RunObservers { output: &output, show, running, moved: moved.clone() };
            prepared.and_then(|prepared| serve(&launch, prepared, told, runtime))
        }
        Err(error) => Err(unknown(error)),
    };
    let (code, reason) = match result {
        Ok(Finished::Stopped) => (exit::DONE, "stopped".to_owned()),
        Ok(Finished::Drained { left_alone: 0 }) => (exit::DONE, "drained".to_owned()),
        Ok(Finished::Drained { left_alone }) => {
            (exit::DONE, format!("drained; unfinished files that stay in Outgoing: {left_alone}"))
        }
        Err(failure) => (failure.code, failure.reason),
    };
    log::record::end(code, &reason);
    supervisor::ended(code, &reason);
    if code == exit::DONE
        && let Some(last) = launch.once.as_ref().and_then(|once| once.last_line.clone())
    {
        output.line(last);
    }
    // Before the runtime ends: it must notice a second Ctrl-C while this waits for a slow reader.
    output.end(code, &reason, SHUTDOWN_TIMEOUT);
    if let Ok(runtime) = runtime {
        runtime.shutdown_timeout(TASKS_TIMEOUT);
    }
    RunEnd { code, moved: moved.load(Ordering::Relaxed) }
}

/// The receivers of a run's events.
struct RunObservers<'a> {
    output: &'a Output,
    show: Show,
    /// Gets the handle once the process has started.
    running: Arc<OnceLock<Handle>>,
    /// Becomes true with the first file.
    moved: Arc<AtomicBool>,
}

/// The results of the checks before the peer starts.
struct Prepared {
    config: Config,
    port: Port,
    folders: LockedFolders,
    /// Runs the programs of `--on-received`.
    hooks: Option<HookHelper>,
    /// `None` if it cannot be bound; the peer runs without it.
    control: Option<ControlSocket>,
    metrics: Option<MetricsServer>,
    password: Password,
    /// Texts to print when the output has started.
    warnings: Vec<String>,
    /// The folders that the sandbox allows; `None` with `--no-sandbox`.
    sandbox: Option<Result<Vec<PathBuf>, NoSandbox>>,
}

/// Checks the arguments, the port and the password; then creates the folders and sandboxes the
/// process. A command that cannot work creates nothing.
fn prepare(launch: &mut Launch) -> Result<Prepared, Failure> {
    let mut warnings: Vec<String> = keep_memory_private().err().into_iter().collect();
    let taken = Failure::new(exit::UNKNOWN, "started twice");
    let mut config = std::mem::replace(&mut launch.config, Err(taken))?;
    let metrics = launch.metrics;
    config.host_name = host::name();
    let failed = |error: RunError| Failure::new(exit::code_of(&error), error.to_string());
    // Before the prompt, since its answer would be lost on an error.
    let port = Daemon::check(&config).map_err(failed)?;
    let metrics = metrics.map(|addr| MetricsServer::bind(addr, &config.host_name)).transpose();
    let metrics = metrics.map_err(|error| Failure::new(exit::BIND, error.to_string()))?;
    let mut warn = |warning| warnings.push(warning);
    let password = match &launch.password {
        PasswordSource::User(file) => password::obtain(file.as_deref(), TWICE, &mut warn)?,
        PasswordSource::Told(file) => password::obtain(file.as_deref(), ONCE, &mut warn)?,
        PasswordSource::Made(phrase) => password::made(phrase)?,
    };
    let folders = Daemon::lock(&config.folders).map_err(failed)?;
    // Before the sandbox, which lets this process execute no program.
    let hooks = config.hooks.as_ref().map(|hooks| HookHelper::start(hooks, &config.folders));
    let hooks = hooks.transpose().map_err(|error| failed(error.into()))?;
    // Before the sandbox, which allows no new socket. One exchange has no base folder, which the
    // commands would name.
    let wanted = launch.once.is_none().then(|| ControlSocket::bind(folders.state()));
    let control = wanted.and_then(|bound| {
        let text = "there is no control socket, so `rft status` cannot ask this rft";
        bound.map_err(|error| warnings.push(format!("{text}: {error}"))).ok()
    });
    let log_folder = log::folder_of(&launch.log_file);
    let restrict = || {
        // A log that cannot be written gets its warning later; the peer runs without it.
        let logs = log::create_folder(log_folder).is_ok().then_some(log_folder);
        let mut allowed = sandbox::folders_of(&config.folders, logs);
        allowed.extend(launch.once.as_ref().map(|once| once.writable.clone()));
        sandbox::restrict_writes(&allowed).map(|()| allowed)
    };
    let sandbox = (!launch.no_sandbox).then(restrict);
    Ok(Prepared { config, port, folders, hooks, control, metrics, password, warnings, sandbox })
}

fn serve(
    launch: &Launch,
    prepared: Prepared,
    RunObservers { output, show, running, moved }: RunObservers<'_>,
    runtime: &Runtime,
) -> Result<Finished, Failure> {
    let Prepared { config, port, folders, hooks, control, metrics, password, warnings, sandbox } =
        prepared;
    let (stop, stopped_by) = {
        let _context = runtime.enter();
        shutdown::listen(output.clone(), running.clone()).map_err(|error| unknown(&error))?
    };
    let mut warn = |message: String| {
        log::record::warning(None, &message);
        output.event(Event::Warning { path: None, message });
    };
    log::start(&launch.log_file, launch.show.verbose, output).into_iter().for_each(&mut warn);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, file = ?launch.config_file, "started");
    report_sandbox(sandbox, &mut warn);
    print_introduction(&config, metrics.as_ref(), launch.once.as_ref(), output, show);
    warnings.into_iter().for_each(&mut warn);
    let key = PasswordKey::derive(&password).map_err(|error| unknown(&error))?;
    drop(password);

    let is_once = launch.once.is_some();
    let observer = observer(output.clone(), moved, is_once);
    let result = runtime.block_on(async {
        let handle = Daemon::start_on(port, folders, hooks, config, key, observer)?;
        let served = control.map(|control| tokio::spawn(control.serve(handle.clone())));
        let scraped = metrics.map(|metrics| tokio::spawn(metrics.serve(handle.clone())));
        let told = tokio::spawn(supervisor::follow(handle.clone()));
        let end = run_to_end(running.get_or_init(|| handle), stop).await;
        told.abort();
        served.inspect(JoinHandle::abort);
        scraped.inspect(JoinHandle::abort);
        end
    });
    result.map_err(|error| {
        let code = match *error {
            RunError::Interrupted(_) => stopped_by.code(),
            _ => exit::code_of(&error),
        };
        Failure::new(code, reason_of(&error, is_once))
    })
}

/// Tells the log, or the user by `warn`, whether the process is sandboxed.
fn report_sandbox(sandbox: Option<Result<Vec<PathBuf>, NoSandbox>>, warn: &mut impl FnMut(String)) {
    match sandbox {
        Some(Ok(folders)) => {
            tracing::info!(
                ?folders,
                "sandboxed: the process writes only beneath these folders and executes no program"
            );
        }
        Some(Err(NoSandbox::Unsupported)) => {
            tracing::info!("not sandboxed: {}", NoSandbox::Unsupported);
        }
        #[cfg(target_os = "linux")]
        Some(Err(error)) => warn(error.to_string()),
        None => tracing::info!("not sandboxed: --no-sandbox"),
    }
}

/// Passes events to the log and to `output`. `moved` becomes true with the first file.
fn observer(
    output: Output,
    moved: Arc<AtomicBool>,
    is_once: bool,
) -> impl Fn(PeerEvent) + Send + Sync {
    move |mut told| {
        match &mut told.event {
            Event::FileStarted { .. } | Event::FileDone { .. } => {
                moved.store(true, Ordering::Relaxed);
            }
            // The command for the other host is another one then.
            Event::Waiting { local, .. } if is_once => local.clear(),
            Event::DrainWaiting { status } if is_once => {
                let message = format!("not done yet: {}", state::remaining_in_one(status));
                told.event = Event::Warning { path: None, message };
            }
            _ => {}
        }
        log::record::event(&told);
        // Only the history and the log have it.
        if !matches!(told.event, Event::FileRemoved { .. }) {
            output.event(told.event);
        }
    }
}

/// The error for people, with the remaining work.
fn reason_of(error: &RunError, is_once: bool) -> String {
    match error {
        RunError::OutOfTime { wait, status } if is_once => {
            format!("not done within --wait {wait:?}: {}", state::remaining_of_one(status))
        }
        RunError::Interrupted(status) if is_once => {
            format!("{error}: {}", state::remaining_of_one(status))
        }
        RunError::Interrupted(status) | RunError::OutOfTime { status, .. } => {
            format!("{error}: {}", state::remaining(status))
        }
        _ => error.to_string(),
    }
}

/// Waits for the end, and stops the process when `stop` completes.
async fn run_to_end(
    handle: &Handle,
    stop: impl Future<Output = ()>,
) -> Result<Finished, Arc<RunError>> {
    let end = handle.wait();
    tokio::pin!(end);
    tokio::select! {
        result = &mut end => return result,
        () = stop => {
            supervisor::stopping();
            handle.stop();
        }
    }
    end.await
}

fn unknown(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        exit::UNKNOWN,
        format!(
            "{}; this host may be out of memory or another resource",
            cause::without_number(&error.to_string())
        ),
    )
}

/// How much the terminal shows. If it shows the events of `--json` already, nothing is printed
/// between them.
fn show(options: ShowOptions) -> Show {
    let events_suffice =
        options.json && (io::stdout().is_terminal() || !io::stderr().is_terminal());
    match options.progress {
        _ if options.quiet => Show::Errors,
        Progress::Always => Show::Progress,
        _ if events_suffice && options.verbose == 0 => Show::Errors,
        Progress::Auto if io::stderr().is_terminal() && moves_the_cursor() => Show::Progress,
        Progress::Auto | Progress::Never => Show::Lines,
    }
}

/// Whether the terminal can move the cursor back, as the progress area needs it. Windows sets no
/// `TERM`.
fn moves_the_cursor() -> bool {
    match std::env::var_os("TERM") {
        Some(term) => !term.is_empty() && term != "dumb",
        None => cfg!(windows),
    }
}

/// Prints the lines before the first event: the banner, the folders and the page of metrics.
fn print_introduction(
    config: &Config,
    metrics: Option<&MetricsServer>,
    once: Option<&Once>,
    output: &Output,
    show: Show,
) {
    let page = metrics.map(|server| page_of(server.local()));
    page.iter().for_each(|page| tracing::info!("{page}"));
    if show == Show::Errors {
        // A password that nobody sees helps nobody.
        let told = once.and_then(|once| once.password_line.clone());
        told.into_iter().for_each(|line| output.report(line));
        return output.sync();
    }
    if io::stderr().is_terminal() && show == Show::Progress && once.is_none() {
        // Line by line: the output escapes a newline within a line.
        let banner = banner::text(console::colors_enabled_stderr());
        banner.split('\n').for_each(|line| output.line(line.to_owned()));
    }
    if let Some(once) = once {
        once.lines.iter().chain(&once.password_line).for_each(|line| output.line(line.clone()));
        return output.sync();
    }
    let full = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    output.line(format!("files to send go into    {}", full(&config.folders.outgoing).display()));
    output.line(format!("received files land in   {}", full(&config.folders.incoming).display()));
    page.into_iter().for_each(|page| output.line(page));
    output.sync();
}

/// Where the metrics are, and who can read them.
fn page_of(addr: SocketAddr) -> String {
    let bound = addr.ip().to_canonical();
    let ip = match bound {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!("metrics and a page are at http://{}/", SocketAddr::new(ip, addr.port()));
    if ip != bound {
        url + ", and at this host's other addresses; no password protects them"
    } else if ip.is_loopback() {
        url
    } else {
        url + "; no password protects them"
    }
}

/// Protects the secrets in memory: no core dumps, and no access by other processes of this user.
/// Debug builds stay open to debuggers.
///
/// # Errors
/// The text of a warning, if the system refuses.
fn keep_memory_private() -> Result<(), String> {
    #[cfg(all(target_os = "linux", not(debug_assertions)))]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| {
            format!("core dumps cannot be switched off: {}", cause::of(&error.into()))
        })?;
    }
    Ok(())
}
