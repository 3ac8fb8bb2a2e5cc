//! The command line as clap sees it. [`config`] turns it into a [`rft::config::Config`].

mod address;
pub(crate) mod choices;
mod commands;
mod config;
mod habits;
mod help;
mod hooks;
mod once;
mod place;
pub(crate) mod rates;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod steering;
mod units;
pub(crate) mod wrong;

use crate::cli::exit::Failure;
use choices::{AfterSendArg, CompressArg, CongestionArg, OnConflictArg, Progress, TempNamesArg};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
pub(crate) use commands::{
    CheckArgs, ConfigArgs, DemoArgs, HistoryArgs, PutArgs, ReceiptArgs, StatusArgs, TopArgs,
};
pub(crate) use once::{OnceArgs, ReceiveArgs, SendArgs};
use place::Place;
use rft::config::Folders;
use service::ServiceArgs;
use settings::Setting;
use std::net::SocketAddr;
use std::path::PathBuf;
use steering::{CancelArgs, LimitArgs, RetryArgs, SteeringArgs};

/// The PEER that means: accept any peer that knows the password.
const LISTEN: &str = "listen";

/// Drop files into Outgoing: rft moves them, encrypted, to the peer's Incoming.
#[derive(Debug, Parser)]
#[command(
    name = "rft",
    version = help::VERSION.as_str(),
    override_usage = help::USAGE,
    after_help = help::EXAMPLES,
    after_long_help = help::after_long_help(),
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    disable_help_flag = true,
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(flatten)]
    place: Place,
    /// Print the most used options (-h) or all of them (--help)
    #[arg(short, long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The peer's options in force, with their sources.
    #[arg(skip)]
    pub(crate) settings: Vec<Setting>,
    /// The configuration file, if there is one.
    #[arg(skip)]
    pub(crate) config_file: Option<PathBuf>,
    /// Why the file cannot be used.
    #[arg(skip)]
    wrong_file: Option<Failure>,
}

/// The commands besides running a peer.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send files once, without a folder Outgoing, and end
    Send(SendArgs),
    /// Receive files once, and end
    Receive(ReceiveArgs),
    /// Show what the running rft does, what waits, and why
    Status(StatusArgs),
    /// Show the same on the whole screen, with the speed of the last minutes
    Top(TopArgs),
    /// Copy files and folders into Outgoing, each whole or not at all
    Put(PutArgs),
    /// Send no further file until `rft resume`; files are received
    Pause(SteeringArgs),
    /// Send files again after `rft pause`
    Resume(SteeringArgs),
    /// Change the rate limit of the running rft
    Limit(LimitArgs),
    /// Offer entries again now that wait for another attempt, or were refused
    Retry(RetryArgs),
    /// Do not send an entry of Outgoing: it is moved to .rft/cancelled
    Cancel(CancelArgs),
    /// List the files that were sent, received, refused and removed
    History(HistoryArgs),
    /// Print the receipt of a file: hash, size, times, both installations
    Receipt(ReceiptArgs),
    /// Check everything that an exchange needs, and say how to mend it
    Check(CheckArgs),
    /// Print the options in force, and where each is from
    Config(Box<ConfigArgs>),
    /// Install rft as a service of the system or of this user, show it, remove it
    Service(ServiceArgs),
    /// Run two real peers on this machine that exchange a few files
    Demo(DemoArgs),
    /// Print a random pass phrase of 80 bits that is easy to read aloud
    Passphrase,
    /// Print the completions for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print a man page (view it with `rft man | man -l -`)
    Man {
        /// The command that it describes; without it, rft itself
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
        /// Print the names of all pages
        #[arg(long, conflicts_with = "command")]
        list: bool,
    },
}

