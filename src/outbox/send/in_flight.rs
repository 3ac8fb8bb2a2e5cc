//! The deliveries in flight, and why one of them is to stop: its user cancels the entry, or takes it
//! out of Outgoing.

use super::read::blocking;
use crate::outbox::mailbox::locked;
use crate::outbox::queue::index::is_beneath;
use crate::proto::name::Name;
use crate::store::{Folder, Meta, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How often the paths of the deliveries are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Why a delivery is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The user cancels the entry.
    Cancelled,
    /// The path leads to another file, or to none.
    TakenBack,
}

/// The deliveries of one outbox. One look serves all of them: a timer for each would cost more than
/// the rest of a small file's delivery.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    deliveries: Mutex<Deliveries>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct Deliveries {
    /// The number of the next one.
    next: u64,
    by_number: BTreeMap<u64, DeliveryInFlight>,
    /// It and everything beneath it is being cancelled.
    cancelled: Option<Name>,
}

#[derive(Debug)]
struct DeliveryInFlight {
    name: Name,
    meta: Meta,
    stop: oneshot::Sender<Stop>,
}

impl Deliveries {
    fn stop(&mut self, number: u64, why: Stop) {
        if let Some(delivery) = self.by_number.remove(&number) {
            // The delivery may just have ended.
            let _ = delivery.stop.send(why);
        }
    }

    fn is_cancelled(&self, name: &Name) -> bool {
        self.cancelled
            .as_ref()
            .is_some_and(|cancelled| name == cancelled || is_beneath(name, cancelled))
    }
}

impl InFlight {
    /// A delivery begins; it ends when the result is dropped.
    pub(super) fn enter(self: &Arc<Self>, name: &Name, meta: Meta) -> Entered {
        let (stop, stopped) = oneshot::channel();
        let mut deliveries = locked(&self.deliveries);
        let number = deliveries.next;
        deliveries.next += 1;
        let delivery = DeliveryInFlight { name: name.clone(), meta, stop };
        let is_cancelled = deliveries.is_cancelled(name);
        let is_first = deliveries.by_number.is_empty();
        deliveries.by_number.insert(number, delivery);
        if is_cancelled {
            deliveries.stop(number, Stop::Cancelled);
        }
        drop(deliveries);
        if is_first {
            self.begun.notify_one();
        }
        Entered { in_flight: Arc::clone(self), number, stopped }
    }

    /// Stops the deliveries of this name and of all beneath it, until the next call.
    pub(crate) fn cancel(&self, name: Option<Name>) {
        let mut deliveries = locked(&self.deliveries);
        deliveries.cancelled = name;
        let cancelled: Vec<_> = deliveries
            .by_number
            .iter()
            .filter(|(_, delivery)| deliveries.is_cancelled(&delivery.name))
            .map(|(number, _)| *number)
            .collect();
        cancelled.into_iter().for_each(|number| deliveries.stop(number, Stop::Cancelled));
    }

