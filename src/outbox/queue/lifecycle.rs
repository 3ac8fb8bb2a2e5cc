//! Pure: the life cycle of one entry of Outgoing. [`EntryState::apply`] is the only place where a
//! state changes.
//!
//! A file usually takes this way:
//!
//! ```text
//! Settling -> Ready -> InFlight -> CleaningUp -> Gone        (deleted or archived)
//!                                            \-> Delivered   (kept)
//! ```
//!
//! A folder waits in `AwaitingContents` between `Settling` and `Ready`, and in `Lingering` before
//! its removal. The other states are detours: a program has the file open, the peer did not take
//! it, or a folder holds an unfinished file.
//!
//! The complete table: each event, the states in which it is allowed, and the state that follows.
//! `same` means that at most the time of the state changes. The tests compare this table with the
//! code.
//!
//! ```text
//! Changed          all but DeliveredOpen -> Settling
//! SettleAgain      Settling, Ready, Open -> Settling
//! Postponed        AwaitingContents -> Settling
//! Listed           Refused -> Settling
//! FileSettled      Settling, InFlight, Backoff, Unreadable, Occupied, Refused -> Ready
//! FolderSettled    Settling, InFlight, Backoff, Unreadable, Occupied, Refused -> AwaitingContents
//! ContentsLeft     AwaitingContents -> Ready
//! ContentsCame     Ready -> AwaitingContents
//! UnfinishedFound  AwaitingContents -> HoldsUnfinished
//! UnfinishedGone   HoldsUnfinished -> AwaitingContents
//! Unlistable       Settling, AwaitingContents, Refused, Delivered -> Refused
//! FoundOpen        Settling, InFlight -> Open
//! SnapshotDue      Open -> Ready
//! Taken            Ready -> InFlight
//! Failed           InFlight -> Backoff
//! ReadFailed       InFlight -> Unreadable
//! PathOccupied     InFlight -> Occupied
//! PeerRefused      InFlight -> Refused
//! HeldBack         Ready, InFlight -> Refused
//! Received         InFlight -> CleaningUp
//! InUse            InFlight, CleaningUp -> DeliveredOpen
//! Linger           CleaningUp, Delivered -> Lingering
//! CleanUp          DeliveredOpen, Delivered -> CleaningUp
//! Stays            CleaningUp, Lingering -> Delivered
//! KnownDelivered   all but InFlight, CleaningUp, DeliveredOpen -> Delivered
//! Removed          CleaningUp -> Gone
//! Vanished         InFlight, CleaningUp, DeliveredOpen -> same
//! Vanished         all but InFlight, CleaningUp, DeliveredOpen -> Gone
//! Reschedule       Settling, Open, DeliveredOpen, Lingering, Backoff, Unreadable, Occupied -> same
//! ```

use crate::outbox::watch::settle::Moment;

/// Where an entry is on its way from Outgoing to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryState {
    /// It must stay unchanged until this moment.
    Settling { until: Moment },
    /// A folder that has settled and waits until everything beneath it has left.
    AwaitingContents,
    /// It is in the queue.
    Ready,
    /// A program has it open for writing. The system is asked again at this moment.
    Open { ask_at: Moment },
    /// A session has it.
    InFlight,
    /// The peer holds it, and the cleanup thread removes, archives or marks it.
    CleaningUp,
    /// The peer holds it, but a program has it open, so it is not removed yet. The system is asked
    /// again at this moment.
    DeliveredOpen { ask_at: Moment },
    /// A folder that the peer holds. It is removed at this moment unless another file arrives in
    /// it.
    Lingering { until: Moment },
    /// A folder that holds an unfinished file, so it is neither sent nor removed.
    HoldsUnfinished,
    /// A delivery failed. It is offered again at this moment.
    Backoff { until: Moment },
    /// It could not be read. It is tried again at this moment, and the backlog does not count it.
    Unreadable { until: Moment },
    /// The peer has something else at its path. It is offered again at this moment, and the backlog
    /// does not count it.
    Occupied { until: Moment },
    /// The peer refused it, or the folder cannot be listed. It stays until it changes or the peer's
    /// process is another one.
    Refused,
    /// The peer holds it, and it stays in Outgoing until it changes.
    Delivered,
    /// It is no longer in Outgoing. The table drops it; no stored entry has this state.
    Gone,
}

