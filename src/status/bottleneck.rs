//! What limits the speed of one direction.

use serde::{Deserialize, Serialize};

/// What limits the speed of a direction, by the waits of the last seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bottleneck {
    /// There is nothing to send.
    #[default]
    NothingToSend,
    /// Nothing can be sent now: every entry waits, or there is no session.
    Waiting,
    /// A transfer has begun a moment ago, and nothing has been measured yet.
    Starting,
    /// The network path.
    Path,
    /// The disk of this side.
    Disk,
    /// The disk of the peer.
    PeerDisk,
    /// The processor of this side.
    Processor,
    /// The processor of the peer.
    PeerProcessor,
    /// `--limit-rate` of this side.
    RateLimit,
    /// `--limit-rate` of the peer.
    PeerRateLimit,
    /// The program of this side that checks received files (`--quarantine`).
    Check,
    /// The same at the peer.
    PeerCheck,
}

impl Bottleneck {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::NothingToSend,
        Self::Waiting,
        Self::Starting,
        Self::Path,
        Self::Disk,
        Self::PeerDisk,
        Self::Processor,
        Self::PeerProcessor,
        Self::RateLimit,
        Self::PeerRateLimit,
        Self::Check,
        Self::PeerCheck,
    ];

    /// Its word in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingToSend => "nothing_to_send",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Path => "path",
            Self::Disk => "disk",
            Self::PeerDisk => "peer_disk",
            Self::Processor => "processor",
            Self::PeerProcessor => "peer_processor",
            Self::RateLimit => "rate_limit",
            Self::PeerRateLimit => "peer_rate_limit",
            Self::Check => "check",
            Self::PeerCheck => "peer_check",
        }
    }
}
