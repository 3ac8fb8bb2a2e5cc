//! What a process of a peer needs to start: from the arguments of `rft PEER PORT`, or of one
//! exchange.

use super::args::CommandLine;
use super::args::choices::Progress;
use super::exit::Failure;
use rft::config::Config;
use std::net::SocketAddr;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The peer to run, and its output.
pub(crate) struct Launch {
    /// An error ends the process in the same way as a later one: with --json as an event.
    pub(crate) config: Result<Config, Failure>,
    /// The address to serve metrics at.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) password: PasswordSource,
    pub(crate) show: ShowOptions,
    pub(crate) log_file: PathBuf,
    /// The configuration file, if there is one.
    pub(crate) config_file: Option<PathBuf>,
    /// Write outside the folders too.
    pub(crate) no_sandbox: bool,
    /// How one exchange differs.
    pub(crate) once: Option<Once>,
}

/// Where the password is from.
pub(crate) enum PasswordSource {
    /// The file, the environment or the terminal.
    User(Option<PathBuf>),
    /// The same; the terminal asks once, since the other side has made the password.
    Told(Option<PathBuf>),
    /// This program made it.
    Made(Zeroizing<String>),
}

/// What the terminal shows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShowOptions {
    pub(crate) json: bool,
    pub(crate) progress: Progress,
    pub(crate) quiet: bool,
    pub(crate) verbose: u8,
}

/// One exchange: `rft send`, `rft receive`.
pub(crate) struct Once {
    /// The folder with the state, which is removed at the end.
    pub(crate) writable: PathBuf,
    /// The first lines for people.
    pub(crate) lines: Vec<String>,
    /// The password, if it was made for this exchange.
    pub(crate) password_line: Option<String>,
    /// The last line for people, if all went well.
    pub(crate) last_line: Option<String>,
}

impl Launch {
    /// A command that cannot begin.
    pub(crate) fn failed(show: ShowOptions, failure: Failure) -> Self {
        Self {
            config: Err(failure),
            metrics: None,
            password: PasswordSource::User(None),
            show,
            log_file: PathBuf::new(),
            config_file: None,
            no_sandbox: false,
            once: None,
        }
    }

    /// The peer that the arguments describe.
    pub(crate) fn of(line: &CommandLine) -> Self {
        let options = &line.options;
        let metrics = line.metrics();
        let (metrics, wrong) = match metrics {
            Ok(metrics) => (metrics, None),
            Err(failure) => (None, Some(failure)),
        };
        Self {
            config: line.config().and_then(|config| wrong.map_or(Ok(config), Err)),
            metrics,
            password: PasswordSource::User(options.password_file.clone()),
            show: ShowOptions {
                json: options.json,
                progress: options.progress,
                quiet: options.quiet,
                verbose: options.verbose,
            },
            log_file: line.log_file(),
            config_file: line.config_file.clone(),
            no_sandbox: options.no_sandbox,
            once: None,
        }
    }
}
