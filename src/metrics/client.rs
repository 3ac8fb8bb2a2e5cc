//! The connection of a client, with a limit of time for it to read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A stream whose writes fail when the other end has not read an answer in time.
#[derive(Debug)]
pub(super) struct ClientStream<S> {
    stream: S,
    timeout: Duration,
    /// Runs from the first write that has to wait, until a flush says that all is written. A client
    /// that reads a byte now and then does not restart it.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> ClientStream<S> {
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, timeout, deadline: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_ready() && self.deadline.is_none() {
            return written;
        }
        let timeout = self.timeout;
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + timeout)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when its own buffer is empty.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.deadline = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    const TIMEOUT: Duration = Duration::from_millis(300);

    /// Writes 1,000 bytes to a client that reads `count` bytes at a time, with this pause.
    async fn write_to(count: usize, pause: Duration) -> io::Result<()> {
        let (own, mut client) = duplex(10);
        let mut stream = ClientStream::new(own, TIMEOUT);
        let reader = async {
            let mut buf = vec![0; count];
            while client.read(&mut buf).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(pause).await;
            }
        };
        let writer = async move {
            stream.write_all(&[7; 1000]).await?;
            stream.flush().await
        };
        tokio::select! {
            result = writer => result,
            () = reader => panic!("the reader ended first"),
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_ends_its_connection() {
        write_to(1000, Duration::ZERO).await.unwrap();
        // It would need ten seconds.
        let slow = write_to(1, Duration::from_millis(10));
        let error = timeout(Duration::from_secs(5), slow).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
