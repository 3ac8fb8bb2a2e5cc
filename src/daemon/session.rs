//! The work of one session: files in both directions, and the control messages.

use super::bottleneck::{Constraints, SAMPLE_INTERVAL};
use super::lanes::{self, SendLane, SendSlots};
use super::peer::Peer;
use crate::error::RunError;
use crate::event::{Cause, Direction, Event};
use crate::failpoint::fail_point;
use crate::outbox::{DeliverError, Item, Receipt, Retry};
use crate::proto::message::{CHUNK_SIZE, Control, EntryKind, Refusal};
use crate::proto::name::Name;
use crate::session::record::RecordError;
use crate::session::{ControlReceiver, Session};
use crate::status::Backlog;
use crate::store::StoreError;
use crate::transport::close_code::CloseCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Minimum time between two `Backlog` messages, unless the backlog becomes empty or ceases to be.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(200);
/// Minimum time between two `Limits` messages, unless nothing is in flight any more.
const LIMITS_INTERVAL: Duration = Duration::from_secs(1);

/// Serves one session until its connection ends.
pub(super) async fn run(peer: Arc<Peer>, session: Arc<Session>, control: ControlReceiver) {
    let _guard = session.closes_on_panic();
    peer.bottlenecks.begin(session.accepts_limits());
    let status = peer.connected(&session);
    let (address, role, id) = (status.address, status.role, status.id);
    let (kx, installation) = (session.key_exchange(), status.installation);
    let (version, host) = (status.version, status.host);
    peer.events.emit(Event::Connected {
        peer: address,
        role,
        session: id.clone(),
        kx,
        installation,
        version,
        host,
    });
    fail_point("session.begun");
    if session.grant() == 0 {
        receives_nothing(&peer);
    }

    let mut parts = JoinSet::new();
    let sending = SendSlots::new(&peer, &session);
    parts.spawn(send_files(peer.clone(), session.clone(), sending.clone(), SendLane::All));
    parts.spawn(send_files(peer.clone(), session.clone(), sending, SendLane::Urgent));
    parts.spawn(look_after(peer.clone(), session.clone()));
    parts.spawn(receive_files(peer.clone(), session.clone()));
    parts.spawn(tell_backlog(peer.clone(), session.clone()));
    parts.spawn(tell_forgotten(peer.clone(), session.clone()));
    parts.spawn(tell_limits(peer.clone(), session.clone()));
    let control = tokio::spawn(receive_control(peer.clone(), session.clone(), control));
    let reason = session.closed().await;
    // The messages from before the end count: they may say that nothing is left.
    let _ = control.await;
    // Each part returns its entries to the outbox when it is dropped.
    parts.shutdown().await;
    peer.disconnected(&id, &reason);
    peer.events.emit(Event::Disconnected { peer: address, reason });
}

/// The peer receives no files: this side's stay where they are, and the user is told why.
fn receives_nothing(peer: &Peer) {
    if peer.exchange.is_once() && !peer.exchange.receives() {
        return peer.fail(RunError::PeerReceivesNothing);
    }
    let waiting = peer.outbox.backlog().borrow().files;
    if waiting > 0 {
        peer.events.warn(None, RECEIVES_NOTHING);
    }
}

/// The warning about files that wait for another session.
const RECEIVES_NOTHING: &str =
    "the peer only sends in this session (rft send): what is in Outgoing waits for another one";

/// Stops the deliveries of entries that the user takes back.
async fn look_after(peer: Arc<Peer>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    peer.delivery.look_after().await;
}

/// Delivers the ready entries of the outbox, many at once.
async fn send_files(peer: Arc<Peer>, session: Arc<Session>, sending: SendSlots, lane: SendLane) {
    let _guard = session.closes_on_panic();
    let slots = Arc::new(Semaphore::new(lane.places(&peer)));
    let SendSlots { streams, compression } = sending;
    let mut deliveries = JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        while deliveries.try_join_next().is_some() {}
        let Some((mut handed, stream)) = lanes::next(&peer, &streams, lane).await else { return };
        let Ok((writer, reader)) = session.open_file().await else { return };
        let (peer, compression) = (peer.clone(), compression.clone());
        let is_large = handed.item.as_ref().is_some_and(|item| item.size() > CHUNK_SIZE as u64);
        let delivery = async move {
            let _stream = stream;
            let Some(item) = handed.item.clone() else { return };
            fail_point("send.handed_out");
            let begun = Instant::now();
            let result = peer.delivery.deliver(&item, writer, reader, slot, compression).await;
            if result.as_ref().is_err_and(is_interruption) {
                // Dropping `handed` offers it again in the next session.
                return;
            }
            handed.ended();
            finish(&peer, item, result, begun);
        };
        if is_large {
            // It waits for QUIC with every acknowledgement. On QUIC's own thread that wakes no other.
            deliveries.spawn_on(delivery, session.quic_thread());
        } else {
            deliveries.spawn(delivery);
        }
    }
}

