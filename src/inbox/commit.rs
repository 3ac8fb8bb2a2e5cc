//! The committer: one thread that publishes what arrived, as many entries at once as are there, so
//! that many small files share each sync.

use super::active::Claim;
use crate::config::OnConflict;
use crate::proto::message::Outcome;
use crate::store::publish;
use crate::store::{Arrived, Content, Incoming, Ledger, Reservation, StoreError};
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
    held: Held,
    answer: oneshot::Sender<Outcome>,
}

/// What is the entry's own until it is published: its session may end before that, and whoever
/// offers the same transfer in the next one must not touch the staged file meanwhile.
pub type Held = (Arc<Claim>, Option<Reservation>);

/// Hands entries to the committing thread, which ends when the last handle is dropped and
/// everything it was given is published.
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
    pub fn commit(&self, arrived: Arrived, held: Held) -> oneshot::Receiver<Outcome> {
        let (answer, receiver) = oneshot::channel();
        if let Some(jobs) = &self.thread.jobs {
            // A thread that is gone drops the sender, which is the answer.
            let _ = jobs.send(Job { arrived, held, answer });
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
        let (arrived, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.arrived, (job.held, job.answer))).unzip();
        let outcomes = publish(incoming, ledger, on_conflict, arrived);
        for (outcome, (held, answer)) in outcomes.into_iter().zip(waiting) {
            drop(held);
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

#[cfg(test)]
mod tests {
    use super::super::active::Active;
    use super::*;
    use crate::config::Folders;
    use crate::proto::message::{EntryKind, Offer, Timestamp, TransferId};
    use crate::proto::name::Name;
    use crate::store::StateDir;
    use bytes::Bytes;

    fn arrived(n: u8, content: Content) -> Arrived {
        let name = Name::parse(format!("file {n}").as_bytes()).unwrap();
        let kind = EntryKind::File { size: 5 };
        let modified = Timestamp { seconds: 1, nanos: 0 };
        let offer = Offer {
            id: TransferId([n; 16]),
            name,
            kind,
            modified,
            mode: Some(0o600),
            inline: false,
        };
        Arrived { offer, content, hash: *blake3::hash(b"hello").as_bytes() }
    }

    /// A session that ends while its file is being published, and the next one, which offers it
    /// again.
    #[tokio::test]
    async fn nobody_else_has_a_transfer_until_it_is_published() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        let state = StateDir::open(&folders).unwrap();
        let ledger = Arc::new(Ledger::open(&state).unwrap());
        let incoming = Arc::new(Incoming::open(&folders.incoming, &state).unwrap());
        let committer =
            Committer::start(incoming.clone(), ledger.clone(), OnConflict::Rename).unwrap();
        let active = Arc::new(Active::default());
        let last = TransferId([200; 16]);
        for n in 0..200 {
            let small = arrived(n, Content::Bytes(Bytes::from_static(b"hello")));
            let held = (active.claim(small.offer.id).await, None);
            drop(committer.commit(small, held));
        }
        let (staged, _) = incoming.stage(last).unwrap();
        staged.write_at(0, b"hello").unwrap();
        staged.checkpoint(5).unwrap();
        let held = (active.claim(last).await, None);
        drop(committer.commit(arrived(200, Content::Staged(staged)), held));
        let _again = active.claim(last).await;
        assert!(ledger.received(last).unwrap().is_some(), "offered again, it is published twice");
        assert_eq!(std::fs::read(folders.incoming.join("file 200")).unwrap(), b"hello");
    }
}
