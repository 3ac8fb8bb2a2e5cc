//! The end of the pipe in rft: hands jobs to the helper, and waits for their reports.

use super::environment::HookFacts;
use super::helper::{HELPER_COMMAND, HelperArguments};
use super::output::last_line;
use super::process::{HookCommand, own_group};
use super::wire::{HookReport, Job, read_frame};
use crate::cause;
use crate::config::{Folders, Hooks};
use crate::event::HookEnd;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};

/// The first pause before another attempt. Each further one doubles it, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Files that may wait for their judgement at once, over all sessions: four times the streams that
/// a peer may have open in one.
const MAX_WAITING: usize = 4096;
/// Bytes of the last line of the output in events.
const MAX_LINE: usize = 300;

/// Why there is no helper.
#[derive(Debug, thiserror::Error)]
#[error("the helper process of --on-received cannot be started: {0}")]
pub struct HookError(String);

/// The helper process that runs the programs of `--on-received`. A process that is sandboxed starts
/// it before.
#[derive(Debug)]
pub struct HookHelper {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl HookHelper {
    /// Starts this program again, which must call [`super::run_helper`] for the command
    /// [`HELPER_COMMAND`]. The program, its arguments and its time limit are fixed from here on,
    /// and it is run only for files in Incoming and the state folder.
    ///
    /// # Errors
    /// [`HookError`].
    pub fn start(hooks: &Hooks, folders: &Folders) -> Result<Self, HookError> {
        Self::spawn(hooks, folders).map_err(|error| HookError(cause::of(&error)))
    }

