//! Offers that were refused because another entry is in their place. Until that entry changes they
//! are refused again before their content arrives, and the user is told only once.

use crate::proto::message::{Offer, Refusal, TransferId};
use crate::store::{Incoming, Obstacle};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum number of refused transfers to remember. Beyond that all are forgotten, and their
/// content is sent once more.
const MAX_REMEMBERED: usize = 65_536;

/// The refused offers of a process.
#[derive(Debug, Default)]
pub(super) struct RefusedOffers {
    known: Mutex<HashMap<TransferId, RefusedOffer>>,
}

#[derive(Debug)]
struct RefusedOffer {
    reason: Refusal,
    detail: String,
    obstacle: Obstacle,
}

impl RefusedOffers {
    /// The reason to refuse an offer again: the entry that was in its place is still there,
    /// unchanged. With `renames` a file in its place is no obstacle.
    pub(super) fn known_refusal(
        &self,
        incoming: &Incoming,
        offer: &Offer,
        renames: bool,
    ) -> Option<(Refusal, String)> {
        let (reason, detail, before) = {
            let known = self.locked();
            let refused =
                known.get(&offer.id).filter(|refused| !renames || !refused.obstacle.is_file())?;
            (refused.reason, refused.detail.clone(), refused.obstacle.clone())
        };
        (incoming.obstacle(&offer.name)? == before).then_some((reason, detail))
    }

    /// Remembers that an offer was refused. Returns whether the user has not been told yet.
    pub(super) fn remember(
        &self,
        incoming: &Incoming,
        offer: &Offer,
        reason: Refusal,
        detail: &str,
    ) -> bool {
        if !reason.is_in_the_way() {
            return true;
        }
        let obstacle = incoming.obstacle(&offer.name);
        let mut known = self.locked();
        if known.len() >= MAX_REMEMBERED && !known.contains_key(&offer.id) {
            known.clear();
        }
        let Some(obstacle) = obstacle else { return true };
        let before =
            known.insert(offer.id, RefusedOffer { reason, detail: detail.to_owned(), obstacle });
        before.is_none_or(|before| before.detail != detail)
    }

    /// Forgets an offer that was accepted, so that the user is told if it is refused later.
    pub(super) fn forget(&self, id: TransferId) {
        self.locked().remove(&id);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<TransferId, RefusedOffer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
