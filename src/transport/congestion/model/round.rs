//! A finished round trip, and the load under which its packets were sent.

/// How packets load the path. Loss below the path's rate is path loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// The sender was below the path's rate.
    Below,
    /// The sender was at the path's rate or above.
    Full,
}

/// The window of a round beside the BDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowLevel {
    /// So far below the BDP that the path cannot be full: a lower rate is expected.
    FarBelow,
    /// Below the BDP.
    Below,
    /// About the BDP.
    Even,
    /// Above the BDP: the sender itself causes a queue.
    Above,
}

/// One finished round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    /// The last delivery rate sampled, bytes per second. Earlier samples include data delivered
    /// before the round.
    pub rate: f64,
    /// Queueing delay, seconds: the round's minimum RTT beyond that of the path.
    pub queue: f64,
    /// Minimum RTT of the round, seconds.
    pub min_rtt: f64,
    /// Mean RTT of the round, seconds.
    pub mean_rtt: f64,
    /// Share of bytes lost.
    pub loss: f64,
    /// The same with bursts limited: losses found at one time count as at most two packets, or a
    /// quarter of the bytes acknowledged then. A burst is one event, while a path that is too full
    /// loses packets all the time.
    pub scattered_loss: f64,
    /// Bytes acknowledged and lost.
    pub bytes: f64,
    /// Enough was sent to show the path under load.
    pub busy: bool,
    /// The application sent less than the window allowed.
    pub app_limited: bool,
}
