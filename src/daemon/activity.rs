//! Counters of a peer, its rates and its files in flight, kept from its events.

use super::lock::locked;
use super::rate::RecentBytes;
use crate::event::{Direction, Event};
use crate::hindrance::Finding;
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::status::{Backlog, DirectionStatus, FileInFlight, NoSession, Totals};
use crate::store::SavedTotals;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// The sums over the events of one peer.
#[derive(Debug)]
pub(super) struct PeerActivity {
    sums: Mutex<Sums>,
    /// Told when a file begins while no other is in flight.
    began: Notify,
    /// Told when an entry is complete.
    done: Notify,
}

#[derive(Debug)]
struct Sums {
    /// By direction: sent and received.
    lanes: [Lane; 2],
    /// Each with a number that grows with every start.
    in_flight: HashMap<(Direction, TransferId), (u64, Transfer)>,
    started: u64,
    /// Sessions that last. While a newer one replaces another there are two.
    sessions: u32,
    /// Since when the peer has not answered, once the user has been told.
    silent: Option<Instant>,
    /// Since when there has been no session, and why. It does not count while there is one.
    apart: (Instant, Option<Finding>),
}

/// The sums of one direction.
#[derive(Debug)]
struct Lane {
    since_start: Totals,
    /// Those of earlier processes of this state folder.
    before: Totals,
    last: Option<SystemTime>,
    recent: RecentBytes,
    /// Files in flight.
    active: u64,
    /// Bytes of the files in flight that have crossed.
    crossed: u64,
    /// The backlog of the sending side when it was last told in this session.
    told: Option<Backlog>,
    /// Entries that were complete after that, which it still counts.
    done: Totals,
}

/// A file in flight.
#[derive(Debug)]
struct Transfer {
    path: Name,
    bytes: u64,
    size: u64,
    since: Instant,
    recent: RecentBytes,
}

impl PeerActivity {
    /// Continues the counts of earlier processes: of sent entries, and of received ones.
    pub(super) fn new(saved: [SavedTotals; 2], now: Instant) -> Self {
        let lanes = saved.map(|saved| Lane::new(saved, now));
        let sums = Mutex::new(Sums {
            lanes,
            in_flight: HashMap::new(),
            started: 0,
            sessions: 0,
            silent: None,
            apart: (now, None),
        });
        Self { sums, began: Notify::new(), done: Notify::new() }
    }

    /// Takes one event into account.
    pub(super) fn note(&self, event: &Event, now: Instant) {
        match event {
            Event::FileStarted { direction, path, size, transfer, offset } => {
                let transfer = (*direction, *transfer);
                let mut sums = locked(&self.sums);
                sums.start(transfer, path.clone(), *offset, *size, now);
                let first = sums.in_flight.len() == 1;
                drop(sums);
                if first {
                    self.began.notify_one();
                }
            }
            Event::FileProgress { direction, path, transfer, bytes, size } => {
                let transfer = (*direction, *transfer);
                let mut sums = locked(&self.sums);
                // A transfer of a session that has ended may still tell its progress, and no end.
                if !sums.advance(transfer, *bytes, now) && sums.sessions > 0 {
                    sums.start(transfer, path.clone(), *bytes, *size, now);
                }
            }
            Event::FileDone { direction, transfer, size, blake3, offset, .. } => {
                let (files, folders) = if *blake3 != [0; 32] { (1, 0) } else { (0, 1) };
                let entry = Totals { files, folders, bytes: *size };
                locked(&self.sums).complete((*direction, *transfer), entry, *offset, now);
                self.done.notify_one();
            }
            Event::FileFailed { direction, transfer, .. } => {
                locked(&self.sums).end((*direction, *transfer));
            }
            Event::Backlog { direction, files, bytes } => {
                let mut sums = locked(&self.sums);
                let lane = sums.lane(*direction);
                lane.told = Some(Backlog { files: *files, bytes: *bytes });
                lane.done = Totals::default();
            }
            Event::Silent { elapsed, .. } => {
                locked(&self.sums).silent = now.checked_sub(*elapsed).or(Some(now));
            }
            Event::Waiting { finding, .. } => locked(&self.sums).apart.1 = *finding,
            Event::Heard { .. } => locked(&self.sums).silent = None,
            Event::Connected { .. } => {
                let mut sums = locked(&self.sums);
                sums.sessions += 1;
                sums.silent = None;
            }
            // A transfer that its session interrupts has no event of its own.
            Event::Disconnected { .. } => locked(&self.sums).end_session(now),
            _ => {}
        }
    }

    /// Entries sent since the start.
    pub(super) fn sent(&self) -> Totals {
        locked(&self.sums).lane(Direction::Send).since_start
    }

    /// Whether files are in flight.
    pub(super) fn is_active(&self) -> bool {
        !locked(&self.sums).in_flight.is_empty()
    }

