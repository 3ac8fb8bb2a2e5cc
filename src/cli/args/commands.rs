//! Options of the commands besides running a peer.

use super::Options;
use super::place::Place;
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Options of `rft check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Base folder, as for the peer
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(super) dir: PathBuf,
    /// Files to send [default: DIR/Outgoing]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) outgoing: Option<PathBuf>,
    /// Received files [default: DIR/Incoming]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) incoming: Option<PathBuf>,
    /// Local UDP address and port [default: all addresses, PORT]
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(super) bind: Option<String>,
    /// Free space that must remain in Incoming
    #[arg(long, value_name = "SIZE", default_value = "16Mi", allow_negative_numbers = true)]
    pub(super) min_free: String,
    /// Print each step as a JSON object in one line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Options of `rft status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Base folder of the running rft
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Show it again every second, until Ctrl-C
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Print it as a JSON object in one line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `rft top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Base folder of the running rft
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// Options of `rft put`.
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Base folder, as for the peer
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The name in Outgoing, for one FILE: other.txt, 2026/other.txt [default: FILE's own]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) as_name: Option<PathBuf>,
    /// Exit with code 0 only when the peer has all of it durably
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// Send it before everything that waits; files in flight go on
    #[arg(short, long)]
    pub(crate) urgent: bool,
    /// Print what happens to each FILE as a JSON object in one line
    #[arg(long)]
    pub(crate) json: bool,
    /// Files and folders; they stay where they are
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
}

/// Options of `rft history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Base folder, as for the peer
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// From this time on: yesterday, 2h, 13:30, 2026-11-20, "2026-11-20 13:30"
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) until: Option<String>,
    /// Only the last N entries
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// Print each entry as a JSON object in one line
    #[arg(long)]
    pub(crate) json: bool,
    /// Only this file: a path in Incoming or Outgoing, or the name below them
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

/// Options of `rft receipt`.
#[derive(Debug, Args)]
pub(crate) struct ReceiptArgs {
    /// Base folder, as for the peer
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Compare the file's content with the receipt too
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print it as a JSON object in one line
    #[arg(long)]
    pub(crate) json: bool,
    /// The file: a path in Incoming or Outgoing, or the name below them
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Options of `rft config`: those of the peer, and its words.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Options of `rft demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Do not delete the demo's folder
    #[arg(long)]
    pub(crate) keep: bool,
}
