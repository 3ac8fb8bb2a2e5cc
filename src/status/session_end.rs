//! Why sessions end.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", content = "detail", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionEnd {
    /// This side was told to stop.
    Stopped,
    /// The peer said goodbye.
    PeerLeft,
    /// A newer session with the same installation replaced it.
    Superseded,
    /// The peer keeps another connection between the same two sides.
    Duplicate,
    /// The peer keeps a session with another installation.
    Occupied,
    /// The peer keeps a session with another program that has a copy of this state folder.
    Copied,
    /// The peer says that this side broke the protocol.
    ProtocolBrokenHere,
    /// The peer broke the protocol.
    ProtocolBrokenByPeer,
    /// The peer stopped answering.
    TimedOut,
    /// The connection was lost otherwise; QUIC's account of it.
    Lost(String),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped here",
            Self::PeerLeft => "the peer left",
            Self::Superseded => "a newer session took its place",
            Self::Duplicate => "another connection to the same peer is kept",
            Self::Occupied => "the peer keeps a session with another installation",
            Self::Copied => {
                "the peer keeps a session with another program that has a copy of this state folder"
            }
            Self::ProtocolBrokenHere => {
                "the peer says that this side broke the protocol; run the same version of rft on both sides"
            }
            Self::ProtocolBrokenByPeer => {
                "the peer broke the protocol; run the same version of rft on both sides"
            }
            Self::TimedOut => "the peer stopped answering",
            Self::Lost(reason) => reason,
        })
    }
}