    /// For how long the peer has not answered, once the user has been told.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        locked(&self.sums).silent.map(|since| now.saturating_duration_since(since))
    }

    /// How long there has been no session, and why; for when there is none.
    pub(super) fn no_session(&self, now: Instant) -> NoSession {
        let (since, finding) = locked(&self.sums).apart;
        NoSession::new(now.saturating_duration_since(since), finding)
    }

    /// Waits until a file begins while no other is in flight. One waiter at a time.
    pub(super) async fn began(&self) {
        self.began.notified().await;
    }

    /// Waits until an entry is complete. One waiter at a time.
    pub(super) async fn done(&self) {
        self.done.notified().await;
    }

    /// Number of files in flight.
    pub(super) fn active(&self, direction: Direction) -> u64 {
        locked(&self.sums).lane(direction).active
    }

    /// One direction, whose sending side has this backlog. What limits its speed is not known here.
    pub(super) fn direction(
        &self,
        direction: Direction,
        backlog: Option<Backlog>,
        now: Instant,
    ) -> DirectionStatus {
        locked(&self.sums).lane(direction).status(backlog, now)
    }

    /// The counts for the next process: of sent entries, and of received ones.
    pub(super) fn to_save(&self) -> [SavedTotals; 2] {
        locked(&self.sums).lanes.each_ref().map(Lane::to_save)
    }

    /// At most `max` of the files in flight, the oldest first, and the number of the others.
    pub(super) fn in_flight(&self, max: usize, now: Instant) -> (Vec<FileInFlight>, u64) {
        let sums = locked(&self.sums);
        let mut oldest: Vec<_> =
            sums.in_flight.iter().map(|(key, (n, file))| (n, key, file)).collect();
        oldest.sort_by_key(|(number, ..)| **number);
        let more = oldest.len().saturating_sub(max) as u64;
        let file =
            |(_, &(direction, transfer), file): (&u64, &(Direction, TransferId), &Transfer)| {
                let (path, bytes, size) = (file.path.clone(), file.bytes, file.size);
                let age = now.saturating_duration_since(file.since);
                FileInFlight {
                    direction,
                    path,
                    transfer,
                    bytes,
                    size,
                    age,
                    rate: file.recent.rate(now),
                }
            };
        (oldest.into_iter().take(max).map(file).collect(), more)
    }
}

impl Sums {
    /// An entry has crossed, of which the receiver had `offset` bytes before.
    fn complete(&mut self, key: (Direction, TransferId), entry: Totals, offset: u64, now: Instant) {
        let known = self.advance(key, entry.bytes, now);
        self.end(key);
        let lane = self.lane(key.0);
        if !known {
            lane.recent.add(entry.bytes.saturating_sub(offset), now);
        }
        for totals in [&mut lane.since_start, &mut lane.done] {
            totals.files += entry.files;
            totals.folders += entry.folders;
            totals.bytes += entry.bytes;
        }
        lane.last = Some(SystemTime::now());
    }

    fn end_session(&mut self, now: Instant) {
        self.sessions = self.sessions.saturating_sub(1);
        self.apart = (now, None);
        self.silent = None;
        self.in_flight.clear();
        for lane in &mut self.lanes {
            (lane.active, lane.crossed) = (0, 0);
            (lane.told, lane.done) = (None, Totals::default());
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Send => &mut self.lanes[0],
            Direction::Receive => &mut self.lanes[1],
        }
    }

    fn start(
        &mut self,
        key: (Direction, TransferId),
        path: Name,
        bytes: u64,
        size: u64,
        now: Instant,
    ) {
        self.end(key);
        self.started += 1;
        let transfer = Transfer { path, bytes, size, since: now, recent: RecentBytes::new(now) };
        self.in_flight.insert(key, (self.started, transfer));
        let lane = self.lane(key.0);
        lane.active += 1;
        lane.crossed += bytes;
    }

    /// Returns whether the transfer is known.
    fn advance(&mut self, key: (Direction, TransferId), bytes: u64, now: Instant) -> bool {
        let Some((_, file)) = self.in_flight.get_mut(&key) else { return false };
        let moved = bytes.saturating_sub(file.bytes);
        file.bytes += moved;
        file.recent.add(moved, now);
        let lane = self.lane(key.0);
        lane.crossed += moved;
        lane.recent.add(moved, now);
        true
    }

    fn end(&mut self, key: (Direction, TransferId)) {
        if let Some((_, file)) = self.in_flight.remove(&key) {
            let lane = self.lane(key.0);
            lane.active -= 1;
            lane.crossed -= file.bytes;
        }
    }
}

impl Lane {
    fn new(saved: SavedTotals, now: Instant) -> Self {
        let SavedTotals { files, folders, bytes, last } = saved;
        let last = (last > 0).then(|| UNIX_EPOCH.checked_add(Duration::from_secs(last))).flatten();
        Self {
            since_start: Totals::default(),
            before: Totals { files, folders, bytes },
            last,
            recent: RecentBytes::new(now),
            active: 0,
            crossed: 0,
            told: None,
            done: Totals::default(),
        }
    }

    fn in_all(&self) -> Totals {
        let (a, b) = (self.before, self.since_start);
        Totals {
            files: a.files.saturating_add(b.files),
            folders: a.folders.saturating_add(b.folders),
            bytes: a.bytes.saturating_add(b.bytes),
        }
    }

    fn to_save(&self) -> SavedTotals {
        let Totals { files, folders, bytes } = self.in_all();
        let last = self.last.and_then(|last| last.duration_since(UNIX_EPOCH).ok());
        SavedTotals { files, folders, bytes, last: last.map_or(0, |last| last.as_secs()) }
    }

    fn status(&self, backlog: Option<Backlog>, now: Instant) -> DirectionStatus {
        let done = self.done;
        // The entries done are those since the backlog was told: one that is known here earlier may
        // have left them out already.
        let left = self.told.or(backlog).unwrap_or_default();
        let files_left = left.files.saturating_sub(done.files + done.folders).max(self.active);
        let bytes_left = left.bytes.saturating_sub(done.bytes.saturating_add(self.crossed));
        let rate = self.recent.rate(now);
        let time_left = (bytes_left > 0 && rate > 0 && self.active > 0)
            .then(|| Duration::try_from_secs_f64(bytes_left as f64 / rate as f64).ok())
            .flatten();
        DirectionStatus {
            backlog,
            files_left,
            bytes_left,
            rate,
            time_left,
            since_start: self.since_start,
            in_all: self.in_all(),
            last: self.last,
            ..DirectionStatus::default()
        }
    }
}

#[cfg(test)]
mod tests;
