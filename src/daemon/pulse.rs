//! Whether the engine moves on, for a watchdog.

use super::Daemon;
use crate::transport::endpoint::Endpoint;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

/// Asks the task of a process for a sign of life. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pulse {
    task: mpsc::Sender<oneshot::Sender<()>>,
    quic_thread: runtime::Handle,
}

/// The requests, for the task of the process, which answers each.
pub(super) type PulseRequests = mpsc::Receiver<oneshot::Sender<()>>;

impl Pulse {
    pub(super) fn of(endpoint: &Endpoint) -> (Self, PulseRequests) {
        let (task, requests) = mpsc::channel(1);
        (Self { task, quic_thread: endpoint.quic_thread.clone() }, requests)
    }

    /// Completes with true when the task, the thread that drives QUIC and each scan thread have
    /// done something since the call. Completes with false once the task has ended.
    pub(super) async fn beat(&self, daemon: &Daemon) -> bool {
        tokio::select! {
            () = self.task.closed() => false,
            alive = self.all_answer(daemon) => alive,
        }
    }

    async fn all_answer(&self, daemon: &Daemon) -> bool {
        let (answer, answered) = oneshot::channel();
        if self.task.send(answer).await.is_err() || answered.await.is_err() {
            return false;
        }
        if self.quic_thread.spawn(async {}).await.is_err() {
            return false;
        }
        for peer in daemon.peers.values() {
            peer.outbox.scan_round().await;
        }
        true
    }
}

#[cfg(test)]
impl Pulse {
    /// The thread that drives QUIC does nothing for this long.
    pub(super) fn block_quic_thread(&self, time: std::time::Duration) {
        self.quic_thread.spawn(async move { std::thread::sleep(time) });
    }
}
