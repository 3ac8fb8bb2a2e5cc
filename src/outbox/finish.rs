//! The thread that finishes what the peer holds: removes it, archives it, or marks it as delivered,
//! many at a time.

use super::handout::Finish;
use super::shared::{Job, Shared, locked};
use super::{Item, OutboxConfig};
use crate::config::AfterSend;
use crate::event::EventSink;
use crate::failpoint::hit;
use crate::proto::message::TransferId;
use crate::proto::name::Name;
use crate::store::{FileKind, Folder, Ledger, Meta, Removed, Remover, StoreError};
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

/// Works off what was delivered.
#[derive(Debug)]
pub(super) struct Finisher {
    outgoing: Arc<Folder>,
    ledger: Arc<Ledger>,
    after_send: AfterSend,
    shared: Arc<Shared>,
    events: EventSink,
    again: Vec<Again>,
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
    pub fn new(config: &OutboxConfig, shared: Arc<Shared>, events: EventSink) -> Self {
        Self {
            outgoing: Arc::clone(&config.outgoing),
            ledger: Arc::clone(&config.ledger),
            after_send: config.after_send,
            shared,
            events,
            again: Vec::new(),
        }
    }

    /// The thread: until it is told to stop.
    pub fn run(mut self, remover: &Remover, jobs: &Receiver<Job>) {
        let mut stop = false;
        while !stop {
            let mut batch = Vec::new();
            match jobs.recv_timeout(self.patience()) {
                Ok(Job::Finish(item)) => batch.push((item, 0)),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => stop = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while batch.len() < MAX_BATCH && !stop {
                match jobs.try_recv() {
                    Ok(Job::Finish(item)) => batch.push((item, 0)),
                    Ok(Job::Stop) => stop = true,
                    Err(_) => break,
                }
            }
            let now = Instant::now();
            batch.extend(self.again.extract_if(.., |a| stop || a.at <= now).map(|a| (a.item, a.tries)));
            if !batch.is_empty() {
                self.finish(remover, batch);
            }
        }
    }

    fn patience(&self) -> Duration {
        let next = self.again.iter().map(|again| again.at).min();
        next.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(Instant::now()))
    }

    /// Finishes a batch, files and links before folders.
    fn finish(&mut self, remover: &Remover, batch: Vec<(Item, u32)>) {
        let (folders, entries): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|(item, _)| item.meta.kind == FileKind::Folder);
        let mut outcomes = Vec::with_capacity(entries.len());
        if self.after_send == AfterSend::Keep {
            let all: Vec<_> = entries.into_iter().chain(folders).collect();
            hit("keep.marking");
            let marked = self.mark(&all);
            hit("keep.marked");
            outcomes.extend(all.into_iter().map(|(item, tries)| {
                let outcome = marked.clone().map(|()| Finish::Kept(self.fresh(&item.name)));
                (item, tries, outcome)
            }));
        } else {
            let names: Vec<(Name, Meta)> =
                entries.iter().map(|(item, _)| (item.name.clone(), item.meta)).collect();
            let removed = match self.after_send {
                AfterSend::Archive => remover.archive(&names),
                AfterSend::Delete | AfterSend::Keep => remover.remove(&names),
            };
            for ((item, tries), removed) in entries.into_iter().zip(removed) {
                let outcome = self.removed(&item, removed);
                outcomes.push((item, tries, outcome));
            }
            for (item, tries) in folders {
                let outcome = self.removed(&item, remover.remove_folder(&item.name));
                outcomes.push((item, tries, outcome));
            }
        }
        let finished: Vec<_> = outcomes
            .into_iter()
            .filter_map(|(item, tries, outcome)| self.settle(item, tries, outcome))
            .collect();
        self.shared.mail(|mail| mail.finished.extend(finished));
    }

    fn mark(&self, batch: &[(Item, u32)]) -> Result<(), StoreError> {
        let marks: Vec<TransferId> = {
            let table = locked(&self.shared.table);
            batch.iter().filter_map(|(item, _)| table.mark(&item.name)).collect()
        };
        self.ledger.mark_delivered(&marks)
    }

    fn removed(&self, item: &Item, removed: Result<Removed, StoreError>) -> Outcome {
        Ok(match removed? {
            Removed::Gone => Finish::Gone,
            Removed::Changed => Finish::Changed(self.fresh(&item.name)),
        })
    }

    fn fresh(&self, name: &Name) -> Option<Meta> {
        self.outgoing.stat(name).ok()
    }

    /// What goes back to the table, or nothing yet when it is tried again.
    fn settle(&mut self, item: Item, tries: u32, outcome: Outcome) -> Option<(Item, Finish)> {
        let error = match outcome {
            Ok(finish) => return Some((item, finish)),
            Err(error) => error,
        };
        let tries = tries + 1;
        if tries < TRIES {
            let at = Instant::now() + TRY_AGAIN * 4u32.pow(tries - 1);
            self.again.push(Again { item, tries, at });
            return None;
        }
        let message = match self.after_send {
            AfterSend::Keep => format!("the peer has it, but that could not be written down: {error}"),
            AfterSend::Delete | AfterSend::Archive => {
                self.shared.removal_failed.store(true, Ordering::Relaxed);
                format!(
                    "the peer has it, but it could not be removed from Outgoing: {error}; remove it by hand"
                )
            }
        };
        self.events.warn(Some(item.name.clone()), message);
        Some((item, Finish::Stuck))
    }
}