/// Options of a peer. clap reads numbers as text: an invalid one must end with exit code 14, and
/// with `--json` that end is an event.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Base folder of Outgoing, Incoming and the hidden .rft
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath, help_heading = "Folders")]
    dir: PathBuf,
    /// File with more options in TOML, `drain = true` [default: DIR/rft.toml]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Folders", hide_short_help = true)]
    config: Option<PathBuf>,
    /// Files dropped here are sent [default: DIR/Outgoing]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Folders", hide_short_help = true)]
    outgoing: Option<PathBuf>,
    /// Received files appear here [default: DIR/Incoming]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Folders", hide_short_help = true)]
    incoming: Option<PathBuf>,
    /// Allow the process to write outside its folders (Linux)
    #[arg(long, help_heading = "Folders", hide_short_help = true)]
    pub(crate) no_sandbox: bool,

    /// First line: the password; -: stdin (else RFT_PASSWORD, else a prompt)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Password")]
    pub(crate) password_file: Option<PathBuf>,
    /// Stop with code 9 when a peer offers a wrong password
    #[arg(long, help_heading = "Password", hide_short_help = true)]
    exit_on_auth_failure: bool,

    /// What to do with sent files: delete, keep or archive
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        help_heading = "Files"
    )]
    after_send: AfterSendArg,
    /// If a name is taken in Incoming: keep both, replace, or skip
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value_t,
        help_heading = "Files",
        hide_short_help = true
    )]
    on_conflict: OnConflictArg,
    /// Exit with code 0 when neither side has anything left to send
    #[arg(long, help_heading = "Files")]
    drain: bool,
    /// With --drain, give up with code 17 after this time: 30s, 10m, 2h
    #[arg(
        long,
        value_name = "DURATION",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    wait: Option<String>,
    /// How long a file written in place must stay unchanged before it is sent: 250ms, 2m [default:
    /// 1s; 80ms after a close]
    #[arg(
        long,
        value_name = "DURATION",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    settle: Option<String>,
    /// Leave files with names of unfinished files (below) alone, or send them
    #[arg(
        long,
        value_name = "WHICH",
        value_enum,
        default_value_t,
        help_heading = "Files",
        hide_short_help = true
    )]
    temp_names: TempNamesArg,
    /// How long a folder created in Outgoing stays, empty or after the last file in it
    #[arg(long, value_name = "DURATION", hide = true, allow_negative_numbers = true)]
    folder_wait: Option<String>,
    /// Send a snapshot of an open file that is unchanged for this long
    #[arg(
        long,
        value_name = "DURATION",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    send_open: Option<String>,
    /// Hold sent files aside for this long where their writers are unknown
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    grace: String,
    /// How long `rft history` knows a file; 0 keeps no history
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "90d",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    history: String,
    #[command(flatten)]
    hooks: hooks::HookArgs,
    /// Refuse larger files from the peer
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    max_file_size: Option<String>,
    /// Limit for all files in Incoming, including those being received
    #[arg(
        long,
        value_name = "SIZE",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    max_incoming_bytes: Option<String>,
    /// Free space that must remain in Incoming
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16Mi",
        allow_negative_numbers = true,
        help_heading = "Files",
        hide_short_help = true
    )]
    min_free: String,

    /// Local UDP address and port [default: all addresses, PORT]
    #[arg(long, value_name = "ADDR[:PORT]", help_heading = "Network", hide_short_help = true)]
    bind: Option<String>,
    /// Limit of all UDP payload sent, in bytes a second: 500K, 20M, or by
    /// the time: "Mon-Fri 08:00-18:00 2M, 22:00-06:00 off, 20M"
    #[arg(
        long,
        value_name = "RATE",
        allow_negative_numbers = true,
        help_heading = "Network",
        hide_short_help = true
    )]
    limit_rate: Option<String>,
    /// Congestion control
    #[arg(
        long,
        value_name = "WHICH",
        value_enum,
        default_value_t,
        help_heading = "Network",
        hide_short_help = true
    )]
    congestion: CongestionArg,
    /// Compress files where that is faster
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        help_heading = "Network",
        hide_short_help = true
    )]
    compress: CompressArg,
    /// Number of files to send at once
    #[arg(
        long,
        value_name = "N",
        default_value = "64",
        allow_negative_numbers = true,
        help_heading = "Network",
        hide_short_help = true
    )]
    in_flight: String,
    /// Memory for transfers (K, M, G: powers of 1000; Ki, Mi, Gi: of 1024)
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256Mi",
        allow_negative_numbers = true,
        help_heading = "Network",
        hide_short_help = true
    )]
    memory: String,

    /// Print events as JSON Lines on stdout, and nothing else there
    #[arg(long, help_heading = "Output", hide_short_help = true)]
    pub(crate) json: bool,
    /// Show progress bars
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        help_heading = "Output",
        hide_short_help = true
    )]
    pub(crate) progress: Progress,
    /// Show only errors
    #[arg(
        short,
        long,
        conflicts_with = "verbose",
        help_heading = "Output",
        hide_short_help = true
    )]
    pub(crate) quiet: bool,
    /// Show log lines too; -vv shows more
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output", hide_short_help = true)]
    pub(crate) verbose: u8,
    /// Metrics for Prometheus and a page, over HTTP: 9100, 0.0.0.0:9100
    #[arg(
        long,
        value_name = "[ADDR:]PORT",
        allow_negative_numbers = true,
        help_heading = "Output",
        hide_short_help = true
    )]
    metrics: Option<String>,
    /// File for the full log [default: DIR/.rft/rft.log]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output", hide_short_help = true)]
    pub(crate) log_file: Option<PathBuf>,
}

impl CommandLine {
    /// The address to serve metrics at.
    ///
    /// # Errors
    /// Exit code 14.
    pub(crate) fn metrics(&self) -> Result<Option<SocketAddr>, Failure> {
        self.options.metrics()
    }

    /// The file of the full log.
    pub(crate) fn log_file(&self) -> PathBuf {
        let default = || Folders::in_dir(&self.options.dir).state.join("rft.log");
        self.options.log_file.clone().unwrap_or_else(default)
    }
}

impl Options {
    fn metrics(&self) -> Result<Option<SocketAddr>, Failure> {
        self.metrics.as_deref().map(|text| address::listener("--metrics", text)).transpose()
    }
}

/// The command for completions and the man page: with `listen` as a subcommand, which it is not
/// for the parser.
pub(crate) fn full_command() -> clap::Command {
    let listen = Options::augment_args(clap::Command::new(LISTEN))
        .about("Accept any peer that knows the password")
        .arg(clap::Arg::new("port").value_name("PORT").required(true));
    CommandLine::command().subcommand(listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_is_consistent() {
        CommandLine::command().debug_assert();
        full_command().debug_assert();
    }
}
