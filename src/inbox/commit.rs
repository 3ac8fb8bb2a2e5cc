//! The committer: one thread that publishes received entries in batches, so that many small files
//! share each sync.

use super::active::Claim;
use crate::config::OnConflict;
use crate::meter::{Meter, Stage};
use crate::proto::message::Outcome;
use crate::store::publish;
use crate::store::{Arrived, Content, Incoming, Ledger, Reservation, StoreError};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Maximum number of entries in a batch.
const MAX_BATCH: usize = 512;
/// Maximum total size of the small files in a batch, in bytes. The last one may exceed it.
const MAX_BATCH_BYTES: usize = 64 << 20;

struct CommitRequest {
    arrived: Arrived,
    rights: EntryRights,
    outcome: oneshot::Sender<Outcome>,
}

/// The claim and the space of an entry, held until it is published. The session may end before
/// that, and an attempt at the same transfer in the next session must not touch the staged file
/// meanwhile.
pub(super) type EntryRights = (Arc<Claim>, Option<Reservation>);

/// A handle of the committing thread. The thread ends when the last handle is dropped and all its
/// entries are published.
#[derive(Clone)]
pub(crate) struct Committer {
    thread: Arc<CommitThread>,
}

struct CommitThread {
    requests: Option<mpsc::Sender<CommitRequest>>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

impl Committer {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`StoreError`] if the system gives no thread.
    pub(crate) fn start(
        incoming: Arc<Incoming>,
        ledger: Arc<Ledger>,
        on_conflict: OnConflict,
        meter: Arc<Meter>,
    ) -> Result<Self, StoreError> {
        let (requests, queue) = mpsc::channel();
        let path = incoming.folder().path().display().to_string();
        let handle = std::thread::Builder::new()
            .name("rft-commit".into())
            .spawn(move || run(&incoming, &ledger, on_conflict, &meter, &queue))
            .map_err(|error| StoreError::new("start a thread for", path, &error))?;
        Ok(Self {
            thread: Arc::new(CommitThread { requests: Some(requests), handle: Some(handle) }),
        })
    }

    /// Publishes one entry. The outcome arrives when the entry is on stable storage, or was
    /// refused. The channel closes without an outcome if the thread died.
    pub(crate) fn commit(
        &self,
        arrived: Arrived,
        rights: EntryRights,
    ) -> oneshot::Receiver<Outcome> {
        let (outcome, receiver) = oneshot::channel();
        if let Some(requests) = &self.thread.requests {
            // If the thread died, dropping the request closes the channel.
            let _ = requests.send(CommitRequest { arrived, rights, outcome });
        }
        receiver
    }
}

fn run(
    incoming: &Incoming,
    ledger: &Ledger,
    on_conflict: OnConflict,
    meter: &Meter,
    queue: &mpsc::Receiver<CommitRequest>,
) {
    while let Ok(first) = queue.recv() {
        let mut bytes = size_of(&first);
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
            let Ok(request) = queue.try_recv() else { break };
            bytes += size_of(&request);
            batch.push(request);
        }
        let (arrived, rest): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|request| (request.arrived, (request.rights, request.outcome)))
            .unzip();
        let busy = meter.enter(Stage::Commit);
        let outcomes = publish(incoming, ledger, on_conflict, arrived);
        drop(busy);
        for (outcome, (rights, sender)) in outcomes.into_iter().zip(rest) {
            drop(rights);
            // The session may have ended meanwhile; the entry stays published.
            let _ = sender.send(outcome);
        }
    }
}

/// Memory of an entry's content, in bytes.
fn size_of(request: &CommitRequest) -> usize {
    match &request.arrived.content {
        Content::Bytes(bytes) => bytes.len(),
        Content::Staged(_) | Content::Folder | Content::Link => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::active::ActiveTransfers;
    use super::*;
    use crate::config::Folders;
    use crate::proto::chunk_set::ChunkSet;
    use crate::proto::message::{EntryKind, Offer, Timestamp, TransferId};
    use crate::proto::name::Name;
    use crate::store::ArrivedHook;
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
        Arrived {
            offer,
            content,
            hash: *blake3::hash(b"hello").as_bytes(),
            hook: ArrivedHook::None,
        }
    }

    /// A session ends while its file is being published, and the next session offers it again.
    #[tokio::test]
    async fn a_transfer_stays_claimed_until_it_is_published() {
        let base = tempfile::tempdir().unwrap();
        let folders = Folders::in_dir(base.path());
        let state = StateDir::open(&folders).unwrap();
        let ledger = Arc::new(Ledger::open(&state).unwrap());
        let incoming = Arc::new(Incoming::open(&folders.incoming, &state).unwrap());
        let committer = Committer::start(
            incoming.clone(),
            ledger.clone(),
            OnConflict::Rename,
            Arc::new(Meter::new()),
        )
        .unwrap();
        let active = Arc::new(ActiveTransfers::default());
        let last = TransferId([200; 16]);
        for n in 0..200 {
            let small = arrived(n, Content::Bytes(Bytes::from_static(b"hello")));
            let rights = (active.claim(small.offer.id).await, None);
            drop(committer.commit(small, rights));
        }
        let (staged, _) = incoming.stage(last).unwrap();
        staged.write_at(0, b"hello").unwrap();
        staged.checkpoint(&ChunkSet::prefix(1)).unwrap();
        let rights = (active.claim(last).await, None);
        drop(committer.commit(arrived(200, Content::Staged(staged)), rights));
        let _again = active.claim(last).await;
        assert!(ledger.received(last).unwrap().is_some(), "offered again, it is published twice");
        assert_eq!(std::fs::read(folders.incoming.join("file 200")).unwrap(), b"hello");
    }
}
