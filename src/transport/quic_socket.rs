//! The layer between quinn and the UDP socket: lost packets are recovered, and first packets that
//! only close a connection are dropped.

use super::fec::Fec;
use super::first_packet;
use super::mtu::MAX_BATCH_BYTES;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Wraps a UDP socket for quinn.
#[derive(Debug)]
pub(crate) struct QuicSocket {
    /// The socket.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Recovers lost packets.
    pub fec: Fec,
    /// Set to the time of each datagram.
    pub last_received: LastReceived,
}

/// When a socket received a datagram last, from anywhere. Clones share one value.
#[derive(Debug, Clone)]
pub struct LastReceived {
    begun: Instant,
    /// Milliseconds since `begun`.
    at: Arc<AtomicU64>,
}

impl LastReceived {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), at: Arc::default() }
    }

    fn is_now(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(millis, Ordering::Relaxed);
    }

    /// The time, to the millisecond.
    pub fn get(&self) -> Instant {
        self.begun + Duration::from_millis(self.at.load(Ordering::Relaxed))
    }
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)?;
        if transmit.contents.len() <= MAX_BATCH_BYTES {
            self.fec.on_sent(&self.socket, transmit);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let recovered = self.fec.recovered(bufs, meta);
        if recovered > 0 {
            return Poll::Ready(Ok(recovered));
        }
        let received = ready!(self.socket.poll_recv(cx, bufs, meta))?;
        self.last_received.is_now();
        self.fec.on_received(&bufs[..received], &meta[..received]);
        for (buf, meta) in bufs.iter_mut().zip(meta.iter()).take(received) {
            drop_first_packets_that_close(&mut buf[..meta.len], meta.stride);
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// Makes QUIC drop each datagram of `stride` bytes in `buf` that would open a connection and close
/// it at once.
fn drop_first_packets_that_close(buf: &mut [u8], stride: usize) {
    for datagram in buf.chunks_mut(stride.max(1)) {
        if first_packet::only_closes(datagram) {
            // QUIC drops a packet without the fixed bit (RFC 9000, section 17.2).
            datagram[0] = 0;
        }
    }
}