    fn spawn(hooks: &Hooks, folders: &Folders) -> io::Result<Self> {
        let arguments = HelperArguments {
            command: HookCommand {
                program: hooks.program.clone(),
                arguments: hooks.arguments.clone(),
                timeout: hooks.timeout,
            },
            parallel: hooks.parallel,
            roots: [absolute(&folders.incoming)?, absolute(&folders.state)?],
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(HELPER_COMMAND).args(arguments.words());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| super::environment::is_private(name))
        {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        own_group(&mut command);
        let mut child = command.spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self { child, input, output }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// A path as the helper and the hooks get it.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

/// The judgement of the hook on a file.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// All attempts are made, or one succeeded.
    Ended { end: HookEnd, attempts: u32, elapsed: Duration, line: String },
    /// The helper is gone: no hook runs any more.
    HelperGone,
    /// This process stops.
    Stopping,
}

/// Runs hooks. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HookRunner(Arc<RunnerShared>);

#[derive(Debug)]
struct RunnerShared {
    retries: u32,
    input: Mutex<Option<ChildStdin>>,
    reports: Mutex<HashMap<u64, oneshot::Sender<HookReport>>>,
    numbers: AtomicU64,
    /// A permit for each hook that may run at once; closed when the process stops.
    slots: Semaphore,
    /// A permit for each file that may wait for its judgement.
    places: Arc<Semaphore>,
    running: AtomicUsize,
    /// Becomes false when the helper has ended.
    alive: watch::Sender<bool>,
}

impl HookRunner {
    /// Takes over the helper.
    ///
    /// # Errors
    /// [`HookError`] if the system gives no thread.
    pub(crate) fn new(hooks: &Hooks, helper: HookHelper) -> Result<Self, HookError> {
        let HookHelper { mut child, input, mut output } = helper;
        let shared = Arc::new(RunnerShared {
            retries: hooks.retries,
            input: Mutex::new(Some(input)),
            reports: Mutex::default(),
            numbers: AtomicU64::new(0),
            slots: Semaphore::new(hooks.parallel),
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            running: AtomicUsize::new(0),
            alive: watch::Sender::new(true),
        });
        let told = shared.clone();
        let read = move || {
            while let Ok(Some(frame)) = read_frame(&mut output) {
                let Ok(report) = HookReport::parse(&frame) else { break };
                if let Some(waiter) = told.reports().remove(&report.number) {
                    // The waiter may have been dropped with the runtime.
                    let _ = waiter.send(report);
                }
            }
            told.alive.send_replace(false);
            told.reports().clear();
            told.input().take();
            let _ = child.wait();
        };
        let thread = std::thread::Builder::new().name("rft-hooks".into()).spawn(read);
        thread.map_err(|error| HookError(cause::of(&error)))?;
        Ok(Self(shared))
    }

    /// The right of a file to wait for its judgement.
    ///
    /// # Errors
    /// Too many files wait already.
    pub(crate) fn try_wait(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.0.places.clone().try_acquire_owned()
    }

    /// Files that have that right.
    pub(crate) fn in_judgement(&self) -> usize {
        MAX_WAITING.saturating_sub(self.0.places.available_permits())
    }

    /// Hooks that run now.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// Whether the helper lives.
    pub(crate) fn is_alive(&self) -> bool {
        *self.0.alive.borrow()
    }

    /// Completes when the helper has ended.
    pub(crate) async fn gone(&self) {
        // The sender is in the same value.
        let _ = self.0.alive.subscribe().wait_for(|alive| !alive).await;
    }

    /// Runs the hook on a file until it succeeds or has no attempt left.
    pub(crate) async fn judge(&self, mut facts: HookFacts) -> Judgement {
        loop {
            let Ok(slot) = self.0.slots.acquire().await else { return Judgement::Stopping };
            let Some(report) = self.run(facts.clone()).await else {
                return Judgement::HelperGone;
            };
            drop(slot);
            let HookReport { end, elapsed, output, .. } = report;
            let (attempt, path) = (facts.attempt, &facts.name);
            // The log escapes it.
            let (seconds, shown) = (elapsed.as_secs_f64(), String::from_utf8_lossy(&output));
            tracing::info!(%path, %end, attempt, seconds, output = &*shown, "hook ended");
            let stopping = self.0.slots.is_closed();
            if stopping && !end.is_success() {
                // It may have failed because it was told to stop as well.
                return Judgement::Stopping;
            }
            if end.is_success() || attempt > self.0.retries {
                let line = last_line(&output, MAX_LINE);
                return Judgement::Ended { end, attempts: attempt, elapsed, line };
            }
            facts.attempt += 1;
            tokio::time::sleep(pause_after(attempt)).await;
        }
    }

    /// Runs the hook once; `None` if the helper is gone.
    async fn run(&self, facts: HookFacts) -> Option<HookReport> {
        let shared = &self.0;
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        let (report, reported) = oneshot::channel();
        let job = Job { number, facts };
        let Some(frame) = job.to_frame() else {
            let end = HookEnd::NotStarted("its path is too long, or not Unicode".into());
            return Some(HookReport { number, end, elapsed: Duration::ZERO, output: Vec::new() });
        };
        shared.reports().insert(number, report);
        let _running = RunningCount::count(&shared.running);
        let writer = shared.clone();
        // A full pipe blocks until the helper reads.
        let written = tokio::task::spawn_blocking(move || match &mut *writer.input() {
            Some(input) => input.write_all(&frame),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        });
        if !matches!(written.await, Ok(Ok(()))) {
            shared.reports().remove(&number);
            return None;
        }
        // The reader clears the map after the helper's last report; one that is added later has no
        // sender that could be dropped.
        tokio::select! {
            biased;
            report = reported => report.ok(),
            () = self.gone() => None,
        }
    }

    /// Starts no further hook, waits at most this time for those that run, and ends the helper,
    /// which kills the others.
    pub(crate) async fn close(&self, timeout: Duration) {
        let shared = &self.0;
        shared.slots.close();
        let idle = async {
            while self.running() > 0 && self.is_alive() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(timeout, idle).await;
        // A writer that holds the lock waits for a helper that does not read. Then the pipe is
        // closed when this process ends.
        if let Ok(mut input) = shared.input.try_lock() {
            input.take();
        }
    }
}

impl RunnerShared {
    fn reports(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<HookReport>>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn input(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a hook while it runs.
struct RunningCount<'a>(&'a AtomicUsize);

impl<'a> RunningCount<'a> {
    fn count(running: &'a AtomicUsize) -> Self {
        running.fetch_add(1, Ordering::Relaxed);
        Self(running)
    }
}

impl Drop for RunningCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pause after the failed attempt of this number, from 1.
fn pause_after(attempt: u32) -> Duration {
    MIN_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(6)).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_up_to_a_minute() {
        let seconds = [1, 2, 3, 7, 8, 1000].map(|attempt| pause_after(attempt).as_secs());
        assert_eq!(seconds, [1, 2, 4, 60, 60, 60]);
    }
}
