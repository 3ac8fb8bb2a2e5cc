//! The part of the programs of `--on-received`: they judge a file before it is published
//! (`--quarantine`), or are told of it afterwards.

use super::super::error::{ReceiveError, refused};
use super::{Inbox, blocking};
use crate::config::PeerName;
use crate::event::{Event, HookEnd};
use crate::hooks::{HookFacts, HookRunner, Judgement};
use crate::meter::Stage;
use crate::proto::message::{EntryKind, Offer, Outcome, Refusal, TransferId};
use crate::store::{ArrivedHook, Content, QuarantinedFile};
use std::sync::Arc;

/// The text for both users when the helper process has ended.
const HELPER_GONE: &str = "the process that runs the program has ended there; start rft again";

/// What a peer's received files have to do with hooks.
#[derive(Clone)]
pub(crate) enum InboxHooks {
    /// A file is published once a program has accepted it.
    Quarantine(HookRunner, PeerName),
    /// A program is run afterwards: the function takes each transfer whose hook is due.
    Afterwards(Arc<DueHook>, PeerName),
}

/// Takes a transfer whose hook is due.
pub(crate) type DueHook = dyn Fn(TransferId) + Send + Sync;

impl InboxHooks {
    pub(super) fn is_quarantine(&self) -> bool {
        matches!(self, Self::Quarantine(..))
    }
}

impl Inbox {
    /// Lets the program judge a received file, if that is wanted. Folders and links have no content
    /// to judge.
    pub(super) async fn check(
        &self,
        offer: &Offer,
        content: Content,
        hash: [u8; 32],
    ) -> Result<(Content, ArrivedHook), ReceiveError> {
        let is_file = matches!(offer.kind, EntryKind::File { .. });
        match self.hooks.as_ref().filter(|_| is_file) {
            None => Ok((content, ArrivedHook::None)),
            Some(InboxHooks::Afterwards(_, peer)) => {
                Ok((content, ArrivedHook::Pending(peer.clone())))
            }
            Some(InboxHooks::Quarantine(runner, peer)) => {
                let content = self.judged(runner, peer, offer, content, hash).await?;
                Ok((content, ArrivedHook::Passed))
            }
        }
    }

    async fn judged(
        &self,
        runner: &HookRunner,
        peer: &PeerName,
        offer: &Offer,
        content: Content,
        hash: [u8; 32],
    ) -> Result<Content, ReceiveError> {
        let Ok(_place) = runner.try_wait() else {
            return Err(refused(Refusal::Busy, "too many files wait for their check there"));
        };
        let _waits = self.meter.enter(Stage::Check);
        let (incoming, id, name) = (self.incoming.clone(), offer.id, offer.name.clone());
        let quarantined =
            blocking(move || Ok(incoming.quarantine(id, &name, content, hash)?)).await?;
        let facts = HookFacts {
            file: quarantined.path()?,
            name: offer.name.clone(),
            size: offer.size(),
            hash,
            peer: peer.to_string(),
            transfer: id,
            modified: offer.modified,
            attempt: 1,
            quarantine: true,
        };
        let judgement = runner.judge(facts).await;
        self.report_judgement(offer, &judgement);
        let refusal = refusal_of(&judgement);
        blocking(move || released(quarantined, refusal)).await
    }

    fn report_judgement(&self, offer: &Offer, judgement: &Judgement) {
        let Judgement::Ended { end, attempts, elapsed, line } = judgement else { return };
        self.events.emit(Event::HookDone {
            path: offer.name.clone(),
            size: offer.size(),
            transfer: offer.id,
            quarantine: true,
            end: end.clone(),
            attempts: *attempts,
            elapsed: *elapsed,
            output: line.clone(),
        });
    }

    /// Refuses a file that no program can judge, before its content arrives.
    pub(super) fn check_is_possible(&self) -> Result<(), ReceiveError> {
        match &self.hooks {
            Some(InboxHooks::Quarantine(runner, _)) if !runner.is_alive() => {
                Err(refused(Refusal::Unchecked, HELPER_GONE))
            }
            _ => Ok(()),
        }
    }

    /// Where to tell that the hook of a file is due, if it was published and has one.
    pub(super) fn has_hook_afterwards(&self, offer: &Offer, outcome: &Outcome) -> Option<&DueHook> {
        match (&self.hooks, &offer.kind, outcome) {
            (
                Some(InboxHooks::Afterwards(due, _)),
                EntryKind::File { .. },
                Outcome::Done { .. },
            ) => Some(&**due),
            _ => None,
        }
    }
}

/// Why a judged file is not published, with the text for the sender; `None` if it is accepted.
fn refusal_of(judgement: &Judgement) -> Option<(Refusal, String)> {
    let (end, line) = match judgement {
        Judgement::Ended { end, line, .. } => (end, line),
        Judgement::HelperGone => return Some((Refusal::Unchecked, HELPER_GONE.to_owned())),
        Judgement::Stopping => {
            return Some((Refusal::Stopping, "its check was interrupted".to_owned()));
        }
    };
    let detail = match line.is_empty() {
        true => end.to_string(),
        false => format!("{end}: {line}"),
    };
    match end {
        end if end.is_success() => None,
        HookEnd::NotStarted(_) => Some((Refusal::Unchecked, "it could not be started".to_owned())),
        end if end.is_verdict() => Some((Refusal::Rejected, detail)),
        _ => Some((Refusal::Unchecked, detail)),
    }
}

/// The content of a file that leaves the quarantine, or the refusal.
fn released(
    file: QuarantinedFile,
    refusal: Option<(Refusal, String)>,
) -> Result<Content, ReceiveError> {
    match refusal {
        None => match file.release() {
            Ok(staged) => Ok(Content::Staged(staged)),
            Err(error) => Err(refused(error.refusal(), error.to_string())),
        },
        Some((reason, detail)) => {
            match reason {
                Refusal::Rejected => file.discard(),
                // A later attempt need not send it again.
                _ => file.keep(),
            }
            Err(refused(reason, detail))
        }
    }
}
