//! The thread that drives QUIC, and timers with which an idle connection wakes it rarely.

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until};

/// A timer that is moved back by more than this is made anew.
const FAR: Duration = Duration::from_millis(500);

/// A thread on which all of QUIC's tasks run: those of the endpoint and of each connection. They
/// wake each other for every packet. On the worker threads of one runtime, each such wake would
/// also wake another worker, which finds nothing to do. The thread ends when the endpoint and its
/// connections are gone.
#[derive(Debug)]
pub(crate) struct QuicThread {
    handle: Handle,
    /// The thread ends when this is dropped.
    _running: oneshot::Sender<()>,
    /// The end of the thread.
    end: Option<oneshot::Receiver<()>>,
}

impl QuicThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name("rft").build()?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("rft-quic".into()).spawn(move || {
            // The sender sends nothing: it is dropped.
            let _: Result<(), _> = runtime.block_on(stopped);
            drop(runtime);
            let _ = ended.send(());
        })?;
        Ok(Self { handle, _running: running, end: Some(end) })
    }

    /// Completes when the thread has dropped its tasks, and with them the socket. `None` from the
    /// second call on.
    pub(crate) fn take_end(&mut self) -> Option<oneshot::Receiver<()>> {
        self.end.take()
    }

    /// Spawns tasks on this thread.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// While the guard lives, sockets and timers belong to this thread.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }
}

impl Runtime for QuicThread {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _guard = self.enter();
        Box::pin(Timer::at(at))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.handle.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _guard = self.enter();
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A timer that does not fire at a deadline that was moved back. tokio's own leaves the old deadline
/// in its wheel, and the process wakes up at it for nothing: after each acknowledged keep-alive, at
/// the probe timeout.
#[derive(Debug)]
struct Timer(Pin<Box<Sleep>>);

impl Timer {
    fn at(at: Instant) -> Self {
        Self(Box::pin(sleep_until(at.into())))
    }
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        if tokio::time::Instant::from_std(at) > self.0.deadline() + FAR {
            *self = Self::at(at);
        } else {
            self.0.as_mut().reset(at.into());
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_runs_tasks_until_it_is_dropped() {
        struct OnDrop(std::sync::mpsc::Sender<String>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                let _ = self.0.send("dropped".to_owned());
            }
        }
        let thread = QuicThread::start().unwrap();
        let (sender, heard) = std::sync::mpsc::channel();
        let on_drop = OnDrop(sender.clone());
        thread.spawn(Box::pin(async move {
            sender.send(std::thread::current().name().unwrap_or_default().to_owned()).unwrap();
            std::future::pending::<()>().await;
            drop(on_drop);
        }));
        let patience = Duration::from_secs(30);
        assert_eq!(heard.recv_timeout(patience).unwrap(), "rft-quic");
        drop(thread);
        assert_eq!(heard.recv_timeout(patience).unwrap(), "dropped");
    }

    /// A deadline that is moved back far makes the timer anew; it fires at the last one all the same.
    #[tokio::test]
    async fn a_timer_fires_at_its_last_deadline() {
        for (first, last) in [(20, 900), (900, 20), (20, 30)] {
            let begin = Instant::now();
            let at = |ms| begin + Duration::from_millis(ms);
            let mut timer = Box::pin(Timer::at(at(first)));
            timer.as_mut().reset(at(last));
            std::future::poll_fn(|cx| AsyncTimer::poll(timer.as_mut(), cx)).await;
            assert!(Instant::now() >= at(last), "{first} {last}");
        }
    }
}
