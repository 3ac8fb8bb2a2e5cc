//! The command line: what clap takes apart, and the [`Config`] that it means.

mod address;
pub(crate) mod choices;
mod units;

use crate::cli::exit::Failure;
use choices::{AfterSendArg, CompressArg, CongestionArg, OnConflictArg, Progress, TempNamesArg};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use rft::cause;
use rft::config::{Config, Folders, PeerAddress, TempNames, Waits};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// PEER that stands for "wait for any peer".
const LISTEN: &str = "listen";
/// Most files at once: each has a stream, an open file and buffers.
const MAX_IN_FLIGHT: usize = 1024;
/// Least memory that transfers can work with.
const MIN_MEMORY: u64 = 16 << 20;

const USAGE: &str = "rft [OPTIONS] <PEER> <PORT>
       rft [OPTIONS] listen <PORT>
       rft <demo|passphrase|completions|man>";

const EXAMPLES: &str = "\
Two hosts, one command each, the same password on both:
  alice$ rft bob.example.org 4000
  bob$   rft alice.example.org 4000
What is dropped into alice's ./Outgoing lands in bob's ./Incoming, and the other way round.

`rft demo` shows it on this machine alone; `rft passphrase` makes a good password.";

/// What stands below the options: examples, and the names that `--temp-names` is about.
fn after_help() -> clap::builder::StyledStr {
    format!("{EXAMPLES}\n\nNames of unfinished files (--temp-names): {}", TempNames::LIST).into()
}

/// Drop files into Outgoing; they land, encrypted on the way, in the peer's Incoming.
#[derive(Debug, Parser)]
#[command(
    name = "rft",
    version,
    override_usage = USAGE,
    after_help = after_help(),
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    disable_help_flag = true,
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    /// The other host: its IP address or name; or `listen`, to take any peer that knows the
    /// password
    #[arg(value_name = "PEER", required = true, value_hint = ValueHint::Hostname, allow_negative_numbers = true)]
    peer: Option<String>,
    /// UDP port, 1-65535, the same on both hosts
    #[arg(value_name = "PORT", required = true, allow_negative_numbers = true)]
    port: Option<String>,
    #[command(flatten)]
    pub(crate) options: Options,
    /// Print this help
    #[arg(short, long, global = true, action = clap::ArgAction::HelpShort)]
    help: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What is not a peer that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run two real peers on this machine and watch a few files move
    Demo(DemoArgs),
    /// Print a random pass phrase of 80 bits that is easy to read out
    Passphrase,
    /// Print the completions for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the man page (view it with `rft man | man -l -`)
    Man,
}

/// Options of `rft demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the folder, to look around in it
    #[arg(long)]
    pub(crate) keep: bool,
    /// Also draw what is shown into this SVG file
    #[arg(long, value_name = "FILE", hide = true, value_hint = ValueHint::FilePath)]
    pub(crate) svg: Option<PathBuf>,
}

