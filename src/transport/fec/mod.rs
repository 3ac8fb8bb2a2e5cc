//! Forward error correction for what nobody would send again in time (RFC 6363 has the terms).
//!
//! A file ends with a round trip for what was lost of it, and another for what of that was lost
//! again, while the link carries next to nothing. So where a path loses packets by itself, what
//! leaves once QUIC has all that there is to send is followed by repair: of each block of up to 64
//! packets a few symbols of a Reed-Solomon code, of which the receiver makes what did not come. All
//! of it is below QUIC, which sees a packet that came late: [`Fec`] stands between it and the
//! socket. Nothing of it need be trusted: a packet that was made wrongly does not open.
//!
//! `packet` is what crosses, [`encoder`] makes repair, [`sender`] decides of what and when (`tail`:
//! near the end), [`receiver`] is the receiver's half; all are free of sockets and clocks.

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
use super::socket::MAX_BATCH_BYTES;
use super::stream::SendBacklog;
use encoder::Repairs;
pub use key::RepairKey;
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use receiver::Recovery;
use sender::{Handed, Next, Sender};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Packets of a block at most. QUIC takes no packet for new that comes 128 packets late.
pub const MAX_PACKETS: usize = 64;
/// Smaller packets are acknowledgements, which the next ones say again, and receipts, for which
/// nobody waits.
pub const MIN_PACKET_LEN: usize = 300;
/// On a shorter round trip a lost packet is soon sent again.
const MIN_RTT: Duration = Duration::from_millis(10);
/// The receiver takes a shorter one for long enough, as the two sides do not measure the same.
const MIN_RTT_TO_KEEP: Duration = Duration::from_millis(4);
/// A path that loses more than this by itself, of all packets, is one that loses packets: one in a
/// thousand is enough for some of a fast path's last round to be lost nearly every time.
const LOSSY: f64 = 0.0003;
/// A block that is not full ends this part of a round trip after its first packet, …
const DELAY: f64 = 1.0 / 8.0;
/// … and within these.
const DELAYS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(15)];

/// Stands between QUIC and the socket. All clones are one.
#[derive(Clone, Default)]
pub struct Fec(Arc<Halves>);

/// quinn wants this of a socket; the keys are nobody's to see.
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
    /// The peer takes repair.
    taken: bool,
    peer: Option<SocketAddr>,
    ecn: Option<EcnCodepoint>,
    src_ip: Option<IpAddr>,
}

struct Receiving {
    recovery: Recovery,
    peer: Option<SocketAddr>,
    /// How the last repair came.
    meta: RecvMeta,
}

/// What a session has that repair needs.
pub struct SessionRepair {
    /// Authenticates what we send, …
    pub own: RepairKey,
    /// … and what the peer sends.
    pub peers: RepairKey,
    /// The peer takes it.
    pub taken: bool,
    /// Who still has something to hand to QUIC.
    pub backlog: SendBacklog,
}

impl Fec {
    /// A new session: nothing is left of the one before.
    pub fn begin(&self, session: SessionRepair) {
        *lock(&self.0.sending) = Some(Sending {
            sender: Sender::new(session.own),
            backlog: session.backlog,
            taken: session.taken,
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

    /// The session's path is the one to this address now, and takes about `rtt`. Without an
    /// estimate nothing is repaired on the way there.
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

    /// How many packets that were lost this side made again in the session.
    pub fn made(&self) -> u64 {
        lock(&self.0.receiving).as_ref().map_or(0, |receiving| receiving.recovery.made())
    }

    /// What just left through `socket`.
    pub(crate) fn sent(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) {
        let mut sending = lock(&self.0.sending);
        let Some(sending) =
            sending.as_mut().filter(|s| s.taken && s.peer == Some(transmit.destination))
        else {
            return;
        };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let handed =
            Handed { written: sending.backlog.written(), waits: sending.backlog.is_blocked() };
        if !sending.sender.repairs(transmit.contents.len(), size, handed) {
            return;
        }
        (sending.ecn, sending.src_ip) = (transmit.ecn, transmit.src_ip);
        for packet in transmit.contents.chunks(size) {
            match sending.sender.add(packet) {
                Next::Nothing => {}
                Next::Close(number, delay) => {
                    tokio::spawn(self.clone().close_later(socket.clone(), number, delay));
                }
                Next::Send(repairs) => sending.send(socket, &repairs),
            }
        }
    }

    /// Ends a block that does not fill.
    async fn close_later(self, socket: Arc<dyn AsyncUdpSocket>, number: u32, delay: Duration) {
        tokio::time::sleep(delay).await;
        if let Some(sending) = lock(&self.0.sending).as_mut()
            && let Some(repairs) = sending.sender.close(number)
        {
            sending.send(&socket, &repairs);
        }
    }

    /// What just came.
    pub(crate) fn received(&self, bufs: &[IoSliceMut<'_>], metas: &[RecvMeta]) {
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

    /// Puts packets that were lost and are here again where those that came would be; how many.
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
    /// Sends repair to the peer. Where the socket is full there is no room for it.
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

/// Has the code's tables made, some MiB, the first time: otherwise the first block that is repaired
/// waits for them.
fn make_tables() {
    let _ = reed_solomon_simd::encode(2, 2, [[0u8; 64]; 2]);
}
