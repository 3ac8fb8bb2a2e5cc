//! What keeps this side from a session with its peer: plain values, without a sentence in them.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The reason why a peer is not connected, as far as this side can tell. Nothing of it is
/// authenticated: a host on the path can forge each of them, so no decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hindrance {
    /// The name does not resolve any more. The addresses from before are still dialled.
    NameUnknown,
    /// A link-local IPv6 address without its zone (RFC 4007): the system cannot know the interface.
    NoZone,
    /// This host has no route to the address, or no network.
    NoRoute,
    /// A router, or this host's own link, says that the host cannot be reached.
    HostUnreachable,
    /// A firewall, of this host or on the path, forbids the packets.
    Prohibited,
    /// The host says that no program has bound the port.
    PortClosed,
    /// The path carries no packet of 1,228 bytes, which QUIC needs (RFC 9000 section 14).
    PathTooSmall {
        /// The MTU of the path in bytes, if the system knows it.
        mtu: Option<u32>,
    },
    /// No packet comes back: a firewall drops them, or the host is down.
    NoAnswer,
    /// The port answers, and does not speak this protocol version.
    OtherVersion,
    /// The port answers, and yet no handshake is completed.
    NoHandshake,
    /// The peer does not accept the password of this side.
    WrongPassword,
    /// The peer keeps a session with another installation.
    Occupied,
}

impl Hindrance {
    /// The word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NameUnknown => "name_unknown",
            Self::NoZone => "no_zone",
            Self::NoRoute => "no_route",
            Self::HostUnreachable => "host_unreachable",
            Self::Prohibited => "prohibited",
            Self::PortClosed => "port_closed",
            Self::PathTooSmall { .. } => "path_too_small",
            Self::NoAnswer => "no_answer",
            Self::OtherVersion => "other_version",
            Self::NoHandshake => "no_handshake",
            Self::WrongPassword => "wrong_password",
            Self::Occupied => "occupied",
        }
    }

    /// How much it says about a peer with several addresses: the more of the way works, the more.
    /// A host with one unreachable address is described by its other one.
    pub(crate) fn weight(self) -> u8 {
        match self {
            Self::NoZone => 0,
            Self::NoRoute => 1,
            Self::HostUnreachable => 2,
            Self::Prohibited => 3,
            Self::NoAnswer => 4,
            Self::NameUnknown => 5,
            Self::PathTooSmall { .. } => 6,
            Self::PortClosed => 7,
            Self::NoHandshake => 8,
            Self::OtherVersion | Self::WrongPassword | Self::Occupied => 9,
        }
    }
}

/// A [`Hindrance`], and the address at which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The hindrance.
    #[serde(flatten)]
    pub hindrance: Hindrance,
    /// One of the peer's addresses.
    pub address: SocketAddr,
}
