//! Counters of a peer and its files in flight, kept from its events.

use crate::event::{Direction, Event};
use crate::proto::message::TransferId;
use crate::status::{FileInFlight, Totals};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sums over the events of one peer.
#[derive(Debug, Default)]
pub(super) struct PeerActivity(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    sent: Totals,
    received: Totals,
    /// Each with a number that grows with every start.
    in_flight: HashMap<(Direction, TransferId), (u64, FileInFlight)>,
    started: u64,
}

impl PeerActivity {
    /// Takes one event into account.
    pub(super) fn note(&self, event: &Event) {
        match event {
            Event::FileStarted { direction, path, size, transfer, offset } => {
                let (direction, transfer) = (*direction, *transfer);
                let (path, size, bytes) = (path.clone(), *size, *offset);
                self.sums().start(FileInFlight { direction, path, transfer, bytes, size });
            }
            Event::FileProgress { direction, path, transfer, bytes, size } => {
                let (direction, transfer, bytes, size) = (*direction, *transfer, *bytes, *size);
                let mut sums = self.sums();
                if let Some((_, file)) = sums.in_flight.get_mut(&(direction, transfer)) {
                    file.bytes = bytes;
                } else {
                    let path = path.clone();
                    sums.start(FileInFlight { direction, path, transfer, bytes, size });
                }
            }
            Event::FileDone { direction, transfer, size, .. } => {
                let mut sums = self.sums();
                sums.in_flight.remove(&(*direction, *transfer));
                let totals = match direction {
                    Direction::Send => &mut sums.sent,
                    Direction::Receive => &mut sums.received,
                };
                totals.files += 1;
                totals.bytes += size;
            }
            Event::FileFailed { direction, transfer, .. } => {
                self.sums().in_flight.remove(&(*direction, *transfer));
            }
            // A transfer that its session interrupts has no event of its own.
            Event::Disconnected { .. } => self.sums().in_flight.clear(),
            _ => {}
        }
    }

    /// Entries sent since the start.
    pub(super) fn sent(&self) -> Totals {
        self.sums().sent
    }

    /// Entries received since the start.
    pub(super) fn received(&self) -> Totals {
        self.sums().received
    }

    /// The files in flight, the oldest first.
    pub(super) fn in_flight(&self) -> Vec<FileInFlight> {
        let mut files: Vec<_> = self.sums().in_flight.values().cloned().collect();
        files.sort_by_key(|(number, _)| *number);
        files.into_iter().map(|(_, file)| file).collect()
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    fn start(&mut self, file: FileInFlight) {
        self.started += 1;
        self.in_flight.insert((file.direction, file.transfer), (self.started, file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::name::Name;
    use crate::status::SessionEnd;
    use std::time::Duration;

    fn started(direction: Direction, id: u8) -> Event {
        let (path, transfer) = (Name::parse(&[b'a' + id]).unwrap(), TransferId([id; 16]));
        Event::FileStarted { direction, path, size: 10, transfer, offset: 2 }
    }

    fn done(direction: Direction, id: u8) -> Event {
        Event::FileDone {
            direction,
            path: Name::parse(&[b'a' + id]).unwrap(),
            size: 10,
            transfer: TransferId([id; 16]),
            blake3: [0; 32],
            elapsed: Duration::ZERO,
            offset: 2,
            saved_as: None,
        }
    }

    fn bytes(activity: &PeerActivity) -> Vec<u64> {
        activity.in_flight().iter().map(|file| file.bytes).collect()
    }

    #[test]
    fn events_add_up_to_counters_and_files_in_flight() {
        let activity = PeerActivity::default();
        for event in [started(Direction::Send, 1), started(Direction::Receive, 1)] {
            activity.note(&event);
        }
        let (path, transfer) = (Name::parse(b"b").unwrap(), TransferId([1; 16]));
        let direction = Direction::Receive;
        let progress = Event::FileProgress { direction, path, transfer, bytes: 7, size: 10 };
        activity.note(&progress);
        assert_eq!(bytes(&activity), [2, 7]);
        activity.note(&done(Direction::Send, 1));
        // Without a start: the progress of a file that a disconnection hid.
        activity.note(&done(Direction::Send, 2));
        assert_eq!(bytes(&activity), [7]);
        assert_eq!(activity.sent(), Totals { files: 2, bytes: 20 });
        assert_eq!(activity.received(), Totals::default());
        let (peer, reason) = (([127, 0, 0, 1], 1).into(), SessionEnd::TimedOut);
        activity.note(&Event::Disconnected { peer, reason });
        assert!(activity.in_flight().is_empty());
        activity.note(&progress);
        assert_eq!(bytes(&activity), [7]);
        activity.note(&done(Direction::Receive, 1));
        assert_eq!(activity.received(), Totals { files: 1, bytes: 10 });
    }
}
