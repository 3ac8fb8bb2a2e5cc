//! The tokio runtime as QUIC uses it, with which an idle connection wakes the process rarely.

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until};

/// A task that was not polled for this time is at rest.
const REST: Duration = Duration::from_millis(10);
/// Maximum number of polls in a row of a task at rest.
const MAX_POLLS: u32 = 4;
/// A timer that is moved back by more than this is made anew.
const FAR: Duration = Duration::from_millis(500);

/// [`TokioRuntime`] with other tasks and timers.
#[derive(Debug)]
pub(crate) struct RestingRuntime;

impl Runtime for RestingRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(Box::pin(sleep_until(at.into()))))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(PolledAgain { future, polled: Instant::now() });
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
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

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        let at = at.into();
        if at > self.0.deadline() + FAR {
            self.0 = Box::pin(sleep_until(at));
        } else {
            self.0.as_mut().reset(at);
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), cx)
    }
}

/// A task that is polled again at once if it wakes itself at rest. QUIC's tasks do so to go on after
/// other tasks. tokio would wake another worker thread, which finds nothing to do.
struct PolledAgain {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    polled: Instant,
}

impl Future for PolledAgain {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = std::mem::replace(&mut self.polled, Instant::now());
        if self.polled.duration_since(before) < REST {
            return self.future.as_mut().poll(cx);
        }
        let own = Arc::new(OwnWaker { state: AtomicU8::new(WAITS), outer: cx.waker().clone() });
        let waker = Waker::from(own.clone());
        for _ in 0..MAX_POLLS {
            own.state.store(POLLS, Ordering::SeqCst);
            if self.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return Poll::Ready(());
            }
            if own.state.swap(WAITS, Ordering::SeqCst) != WOKEN {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

const WAITS: u8 = 0;
const POLLS: u8 = 1;
const WOKEN: u8 = 2;

/// Tells a wake during a poll from a later one.
struct OwnWaker {
    /// [`WAITS`], [`POLLS`], or [`WOKEN`] during a poll.
    state: AtomicU8,
    outer: Waker,
}

impl Wake for OwnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let during = self.state.compare_exchange(POLLS, WOKEN, Ordering::SeqCst, Ordering::SeqCst);
        if during == Err(WAITS) {
            self.outer.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A task that wakes itself this often, polled after `rest`. Returns how often it was polled by
    /// one poll from outside, and how often it woke the outside; then it is woken once more.
    fn polls_and_wakes(self_wakes: u32, rest: Duration) -> (u32, [u32; 2]) {
        let (polls, inner) = (Arc::new(AtomicU32::new(0)), Arc::new(std::sync::Mutex::new(None)));
        let (counted, kept) = (polls.clone(), inner.clone());
        let future = std::future::poll_fn(move |cx: &mut Context<'_>| {
            if counted.fetch_add(1, Ordering::SeqCst) < self_wakes {
                cx.waker().wake_by_ref();
            }
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        });
        let polled = Instant::now().checked_sub(rest).unwrap();
        let mut task = PolledAgain { future: Box::pin(future), polled };
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        let at_poll = count.0.load(Ordering::SeqCst);
        inner.lock().unwrap().take().unwrap().wake();
        (polls.load(Ordering::SeqCst), [at_poll, count.0.load(Ordering::SeqCst)])
    }

    #[test]
    fn a_task_at_rest_is_polled_again_and_a_busy_one_yields() {
        assert_eq!(polls_and_wakes(0, REST), (1, [0, 1]));
        assert_eq!(polls_and_wakes(2, REST), (3, [0, 1]));
        assert_eq!(polls_and_wakes(99, REST), (MAX_POLLS, [1, 2]), "in the end it yields");
        assert_eq!(polls_and_wakes(2, Duration::ZERO), (1, [1, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_at_its_last_deadline() {
        let begin = tokio::time::Instant::now();
        let after = |ms| (begin + Duration::from_millis(ms)).into_std();
        for (first, last) in [(30, 1000), (1000, 30), (30, 40)] {
            let begin = tokio::time::Instant::now();
            let base = begin.duration_since(tokio::time::Instant::from_std(after(0)));
            let at = |ms| after(ms) + base;
            let mut timer = RestingRuntime.new_timer(at(first));
            timer.as_mut().reset(at(last));
            std::future::poll_fn(|cx| timer.as_mut().poll(cx)).await;
            assert_eq!(begin.elapsed(), Duration::from_millis(last));
        }
    }
}