/// Options of a peer. Numbers stay text here, so that what is wrong with one gets the exit code
/// that it has in the contract.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Base folder: holds Outgoing, Incoming and the hidden .rft; created when missing
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath, help_heading = "Folders")]
    dir: PathBuf,
    /// What is dropped here is sent [default: DIR/Outgoing]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Folders")]
    outgoing: Option<PathBuf>,
    /// What arrives stands here [default: DIR/Incoming]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Folders")]
    incoming: Option<PathBuf>,
    /// Let the process write outside its folders too (Linux)
    #[arg(long, help_heading = "Folders")]
    pub(crate) no_sandbox: bool,

    /// First line is the password (else env RFT_PASSWORD, else a prompt)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Password")]
    pub(crate) password_file: Option<PathBuf>,
    /// Stop with code 9 at a wrong password, instead of serving on
    #[arg(long, help_heading = "Password")]
    exit_on_auth_failure: bool,

    /// What happens to a file in Outgoing once the peer has it durably
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, help_heading = "Files")]
    after_send: AfterSendArg,
    /// When another file stands at that name in Incoming: keep both, replace it, or leave it
    #[arg(long, value_name = "HOW", value_enum, default_value_t, help_heading = "Files")]
    on_conflict: OnConflictArg,
    /// Leave with code 0 once both sides have nothing more to send
    #[arg(long, help_heading = "Files")]
    drain: bool,
    /// Give up --drain with code 17 after this time: 30s, 10m, 2h
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = "Files")]
    wait: Option<String>,
    /// How long a file written in place must be quiet before it is sent: 250ms, 2m [default: 1s;
    /// 80ms after a close]
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = "Files")]
    settle: Option<String>,
    /// Leave files with names of unfinished files (listed below) alone until they are renamed, or
    /// send them (none)
    #[arg(long, value_name = "WHICH", value_enum, default_value_t, help_heading = "Files")]
    temp_names: TempNamesArg,
    /// How long a folder that was made in place stays, empty or after the last file in it
    #[arg(long, value_name = "DURATION", hide = true, allow_negative_numbers = true)]
    folder_wait: Option<String>,
    /// Send a snapshot of a file that stays open, after so much quiet
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, help_heading = "Files")]
    send_open: Option<String>,
    /// Hold sent files aside for so long where the system cannot tell who writes them
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        allow_negative_numbers = true,
        help_heading = "Files"
    )]
    grace: String,
    /// Refuse larger files from the peer
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Files")]
    max_file_size: Option<String>,
    /// Let Incoming hold no more than this, with what is being received
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Files")]
    max_incoming_bytes: Option<String>,
    /// Take nothing that leaves less space than this in Incoming
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16Mi",
        allow_negative_numbers = true,
        help_heading = "Files"
    )]
    min_free: String,

    /// Local UDP address, and port, to use [default: all addresses, PORT]
    #[arg(long, value_name = "ADDR[:PORT]", help_heading = "Network")]
    bind: Option<String>,
    /// Send no faster than this many bytes a second: 500K, 20M, 1G
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "Network")]
    limit_rate: Option<String>,
    /// Congestion control
    #[arg(long, value_name = "WHICH", value_enum, default_value_t, help_heading = "Network")]
    congestion: CongestionArg,
    /// Compress what is sent where that makes it faster, or not at all
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, help_heading = "Network")]
    compress: CompressArg,
    /// Send this many files at once
    #[arg(
        long,
        value_name = "N",
        default_value = "64",
        allow_negative_numbers = true,
        help_heading = "Network"
    )]
    in_flight: String,
    /// Memory for transfers: K, M, G are powers of 1000, Ki, Mi, Gi of 1024
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256Mi",
        allow_negative_numbers = true,
        help_heading = "Network"
    )]
    memory: String,

    /// Print events as JSON Lines on stdout, and nothing else there
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// Progress bars: on a terminal, always, or never
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, help_heading = "Output")]
    pub(crate) progress: Progress,
    /// Show only errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Show log lines too; -vv shows more of them
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// Full log [default: DIR/.rft/rft.log]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) log_file: Option<PathBuf>,
}

impl CommandLine {
    /// The peer that the arguments describe.
    ///
    /// # Errors
    /// The exit codes 2, 3, 4 and 14 of the contract.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let options = &self.options;
        let (Some(peer), Some(port)) = (&self.peer, &self.port) else {
            return Err(Failure::usage("a peer and a port are needed; see rft --help"));
        };
        let host = if peer == LISTEN { None } else { Some(address::peer(peer)?) };
        let port = address::port(port)?;
        let mut config =
            Config::new(host.map(|host| PeerAddress { host, port }), port, &options.dir);
        config.bind = options.bind.as_deref().map(address::bind).transpose()?;
        config.folders = options.folders()?;
        config.after_send = options.after_send.into();
        config.on_conflict = options.on_conflict.into();
        config.drain = options.drain;
        config.wait = options.wait()?;
        config.waits = options.waits()?;
        config.temp_names = options.temp_names.into();
        let send_open = options.send_open.as_deref();
        config.send_open =
            send_open.map(|text| units::duration("--send-open", text)).transpose()?;
        config.grace = units::duration("--grace", &options.grace)?;
        let limit_rate = options.limit_rate.as_deref();
        config.limit_rate = limit_rate.map(|text| units::rate("--limit-rate", text)).transpose()?;
        config.congestion = options.congestion.into();
        config.compress = options.compress.into();
        config.in_flight = units::count("--in-flight", &options.in_flight, 1, MAX_IN_FLIGHT)?;
        config.exit_on_auth_failure = options.exit_on_auth_failure;
        let max_file_size = options.max_file_size.as_deref();
        config.max_file_size =
            max_file_size.map(|text| units::size("--max-file-size", text)).transpose()?;
        let max_incoming = options.max_incoming_bytes.as_deref();
        config.max_incoming_bytes =
            max_incoming.map(|text| units::size("--max-incoming-bytes", text)).transpose()?;
        config.min_free = units::size("--min-free", &options.min_free)?;
        config.memory = units::size_at_least("--memory", &options.memory, MIN_MEMORY)?;
        Ok(config)
    }

    /// Where the full log goes.
    pub(crate) fn log_file(&self) -> PathBuf {
        let in_state = || Folders::in_dir(&self.options.dir).state.join("rft.log");
        self.options.log_file.clone().unwrap_or_else(in_state)
    }
}

