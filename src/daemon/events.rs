//! The events of a process on their way to the observer and the subscribers.

use crate::config::PeerName;
use crate::event::{Event, EventSink, PeerEvent};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Events that may wait for one subscriber; the oldest are dropped first.
const MAX_QUEUED: usize = 1024;

type Observer = Arc<dyn Fn(PeerEvent) + Send + Sync>;

/// Passes events on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Events {
    observer: Observer,
    /// `None` once the process has ended, so that the subscribers see the end.
    subscribers: Arc<Mutex<Option<broadcast::Sender<PeerEvent>>>>,
}

impl Events {
    pub(super) fn new(observer: impl Fn(PeerEvent) + Send + Sync + 'static) -> Self {
        let subscribers = Arc::new(Mutex::new(Some(broadcast::Sender::new(MAX_QUEUED))));
        Self { observer: Arc::new(observer), subscribers }
    }

    /// A sink for events about `peer`, or about the process. `note` sees each event first.
    pub(super) fn sink(
        &self,
        peer: Option<PeerName>,
        note: impl Fn(&Event) + Send + Sync + 'static,
    ) -> EventSink {
        let events = self.clone();
        EventSink::new(move |event| {
            note(&event);
            events.emit(PeerEvent { peer: peer.clone(), event });
        })
    }

    fn emit(&self, event: PeerEvent) {
        {
            let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = subscribers.as_ref().filter(|sender| sender.receiver_count() > 0)
            {
                // It fails when the last subscriber leaves at this moment.
                let _ = sender.send(event.clone());
            }
        }
        (self.observer)(event);
    }

    pub(super) fn subscribe(&self) -> EventReceiver {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        EventReceiver {
            receiver: subscribers.as_ref().map(broadcast::Sender::subscribe),
            missed: 0,
        }
    }

    /// The process has ended.
    pub(super) fn close(&self) {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Receives the events of a process from the subscription on. A slow receiver does not delay the
/// engine; it misses the oldest events.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: Option<broadcast::Receiver<PeerEvent>>,
    missed: u64,
}

impl EventReceiver {
    /// The next event, or `None` after the end of the process. Cancel-safe.
    pub async fn recv(&mut self) -> Option<PeerEvent> {
        loop {
            match self.receiver.as_mut()?.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => self.missed += missed,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Number of events that were dropped because this receiver was too slow. The state that they
    /// changed is in [`super::Handle::status`].
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warn(sink: &EventSink, number: usize) {
        sink.warn(None, number.to_string());
    }

    fn number(event: &PeerEvent) -> usize {
        let Event::Warning { message, .. } = &event.event else { panic!("{event:?}") };
        message.parse().unwrap()
    }

    #[tokio::test]
    async fn a_slow_subscriber_misses_the_oldest_events_and_the_observer_none() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (observed, noted) = (seen.clone(), Arc::new(Mutex::new(0)));
        let events = Events::new(move |event| observed.lock().unwrap().push(number(&event)));
        let mut early = events.subscribe();
        let count = noted.clone();
        let name = PeerName::new("bob");
        let sink = events.sink(Some(name.clone()), move |_| *count.lock().unwrap() += 1);
        let all = MAX_QUEUED + 10;
        (0..all).for_each(|number| warn(&sink, number));
        assert_eq!(*seen.lock().unwrap(), (0..all).collect::<Vec<_>>());
        assert_eq!(*noted.lock().unwrap(), all);
        let mut late = events.subscribe();
        warn(&events.sink(None, |_| {}), all);
        events.close();
        let first = early.recv().await.unwrap();
        assert_eq!((number(&first), early.missed(), first.peer), (11, 11, Some(name)));
        let last = late.recv().await.unwrap();
        assert_eq!((number(&last), late.missed(), last.peer), (all, 0, None));
        assert!(late.recv().await.is_none());
        assert!(events.subscribe().recv().await.is_none());
    }
}
