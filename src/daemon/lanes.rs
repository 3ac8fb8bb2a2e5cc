//! The order in which a session takes entries from the outbox: urgent ones have places of their own.

use super::peer::Peer;
use crate::outbox::{Compression, Item, Retry};
use crate::session::Session;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Urgent files that are read and sent at once besides `--in-flight` others.
const MAX_URGENT: usize = 4;
/// Maximum number of open file streams of this side; the peer may grant fewer.
const MAX_STREAMS: u32 = 4096;

/// Which entries a task delivers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SendLane {
    All,
    /// The urgent ones, which need not wait until one of the others is sent.
    Urgent,
}

impl SendLane {
    /// How many of its entries are read and sent at once.
    pub(super) fn places(self, peer: &Peer) -> usize {
        match self {
            Self::All => peer.in_flight,
            Self::Urgent => MAX_URGENT,
        }
    }
}

/// What the tasks that deliver entries of a session share.
#[derive(Clone)]
pub(super) struct SendSlots {
    /// Streams that the peer grants.
    pub(super) streams: Arc<Semaphore>,
    pub(super) compression: Compression,
}

impl SendSlots {
    pub(super) fn new(peer: &Peer, session: &Session) -> Self {
        let streams = Arc::new(Semaphore::new(session.grant().min(MAX_STREAMS) as usize));
        let compression =
            Compression::new(peer.compress && session.accepts_compressed(), session.link_rate());
        Self { streams, compression }
    }
}

/// The next item of a lane, and one of the streams that the peer grants. Without an item the urgent
/// lane keeps no stream: there may be one only.
pub(super) async fn next(
    peer: &Arc<Peer>,
    streams: &Arc<Semaphore>,
    lane: SendLane,
) -> Option<(Handed, OwnedSemaphorePermit)> {
    let handed = |item| Handed { item: Some(item), peer: peer.clone() };
    let stream = streams.clone().acquire_owned();
    match lane {
        SendLane::All => {
            let stream = stream.await.ok()?;
            Some((handed(peer.outbox.next().await), stream))
        }
        SendLane::Urgent => {
            let handed = handed(peer.outbox.next_urgent().await);
            Some((handed, stream.await.ok()?))
        }
    }
}

/// An item from the outbox. Dropping it returns it, unless its delivery has ended.
pub(super) struct Handed {
    pub(super) item: Option<Item>,
    peer: Arc<Peer>,
}

impl Handed {
    /// Its delivery has ended: it is not returned.
    pub(super) fn ended(&mut self) {
        self.item = None;
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            // A file that triggers a bug would trigger it again at once.
            let retry = if std::thread::panicking() { Retry::After } else { Retry::Now };
            self.peer.outbox.failed(item, retry);
        }
    }
}
