//! `rft PEER PORT`: runs one peer, from its arguments to its exit code.

use super::args::CommandLine;
use super::args::choices::Progress;
use super::exit::{self, Failure};
use super::output::Output;
use super::output::banner;
use super::output::json::Json;
use super::output::state;
use super::output::terminal::{Show, Terminal};
use super::sandbox::{self, NoSandbox};
use super::{host, log, password, shutdown};
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
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Time for the last lines, long enough for a slow reader of the events.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for tasks to end after the engine has returned.
const TASKS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the peer and prints its events and its end.
pub(crate) fn run(line: &CommandLine) -> ExitCode {
    let show = show(line);
    shutdown::disarm();
    // Before any other thread exists: a thread inherits the sandbox of the one that starts it.
    let prepared = prepare(line);
    let json =
        line.options.json.then(|| Json::new(BufWriter::with_capacity(64 * 1024, io::stdout())));
    // Set once the process has started.
    let running = Arc::new(OnceLock::<Handle>::new());
    let shown = running.clone();
    let source = Box::new(move || shown.get().map(Handle::summary));
    let output = match Output::start(Terminal::stderr(show, source), json) {
        Ok(output) => output,
        Err(error) => {
            return super::fail(&Failure::new(
                exit::UNKNOWN,
                format!("the output thread cannot be started: {}", cause::of(&error)),
            ));
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("rft").build();
    let result = match &runtime {
        Ok(runtime) => {
            prepared.and_then(|prepared| serve(line, prepared, &output, show, runtime, running))
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
    // Before the runtime ends: it must notice a second Ctrl-C while this waits for a slow reader.
    output.end(code, &reason, SHUTDOWN_TIMEOUT);
    if let Ok(runtime) = runtime {
        runtime.shutdown_timeout(TASKS_TIMEOUT);
    }
    ExitCode::from(code)
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
fn prepare(line: &CommandLine) -> Result<Prepared, Failure> {
    let mut warnings: Vec<String> = keep_memory_private().err().into_iter().collect();
    let mut config = line.config()?;
    let metrics = line.metrics()?;
    config.host_name = host::name();
    let failed = |error: RunError| Failure::new(exit::code_of(&error), error.to_string());
    // Before the prompt, since its answer would be lost on an error.
    let port = Daemon::check(&config).map_err(failed)?;
    let metrics = metrics.map(|addr| MetricsServer::bind(addr, &config.host_name)).transpose();
    let metrics = metrics.map_err(|error| Failure::new(exit::BIND, error.to_string()))?;
    let file = line.options.password_file.as_deref();
    let password = password::obtain(file, &mut |warning| warnings.push(warning))?;
    let folders = Daemon::lock(&config.folders).map_err(failed)?;
    // Before the sandbox, which lets this process execute no program.
    let hooks = config.hooks.as_ref().map(|hooks| HookHelper::start(hooks, &config.folders));
    let hooks = hooks.transpose().map_err(|error| failed(error.into()))?;
    // Before the sandbox, which lets no one create a socket.
    let control = ControlSocket::bind(folders.state())
        .map_err(|error| {
            warnings.push(format!(
                "there is no control socket, so `rft status` cannot ask this rft: {error}"
            ))
        })
        .ok();
    let log_file = line.log_file();
    let log_folder = log::folder_of(&log_file);
    let restrict = || {
        // A log that cannot be written gets its warning later; the peer runs without it.
        let logs = log::create_folder(log_folder).is_ok().then_some(log_folder);
        let allowed = sandbox::folders_of(&config.folders, logs);
        sandbox::restrict_writes(&allowed).map(|()| allowed)
    };
    let sandbox = (!line.options.no_sandbox).then(restrict);
    Ok(Prepared { config, port, folders, hooks, control, metrics, password, warnings, sandbox })
}

fn serve(
    line: &CommandLine,
    prepared: Prepared,
    output: &Output,
    show: Show,
    runtime: &Runtime,
    running: Arc<OnceLock<Handle>>,
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
    log::start(&line.log_file(), line.options.verbose, output).into_iter().for_each(&mut warn);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?config, file = ?line.config_file, "started");
    match sandbox {
        Some(Ok(folders)) => {
            tracing::info!(
                ?folders,
                "sandboxed: the process writes only beneath these folders and executes no program"
            );
        }
        Some(Err(NoSandbox::Unsupported)) => {
            tracing::info!("not sandboxed: {}", NoSandbox::Unsupported)
        }
        #[cfg(target_os = "linux")]
        Some(Err(error)) => warn(error.to_string()),
        None => tracing::info!("not sandboxed: --no-sandbox"),
    }
    print_introduction(&config, metrics.as_ref(), output, show);
    warnings.into_iter().for_each(&mut warn);
    let key = PasswordKey::derive(&password).map_err(|error| unknown(&error))?;
    drop(password);

    let observed = output.clone();
    let observer = move |told: PeerEvent| {
        log::record::event(&told);
        // Only the history and the log have it.
        if !matches!(told.event, Event::FileRemoved { .. }) {
            observed.event(told.event);
        }
    };
    let result = runtime.block_on(async {
        let handle = Daemon::start_on(port, folders, hooks, config, key, observer)?;
        let served = control.map(|control| tokio::spawn(control.serve(handle.clone())));
        let scraped = metrics.map(|metrics| tokio::spawn(metrics.serve(handle.clone())));
        let end = run_to_end(running.get_or_init(|| handle), stop).await;
        served.inspect(JoinHandle::abort);
        scraped.inspect(JoinHandle::abort);
        end
    });
    result.map_err(|error| {
        let code = match *error {
            RunError::Interrupted(_) => stopped_by.code(),
            _ => exit::code_of(&error),
        };
        let reason = match &*error {
            RunError::Interrupted(status) | RunError::OutOfTime { status, .. } => {
                format!("{error}: {}", state::remaining(status))
            }
            _ => error.to_string(),
        };
        Failure::new(code, reason)
    })
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
        () = stop => handle.stop(),
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
fn show(line: &CommandLine) -> Show {
    let options = &line.options;
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
    output: &Output,
    show: Show,
) {
    let page = metrics.map(|server| page_of(server.local()));
    page.iter().for_each(|page| tracing::info!("{page}"));
    if show == Show::Errors {
        return;
    }
    if io::stderr().is_terminal() && show == Show::Progress {
        // Line by line: the output escapes a newline within a line.
        let banner = banner::text(console::colors_enabled_stderr());
        banner.split('\n').for_each(|line| output.line(line.to_owned()));
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