/// Something that happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryEvent {
    /// Its content changed, or something else has its name now. It settles until this moment.
    Changed { until: Moment },
    /// A writer opened or closed it: the same content settles once more.
    SettleAgain { until: Moment },
    /// The folder is not sent before this moment: it could not be examined, or its user may still
    /// be about to name or fill it.
    Postponed { until: Moment },
    /// A folder that could not be listed before was listed. It settles until this moment.
    Listed { until: Moment },
    /// The wait of a file or link is over: it has settled, or is to be offered again.
    FileSettled,
    /// The wait of a folder is over: it has settled, or is to be offered again.
    FolderSettled,
    /// Everything beneath the folder has left, and the folder itself is unchanged.
    ContentsLeft,
    /// Something arrived beneath the folder after it became ready.
    ContentsCame,
    /// The folder holds an unfinished file.
    UnfinishedFound,
    /// The folder holds no unfinished file any more.
    UnfinishedGone,
    /// The folder cannot be listed.
    Unlistable,
    /// A program has it open for writing. The system is asked again at this moment.
    FoundOpen { ask_at: Moment },
    /// An open file has been quiet for `--send-open`.
    SnapshotDue,
    /// A session takes it from the queue.
    Taken,
    /// The delivery failed. It is offered again at this moment.
    Failed { until: Moment },
    /// It could not be read. It is tried again at this moment.
    ReadFailed { until: Moment },
    /// The peer has something else at its path. It is offered again at this moment.
    PathOccupied { until: Moment },
    /// The peer refused it for good.
    PeerRefused,
    /// The user cancels it: it is not offered until that has ended.
    HeldBack,
    /// The peer holds it on stable storage.
    Received,
    /// The peer holds it, but a program has it open. The system is asked again at this moment.
    InUse { ask_at: Moment },
    /// The folder is not removed before this moment.
    Linger { until: Moment },
    /// The cleanup thread gets it: its last writer closed it, the folder is empty by now, or the
    /// content of a kept file is to be compared with the delivered one.
    CleanUp,
    /// It stays in Outgoing: it is kept, could not be removed, or is a folder with something in it.
    Stays,
    /// The ledger says that the peer holds it.
    KnownDelivered,
    /// It was removed or archived.
    Removed,
    /// Nothing has its name any more. While a session or the cleanup thread has the entry, their
    /// outcome decides; an open one is asked about at once, because rft's own rename out of
    /// Outgoing and back looks the same.
    Vanished,
    /// The time of its state is this one now.
    Reschedule { at: Moment },
}

/// An event that an entry's state does not allow: a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry of Outgoing that is {state:?} got {event:?}")]
pub(crate) struct NotAllowed {
    state: EntryState,
    event: EntryEvent,
}