/// Whether the session ended, so that the file did not cause the error.
fn is_interruption(error: &DeliverError) -> bool {
    matches!(error, DeliverError::Record(RecordError::Stream(_)))
        || matches!(error, DeliverError::Refused { reason: Refusal::Stopping, .. })
}

fn finish(peer: &Peer, mut item: Item, result: Result<Receipt, DeliverError>, begun: Instant) {
    let (path, transfer) = (item.name.clone(), item.id);
    let size = if let EntryKind::File { size } = item.kind { size } else { 0 };
    let error = match result {
        Ok(delivered) => {
            fail_point("send.receipted");
            peer.delivered(&path);
            if let Some(meta) = delivered.meta {
                (item.meta, item.content) = (meta, Some(delivered.hash));
            }
            // Before the outbox can be found empty: the event counts the file.
            peer.events.emit(Event::FileDone {
                direction: Direction::Send,
                path,
                size,
                transfer,
                blake3: delivered.hash,
                elapsed: begun.elapsed(),
                offset: delivered.offset,
                saved_as: Some(delivered.saved_as),
                checked: delivered.checked,
            });
            return peer.outbox.delivered(item);
        }
        Err(error) => error,
    };
    tracing::trace!(%path, %transfer, %error, "not delivered");
    let withdrawn = is_withdrawn(peer, &path, &error);
    let retry = match retry_of(&error) {
        Retry::After if gives_up(peer, &item, &error) => Retry::WhenChanged,
        retry => retry,
    };
    if let DeliverError::Record(RecordError::Seal(_)) = error {
        peer.fail(RunError::Seal { path: path.clone() });
    }
    if !withdrawn {
        peer.setbacks.note(&path, &error, sentence_of(&error));
    }
    let skipped = matches!(error, DeliverError::Refused { reason: Refusal::Conflict, .. });
    if matches!(retry, Retry::WhenChanged | Retry::WhenReadable | Retry::WhenFree) && !skipped {
        peer.mark_undelivered(&path);
    }
    if matches!(error, DeliverError::Open) {
        // Nothing was sent, and nothing is wrong: the outbox reports that the file waits.
        return peer.outbox.failed(item, retry);
    }
    if let DeliverError::Refused { reason, detail } = &error
        && reason.is_in_the_way()
        && !peer.is_news(&path, detail)
    {
        return peer.outbox.failed(item, retry);
    }
    peer.events.emit(Event::FileFailed {
        direction: Direction::Send,
        path,
        size,
        transfer,
        error: if withdrawn { WITHDRAWN.to_owned() } else { sentence_of(&error) },
        cause: if withdrawn { Cause::Withdrawn } else { cause_of(&error) },
        retry: !withdrawn && !matches!(retry, Retry::WhenChanged | Retry::Cancelled),
    });
    peer.outbox.failed(item, retry);
}

/// When the entry is offered again.
fn retry_of(error: &DeliverError) -> Retry {
    match error {
        DeliverError::Changed => Retry::Changed,
        DeliverError::Open | DeliverError::Opened => Retry::Open,
        DeliverError::OtherContent => Retry::Forget,
        DeliverError::Cancelled => Retry::Cancelled,
        DeliverError::Source(error) if error.is_not_found() => Retry::Changed,
        DeliverError::Source(_) => Retry::WhenReadable,
        DeliverError::Refused { reason, .. } if reason.is_in_the_way() => Retry::WhenFree,
        DeliverError::Refused { reason, .. } if !reason.retry_helps() => Retry::WhenChanged,
        DeliverError::Refused { .. }
        | DeliverError::Record(_)
        | DeliverError::Hash(_)
        | DeliverError::Internal(_) => Retry::After,
    }
}

/// Attempts in one exchange at an entry that the peer cannot store.
const MAX_ATTEMPTS: u32 = 3;

/// Whether the entry is not offered again in one exchange, which ends without it.
fn gives_up(peer: &Peer, item: &Item, error: &DeliverError) -> bool {
    let has_no_place = matches!(
        error,
        DeliverError::Refused { reason: Refusal::NoSpace | Refusal::Full | Refusal::Storage, .. }
    );
    peer.exchange.is_once() && has_no_place && item.attempt + 1 >= MAX_ATTEMPTS
}

/// The error of a file that left its place before it was sent.
const WITHDRAWN: &str = "it was renamed, moved away or removed while it was being sent";

/// Whether the user moved the file away, or renamed it: it is then sent under its new name.
fn is_withdrawn(peer: &Peer, path: &Name, error: &DeliverError) -> bool {
    let suspect = match error {
        DeliverError::Changed => true,
        DeliverError::Source(error) => {
            matches!(error, StoreError::NotFound { .. } | StoreError::InTheWay { .. })
        }
        _ => false,
    };
    suspect && peer.delivery.folder().stat(path).is_err_and(|error| error.is_not_found())
}

