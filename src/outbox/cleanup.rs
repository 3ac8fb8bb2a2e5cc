//! The cleanup thread: removes or archives delivered entries, or marks them in the ledger, in
//! batches.

use super::config::OutboxConfig;
use super::item::{CleanupOutcome, Item};
use super::state::{CleanupJob, OutboxState};
use crate::config::AfterSend;
use crate::event::{Event, EventSink};
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

/// The most items of a batch.
const MAX_BATCH: usize = 512;
/// How often the removal of an entry is attempted.
const MAX_ATTEMPTS: u32 = 3;
/// The wait before the second attempt; the third waits four times as long. Programs like virus
/// scanners hold a file for a moment.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The wait before another attempt while the disk is full. The user must make room first.
const FULL_DISK_INTERVAL: Duration = Duration::from_secs(5);
/// The wait before an item that failed [`MAX_ATTEMPTS`] times is attempted again: the user may have
/// removed the cause.
const STUCK_INTERVAL: Duration = Duration::from_secs(20);
/// How long the thread sleeps at most.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The cleanup thread's own state.
#[derive(Debug)]
pub(super) struct Cleanup {
    outgoing: Arc<Folder>,
    ledger: Arc<Ledger>,
    after_send: AfterSend,
    state: Arc<OutboxState>,
    events: EventSink,
    retries: Vec<CleanupRetry>,
    /// How long a file is set aside if the system cannot tell whether a program writes it.
    grace: Duration,
    set_aside: Vec<SetAside>,
    /// Items that failed [`MAX_ATTEMPTS`] times. The user was told of each.
    stuck: Vec<StuckItem>,
    /// The user was told that the disk is full.
    full_told: bool,
    /// The mounts from which nothing can be removed, as far as the user knows of them.
    told_mounts: HashSet<String>,
}

/// A file that is set aside until it is certain that no program writes it.
#[derive(Debug)]
struct SetAside {
    item: Item,
    hold: Hold,
    until: Instant,
}

/// An item whose cleanup is attempted again.
#[derive(Debug)]
struct CleanupRetry {
    item: Item,
    /// Failed attempts so far.
    attempts: u32,
    at: Instant,
}

/// An item whose cleanup failed, and when it is attempted again.
#[derive(Debug)]
struct StuckItem {
    item: Item,
    at: Instant,
}

/// The result of one attempt.
type CleanupAttempt = Result<CleanupOutcome, StoreError>;

impl Cleanup {
    pub(super) fn new(config: &OutboxConfig, state: Arc<OutboxState>, events: EventSink) -> Self {
        Self {
            outgoing: Arc::clone(&config.outgoing),
            ledger: Arc::clone(&config.ledger),
            after_send: config.after_send,
            state,
            events,
            retries: Vec::new(),
            grace: config.grace,
            set_aside: Vec::new(),
            stuck: Vec::new(),
            full_told: false,
            told_mounts: HashSet::new(),
        }
    }