    /// Stops deliveries whose entries the user takes out of `folder` or renames. On a slow path QUIC
    /// buffers seconds of their data, and the reset of the stream drops them. Runs as long as a
    /// session; a delivery that is over before the next look is not looked at.
    pub(crate) async fn look(&self, folder: &Arc<Folder>) {
        let mut looked_until = 0;
        loop {
            if locked(&self.deliveries).by_number.is_empty() {
                self.begun.notified().await;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
            let (begun_before, next) = {
                let deliveries = locked(&self.deliveries);
                let before = deliveries.by_number.range(..looked_until);
                let before: Vec<_> = before
                    .map(|(number, delivery)| (*number, delivery.name.clone(), delivery.meta))
                    .collect();
                (before, deliveries.next)
            };
            looked_until = next;
            if begun_before.is_empty() {
                continue;
            }
            let folder = Arc::clone(folder);
            let look =
                move || Ok::<_, super::error::DeliverError>(taken_back(&folder, begun_before));
            // A panic ends this look only.
            let gone = blocking(look).await.unwrap_or_default();
            let mut deliveries = locked(&self.deliveries);
            gone.into_iter().for_each(|number| deliveries.stop(number, Stop::TakenBack));
        }
    }
}

/// Those whose path does not lead to their file.
fn taken_back(folder: &Folder, deliveries: Vec<(u64, Name, Meta)>) -> Vec<u64> {
    let is_gone = |(number, name, meta): (u64, Name, Meta)| match folder.stat(&name) {
        Ok(now) => (!now.same_inode(&meta)).then_some(number),
        Err(StoreError::NotFound { .. }) => Some(number),
        // It may still be there.
        Err(_) => None,
    };
    deliveries.into_iter().filter_map(is_gone).collect()
}

/// A delivery in flight.
#[derive(Debug)]
pub(super) struct Entered {
    in_flight: Arc<InFlight>,
    number: u64,
    stopped: oneshot::Receiver<Stop>,
}

impl Entered {
    /// Completes when the delivery is to stop. Called once.
    pub(super) async fn stopped(&mut self) -> Stop {
        match (&mut self.stopped).await {
            Ok(why) => why,
            // Nobody stops it any more.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        locked(&self.in_flight.deliveries).by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Instant;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(30);

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn folder(names: &[&str]) -> (tempfile::TempDir, Arc<Folder>) {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(dir.path().join(name), "x").unwrap());
        let folder = Arc::new(Folder::open(dir.path(), false).unwrap());
        (dir, folder)
    }

    async fn why(entered: &mut Entered) -> Stop {
        timeout(LONG, entered.stopped()).await.expect("it is stopped")
    }

    async fn goes_on(entered: &mut Entered) -> bool {
        timeout(SHORT, entered.stopped()).await.is_err()
    }

    #[tokio::test]
    async fn what_leaves_its_path_is_stopped_and_the_rest_goes_on() {
        let (dir, folder) = folder(&["moved", "replaced", "stays"]);
        let in_flight = Arc::new(InFlight::default());
        let looking = in_flight.clone();
        let looked = folder.clone();
        let task = tokio::spawn(async move { looking.look(&looked).await });
        let enter = |text: &str| in_flight.enter(&name(text), folder.stat(&name(text)).unwrap());
        let (mut moved, mut replaced, mut stays) =
            (enter("moved"), enter("replaced"), enter("stays"));
        fs::rename(dir.path().join("moved"), dir.path().join("elsewhere")).unwrap();
        // The inode of a removed file may be given to the next one.
        fs::rename(dir.path().join("replaced"), dir.path().join("kept")).unwrap();
        fs::write(dir.path().join("replaced"), "y").unwrap();
        let begun = Instant::now();
        assert_eq!(why(&mut moved).await, Stop::TakenBack);
        assert_eq!(why(&mut replaced).await, Stop::TakenBack);
        assert!(begun.elapsed() < 4 * LOOK_INTERVAL, "{:?}", begun.elapsed());
        tokio::time::sleep(2 * LOOK_INTERVAL).await;
        assert!(goes_on(&mut stays).await);
        task.abort();
    }

    #[tokio::test]
    async fn a_cancelled_name_stops_all_beneath_it_and_what_begins_meanwhile() {
        let (_dir, folder) = folder(&["x"]);
        let meta = folder.stat(&name("x")).unwrap();
        let in_flight = Arc::new(InFlight::default());
        let enter = |text: &str| in_flight.enter(&name(text), meta);
        let (mut own, mut beneath, mut other) = (enter("d"), enter("d/a/b"), enter("dd"));
        in_flight.cancel(Some(name("d")));
        assert_eq!(why(&mut own).await, Stop::Cancelled);
        assert_eq!(why(&mut beneath).await, Stop::Cancelled);
        assert_eq!(why(&mut enter("d/later")).await, Stop::Cancelled);
        assert!(goes_on(&mut other).await);
        in_flight.cancel(None);
        assert!(goes_on(&mut enter("d/again")).await);
    }

    #[tokio::test]
    async fn a_delivery_that_ends_is_forgotten() {
        let (_dir, folder) = folder(&["x"]);
        let in_flight = Arc::new(InFlight::default());
        let entered = in_flight.enter(&name("x"), folder.stat(&name("x")).unwrap());
        drop(entered);
        assert!(locked(&in_flight.deliveries).by_number.is_empty());
    }
}
