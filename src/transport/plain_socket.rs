//! UDP without socket options, one datagram a call: for systems where `quinn-udp` cannot set the
//! options that it needs (Wine, some containers).

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A UDP socket without options.
#[derive(Debug)]
pub(crate) struct PlainSocket {
    io: tokio::net::UdpSocket,
}

impl PlainSocket {
    /// Wraps a bound socket.
    ///
    /// # Errors
    /// The operating system's, or that there is no runtime.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { io: tokio::net::UdpSocket::from_std(socket)? })
    }
}

impl AsyncUdpSocket for PlainSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(PlainPoller { socket: self, writable: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_send_to(transmit.contents, transmit.destination).map(|_| ())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut buf = tokio::io::ReadBuf::new(buf);
        let addr = ready!(self.io.poll_recv_from(cx, &mut buf))?;
        let len = buf.filled().len();
        *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// A connection's wait for the socket to become writable.
struct PlainPoller {
    socket: Arc<PlainSocket>,
    writable: Option<Writable>,
}

impl std::fmt::Debug for PlainPoller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainPoller")
    }
}

impl UdpPoller for PlainPoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let socket = &this.socket;
        let future = this.writable.get_or_insert_with(|| {
            let socket = socket.clone();
            Box::pin(async move { socket.io.writable().await })
        });
        let result = ready!(future.as_mut().poll(cx));
        this.writable = None;
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plain_socket_carries_datagrams() {
        let open = || {
            Arc::new(PlainSocket::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap())
        };
        let (a, b) = (open(), open());
        let mut poller = a.clone().create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        let transmit = Transmit {
            destination: b.local_addr().unwrap(),
            ecn: None,
            contents: b"hello",
            segment_size: None,
            src_ip: None,
        };
        a.try_send(&transmit).unwrap();
        let mut storage = [0; 16];
        let mut meta = [RecvMeta::default()];
        std::future::poll_fn(|cx| b.poll_recv(cx, &mut [IoSliceMut::new(&mut storage)], &mut meta))
            .await
            .unwrap();
        assert_eq!(&storage[..meta[0].len], b"hello");
        assert_eq!(meta[0].addr, a.local_addr().unwrap());
    }
}