    /// The body of the thread. Returns after [`CleanupJob::Stop`].
    pub(super) fn run(mut self, remover: Option<&Remover>, jobs: &Receiver<CleanupJob>) {
        let mut stop = false;
        while !stop {
            let mut batch = Vec::new();
            match jobs.recv_timeout(self.time_to_sleep()) {
                Ok(CleanupJob::CleanUp(item)) => batch.push((item, 0)),
                Ok(CleanupJob::Verify(item)) => self.verify(item),
                Ok(CleanupJob::Stop) | Err(RecvTimeoutError::Disconnected) => stop = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while batch.len() < MAX_BATCH && !stop {
                match jobs.try_recv() {
                    Ok(CleanupJob::CleanUp(item)) => batch.push((item, 0)),
                    Ok(CleanupJob::Verify(item)) => self.verify(item),
                    Ok(CleanupJob::Stop) => stop = true,
                    Err(_) => break,
                }
            }
            let now = Instant::now();
            batch.extend(
                self.retries
                    .extract_if(.., |retry| stop || retry.at <= now)
                    .map(|retry| (retry.item, retry.attempts)),
            );
            if !stop {
                batch.extend(self.stuck_again(now).into_iter().map(|item| (item, MAX_ATTEMPTS)));
            }
            if !batch.is_empty() {
                self.clean_up(remover, batch);
            }
            if let Some(remover) = remover {
                self.end_set_aside(remover);
            }
        }
    }

    /// The items whose cleanup failed a while ago and that are still where they were.
    fn stuck_again(&mut self, now: Instant) -> Vec<Item> {
        let due: Vec<_> = self.stuck.extract_if(.., |stuck| stuck.at <= now).collect();
        if due.is_empty() {
            return Vec::new();
        }
        let mut table = self.state.table();
        due.into_iter()
            .map(|stuck| stuck.item)
            .filter(|item| table.take_to_clean_up_again(item))
            .collect()
    }

    fn time_to_sleep(&self) -> Duration {
        let retries = self.retries.iter().map(|retry| retry.at);
        let stuck = self.stuck.iter().map(|stuck| stuck.at);
        let next = retries.chain(self.set_aside.iter().map(|file| file.until)).chain(stuck).min();
        next.map_or(MAX_SLEEP, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Cleans up a batch, files and links before folders.
    fn clean_up(&mut self, remover: Option<&Remover>, batch: Vec<(Item, u32)>) {
        let (folders, entries): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|(item, _)| item.meta.kind == FileKind::Folder);
        let mut results = Vec::with_capacity(entries.len());
        let Some(remover) = remover.filter(|_| self.after_send != AfterSend::Keep) else {
            let all: Vec<_> = entries.into_iter().chain(folders).collect();
            fail_point("keep.marking");
            let marked = self.mark(&all);
            fail_point("keep.marked");
            results.extend(all.into_iter().map(|(item, attempts)| {
                let attempt = marked.clone().map(|()| CleanupOutcome::Kept(self.stat(&item.name)));
                (item, attempts, attempt)
            }));
            return self.report(results);
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
        for ((item, attempts), removed) in entries.into_iter().zip(removed) {
            match removed {
                Ok(Removed::OnHold(hold)) => self.put_aside(item, hold),
                removed => {
                    let attempt = removed.map(|removed| self.removed(&item, &removed));
                    results.push((item, attempts, attempt));
                }
            }
        }
        for (item, attempts) in folders {
            let attempt =
                remover.remove_folder(&item.name).map(|removed| self.removed(&item, &removed));
            results.push((item, attempts, attempt));
        }
        self.report(results);
    }

    /// Tells the scan thread which items are cleaned up.
    fn report(&mut self, results: Vec<(Item, u32, CleanupAttempt)>) {
        let cleaned_up: Vec<_> = results
            .into_iter()
            .filter_map(|(item, attempts, attempt)| self.conclude(item, attempts, attempt))
            .collect();
        self.state.mailbox.send(|mail| mail.cleaned_up.extend(cleaned_up));
    }

    fn mark(&self, batch: &[(Item, u32)]) -> Result<(), StoreError> {
        let table = self.state.table();
        let receiver = table.exchange.number();
        let mark = |(item, _): &(Item, u32)| {
            let delivered = Delivered { changed: item.meta.identity.changed, hash: item.content };
            Some((table.mark(&item.name)?, delivered))
        };
        let present = batch.iter().filter(|(item, _)| item.receiver == receiver);
        let marks: Vec<(TransferId, Delivered)> = present.filter_map(mark).collect();
        if !table.exchange.is_one {
            drop(table);
            return self.ledger.mark_delivered(&marks);
        }
        // Under the lock: the ledger forgets the marks of one receiver when another one comes.
        self.ledger.mark_delivered(&marks)
    }

    fn put_aside(&mut self, item: Item, hold: Hold) {
        tracing::info!(
            path = %item.name, seconds = self.grace.as_secs(),
            "the system cannot tell whether a program writes it; it is removed if nothing changes meanwhile"
        );
        self.set_aside.push(SetAside { item, hold, until: Instant::now() + self.grace });
    }

    /// Decides about the files whose time aside is over.
    fn end_set_aside(&mut self, remover: &Remover) {
        let now = Instant::now();
        let over: Vec<_> = self.set_aside.extract_if(.., |file| file.until <= now).collect();
        let mut results = Vec::with_capacity(over.len());
        for SetAside { item, hold, .. } in over {
            let attempt = remover.settle(hold).map(|removed| self.removed(&item, &removed));
            results.push((item, 0, attempt));
        }
        if !results.is_empty() {
            self.report(results);
        }
    }

    /// A kept file has another change time than at its delivery. If its content is the same, the
    /// ledger records the new time; otherwise the file is sent again.
    fn verify(&mut self, item: Item) {
        let outcome = match self.has_content(&item) {
            Some(meta) => {
                // If the ledger fails, the file is verified again at the next start.
                if let Err(error) = self.mark(&[(Item { meta, ..item.clone() }, 0)]) {
                    tracing::warn!(path = %item.name, %error, "the new change time of a kept file is not noted");
                }
                CleanupOutcome::Kept(Some(meta))
            }
            None => CleanupOutcome::Changed(self.stat(&item.name)),
        };
        self.state.mailbox.send(|mail| mail.cleaned_up.push((item, outcome)));
    }

    /// The metadata of the file if it still has the content that the peer holds.
    fn has_content(&self, item: &Item) -> Option<Meta> {
        let (file, meta) = self.outgoing.open_file(&item.name).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file).ok()?;
        let same = Some(*hasher.finalize().as_bytes()) == item.content;
        let rested = meta_of(&file).is_ok_and(|now| now.unchanged(&meta)) && !has_writer(&file);
        (same && rested).then_some(meta)
    }

    fn removed(&self, item: &Item, removed: &Removed) -> CleanupOutcome {
        match removed {
            Removed::Gone => CleanupOutcome::Gone,
            // Callers handle files on hold before.
            Removed::Changed | Removed::OnHold(_) => CleanupOutcome::Changed(self.stat(&item.name)),
            Removed::InUse => CleanupOutcome::InUse(self.stat(&item.name)),
        }
    }

    fn tell_removed(&self, item: &Item) {
        let is_folder = item.meta.kind == FileKind::Folder;
        self.events.emit(Event::FileRemoved {
            path: item.name.clone(),
            size: item.size(),
            transfer: item.id,
            archived: self.after_send == AfterSend::Archive && !is_folder,
        });
    }

    fn stat(&self, name: &Name) -> Option<Meta> {
        self.outgoing.stat(name).ok()
    }

    /// The outcome of an item, or `None` if its cleanup is attempted again.
    fn conclude(
        &mut self,
        item: Item,
        attempts: u32,
        attempt: CleanupAttempt,
    ) -> Option<(Item, CleanupOutcome)> {
        let error = match attempt {
            Ok(outcome) => {
                self.full_told = false;
                if attempts >= MAX_ATTEMPTS && self.stuck.is_empty() && self.told_mounts.is_empty()
                {
                    self.state.removal_failed.store(false, Ordering::Relaxed);
                }
                if matches!(outcome, CleanupOutcome::Gone) {
                    self.tell_removed(&item);
                }
                return Some((item, outcome));
            }
            Err(error) => error,
        };
        if let StoreError::NoSpace { .. } = error {
            // This does not count as an attempt: the cleanup succeeds once there is room.
            if !std::mem::replace(&mut self.full_told, true) {
                let text = format!("the peer has it, but it cannot leave Outgoing: {error}");
                self.events.warn(Some(item.name.clone()), text);
            }
            let at = Instant::now() + FULL_DISK_INTERVAL;
            self.retries.push(CleanupRetry { item, attempts, at });
            return None;
        }
        let attempts = attempts + 1;
        if let StoreError::OtherVolume { path } = &error {
            // Another attempt would fail too, and one message for each mount is enough.
            self.state.removal_failed.store(true, Ordering::Relaxed);
            if self.told_mounts.insert(path.clone()) {
                self.events
                    .warn(None, format!("what the peer has received stays in Outgoing: {error}"));
            }
            return Some((item, CleanupOutcome::Stuck));
        }
        if attempts < MAX_ATTEMPTS {
            let at = Instant::now() + RETRY_INTERVAL * 4u32.pow(attempts - 1);
            self.retries.push(CleanupRetry { item, attempts, at });
            return None;
        }
        if self.after_send != AfterSend::Keep {
            self.state.removal_failed.store(true, Ordering::Relaxed);
        }
        if attempts == MAX_ATTEMPTS {
            let message = self.stuck_message(&error);
            self.events.warn(Some(item.name.clone()), message);
        }
        self.stuck.push(StuckItem { item: item.clone(), at: Instant::now() + STUCK_INTERVAL });
        Some((item, CleanupOutcome::Stuck))
    }

    fn stuck_message(&self, error: &StoreError) -> String {
        match self.after_send {
            AfterSend::Keep => {
                format!("the peer has it, but that could not be written down: {error}")
            }
            AfterSend::Delete | AfterSend::Archive => format!(
                "the peer has it, but it could not be removed from Outgoing: {} (it will be tried again)",
                error.without_path()
            ),
        }
    }
}