/// The error for an event, which names the file itself.
fn sentence_of(error: &DeliverError) -> String {
    match error {
        DeliverError::Source(error) => error.without_path(),
        error => error.to_string(),
    }
}

fn cause_of(error: &DeliverError) -> Cause {
    match error {
        DeliverError::Changed => Cause::Withdrawn,
        DeliverError::Cancelled => Cause::Cancelled,
        DeliverError::Source(error) => Cause::Fault(error.cause()),
        DeliverError::Refused { reason, .. } => Cause::Refused(reason.to_string()),
        error => Cause::Fault(error.to_string()),
    }
}

/// Receives a file from each stream that the peer opens. The files outlive the session: the streams
/// of a lost connection end by themselves, and a file that is being published then is reported all
/// the same.
async fn receive_files(peer: Arc<Peer>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    while let Ok((writer, reader)) = session.accept_file().await {
        if !peer.exchange.receives() {
            tracing::warn!("the peer opened a file stream, and this side receives no files");
            return session.close(CloseCode::Protocol);
        }
        peer.incomplete.offered();
        let peer = peer.clone();
        tokio::spawn(async move {
            match peer.inbox.receive(writer, reader).await {
                Ok(()) | Err(RecordError::Stream(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "a file stream did not carry the protocol");
                    peer.record_not_opened();
                }
            }
            peer.inbox_changed.notify_waiters();
        });
    }
}

/// Sends this side's backlog to the peer whenever it changes.
async fn tell_backlog(peer: Arc<Peer>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    let mut backlog = peer.outbox.backlog();
    let mut last = None;
    loop {
        let now = *backlog.borrow_and_update();
        if last != Some(now) {
            let message = Control::Backlog { files: now.files, bytes: now.bytes };
            peer.events.emit(Event::Backlog {
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
        let flipped = |files: u64| (files == 0) != last.is_some_and(|last| last.files == 0);
        if !flipped(backlog.borrow().files) {
            // Many changes a second become one message, except those to or from an empty backlog.
            let _ =
                tokio::time::timeout(BACKLOG_INTERVAL, backlog.wait_for(|now| flipped(now.files)))
                    .await;
        }
    }
}

/// Tells the peer which transfers it can forget.
async fn tell_forgotten(peer: Arc<Peer>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    loop {
        let ids = peer.outbox.forgotten().await;
        fail_point("send.forgetting");
        if session.tell(&Control::Forget(ids)).await.is_err() {
            return;
        }
        fail_point("send.forget_told");
    }
}

/// Looks for what limits the speed while files are in flight, and tells the peer of changes.
async fn tell_limits(peer: Arc<Peer>, session: Arc<Session>) {
    let _guard = session.closes_on_panic();
    let (mut told, mut told_at) = (Constraints::default(), None::<Instant>);
    loop {
        let found = peer.bottlenecks.sample(session.sent(), session.rate_limit());
        let active = peer.activity.is_active();
        // Nothing is in flight any more: nothing limits it.
        let found = if active { found } else { Constraints::default() };
        let may_tell = told_at.is_none_or(|at| at.elapsed() >= LIMITS_INTERVAL);
        if found != told && (may_tell || !active) && session.accepts_limits() {
            let Constraints { sending, receiving } = found;
            if session.tell(&Control::Limits { sending, receiving }).await.is_err() {
                return;
            }
            (told, told_at) = (found, Some(Instant::now()));
        }
        if active {
            tokio::time::sleep(SAMPLE_INTERVAL).await;
        } else {
            peer.activity.began().await;
        }
    }
}

/// Ends the last session of a peer in order.
pub(super) async fn leave(peer: Arc<Peer>) {
    let Some(session) = peer.adopted() else { return };
    // The next run does not know the transfers that the peer has not been told to forget.
    let tell = async {
        loop {
            let ids = peer.outbox.forgotten_so_far();
            if ids.is_empty() || session.tell(&Control::Forget(ids)).await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(super::LINGER, tell).await;
    let backlog = *peer.outbox.backlog().borrow();
    session.farewell(backlog.files, backlog.bytes).await;
}

/// Takes the control messages of the peer.
async fn receive_control(peer: Arc<Peer>, session: Arc<Session>, mut control: ControlReceiver) {
    let _guard = session.closes_on_panic();
    while let Some(message) = control.recv().await {
        match message {
            Control::Backlog { files, bytes } => {
                peer.peer_backlog.send_replace(Some(Backlog { files, bytes }));
                peer.events.emit(Event::Backlog { direction: Direction::Receive, files, bytes });
            }
            Control::Forget(ids) => peer.inbox.forget(ids).await,
            Control::Limits { sending, receiving } => {
                peer.bottlenecks.told(Constraints { sending, receiving });
            }
            Control::Adopt | Control::Goodbye => {}
        }
    }
}
