//! The flow-control windows of a session, which follow the path.

use super::ClosesOnPanic;
use crate::transport::congestion::{self, PathEstimate};
use crate::transport::connection_config::SEND_WINDOW;
use crate::transport::fec::Fec;
use crate::transport::rate_limit::{PathState, RateLimit};
use crate::transport::receive_window::ReceiveWindow;
use crate::transport::stream::OpenStreams;
use quinn::{Connection, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time between two updates while file streams are open and no stream data crosses.
const STALLED_INTERVAL: Duration = Duration::from_secs(1);
/// No stream data crosses if none has crossed for this time.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// The path's rate by the congestion controller's estimate, or the delivery rate if that is larger;
/// at most the rate limit.
#[derive(Debug, Clone, Default)]
pub struct PathRate(Arc<AtomicU64>);

impl PathRate {
    /// Starts with an estimate.
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(bytes_per_second.into()))
    }

    /// In bytes per second.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What congestion control measures of the path, for people. Unlike [`PathRate`] it does not follow
/// a window, which an application or a rate limit may keep small, and which is a multiple of what
/// the path carries otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct MeasuredRate(Arc<AtomicU64>);

impl MeasuredRate {
    /// In bytes per second; 0 without a measurement, and under a rate limit, which hides the path.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Keeps the windows of one connection up to date.
pub(super) struct FlowControl {
    pub(super) connection: Connection,
    /// Half of these bytes are for sending, half for receiving.
    pub(super) memory: u64,
    pub(super) receive: ReceiveWindow,
    pub(super) rate: PathRate,
    pub(super) measured: MeasuredRate,
    /// The estimate of the present path. CUBIC has none.
    pub(super) estimate: Option<Arc<PathEstimate>>,
    pub(super) fec: Fec,
    pub(super) limit: RateLimit,
    pub(super) streams: OpenStreams,
}

impl FlowControl {
    /// Runs until the connection is closed. It bounds the data that quinn holds ahead of the path,
    /// and the data that the peer may have in flight.
    pub(super) async fn follow(mut self) {
        let _guard = ClosesOnPanic(self.connection.clone());
        let (mut address, mut set) = (None, None);
        let (mut frames, mut busy_at) = (self.update(&mut set), Instant::now());
        loop {
            let stalled = busy_at.elapsed() >= STALLED_AFTER;
            let interval = if stalled { STALLED_INTERVAL } else { congestion::UPDATE_INTERVAL };
            tokio::select! {
                // A session without file streams has no timer.
                () = tokio::time::sleep(interval), if !stalled || self.streams.any() => {}
                () = self.streams.opened(), if stalled => busy_at = Instant::now(),
                _ = self.connection.closed() => {
                    tracing::debug!(packets = self.fec.recovered_count(), "lost packets that FEC recovered");
                    return;
                }
            }
            self.follow_address(&mut address);
            let now = self.update(&mut set);
            if now != frames {
                (frames, busy_at) = (now, Instant::now());
            }
        }
    }

    /// Another address of the peer is another path, with a congestion controller of its own.
    fn follow_address(&mut self, followed: &mut Option<SocketAddr>) {
        let peer = self.connection.remote_address();
        if *followed != Some(peer) {
            let state = PathState::of(&self.connection);
            let path = state.and_then(|state| congestion::estimate(state.controller));
            self.estimate = path.clone();
            self.fec.follow(peer, self.connection.rtt(), path);
            *followed = Some(peer);
        }
    }

    /// Sets the windows where they changed. Returns the number of STREAM frames so far.
    fn update(&mut self, set: &mut Option<(u64, u64)>) -> u64 {
        let stats = self.connection.stats();
        let path = stats.path;
        let rate = (path.cwnd as f64 / path.rtt.as_secs_f64().max(1e-6)) as u64;
        let mut max = (self.memory / 2).max(SEND_WINDOW);
        let limit = self.limit.get();
        if let Some(limit) = limit {
            max = max.min(congestion::limited_send_window(limit, path.rtt));
        }
        self.rate.0.store(limit.map_or(rate, |limit| rate.min(limit)), Ordering::Relaxed);
        let measured = self.estimate.as_ref().map_or(Some(rate), |path| path.bandwidth());
        let measured = measured.filter(|_| limit.is_none()).unwrap_or(0);
        self.measured.0.store(measured, Ordering::Relaxed);
        let send = congestion::send_window(path.cwnd, path.sent_packets, path.lost_packets, max);
        let receive = self.receive.next(path.rtt, Instant::now());
        if *set != Some((send, receive)) {
            self.connection.set_send_window(send);
            self.connection.set_receive_window(var_int(receive));
            *set = Some((send, receive));
        }
        stats.frame_tx.stream + stats.frame_rx.stream
    }
}

pub(super) fn var_int(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}
