//! The thread that finishes what the peer holds: removes it, archives it, or marks it as delivered,
//! many at a time.

use super::queue::handout::Finish;
use super::shared::{Job, OutboxState, locked};
use super::{Item, OutboxConfig};
use crate::config::AfterSend;
use crate::event::EventSink;
use crate::failpoint::fail_point;
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::{
    Delivered, FileKind, Folder, Hold, Ledger, Meta, Removed, Remover, Sent, StoreError,
    has_writer, meta_of,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Items in one batch.
const MAX_BATCH: usize = 512;
/// How often something is tried to be removed.
const TRIES: u32 = 3;
/// The wait before the second try, and four times that before the third: virus scanners and the
/// like hold a file for a moment.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// The wait before another try where no space is left: somebody has to make room first.
const ROOM_INTERVAL: Duration = Duration::from_secs(5);

/// Works off what was delivered.
#[derive(Debug)]
pub(super) struct Finisher {
    outgoing: Arc<Folder>,
    ledger: Arc<Ledger>,
    after_send: AfterSend,
    shared: Arc<OutboxState>,
    events: EventSink,
    again: Vec<Again>,
    /// How long a file is set aside of which the system does not say whether a program writes it.
    grace: Duration,
    holds: Vec<OnHold>,
    /// The user knows that no space is left.
    full_told: bool,
    /// What was said of a mount, from which nothing can be removed.
    told_mounts: HashSet<String>,
}

/// An item that is set aside until it is known that no program writes it.
#[derive(Debug)]
struct OnHold {
    item: Item,
    hold: Hold,
    until: Instant,
}

/// An item that could not be finished yet.
#[derive(Debug)]
struct Again {
    item: Item,
    tries: u32,
    at: Instant,
}

/// How one item of a batch went.
type Outcome = Result<Finish, StoreError>;

impl Finisher {
    pub fn new(config: &OutboxConfig, shared: Arc<OutboxState>, events: EventSink) -> Self {
        Self {
            outgoing: Arc::clone(&config.outgoing),
            ledger: Arc::clone(&config.ledger),
            after_send: config.after_send,
            shared,
            events,
            again: Vec::new(),
            full_told: false,
            grace: config.grace,
            holds: Vec::new(),
            told_mounts: HashSet::new(),
        }
    }

    /// The thread: until it is told to stop.
    pub fn run(mut self, remover: Option<&Remover>, jobs: &Receiver<Job>) {
        let mut stop = false;
        while !stop {
            let mut batch = Vec::new();
            match jobs.recv_timeout(self.patience()) {
                Ok(Job::Finish(item)) => batch.push((item, 0)),
                Ok(Job::Verify(item)) => self.verify(item),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => stop = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while batch.len() < MAX_BATCH && !stop {
                match jobs.try_recv() {
                    Ok(Job::Finish(item)) => batch.push((item, 0)),
                    Ok(Job::Verify(item)) => self.verify(item),
                    Ok(Job::Stop) => stop = true,
                    Err(_) => break,
                }
            }
            let now = Instant::now();
            batch.extend(
                self.again.extract_if(.., |a| stop || a.at <= now).map(|a| (a.item, a.tries)),
            );
            if !batch.is_empty() {
                self.finish(remover, batch);
            }
            if let Some(remover) = remover {
                self.settle_holds(remover);
            }
        }
    }

    fn patience(&self) -> Duration {
        let next = self
            .again
            .iter()
            .map(|again| again.at)
            .chain(self.holds.iter().map(|on| on.until))
            .min();
        next.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(Instant::now()))
    }

    /// Finishes a batch, files and links before folders.
    fn finish(&mut self, remover: Option<&Remover>, batch: Vec<(Item, u32)>) {
        let (folders, entries): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|(item, _)| item.meta.kind == FileKind::Folder);
        let mut outcomes = Vec::with_capacity(entries.len());
        let Some(remover) = remover.filter(|_| self.after_send != AfterSend::Keep) else {
            let all: Vec<_> = entries.into_iter().chain(folders).collect();
            fail_point("keep.marking");
            let marked = self.mark(&all);
            fail_point("keep.marked");
            outcomes.extend(all.into_iter().map(|(item, tries)| {
                let outcome = marked.clone().map(|()| Finish::Kept(self.first_offer(&item.name)));
                (item, tries, outcome)
            }));
            return self.report(outcomes);
        };
        let sent = |(item, _): &(Item, u32)| Sent {
            name: item.name.clone(),
            meta: item.meta,
            hash: item.content,
        };
        let batch: Vec<Sent> = entries.iter().map(sent).collect();
        let removed = match self.after_send {
            AfterSend::Archive => remover.archive(&batch),
            AfterSend::Delete | AfterSend::Keep => remover.remove(&batch),
        };
        for ((item, tries), removed) in entries.into_iter().zip(removed) {
            match removed {
                Ok(Removed::OnHold(hold)) => self.set_aside(item, hold),
                removed => {
                    let outcome = removed.map(|removed| self.removed(&item, &removed));
                    outcomes.push((item, tries, outcome));
                }
            }
        }
        for (item, tries) in folders {
            let outcome =
                remover.remove_folder(&item.name).map(|removed| self.removed(&item, &removed));
            outcomes.push((item, tries, outcome));
        }
        self.report(outcomes);
    }

    fn report(&mut self, outcomes: Vec<(Item, u32, Outcome)>) {
        let finished: Vec<_> = outcomes
            .into_iter()
            .filter_map(|(item, tries, outcome)| self.settle(item, tries, outcome))
            .collect();
        self.shared.mail(|mail| mail.finished.extend(finished));
    }

    fn mark(&self, batch: &[(Item, u32)]) -> Result<(), StoreError> {
        let marks: Vec<(TransferId, Delivered)> = {
            let table = locked(&self.shared.table);
            let mark = |(item, _): &(Item, u32)| {
                let delivered =
                    Delivered { changed: item.meta.identity.changed, hash: item.content };
                Some((table.mark(&item.name)?, delivered))
            };
            batch.iter().filter_map(mark).collect()
        };
        self.ledger.mark_delivered(&marks)
    }

    fn set_aside(&mut self, item: Item, hold: Hold) {
        tracing::info!(
            path = %item.name, seconds = self.grace.as_secs(),
            "the system cannot tell whether a program writes it; it is removed if nothing changes meanwhile"
        );
        self.holds.push(OnHold { item, hold, until: Instant::now() + self.grace });
    }

    /// Decides about the files whose time aside is over.
    fn settle_holds(&mut self, remover: &Remover) {
        let now = Instant::now();
        let over: Vec<_> = self.holds.extract_if(.., |on| on.until <= now).collect();
        let mut outcomes = Vec::with_capacity(over.len());
        for OnHold { item, hold, .. } in over {
            let outcome = remover.settle(hold).map(|removed| self.removed(&item, &removed));
            outcomes.push((item, 0, outcome));
        }
        if !outcomes.is_empty() {
            self.report(outcomes);
        }
    }

    /// A kept file has another change time than when it was delivered. If its content is the same,
    /// that is written down; else it is sent again.
    fn verify(&mut self, item: Item) {
        let finish = match self.has_content(&item) {
            Some(meta) => {
                // If it cannot be written down, it is verified again at the next start.
                if let Err(error) = self.mark(&[(Item { meta, ..item.clone() }, 0)]) {
                    tracing::warn!(path = %item.name, %error, "the new change time of a kept file is not noted");
                }
                Finish::Kept(Some(meta))
            }
            None => Finish::Changed(self.first_offer(&item.name)),
        };
        self.shared.mail(|mail| mail.finished.push((item, finish)));
    }

    /// Its metadata if it is still the content that the peer holds.
    fn has_content(&self, item: &Item) -> Option<Meta> {
        let (file, meta) = self.outgoing.open_file(&item.name).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file).ok()?;
        let same = Some(*hasher.finalize().as_bytes()) == item.content;
        let rested = meta_of(&file).is_ok_and(|now| now.unchanged(&meta)) && !has_writer(&file);
        (same && rested).then_some(meta)
    }

    fn removed(&self, item: &Item, removed: &Removed) -> Finish {
        match removed {
            Removed::Gone => Finish::Gone,
            // What is on hold does not come here.
            Removed::Changed | Removed::OnHold(_) => Finish::Changed(self.first_offer(&item.name)),
            Removed::InUse => Finish::InUse(self.first_offer(&item.name)),
        }
    }

    fn first_offer(&self, name: &Name) -> Option<Meta> {
        self.outgoing.stat(name).ok()
    }

    /// What goes back to the table, or nothing yet when it is tried again.
    fn settle(&mut self, item: Item, tries: u32, outcome: Outcome) -> Option<(Item, Finish)> {
        let error = match outcome {
            Ok(finish) => {
                self.full_told = false;
                return Some((item, finish));
            }
            Err(error) => error,
        };
        if let StoreError::NoSpace { .. } = error {
            // Not one of its tries, however long it takes: it needs no more than room.
            if !std::mem::replace(&mut self.full_told, true) {
                let text = format!("the peer has it, but it cannot leave Outgoing: {error}");
                self.events.warn(Some(item.name.clone()), text);
            }
            self.again.push(Again { item, tries, at: Instant::now() + ROOM_INTERVAL });
            return None;
        }
        let tries = tries + 1;
        if let StoreError::OtherVolume { path } = &error {
            // Trying again does not help, and one sentence is enough for all that stands there.
            self.shared.removal_failed.store(true, Ordering::Relaxed);
            if self.told_mounts.insert(path.clone()) {
                self.events
                    .warn(None, format!("what the peer has received stays in Outgoing: {error}"));
            }
            return Some((item, Finish::Stuck));
        }
        if tries < TRIES {
            let at = Instant::now() + TRY_AGAIN * 4u32.pow(tries - 1);
            self.again.push(Again { item, tries, at });
            return None;
        }
        let message = match self.after_send {
            AfterSend::Keep => {
                format!("the peer has it, but that could not be written down: {error}")
            }
            AfterSend::Delete | AfterSend::Archive => {
                self.shared.removal_failed.store(true, Ordering::Relaxed);
                format!(
                    "the peer has it, but it could not be removed from Outgoing: {}",
                    error.without_path()
                )
            }
        };
        self.events.warn(Some(item.name.clone()), message);
        Some((item, Finish::Stuck))
    }
}
