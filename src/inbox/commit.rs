//! The committer: one thread that publishes what arrived, as many entries at once as are there, so
//! that many small files share each sync.

use crate::config::OnConflict;
use crate::proto::message::Outcome;
use crate::store::{Arrived, Content, Incoming, Ledger, StoreError, publish};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Most entries in a batch.
const BATCH: usize = 512;
/// Most bytes of small files in a batch.
const BATCH_BYTES: usize = 64 << 20;

struct Job {
    arrived: Arrived,
    answer: oneshot::Sender<Outcome>,
}

/// Hands entries to the committing thread, which ends when the last handle is dropped and everything
/// it was given is published.
#[derive(Clone)]
pub struct Committer {
    thread: Arc<Thread>,
}

struct Thread {
    jobs: Option<mpsc::Sender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

impl Committer {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`StoreError`] when the system gives no thread.
    pub fn start(
        incoming: Arc<Incoming>,
        ledger: Arc<Ledger>,
        on_conflict: OnConflict,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let path = incoming.folder().path().display().to_string();
        let handle = std::thread::Builder::new()
            .name("rft-commit".into())
            .spawn(move || run(&incoming, &ledger, on_conflict, &queue))
            .map_err(|error| StoreError::new("start a thread for", path, &error))?;
        Ok(Self { thread: Arc::new(Thread { jobs: Some(jobs), handle: Some(handle) }) })
    }

    /// Publishes one entry. The answer comes when it is on stable storage, or will not be; there is
    /// none when the thread is gone.
    pub fn commit(&self, arrived: Arrived) -> oneshot::Receiver<Outcome> {
        let (answer, receiver) = oneshot::channel();
        if let Some(jobs) = &self.thread.jobs {
            // A thread that is gone drops the sender, which is the answer.
            let _ = jobs.send(Job { arrived, answer });
        }
        receiver
    }
}

fn run(incoming: &Incoming, ledger: &Ledger, on_conflict: OnConflict, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut bytes = size_of(&first);
        let mut batch = vec![first];
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Ok(job) = queue.try_recv() else { break };
            bytes += size_of(&job);
            batch.push(job);
        }
        let (arrived, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.arrived, job.answer)).unzip();
        for (outcome, answer) in publish(incoming, ledger, on_conflict, arrived).into_iter().zip(answers) {
            // Whoever asked may be gone with its session; what is published stays published.
            let _ = answer.send(outcome);
        }
    }
}

fn size_of(job: &Job) -> usize {
    match &job.arrived.content {
        Content::Bytes(bytes) => bytes.len(),
        Content::Staged(_) | Content::Folder | Content::Link => 0,
    }
}
