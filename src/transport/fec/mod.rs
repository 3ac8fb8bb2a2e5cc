//! Forward error correction for the tail of a transfer, where a retransmission would cost a round
//! trip (RFC 6363 defines the terms).
//!
//! Without it a transfer ends with a round trip for retransmissions, and another for lost
//! retransmissions, while the path is nearly idle. So on a path with loss, once QUIC has all of the
//! application's data, repair packets follow the source packets: for each block of up to 64 packets
//! a few symbols of a Reed-Solomon code, from which the receiver recovers the lost packets. This
//! happens below QUIC, which sees a recovered packet as a late one: [`Fec`] stands between QUIC and
//! the socket. QUIC authenticates recovered packets as any others.
//!
//! `packet` is the format, [`encoder`] computes repair symbols, [`sender`] decides which packets
//! are repaired (`tail` finds the end of a transfer), and [`receiver`] recovers packets. These
//! modules use no socket and no clock.

pub mod encoder;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod key;
mod packet;
pub mod receiver;
pub mod sender;
mod tail;
#[cfg(test)]
mod tests;

use super::congestion::PathEstimate;
use super::mtu::MAX_BATCH_BYTES;
use super::stream::SendBacklog;
use encoder::Repairs;
pub use key::RepairKey;
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use receiver::Recovery;
use sender::{AppData, NextStep, Sender};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Minimum RTT for which the receiver keeps packets. It is below the sender's limit, because the
/// two sides measure different RTTs.
const MIN_RTT_TO_KEEP: Duration = Duration::from_millis(4);

/// Forward error correction between QUIC and the socket. Clones share one state.
#[derive(Clone, Default)]
pub struct Fec(Arc<Halves>);

/// quinn requires `Debug` of a socket. This one hides the keys.
impl std::fmt::Debug for Fec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fec")
    }
}

#[derive(Default)]
struct Halves {
    sending: Mutex<Option<Sending>>,
    receiving: Mutex<Option<Receiving>>,
}

struct Sending {
    sender: Sender,
    backlog: SendBacklog,
    /// The peer supports repair packets.
    accepts_repair: bool,
    peer: Option<SocketAddr>,
    ecn: Option<EcnCodepoint>,
    src_ip: Option<IpAddr>,
}

struct Receiving {
    recovery: Recovery,
    peer: Option<SocketAddr>,
    /// Addresses and ECN of the last repair packet: recovered packets get the same.
    meta: RecvMeta,
}

/// A session's part of forward error correction.
pub struct SessionRepair {
    /// Authenticates this side's repair packets.
    pub own: RepairKey,
    /// Authenticates the peer's repair packets.
    pub peers: RepairKey,
    /// The peer supports repair packets.
    pub accepts_repair: bool,
    /// The session's stream writers, for the tail of a transfer.
    pub backlog: SendBacklog,
}

impl Fec {
    /// A session begins: replaces the state of the one before.
    pub fn begin(&self, session: SessionRepair) {
        *lock(&self.0.sending) = Some(Sending {
            sender: Sender::new(session.own),
            backlog: session.backlog,
            accepts_repair: session.accepts_repair,
            peer: None,
            ecn: None,
            src_ip: None,
        });
        *lock(&self.0.receiving) = Some(Receiving {
            recovery: Recovery::new(session.peers),
            peer: None,
            meta: RecvMeta::default(),
        });
    }

    /// The session uses the path to `peer` now, whose RTT is about `rtt`. Without an estimate of
    /// the path this side sends no repair packets.
    pub fn follow(&self, peer: SocketAddr, rtt: Duration, path: Option<Arc<PathEstimate>>) {
        if let Some(sending) = &mut *lock(&self.0.sending) {
            sending.peer = Some(peer);
            sending.sender.follow(path, sending.backlog.written());
        }
        if let Some(receiving) = &mut *lock(&self.0.receiving) {
            receiving.peer = (rtt >= MIN_RTT_TO_KEEP).then_some(peer);
            if receiving.peer.is_some() {
                tokio::task::spawn_blocking(make_tables);
            }
        }
    }

