//! Options of the commands that steer a running rft.

use super::units;
use crate::cli::exit::Failure;
use clap::{Args, ValueHint};
use std::num::NonZeroU64;
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
    /// Bytes of UDP payload a second, as --limit-rate: 500K, 20M, 1G; or `off`
    #[arg(value_name = "RATE", allow_negative_numbers = true)]
    rate: String,
}

impl LimitArgs {
    /// The rate; `None` for no limit.
    ///
    /// # Errors
    /// Exit code 14.
    pub(crate) fn rate(&self) -> Result<Option<NonZeroU64>, Failure> {
        match self.rate.as_str() {
            "off" => Ok(None),
            rate => Ok(NonZeroU64::new(units::rate("RATE", rate)?)),
        }
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
