//! The rate limit as a congestion controller shows it to quinn.

use super::RateLimit;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Builds controllers that obey the limit beside their own rules.
pub(crate) struct LimitedFactory {
    inner: Arc<dyn ControllerFactory + Send + Sync>,
    limit: RateLimit,
}

impl LimitedFactory {
    /// Limits the controllers of `inner`.
    pub(crate) fn new(inner: Arc<dyn ControllerFactory + Send + Sync>, limit: RateLimit) -> Self {
        Self { inner, limit }
    }
}

impl ControllerFactory for LimitedFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Limited {
            inner: self.inner.clone().build(now, current_mtu),
            limit: self.limit.clone(),
            mtu: current_mtu.into(),
            in_flight: 0,
            sent: 0,
            has_sent: false,
            held_back: AtomicBool::new(false),
            answers: Answers::default(),
        })
    }
}

/// Number of ACK frames on a path that acknowledged something new. quinn's own count includes
/// repeated ones: quinn adds the last ACK frame to its data now and then, even if nothing has
/// arrived since. Clones share one count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Arc<AtomicU64>);

impl Answers {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The state of a path's controller. Reading it copies the controller. Another address of the peer
/// is another path.
pub(crate) struct PathState {
    /// The state of the controller that [`LimitedFactory::new`] got.
    pub(crate) controller: Box<dyn Any>,
    pub(crate) answers: Answers,
}

impl PathState {
    /// The state of the present path, if its controller was built by a [`LimitedFactory`].
    pub(crate) fn of(connection: &quinn::Connection) -> Option<Self> {
        Self::from_any(connection.congestion_state().into_any())
    }

    pub(super) fn from_any(state: Box<dyn Any>) -> Option<Self> {
        state.downcast().ok().map(|state| *state)
    }
}

/// A controller whose window is full while the bucket is closed.
struct Limited {
    inner: Box<dyn Controller>,
    limit: RateLimit,
    mtu: u64,
    /// Bytes in flight after the last acknowledgements, less those lost since.
    in_flight: u64,
    /// Bytes sent since the last acknowledgements.
    sent: u64,
    /// A packet has left. Before the first one the socket does not know whom to wake, so the first
    /// packet waits there.
    has_sent: bool,
    /// The limit alone has held data back since the last acknowledgements.
    held_back: AtomicBool,
    answers: Answers,
}

impl Limited {
    /// Whether the limit makes this an application-limited sender: an application that writes at
    /// this rate would fill the path as little. Otherwise the limit would pass for the path's rate.
    /// With nothing in flight it would pass for a sender without data.
    fn is_app_limited(&self, in_flight: u64) -> bool {
        in_flight > 0 && self.held_back.load(Ordering::Relaxed)
    }
}

impl Controller for Limited {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.has_sent = true;
        self.sent += bytes;
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let app_limited = app_limited || self.is_app_limited(self.in_flight);
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        let app_limited = app_limited || self.is_app_limited(in_flight);
        (self.in_flight, self.sent) = (in_flight, 0);
        self.held_back.store(false, Ordering::Relaxed);
        self.answers.0.fetch_add(1, Ordering::Relaxed);
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.in_flight = self.in_flight.saturating_sub(lost_bytes);
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.inner.on_mtu_update(new_mtu);
    }

    /// While the bucket is closed no packet fits, since quinn compares the window with the bytes in
    /// flight. Acknowledgements and probes of the loss timer are not subject to the window; the
    /// socket holds them back.
    fn window(&self) -> u64 {
        let window = self.inner.window();
        if !self.has_sent || !self.limit.is_closed() {
            return window;
        }
        if self.in_flight + self.sent + self.mtu < window {
            self.held_back.store(true, Ordering::Relaxed);
        }
        window.min(self.in_flight).max(1)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            limit: self.limit.clone(),
            held_back: AtomicBool::new(self.held_back.load(Ordering::Relaxed)),
            answers: self.answers.clone(),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(PathState { controller: self.inner.into_any(), answers: self.answers })
    }
}
