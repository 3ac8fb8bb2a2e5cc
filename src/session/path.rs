//! A session's knowledge of its path and of the peer's program, for people.

use super::Session;
use crate::status::PathStatus;

impl Session {
    /// The version of the peer's program, as the peer says.
    pub fn peer_version(&self) -> &str {
        self.version.as_str()
    }

    /// The name of the peer's host, as the peer says.
    pub fn peer_host(&self) -> &str {
        self.host.as_str()
    }

    /// Whether the peer takes [`crate::proto::message::Control::Limits`].
    pub fn accepts_limits(&self) -> bool {
        self.accepts_limits
    }

    /// The path now, without the loss of the last seconds.
    pub fn path(&self) -> PathStatus {
        let path = self.connection.stats().path;
        let mut status = PathStatus::default();
        (status.rtt, status.mtu, status.rate) = (path.rtt, path.current_mtu, self.measured.get());
        status
    }

    /// The sum of this side's packets so far.
    pub fn sent(&self) -> SentSoFar {
        let stats = self.connection.stats();
        SentSoFar {
            packets: stats.path.sent_packets,
            lost: stats.path.lost_packets,
            bytes: stats.udp_tx.bytes,
        }
    }

    /// The rate limit of this side, in bytes of UDP payload per second.
    pub fn rate_limit(&self) -> Option<u64> {
        self.limit.get()
    }
}

/// Counters of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct SentSoFar {
    /// Packets.
    pub packets: u64,
    /// Those of them that were lost.
    pub lost: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}