impl EntryState {
    /// The state after an event.
    ///
    /// # Errors
    /// [`NotAllowed`] when this state does not allow the event.
    pub(crate) fn apply(self, event: EntryEvent) -> Result<Self, NotAllowed> {
        use EntryEvent as E;
        use EntryState as S;
        let not_allowed = NotAllowed { state: self, event };
        Ok(match (event, self) {
            (_, S::Gone) | (E::Changed { .. }, S::DeliveredOpen { .. }) => return Err(not_allowed),
            (E::Changed { until }, _)
            | (E::SettleAgain { until }, S::Settling { .. } | S::Ready | S::Open { .. })
            | (E::Postponed { until }, S::AwaitingContents)
            | (E::Listed { until }, S::Refused) => S::Settling { until },
            (E::FileSettled, from) if from.may_settle() => S::Ready,
            (E::FolderSettled, from) if from.may_settle() => S::AwaitingContents,
            (E::ContentsLeft, S::AwaitingContents) | (E::SnapshotDue, S::Open { .. }) => S::Ready,
            (E::ContentsCame, S::Ready) | (E::UnfinishedGone, S::HoldsUnfinished) => {
                S::AwaitingContents
            }
            (E::UnfinishedFound, S::AwaitingContents) => S::HoldsUnfinished,
            (
                E::Unlistable,
                S::Settling { .. } | S::AwaitingContents | S::Refused | S::Delivered,
            )
            | (E::PeerRefused, S::InFlight)
            | (E::HeldBack, S::Ready | S::InFlight) => S::Refused,
            (E::FoundOpen { ask_at }, S::Settling { .. } | S::InFlight) => S::Open { ask_at },
            (E::Taken, S::Ready) => S::InFlight,
            (E::Failed { until }, S::InFlight) => S::Backoff { until },
            (E::ReadFailed { until }, S::InFlight) => S::Unreadable { until },
            (E::PathOccupied { until }, S::InFlight) => S::Occupied { until },
            (E::Received, S::InFlight) | (E::CleanUp, S::DeliveredOpen { .. } | S::Delivered) => {
                S::CleaningUp
            }
            (E::InUse { ask_at }, S::InFlight | S::CleaningUp) => S::DeliveredOpen { ask_at },
            (E::Linger { until }, S::CleaningUp | S::Delivered) => S::Lingering { until },
            (E::Stays, S::CleaningUp | S::Lingering { .. }) => S::Delivered,
            (E::KnownDelivered, from) if !from.has_outcome_pending() => S::Delivered,
            (E::Removed, S::CleaningUp) => S::Gone,
            (E::Vanished, S::DeliveredOpen { .. }) => S::DeliveredOpen { ask_at: Moment::PAST },
            (E::Vanished, from) if from.has_outcome_pending() => from,
            (E::Vanished, _) => S::Gone,
            (E::Reschedule { at }, from) => from.rescheduled(at).ok_or(not_allowed)?,
            _ => return Err(not_allowed),
        })
    }

    /// Whether a wait can end in this state, so that the entry goes on to be sent.
    fn may_settle(self) -> bool {
        matches!(
            self,
            Self::Settling { .. }
                | Self::InFlight
                | Self::Backoff { .. }
                | Self::Unreadable { .. }
                | Self::Occupied { .. }
                | Self::Refused
        )
    }

    fn has_outcome_pending(self) -> bool {
        self.is_handed_out() || matches!(self, Self::DeliveredOpen { .. })
    }

    fn rescheduled(self, at: Moment) -> Option<Self> {
        Some(match self {
            Self::Settling { .. } => Self::Settling { until: at },
            Self::Open { .. } => Self::Open { ask_at: at },
            Self::DeliveredOpen { .. } => Self::DeliveredOpen { ask_at: at },
            Self::Lingering { .. } => Self::Lingering { until: at },
            Self::Backoff { .. } => Self::Backoff { until: at },
            Self::Unreadable { .. } => Self::Unreadable { until: at },
            Self::Occupied { .. } => Self::Occupied { until: at },
            _ => return None,
        })
    }

    /// When the table must act on the entry, if it waits for a time.
    pub(crate) fn due(self) -> Option<Moment> {
        match self {
            Self::Settling { until: at }
            | Self::Open { ask_at: at }
            | Self::DeliveredOpen { ask_at: at }
            | Self::Lingering { until: at }
            | Self::Backoff { until: at }
            | Self::Unreadable { until: at }
            | Self::Occupied { until: at } => Some(at),
            _ => None,
        }
    }

    /// Whether the backlog counts the entry.
    pub(crate) fn is_pending(self) -> bool {
        matches!(
            self,
            Self::Settling { .. }
                | Self::AwaitingContents
                | Self::Ready
                | Self::Open { .. }
                | Self::InFlight
                | Self::CleaningUp
                | Self::Backoff { .. }
        )
    }

    /// Whether the entry is on its way right now. Folders above it wait meanwhile.
    pub(crate) fn is_busy(self) -> bool {
        matches!(self, Self::Settling { .. } | Self::Ready | Self::InFlight | Self::CleaningUp)
    }

    /// Whether the entry stays where it is until its content changes.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Refused | Self::Delivered)
    }

    /// Whether a session or the cleanup thread has the entry.
    pub(crate) fn is_handed_out(self) -> bool {
        matches!(self, Self::InFlight | Self::CleaningUp)
    }
}

#[cfg(test)]
mod tests;
