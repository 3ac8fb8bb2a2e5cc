//! One session's work: files out, files in, and what the peers tell each other beside them.

use super::Shared;
use crate::crypto::handshake::Role;
use crate::event::{Cause, Direction, Event, SessionRole};
use crate::failpoint::fail_point;
use crate::outbox::{Backlog, Compression, DeliverError, Item, Receipt, Retry};
use crate::proto::message::{Control, EntryKind, Refusal};
use crate::proto::name::Name;
use crate::session::record::RecordError;
use crate::session::{ControlReceiver, Session};
use crate::store::StoreError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Between two messages on how much is left, unless it becomes nothing.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(200);

/// Serves one session until its connection ends.
pub(super) async fn run(shared: Arc<Shared>, session: Arc<Session>, control: ControlReceiver) {
    let _guard = session.closes_on_panic();
    let peer = session.remote_address();
    let role = match session.role() {
        Role::Responder => SessionRole::Responder,
        Role::Initiator => SessionRole::Initiator,
    };
    let name = session.id().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let kx = session.key_exchange();
    let installation = session.installation();
    tracing::info!(%peer, ?role, session = %name, kx, %installation, "connected");
    shared.link().connected(peer, role, name.clone());
    shared.events.emit(Event::Connected { peer, role, session: name.clone(), kx, installation });
    shared.peer_backlog.send_replace(None);
    fail_point("session.begun");

    let mut parts = JoinSet::new();
    parts.spawn(send_files(shared.clone(), session.clone()));
    parts.spawn(receive_files(shared.clone(), session.clone()));
    parts.spawn(tell_backlog(shared.clone(), session.clone()));
    parts.spawn(tell_forgotten(shared.clone(), session.clone()));
    let heard = tokio::spawn(listen(shared.clone(), session.clone(), control));
    let reason = session.closed().await;
    // What came before the end is heard to the end: it may be that nothing is left to wait for.
    let _ = heard.await;
    // Each part ends by itself with the connection; what it holds is given back on the way.
    parts.shutdown().await;
    tracing::info!(%peer, reason, "disconnected");
    shared.link().disconnected(&name, &reason);
    shared.events.emit(Event::Disconnected { peer, reason });
}

/// Takes whatever is ready and delivers it, many at once.
async fn send_files(shared: Arc<Shared>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    let slots = Arc::new(Semaphore::new(shared.in_flight));
    let streams = Arc::new(Semaphore::new(session.grant().min(MAX_STREAMS) as usize));
    let compression = Compression::new(shared.compress && session.unpacks(), session.link_rate());
    let mut deliveries = JoinSet::new();
    loop {
        let (Ok(slot), Ok(stream)) =
            (slots.clone().acquire_owned().await, streams.clone().acquire_owned().await)
        else {
            return;
        };
        while deliveries.try_join_next().is_some() {}
        let mut handed = Handed { item: Some(shared.outbox.next().await), shared: shared.clone() };
        let Ok((writer, reader)) = session.open_file().await else { return };
        let (shared, compression) = (shared.clone(), compression.clone());
        deliveries.spawn(async move {
            let _stream = stream;
            let Some(item) = handed.item.clone() else { return };
            fail_point("send.handed_out");
            let begun = Instant::now();
            let result = shared.delivery.deliver(&item, writer, reader, slot, compression).await;
            if result.as_ref().is_err_and(is_interruption) {
                // Dropping `handed` offers it again in the next session.
                return;
            }
            handed.ended();
            finish(&shared, item, result, begun);
        });
    }
}

/// Streams that we hold open at once at most, whatever the peer grants.
const MAX_STREAMS: u32 = 4096;

/// An item that was handed out; given back unless its delivery ended one way or the other.
struct Handed {
    item: Option<Item>,
    shared: Arc<Shared>,
}

impl Handed {
    /// Its delivery ended: it is not given back.
    fn ended(&mut self) {
        self.item = None;
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            // A bug that this file brings about would do so again at once.
            let retry = if std::thread::panicking() { Retry::After } else { Retry::Now };
            self.shared.outbox.failed(item, retry);
        }
    }
}

/// Whether the file is blameless: the session ended under it.
fn is_interruption(error: &DeliverError) -> bool {
    matches!(error, DeliverError::Record(RecordError::Stream(_)))
        || matches!(error, DeliverError::Refused { reason: Refusal::Stopping, .. })
}

