//! One entry of Outgoing: where it is on its way, and what it adds to the sums.

use super::Seq;
use crate::config::Waits;
use crate::outbox::queue::folders::Stay;
use crate::outbox::watch::settle::{Moment, Settle};
use crate::store::{FileKind, Meta};

/// Where an entry is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It must be quiet for a while yet.
    Settling,
    /// A folder that is settled, and waits for all beneath it.
    Quiet,
    /// In the queue.
    Ready,
    /// A program has it open for writing, as the system says: it is not sent before that ends.
    Open,
    /// Handed out.
    InFlight,
    /// The peer holds it; it is being removed, archived or marked.
    Finishing,
    /// The peer holds it, but a program has it open: removed once it is closed.
    Held,
    /// A folder that the peer holds: it is removed when no file came into it for a while.
    Resting,
    /// A folder that holds an unfinished file, which is left alone.
    Unfinished,
    /// Ready again after a back-off.
    Waiting,
    /// As `Waiting`, but nobody waits for it: it cannot be read, or something stands in its place
    /// at the peer.
    Unreadable,
    /// Refused for good, until it changes or the peer is another process.
    Refused,
    /// The peer holds it and it stays, until it changes.
    Done,
}

impl State {
    /// The peer is still to get it.
    pub fn pending(self) -> bool {
        !matches!(
            self,
            Self::Held
                | Self::Resting
                | Self::Unfinished
                | Self::Unreadable
                | Self::Refused
                | Self::Done
        )
    }

    /// Something goes on with it just now.
    pub fn busy(self) -> bool {
        matches!(self, Self::Settling | Self::Ready | Self::InFlight | Self::Finishing)
    }

    /// It stays as it is until its content changes.
    pub fn stays(self) -> bool {
        matches!(self, Self::Refused | Self::Done)
    }

    /// Somebody else has it.
    pub fn handed_out(self) -> bool {
        matches!(self, Self::InFlight | Self::Finishing)
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub meta: Meta,
    pub settle: Settle,
    pub state: State,
    /// When the wait of `Settling`, `Resting`, `Waiting` or `Unreadable` is over, or the system is
    /// asked again (`Open`, `Held`).
    pub due: Moment,
    pub seq: Seq,
    /// How often it came back.
    pub attempt: u32,
    /// How often it came back with a failure.
    pub failures: u32,
    /// The scan that last saw it.
    pub seen: u32,
    /// It came, or changed, after the first look at all of Outgoing.
    pub first_offer: bool,
    /// The peer may know its id.
    pub offered: bool,
    /// A folder of which is known what stands in it.
    pub listed: bool,
    /// A program was found to have it open, and it has not been sent since.
    pub open: Option<OpenSince>,
    /// It is sent although a program has it open (`--send-open`).
    pub snapshot: bool,
    /// When it was last offered, something stood in its place at the peer.
    pub refused: bool,
    /// How long a folder stays.
    pub stay: Stay,
}

/// How long a program has had an entry open, and what was told about that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenSince {
    pub since: Moment,
    pub told: Told,
}

/// What a person was told about an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Nothing,
    /// That it waits.
    Waits,
    /// That it stays, which program has it open, and what to do.
    Stays,
}

impl Entry {
    pub fn is_folder(&self) -> bool {
        self.meta.kind == FileKind::Folder
    }

    /// Starts over, as it is now.
    pub fn settle_anew(&mut self, now: Moment, wait: Waits) {
        (self.attempt, self.failures, self.offered, self.first_offer) = (0, 0, false, true);
        (self.snapshot, self.refused) = (false, false);
        self.settle_again(now, wait);
    }

    /// Waits until it is quiet; for what needs no wait this is over at once.
    pub fn settle_again(&mut self, now: Moment, wait: Waits) {
        self.due = self.settle.due(wait);
        self.state =
            if self.settle.at_once() && self.due <= now { self.settled() } else { State::Settling };
    }

    /// Where an entry goes that has settled.
    pub fn settled(&self) -> State {
        if self.is_folder() { State::Quiet } else { State::Ready }
    }

    pub(crate) fn share(&self) -> Share {
        Share {
            state: self.state,
            folder: self.is_folder(),
            size: if self.meta.kind == FileKind::File { self.meta.size } else { 0 },
            due: self.due,
            seq: self.seq,
        }
    }
}

/// What an entry adds to the indexes and sums of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub state: State,
    pub folder: bool,
    pub size: u64,
    pub due: Moment,
    pub seq: Seq,
}

impl Share {
    pub fn busy(&self) -> bool {
        !self.folder && self.state.busy()
    }

    pub fn timed(&self) -> bool {
        matches!(
            self.state,
            State::Settling
                | State::Resting
                | State::Waiting
                | State::Unreadable
                | State::Open
                | State::Held
        )
    }
}
