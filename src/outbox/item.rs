//! Plain values: the items of the outbox, the ways they come back, and their sums.

use crate::proto::message::{EntryKind, TransferId};
use crate::proto::name::Name;
use crate::store::Meta;

/// One entry that is ready to be sent. Its taker gives it back once, by
/// [`Outbox::delivered`](super::Outbox::delivered) or [`Outbox::failed`](super::Outbox::failed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its name below Outgoing.
    pub name: Name,
    /// Its metadata when it was queued. The file that is opened must have the same.
    pub meta: Meta,
    /// The kind that is offered.
    pub kind: EntryKind,
    /// The id of the transfer: the same until the entry changes, over restarts too.
    pub id: TransferId,
    /// How often it was handed out before, since it last changed.
    pub attempt: u32,
    /// It appeared or changed after this process's first scan and was never offered, so the peer
    /// cannot hold any of it. If that is wrong, the part that the peer holds is sent once more.
    pub first_offer: bool,
    /// It is sent although a program has it open for writing (`--send-open`).
    pub snapshot: bool,
    /// It overtakes items that are not urgent.
    pub urgent: bool,
    /// The peer had something else at its path: the content waits for the peer's answer.
    pub ask_first: bool,
    /// The number of the receiver to which it was handed out
    /// ([`Outbox::receiver_is`](super::Outbox::receiver_is)).
    pub receiver: u32,
    /// BLAKE3 of a file's content, once the peer holds it. [`Item::meta`] is of the same moment.
    pub content: Option<[u8; 32]>,
}

impl Item {
    /// The bytes of a file, 0 for folders and links.
    pub(crate) fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            EntryKind::Folder | EntryKind::Link { .. } => 0,
        }
    }
}

/// When an item that was not delivered is handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// At once: the session was interrupted, and the file is not the cause.
    Now,
    /// After a backoff: one second, doubled with each failure up to a minute. A few items are tried
    /// every four seconds instead. When an item that had failed is delivered, others follow at
    /// once.
    After,
    /// After the same backoff, and the backlog does not count it: it cannot be read, which may
    /// last.
    WhenReadable,
    /// Every 20 seconds, and the backlog does not count it: the peer has something else at its
    /// path.
    WhenFree,
    /// Not before it changes or one of the two programs is restarted: the peer refused it for good.
    WhenChanged,
    /// Not before the user's cancelling of it has ended; then at once, if it is still there.
    Cancelled,
    /// When it has settled again: it changed or vanished.
    Changed,
    /// When no program has it open for writing any more.
    Open,
    /// As `After`. The peer is told first to forget the id, under which it holds another content.
    Forget,
}

/// How the cleanup of a delivered item ended. Metadata are those of the entry that has the name
/// now.
#[derive(Debug, Clone)]
pub(crate) enum CleanupOutcome {
    /// It was removed or archived, or was gone already.
    Gone,
    /// It stays, and the ledger durably knows that the peer holds it.
    Kept(Option<Meta>),
    /// Another entry has its name now (or none), or a folder is not empty.
    Changed(Option<Meta>),
    /// A program has it open for writing: it stays until that ends.
    InUse(Option<Meta>),
    /// It could not be removed or marked.
    Stuck,
}
