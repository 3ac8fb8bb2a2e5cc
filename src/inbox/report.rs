//! The events that report the end of a transfer to the receiving user.

use crate::event::{Cause, Direction, Event, EventSink};
use crate::proto::message::{Offer, Outcome, Refusal};
use std::time::Instant;

/// The end of a transfer.
pub(super) struct TransferReport {
    pub offer: Offer,
    pub outcome: Outcome,
    /// Bytes that were held when it began; `None` if it never began.
    pub started: Option<u64>,
    /// Why the sender gave it up, if its user changed, removed or cancelled the file.
    pub given_up: Option<Cause>,
    /// Time of the offer.
    pub offered: Instant,
}

impl TransferReport {
    /// Emits the events. A repeated receipt has none.
    pub(super) fn emit(&self, events: &EventSink) {
        let Self { offer, outcome, started, given_up, offered } = self;
        let (path, transfer) = (offer.name.clone(), offer.id);
        match outcome {
            Outcome::Done { hash, saved_as, checked } => events.emit(Event::FileDone {
                direction: Direction::Receive,
                path,
                size: offer.size(),
                transfer,
                blake3: *hash,
                elapsed: offered.elapsed(),
                offset: started.unwrap_or(0),
                saved_as: Some(saved_as.clone()),
                checked: *checked,
            }),
            Outcome::Have { .. } => {
                tracing::debug!(%path, %transfer, "the receipt was sent again")
            }
            Outcome::Refused { reason: Refusal::Stopping, detail } if started.is_none() => {
                tracing::debug!(%path, %transfer, %detail, "the stream ended before its file began");
            }
            Outcome::Refused { reason, detail } => {
                let error = match (reason, detail.is_empty()) {
                    (Refusal::Stopping, _) => detail.clone(),
                    (_, true) => local_reason(*reason).to_owned(),
                    (_, false) => format!("{}: {detail}", local_reason(*reason)),
                };
                events.emit(Event::FileFailed {
                    direction: Direction::Receive,
                    path,
                    size: offer.size(),
                    transfer,
                    error,
                    retry: *given_up != Some(Cause::Cancelled)
                        && (reason.retry_helps() || reason.is_in_the_way()),
                    cause: given_up.clone().unwrap_or_else(|| match reason {
                        Refusal::Stopping => Cause::Fault(detail.clone()),
                        Refusal::Corrupt
                        | Refusal::Storage
                        | Refusal::Busy
                        | Refusal::Unchecked => Cause::Fault(local_reason(*reason).to_owned()),
                        reason => Cause::Refused(local_reason(*reason).to_owned()),
                    }),
                });
            }
        }
    }
}

/// The text of a refusal for the receiving user.
fn local_reason(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Conflict => "another file has this name and is kept (--on-conflict skip)",
        Refusal::NoSpace => "not enough free space in Incoming",
        Refusal::Name => "this system cannot have a file of that name",
        Refusal::Storage => "it could not be written",
        Refusal::TooLarge => "it is larger than allowed here",
        Refusal::Corrupt => "the received bytes differ from those that were announced",
        Refusal::Busy => "an earlier attempt is still active, or memory is short",
        Refusal::InTheWay => "something else is in its place in Incoming",
        Refusal::Link => "this symbolic link cannot be created here",
        Refusal::Stopping => "the transfer was interrupted",
        Refusal::Full => "Incoming has reached its limit",
        Refusal::Rejected => "the program of --on-received refused it (--quarantine)",
        Refusal::Unchecked => "the program of --on-received could not check it (--quarantine)",
    }
}
