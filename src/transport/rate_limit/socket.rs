//! The UDP socket behind the rate limit.

use super::{Connection, RateLimit, lock};
use crate::transport::mtu::parts;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

thread_local! {
    /// The poller of a connection has just said that the connection may send, and quinn calls
    /// [`LimitedSocket::try_send`] for it next, on this thread.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// A socket whose datagrams leave no faster than the limit.
#[derive(Debug)]
pub(crate) struct LimitedSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    limit: RateLimit,
    /// The task that wakes the connections.
    waking: AbortHandle,
}

impl LimitedSocket {
    /// Limits `socket`, whose connections run in this runtime.
    pub(crate) fn new(socket: Arc<dyn AsyncUdpSocket>, limit: RateLimit, runtime: &Handle) -> Self {
        let waking = runtime.spawn(limit.clone().run()).abort_handle();
        Self { socket, limit, waking }
    }
}

impl Drop for LimitedSocket {
    fn drop(&mut self) {
        self.waking.abort();
    }
}

impl AsyncUdpSocket for LimitedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let connection = Arc::new(Connection::default());
        lock(&self.limit.0.connections).push(connection.clone());
        Box::pin(LimitedPoller {
            inner: self.socket.clone().create_io_poller(),
            limit: self.limit.clone(),
            connection,
        })
    }

    /// quinn's connections ask [`LimitedPoller`] before. Stateless responses and repair packets do
    /// not: they may go a little into debt, up to a share of the rate, and are lost beyond it.
    ///
    /// quinn sends up to ten packets in one call. Ten jumbo frames exceed the system's limit, so
    /// they leave in two parts. If the socket is full after the first part, quinn sends both again,
    /// and the peer drops the duplicates. So the limit counts each part, but stops none.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let urgent = !ASKED.take();
        if urgent && !self.limit.admits_urgent() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        parts(transmit).try_for_each(|part| {
            self.socket.try_send(&part)?;
            let bytes = part.contents.len();
            self.limit.charge(bytes, part.segment_size.unwrap_or(bytes), urgent);
            Ok(())
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.limit.batch(self.socket.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// A connection's wait until the bucket is open and the socket is writable.
struct LimitedPoller {
    inner: Pin<Box<dyn UdpPoller>>,
    limit: RateLimit,
    connection: Arc<Connection>,
}

impl std::fmt::Debug for LimitedPoller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LimitedPoller")
    }
}

impl UdpPoller for LimitedPoller {
    /// Keeps the waker even if the answer is yes: the congestion window holds the connection's next
    /// packet back, and then the connection does not ask here.
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut waker = lock(&this.connection.waker);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if this.limit.is_closed() {
            return Poll::Pending;
        }
        this.connection.served.store(this.limit.nanos(), Ordering::Relaxed);
        let writable = this.inner.as_mut().poll_writable(cx);
        ASKED.set(matches!(writable, Poll::Ready(Ok(()))));
        writable
    }
}

impl Drop for LimitedPoller {
    fn drop(&mut self) {
        let mut connections = lock(&self.limit.0.connections);
        connections.retain(|connection| !Arc::ptr_eq(connection, &self.connection));
    }
}
