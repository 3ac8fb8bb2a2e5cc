//! Options of `rft send` and `rft receive`.

use super::place::Place;
use super::{LISTEN, address, rates, units};
use crate::cli::exit::Failure;
use clap::{Args, ValueHint};
use rft::config::{Config, PeerAddress};
use std::ffi::OsString;
use std::path::PathBuf;

/// Options of a peer that both commands have too.
#[derive(Debug, Args)]
pub(crate) struct OnceArgs {
    /// First line: the password; -: stdin (else RFT_PASSWORD)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) password_file: Option<PathBuf>,
    /// Local UDP address and port [default: all addresses, PORT]
    #[arg(long, value_name = "ADDR[:PORT]")]
    bind: Option<String>,
    /// Limit of all UDP payload sent, in bytes a second: 500K, 20M, 1G
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    limit_rate: Option<String>,
    /// Give up with code 17 after this time: 30s, 10m, 2h
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    wait: Option<String>,
    /// Print events as JSON Lines on stdout, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
    /// Show only errors, and a password that was made
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show log lines too; -vv shows more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Options of `rft send`.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    /// The name at the receiver, for one FILE; needed for `-`
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) as_name: Option<PathBuf>,
    /// Files and folders, or `-` for the standard input; then the peer and the port
    #[arg(value_name = "FILE... PEER PORT", num_args = 0.., value_hint = ValueHint::AnyPath, allow_negative_numbers = true)]
    words: Vec<OsString>,
}

/// Options of `rft receive`.
#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    /// Folder for the received files
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) into: PathBuf,
    /// UDP port, 1-65535, the same on both hosts
    #[arg(value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) port: String,
}

/// The line to type for `rft send`.
const SEND: &str = "rft send FILE... PEER PORT, for example: rft send report.pdf bob 4000";

impl SendArgs {
    /// All words: the files, the peer and the port.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The files, and the receiver.
    ///
    /// # Errors
    /// Exit codes 2, 3 and 4: words, PEER, PORT.
    pub(crate) fn files_and_peer(&self) -> Result<(&[OsString], PeerAddress), Failure> {
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        let last = self.words.last().map(text).unwrap_or_default();
        let has_port = last.rsplit_once(':').is_some_and(|(_, port)| is_number(port));
        let of_peer = match (is_number(&last), has_port) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => {
                return Err(Failure::usage(format!("PEER and PORT are missing; type: {SEND}")));
            }
        };
        let at = self.words.len().checked_sub(of_peer).filter(|at| *at > 0);
        let at = at.ok_or_else(|| {
            Failure::usage(format!("a FILE or the PEER is missing; type: {SEND}"))
        })?;
        let (files, place) = self.words.split_at(at);
        let place = place.iter().map(text).collect();
        let target = Place::of(place).target("rft send FILE")?;
        match target.and_then(|target| Some((target.host?, target.port))) {
            Some((host, port)) => Ok((files, PeerAddress { host, port })),
            None => Err(Failure::usage(format!(
                "{LISTEN} is no host, and a sender dials the receiver; type: {SEND}"
            ))),
        }
    }
}

impl ReceiveArgs {
    /// The port.
    ///
    /// # Errors
    /// Exit code 4.
    pub(crate) fn port(&self) -> Result<u16, Failure> {
        address::port(&self.port)
    }
}

impl OnceArgs {
    /// Applies the options to a configuration.
    ///
    /// # Errors
    /// Exit codes 2 and 14: an address, a number.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), Failure> {
        let limit = self.limit_rate.as_deref();
        let wait = self.wait.as_deref();
        config.bind = self.bind.as_deref().map(address::bind).transpose()?;
        let limit = limit.map(|text| rates::schedule("--limit-rate", text)).transpose()?;
        config.limit_rate = limit.unwrap_or_default();
        config.wait = wait.map(|text| units::duration("--wait", text)).transpose()?;
        Ok(())
    }
}
