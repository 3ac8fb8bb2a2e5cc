//! Options of the commands that steer a running rft.

use super::rates;
use crate::cli::exit::Failure;
use clap::{Args, ValueHint};
use rft::rate_schedule::RateSchedule;
use std::path::PathBuf;

/// The running rft; the options of `rft pause` and `rft resume`.
#[derive(Debug, Args)]
pub(crate) struct SteeringArgs {
    /// Base folder of the running rft
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

/// Options of `rft limit`.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    pub(crate) rft: SteeringArgs,
    /// Bytes of UDP payload a second, as --limit-rate: 500K, 20M, 1G; or `off`; or by the time:
    /// "Mon-Fri 08:00-18:00 2M, 22:00-06:00 off, 20M"
    #[arg(value_name = "RATE", allow_negative_numbers = true, required = true, num_args = 1..)]
    rate: Vec<String>,
}

impl LimitArgs {
    /// The limit.
    ///
    /// # Errors
    /// Exit code 14.
    pub(crate) fn schedule(&self) -> Result<RateSchedule, Failure> {
        rates::schedule("RATE", &self.rate.join(" "))
    }
}

/// Options of `rft retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) rft: SteeringArgs,
    /// Only this entry of Outgoing and those in it: its path, or its name below Outgoing
    #[arg(value_name = "NAME", value_hint = ValueHint::AnyPath)]
    pub(crate) name: Option<PathBuf>,
}

/// Options of `rft cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) rft: SteeringArgs,
    /// The entry of Outgoing, with all in it: its path, or its name below Outgoing
    #[arg(value_name = "NAME", value_hint = ValueHint::AnyPath)]
    pub(crate) name: PathBuf,
}
