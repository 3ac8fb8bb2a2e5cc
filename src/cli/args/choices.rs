//! Options whose value is one of a few words.

use clap::ValueEnum;
use rft::config::{AfterSend, Compress, Congestion, OnConflict, TempNames};

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Progress {
    /// On a terminal
    #[default]
    Auto,
    /// Even if stderr is not a terminal
    Always,
    /// Plain lines only
    Never,
}

/// `--after-send`.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum AfterSendArg {
    /// Remove it
    #[default]
    Delete,
    /// Leave it; send it again only when it changes
    Keep,
    /// Move it to .rft/sent
    Archive,
}

/// `--on-conflict`.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum OnConflictArg {
    /// Keep both: the new file becomes `name (1).ext`
    #[default]
    Rename,
    /// Replace the old file, atomically
    Overwrite,
    /// Keep the old file and tell the sender
    Skip,
}

/// `--congestion`.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum CongestionArg {
    /// For fast or lossy links
    #[default]
    Bbr,
    /// As most of the Internet uses (RFC 9438)
    Cubic,
}

/// `--compress`.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum CompressArg {
    /// Files that get smaller, while the link is the slower part
    #[default]
    Auto,
    /// No file
    Never,
}

/// `--temp-names`.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum TempNamesArg {
    /// Leave them alone until they are renamed
    #[default]
    Default,
    /// Send them like any other file
    None,
}

impl From<TempNamesArg> for TempNames {
    fn from(arg: TempNamesArg) -> Self {
        match arg {
            TempNamesArg::Default => Self::LeaveAlone,
            TempNamesArg::None => Self::Send,
        }
    }
}

impl From<AfterSendArg> for AfterSend {
    fn from(arg: AfterSendArg) -> Self {
        match arg {
            AfterSendArg::Delete => Self::Delete,
            AfterSendArg::Keep => Self::Keep,
            AfterSendArg::Archive => Self::Archive,
        }
    }
}

impl From<OnConflictArg> for OnConflict {
    fn from(arg: OnConflictArg) -> Self {
        match arg {
            OnConflictArg::Rename => Self::Rename,
            OnConflictArg::Overwrite => Self::Overwrite,
            OnConflictArg::Skip => Self::Skip,
        }
    }
}

impl From<CongestionArg> for Congestion {
    fn from(arg: CongestionArg) -> Self {
        match arg {
            CongestionArg::Bbr => Self::Bbr,
            CongestionArg::Cubic => Self::Cubic,
        }
    }
}

impl From<CompressArg> for Compress {
    fn from(arg: CompressArg) -> Self {
        match arg {
            CompressArg::Auto => Self::Auto,
            CompressArg::Never => Self::Never,
        }
    }
}