impl Options {
    /// A user who says how long a file must be quiet means it after a close too.
    fn waits(&self) -> Result<Waits, Failure> {
        let mut waits = Waits::DEFAULT;
        if let Some(text) = &self.settle {
            waits.settle = units::duration("--settle", text)?;
            waits.after_close = waits.settle;
        }
        if let Some(text) = &self.folder_wait {
            waits.empty_folder = units::duration("--folder-wait", text)?;
            waits.emptied_folder = waits.empty_folder;
        }
        Ok(waits)
    }

    fn wait(&self) -> Result<Option<Duration>, Failure> {
        if self.wait.is_some() && !self.drain {
            return Err(Failure::usage(
                "--wait is how long --drain may take, and --drain is not given; add --drain, or leave --wait out",
            ));
        }
        self.wait.as_deref().map(|text| units::duration("--wait", text)).transpose()
    }

    /// Outgoing and Incoming apart from each other: else all that arrives would be sent back, for
    /// ever.
    fn folders(&self) -> Result<Folders, Failure> {
        let mut folders = Folders::in_dir(&self.dir);
        if let Some(outgoing) = &self.outgoing {
            folders.outgoing.clone_from(outgoing);
        }
        if let Some(incoming) = &self.incoming {
            folders.incoming.clone_from(incoming);
        }
        let (outgoing, incoming) = (absolute(&folders.outgoing)?, absolute(&folders.incoming)?);
        if outgoing.starts_with(&incoming) || incoming.starts_with(&outgoing) {
            return Err(Failure::usage(format!(
                "Outgoing ({}) and Incoming ({}) must not lie in each other, or what arrives would be sent back; give two separate folders",
                outgoing.display(),
                incoming.display()
            )));
        }
        Ok(folders)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(format!(
            "folder {:?} cannot be used: {}; give another one",
            path.display().to_string(),
            cause::of(&error)
        ))
    })
}