    /// Number of packets that this side recovered in the session.
    pub fn recovered_count(&self) -> u64 {
        lock(&self.0.receiving).as_ref().map_or(0, |receiving| receiving.recovery.recovered_count())
    }

    /// `transmit` was sent through `socket`: sends the repair packets that follow it.
    pub(crate) fn on_sent(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) {
        let mut sending = lock(&self.0.sending);
        let Some(sending) =
            sending.as_mut().filter(|s| s.accepts_repair && s.peer == Some(transmit.destination))
        else {
            return;
        };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let data =
            AppData { written: sending.backlog.written(), blocked: sending.backlog.is_blocked() };
        if !sending.sender.repairs(transmit.contents.len(), size, data) {
            return;
        }
        (sending.ecn, sending.src_ip) = (transmit.ecn, transmit.src_ip);
        for packet in transmit.contents.chunks(size) {
            match sending.sender.add(packet) {
                NextStep::Nothing => {}
                NextStep::CloseLater(number, delay) => {
                    tokio::spawn(self.clone().close_later(socket.clone(), number, delay));
                }
                NextStep::Send(repairs) => sending.send(socket, &repairs),
            }
        }
    }

    /// Ends a block after `delay` if it is not full by then.
    async fn close_later(self, socket: Arc<dyn AsyncUdpSocket>, number: u32, delay: Duration) {
        tokio::time::sleep(delay).await;
        if let Some(sending) = lock(&self.0.sending).as_mut()
            && let Some(repairs) = sending.sender.close(number)
        {
            sending.send(&socket, &repairs);
        }
    }

    /// Datagrams were received.
    pub(crate) fn on_received(&self, bufs: &[IoSliceMut<'_>], metas: &[RecvMeta]) {
        let mut receiving = lock(&self.0.receiving);
        let Some(receiving) = receiving.as_mut().filter(|receiving| receiving.peer.is_some())
        else {
            return;
        };
        for (buf, meta) in
            bufs.iter().zip(metas).filter(|(_, meta)| Some(meta.addr) == receiving.peer)
        {
            for packet in buf[..meta.len].chunks(meta.stride.max(1)) {
                if receiving.recovery.take(packet) {
                    receiving.meta = *meta;
                }
            }
        }
    }

    /// Puts recovered packets into receive buffers, as if they had just arrived. Returns how many.
    pub(crate) fn recovered(&self, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut receiving = lock(&self.0.receiving);
        let Some(receiving) = receiving.as_mut() else { return 0 };
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(metas) {
            let Some(packet) = receiving.recovery.recovered() else { break };
            let Some(place) = buf.get_mut(..packet.len()) else { break };
            place.copy_from_slice(&packet);
            *meta = RecvMeta { len: packet.len(), stride: packet.len(), ..receiving.meta };
            count += 1;
        }
        count
    }
}

fn lock<T>(half: &Mutex<T>) -> MutexGuard<'_, T> {
    half.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sending {
    /// Sends repair packets to the peer. They are dropped if the socket's buffer is full.
    fn send(&self, socket: &Arc<dyn AsyncUdpSocket>, repairs: &Repairs) {
        let Some(destination) = self.peer else { return };
        let at_once = socket.max_transmit_segments().min(MAX_BATCH_BYTES / repairs.size).max(1);
        for part in repairs.bytes.chunks(repairs.size * at_once) {
            let _ = socket.try_send(&Transmit {
                destination,
                ecn: self.ecn,
                contents: part,
                segment_size: (part.len() > repairs.size).then_some(repairs.size),
                src_ip: self.src_ip,
            });
        }
    }
}

/// Makes the Reed-Solomon library build its tables, some MiB, so that the first repaired block does
/// not wait for them.
fn make_tables() {
    let _ = reed_solomon_simd::encode(2, 2, [[0u8; 64]; 2]);
}
