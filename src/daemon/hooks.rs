//! The programs of `--on-received`: the files in Incoming for which one is still to be run.
//!
//! The ledger has a record for each such file, written together with the one that announces the
//! file. Memory has only the ids of the transfers, in the order of their arrival. So a restart runs
//! what a killed process has not finished, and a program may run twice for a file, but never not at
//! all.

use super::lock::locked;
use crate::config::{Config, PeerName};
use crate::error::RunError;
use crate::event::{Event, EventSink};
use crate::failpoint::fail_point;
use crate::hooks::{HookFacts, HookHelper, HookRunner, Judgement, absolute};
use crate::inbox::InboxHooks;
use crate::proto::message::TransferId;
use crate::status::HookStatus;
use crate::store::{Incoming, Ledger, PendingHook, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// Files whose hook runs or waits for another attempt, at most.
const MAX_ACTIVE: usize = 256;
/// Time that running hooks have at the end of the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks whether hooks are due.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);
/// Time to the next attempt to read the ledger.
const LEDGER_INTERVAL: Duration = Duration::from_secs(10);

/// The hooks of a process.
pub(super) struct ProcessHooks {
    runner: HookRunner,
    quarantine: bool,
    due: Arc<DueHooks>,
    ledger: Arc<Ledger>,
    incoming: Arc<Incoming>,
    stop: watch::Sender<bool>,
}

/// The transfers whose hooks are due.
#[derive(Debug, Default)]
struct DueHooks {
    queue: Mutex<VecDeque<TransferId>>,
    /// Those in the queue, and those whose hook runs or waits for another attempt.
    left: AtomicU64,
    added: Notify,
}

impl DueHooks {
    fn add(&self, id: TransferId) {
        self.left.fetch_add(1, Ordering::Relaxed);
        locked(&self.queue).push_back(id);
        self.added.notify_one();
    }

    /// The oldest one. One waiter at a time.
    async fn next(&self) -> TransferId {
        loop {
            if let Some(id) = locked(&self.queue).pop_front() {
                return id;
            }
            self.added.notified().await;
        }
    }
}

/// The hooks of this configuration, `None` if it has none. What an earlier process left is due at
/// once.
pub(super) fn open(
    config: &Config,
    helper: Option<HookHelper>,
    ledger: &Arc<Ledger>,
    incoming: &Arc<Incoming>,
    events: &EventSink,
) -> Result<Option<Arc<ProcessHooks>>, RunError> {
    let pending = ledger.pending_hooks()?;
    let Some(hooks) = &config.hooks else {
        if !pending.is_empty() {
            let text = format!(
                "{} received files wait for a program to be run, and --on-received is not given; \
                 start rft with it to run them",
                pending.len()
            );
            events.warn(None, text);
        }
        return Ok(None);
    };
    let helper = helper.ok_or(RunError::NoHookHelper)?;
    let runner = HookRunner::new(hooks, helper)?;
    let due = Arc::new(DueHooks::default());
    pending.into_iter().for_each(|id| due.add(id));
    Ok(Some(Arc::new(ProcessHooks {
        runner,
        quarantine: hooks.quarantine,
        due,
        ledger: ledger.clone(),
        incoming: incoming.clone(),
        stop: watch::Sender::new(false),
    })))
}

impl ProcessHooks {
    /// The part of the files of one peer.
    pub(super) fn of_peer(&self, peer: PeerName) -> InboxHooks {
        if self.quarantine {
            return InboxHooks::Quarantine(self.runner.clone(), peer);
        }
        let due = self.due.clone();
        InboxHooks::Afterwards(Arc::new(move |id| due.add(id)), peer)
    }

    pub(super) fn status(&self) -> HookStatus {
        let running = self.runner.running() as u64;
        let left = self.due.left.load(Ordering::Relaxed) + self.runner.in_judgement() as u64;
        HookStatus::new(
            self.quarantine,
            running,
            left.saturating_sub(running),
            !self.runner.is_alive(),
        )
    }

    /// Completes when no hook is due, or none can run any more.
    pub(super) async fn idle(&self) {
        while !self.is_idle() {
            tokio::time::sleep(IDLE_INTERVAL).await;
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.due.left.load(Ordering::Relaxed) == 0 || !self.runner.is_alive()
    }

    /// Runs the hooks of the files in Incoming, until the process stops.
    async fn run(self: Arc<Self>, sinks: BTreeMap<PeerName, EventSink>) {
        let (slots, mut active) = (Arc::new(Semaphore::new(MAX_ACTIVE)), JoinSet::new());
        let mut stopped = self.stop.subscribe();
        let sinks = Arc::new(sinks);
        loop {
            let next = async {
                let slot = slots.clone().acquire_owned().await.ok()?;
                Some((slot, self.due.next().await))
            };
            let next = tokio::select! {
                next = next => next,
                _ = stopped.wait_for(|&stop| stop) => None,
                () = self.runner.gone() => None,
            };
            let Some((slot, id)) = next else { break };
            while active.try_join_next().is_some() {}
            let (hooks, sinks) = (self.clone(), sinks.clone());
            active.spawn(async move {
                let _slot = slot;
                hooks.run_one(id, &sinks).await;
            });
        }
        while active.join_next().await.is_some() {}
    }

    /// Runs the hook of one file. Without a judgement its record stays.
    async fn run_one(&self, id: TransferId, sinks: &BTreeMap<PeerName, EventSink>) {
        let hook = loop {
            let read = self.ledger(move |ledger| ledger.pending_hook(id)).await;
            match read {
                Ok(hook) => break hook,
                Err(error) => {
                    tracing::warn!(%error, "a program waits for the ledger");
                    tokio::time::sleep(LEDGER_INTERVAL).await;
                }
            }
        };
        if let Some(hook) = hook
            && let Some(facts) = self.facts_of(&hook)
        {
            let judgement = self.runner.judge(facts).await;
            let Judgement::Ended { end, attempts, elapsed, line } = judgement else { return };
            fail_point("hook.ended");
            // A peer of an earlier configuration has no sink of its own.
            let sink = sinks.get(&PeerName::new(&hook.peer)).or_else(|| sinks.values().next());
            if let Some(sink) = sink {
                sink.emit(Event::HookDone {
                    path: hook.saved_as,
                    size: hook.size,
                    transfer: id,
                    quarantine: false,
                    end,
                    attempts,
                    elapsed,
                    output: line,
                });
            }
        }
        if let Err(error) = self.ledger(move |ledger| ledger.hook_is_done(id)).await {
            tracing::warn!(%error, "a program runs once more for its file after the next start");
        }
        fail_point("hook.recorded");
        self.due.left.fetch_sub(1, Ordering::Relaxed);
    }

    /// The facts about a file; `None` if it is no longer in Incoming.
    fn facts_of(&self, hook: &PendingHook) -> Option<HookFacts> {
        let name = &hook.saved_as;
        let folder = self.incoming.folder();
        if folder.stat(name).is_err_and(|error| error.is_not_found()) {
            tracing::info!(path = %name, "it has left Incoming, so no program is run for it");
            return None;
        }
        Some(HookFacts {
            file: absolute(&folder.path().join(name.to_path().ok()?)).ok()?,
            name: name.clone(),
            size: hook.size,
            hash: hook.hash,
            peer: hook.peer.clone(),
            transfer: hook.transfer,
            modified: hook.modified,
            attempt: 1,
            quarantine: false,
        })
    }

    /// Uses the ledger, which may block, in a thread of its own.
    async fn ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (ledger, path) = (self.ledger.clone(), format!("{:?}", self.ledger));
        match tokio::task::spawn_blocking(move || work(&ledger)).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Ledger { path, reason: error.to_string() }),
        }
    }

    /// Starts no further hook, gives those that run some time, and ends the helper.
    pub(super) async fn close(&self) {
        self.stop.send_replace(true);
        self.runner.close(STOP_TIMEOUT).await;
    }
}

/// Runs the hooks that are due, and warns when the helper has ended. The tasks end after
/// [`ProcessHooks::close`].
pub(super) fn keep(
    hooks: &Arc<ProcessHooks>,
    sinks: BTreeMap<PeerName, EventSink>,
    events: EventSink,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(hooks.clone().run(sinks));
    let watched = hooks.clone();
    tasks.spawn(async move {
        let mut stopped = watched.stop.subscribe();
        tokio::select! {
            _ = stopped.wait_for(|&stop| stop) => {}
            () = watched.runner.gone() => {
                let what = if watched.quarantine { "no file is received" } else { "no program is run" };
                let text = format!(
                    "the process that runs the program of --on-received has ended, so {what} until rft is \
                     started again; nothing is lost"
                );
                events.warn(None, text);
            }
        }
    });
    tasks
}