/// The whole command, for completions and the man page, which are to know `listen` too.
pub(crate) fn full_command() -> clap::Command {
    let listen = Options::augment_args(clap::Command::new(LISTEN))
        .about("Take any peer that knows the password")
        .arg(clap::Arg::new("port").value_name("PORT").required(true));
    CommandLine::command().subcommand(listen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rft::config::{AfterSend, Compress, Congestion, OnConflict};

    /// The configuration, or the exit code.
    fn config(line: &str) -> Result<Config, u8> {
        let words = std::iter::once("rft").chain(line.split_whitespace());
        let parsed = CommandLine::try_parse_from(words)
            .map_err(|error| u8::try_from(error.exit_code()).unwrap())?;
        parsed.config().map_err(|failure| failure.code)
    }

    #[test]
    fn definition_is_consistent() {
        CommandLine::command().debug_assert();
        full_command().debug_assert();
    }

    #[test]
    fn defaults() {
        let config = config("bob 4000").unwrap();
        assert_eq!(config.peer, Some(PeerAddress { host: "bob".into(), port: 4000 }));
        assert_eq!((config.port, config.bind), (4000, None));
        assert_eq!(config.folders, Folders::in_dir("."));
        assert_eq!(
            (config.after_send, config.on_conflict),
            (AfterSend::Delete, OnConflict::Rename)
        );
        assert_eq!((config.drain, config.exit_on_auth_failure), (false, false));
        assert_eq!((config.waits, config.temp_names), (Waits::DEFAULT, TempNames::LeaveAlone));
        assert_eq!(config.limit_rate, None);
        assert_eq!((config.congestion, config.in_flight), (Congestion::Bbr, 64));
        assert_eq!(config.compress, Compress::Auto);
        let engine = Config::new(None, 1, ".");
        assert_eq!(
            (config.max_file_size, config.min_free, config.memory),
            (None, engine.min_free, engine.memory)
        );
    }

    #[test]
    fn listen_has_no_peer() {
        for line in ["listen 4000 --drain", "--drain listen 4000"] {
            let config = config(line).unwrap();
            assert_eq!((config.peer, config.port, config.drain), (None, 4000, true), "{line}");
        }
    }

    #[test]
    fn every_option() {
        let config = config(
            "--dir d --outgoing o --incoming i --bind [::1]:5000 --password-file p --after-send archive \
             --on-conflict skip --drain --wait 1m --settle 250ms --temp-names none --json --progress never -vv --log-file l --limit-rate 20M \
             --congestion cubic --compress never --exit-on-auth-failure --in-flight 8 --max-file-size 1Gi --min-free 1G \
             --memory 64Mi fe80::1%eth0 65535",
        )
        .unwrap();
        assert_eq!(config.peer, Some(PeerAddress { host: "fe80::1%eth0".into(), port: 65535 }));
        assert_eq!(config.bind.unwrap().socket_addr(1).to_string(), "[::1]:5000");
        assert_eq!(config.folders.outgoing, Path::new("o"));
        assert_eq!(config.folders.incoming, Path::new("i"));
        assert_eq!(config.folders.state, Path::new("d").join(".rft"));
        assert_eq!((config.after_send, config.on_conflict), (AfterSend::Archive, OnConflict::Skip));
        assert!(config.drain && config.exit_on_auth_failure);
        assert_eq!(config.wait, Some(Duration::from_secs(60)));
        let quiet = Duration::from_millis(250);
        assert_eq!(config.waits, Waits { settle: quiet, after_close: quiet, ..Waits::DEFAULT });
        assert_eq!((config.temp_names, config.limit_rate), (TempNames::Send, Some(20_000_000)));
        assert_eq!((config.congestion, config.in_flight), (Congestion::Cubic, 8));
        assert_eq!(config.compress, Compress::Never);
        assert_eq!(config.max_file_size, Some(1 << 30));
        assert_eq!((config.min_free, config.memory), (1_000_000_000, 64 << 20));
    }

    #[test]
    fn every_error_has_its_code() {
        for (line, code) in [
            ("", 2),
            ("bob", 2),
            ("listen", 2),
            ("bob 4000 extra", 2),
            ("bob 4000 --nonsense", 2),
            ("bob 4000 --password secret", 2),
            ("bob 4000 --after-send burn", 2),
            ("bob 4000 --on-conflict merge", 2),
            ("bob 4000 --congestion reno", 2),
            ("bob 4000 --progress maybe", 2),
            ("bob 4000 -q -v", 2),
            ("bob 4000 --bind nowhere", 2),
            ("bob 4000 --dir", 2),
            ("bob 4000 --outgoing x --incoming x", 2),
            ("bob 4000 --outgoing .", 2),
            ("bob 4000 --incoming Outgoing/in", 2),
            ("completions tcsh", 2),
            ("300.1.1.1 4000", 3),
            ("a..b 4000", 3),
            ("-1 4000", 3),
            ("bob 0", 4),
            ("bob 70000", 4),
            ("bob -1", 4),
            ("bob http", 4),
            ("listen 0", 4),
            ("bob 4000 --bind 127.0.0.1:99999", 4),
            ("bob 4000 --wait 5s", 2),
            ("bob 4000 --drain --wait soon", 14),
            ("bob 4000 --settle soon", 14),
            ("bob 4000 --settle -1", 14),
            ("bob 4000 --temp-names some", 2),
            ("bob 4000 --limit-rate fast", 14),
            ("bob 4000 --limit-rate 0", 14),
            ("bob 4000 --limit-rate -5", 14),
            ("bob 4000 --in-flight 0", 14),
            ("bob 4000 --in-flight many", 14),
            ("bob 4000 --in-flight 1025", 14),
            ("bob 4000 --max-file-size 1X", 14),
            ("bob 4000 --min-free x", 14),
            ("bob 4000 --memory 1K", 14),
        ] {
            assert_eq!(config(line).map(|_| ()), Err(code), "rft {line}");
        }
    }

    #[test]
    fn help_is_short_and_names_every_command() {
        let help = CommandLine::command().term_width(100).render_help().to_string();
        let (options, names) = help.split_once("Names of unfinished files").unwrap();
        assert!(options.lines().count() <= 78 && names.lines().count() <= 10, "{help}");
        for word in ["listen <PORT>", "demo", "passphrase", "completions", "alice$ rft bob"] {
            assert!(help.contains(word), "{word} is missing:\n{help}");
        }
    }
}