fn finish(shared: &Shared, mut item: Item, result: Result<Receipt, DeliverError>, begun: Instant) {
    let (path, transfer) = (item.name.clone(), item.id);
    let error = match result {
        Ok(delivered) => {
            fail_point("send.receipted");
            let size = if let EntryKind::File { size } = item.kind { size } else { 0 };
            shared.sent(&path, size);
            if let Some(meta) = delivered.meta {
                (item.meta, item.content) = (meta, Some(delivered.hash));
            }
            shared.outbox.delivered(item);
            shared.events.emit(Event::FileDone {
                direction: Direction::Send,
                path,
                size,
                transfer,
                blake3: delivered.hash,
                elapsed: begun.elapsed(),
                offset: delivered.offset,
                saved_as: Some(delivered.saved_as),
            });
            return;
        }
        Err(error) => error,
    };
    tracing::info!(%path, %transfer, %error, "not delivered");
    let withdrawn = is_withdrawn(shared, &path, &error);
    let retry = match &error {
        DeliverError::Changed => Retry::Changed,
        DeliverError::Open | DeliverError::Opened => Retry::Open,
        DeliverError::OtherContent => Retry::Forget,
        DeliverError::Source(error) if error.is_not_found() => Retry::Changed,
        DeliverError::Source(_) => Retry::WhenReadable,
        DeliverError::Refused { reason, .. } if reason.is_in_the_way() => Retry::WhenFree,
        DeliverError::Refused { reason, .. } if !reason.retry_helps() => Retry::WhenChanged,
        DeliverError::Refused { .. }
        | DeliverError::Record(_)
        | DeliverError::Hash(_)
        | DeliverError::Internal(_) => Retry::After,
    };
    if let DeliverError::Record(RecordError::Seal(_)) = error {
        shared.fail(super::RunError::Seal { path: path.clone() });
    }
    let skipped = matches!(error, DeliverError::Refused { reason: Refusal::Conflict, .. });
    if matches!(retry, Retry::WhenChanged | Retry::WhenReadable | Retry::WhenFree) && !skipped {
        shared.left_behind(&path);
    }
    if matches!(error, DeliverError::Open) {
        // Nothing was sent, and nothing is wrong: the outbox tells that it waits.
        return shared.outbox.failed(item, retry);
    }
    if let DeliverError::Refused { reason, detail } = &error
        && reason.is_in_the_way()
        && !shared.refusals().is_news(&path, detail)
    {
        return shared.outbox.failed(item, retry);
    }
    shared.events.emit(Event::FileFailed {
        direction: Direction::Send,
        path,
        transfer,
        error: if withdrawn { WITHDRAWN.to_owned() } else { sentence_of(&error) },
        cause: if withdrawn { Cause::Withdrawn } else { cause_of(&error) },
        retry: !withdrawn && !matches!(retry, Retry::WhenChanged),
    });
    shared.outbox.failed(item, retry);
}

/// What is said of a file that is not there any more when it was to be sent.
const WITHDRAWN: &str = "it was renamed, moved away or removed while it was being sent";

/// Whether its user took the file away, or gave it another name, under which it is sent anew.
fn is_withdrawn(shared: &Shared, path: &Name, error: &DeliverError) -> bool {
    let suspect = match error {
        DeliverError::Changed => true,
        DeliverError::Source(error) => {
            matches!(error, StoreError::NotFound { .. } | StoreError::InTheWay { .. })
        }
        _ => false,
    };
    suspect && shared.delivery.folder().stat(path).is_err_and(|error| error.is_not_found())
}

/// For an event that names the file itself.
fn sentence_of(error: &DeliverError) -> String {
    match error {
        DeliverError::Source(error) => error.without_path(),
        error => error.to_string(),
    }
}

fn cause_of(error: &DeliverError) -> Cause {
    match error {
        DeliverError::Changed => Cause::Withdrawn,
        DeliverError::Source(error) => Cause::Fault(error.cause()),
        DeliverError::Refused { reason, .. } => Cause::Fault(reason.to_string()),
        error => Cause::Fault(error.to_string()),
    }
}

/// Serves every stream that the peer opens.
async fn receive_files(shared: Arc<Shared>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    let mut files = JoinSet::new();
    while let Ok((writer, reader)) = session.accept_file().await {
        while files.try_join_next().is_some() {}
        let shared = shared.clone();
        files.spawn(async move {
            match shared.inbox.receive(writer, reader).await {
                Ok(()) | Err(RecordError::Stream(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "a file stream did not carry the protocol");
                    shared.did_not_open();
                }
            }
            shared.inbox_changed.notify_waiters();
        });
    }
}

/// Tells the peer how much it has still to expect.
async fn tell_backlog(shared: Arc<Shared>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    let mut backlog = shared.outbox.backlog();
    let mut last = None;
    loop {
        let now = *backlog.borrow_and_update();
        if last != Some(now) {
            let message = Control::Backlog { files: now.files, bytes: now.bytes };
            shared.events.emit(Event::Backlog {
                direction: Direction::Send,
                files: now.files,
                bytes: now.bytes,
            });
            if session.tell(&message).await.is_err() {
                return;
            }
            last = Some(now);
        }
        if backlog.changed().await.is_err() {
            return;
        }
        let turned = |files: u64| (files == 0) != last.is_some_and(|last| last.files == 0);
        if !turned(backlog.borrow().files) {
            // Many changes a second are told as one, but for the one that ends the waiting.
            let _ =
                tokio::time::timeout(BACKLOG_INTERVAL, backlog.wait_for(|now| turned(now.files)))
                    .await;
        }
    }
}

/// Tells the peer which transfers it need not remember.
async fn tell_forgotten(shared: Arc<Shared>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    loop {
        let ids = shared.outbox.forgotten().await;
        fail_point("send.forgetting");
        if session.tell(&Control::Forget(ids)).await.is_err() {
            return;
        }
        fail_point("send.forget_told");
    }
}

/// The same of what is waiting when this side leaves: the next run does not know it.
pub(super) async fn tell_last_forgotten(shared: &Shared, session: &Session) {
    let tell = async {
        loop {
            let ids = shared.outbox.forgotten_so_far();
            if ids.is_empty() || session.tell(&Control::Forget(ids)).await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(super::LINGER, tell).await;
}

/// Hears the peer.
async fn listen(shared: Arc<Shared>, session: Arc<Session>, mut control: ControlReceiver) {
    let _guard = session.closes_on_panic();
    while let Some(message) = control.recv().await {
        match message {
            Control::Backlog { files, bytes } => {
                shared.peer_backlog.send_replace(Some(Backlog { files, bytes }));
                shared.events.emit(Event::Backlog { direction: Direction::Receive, files, bytes });
            }
            Control::Forget(ids) => shared.inbox.forget(ids).await,
            Control::Adopt | Control::Goodbye => {}
        }
    }
}
