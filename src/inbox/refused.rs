//! Offers that were refused because something stands in their place: they are refused again before
//! their content comes, without another word to the user, until that is gone.

use crate::proto::message::{Offer, Refusal, TransferId};
use crate::store::{Incoming, Obstacle};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Refused transfers that are remembered. Beyond that, all are forgotten, and their content comes
/// once more.
const MAX_REMEMBERED: usize = 65_536;

/// What was refused.
#[derive(Debug, Default)]
pub(super) struct RefusedOffers {
    known: Mutex<HashMap<TransferId, Refused>>,
}

#[derive(Debug)]
struct Refused {
    reason: Refusal,
    detail: String,
    obstacle: Obstacle,
}

impl RefusedOffers {
    /// Why an offer is refused that was refused before: what stood in its place is still there,
    /// unchanged.
    pub(super) fn still(&self, incoming: &Incoming, offer: &Offer) -> Option<(Refusal, String)> {
        let (reason, detail, before) = {
            let known = self.locked();
            let refused = known.get(&offer.id)?;
            (refused.reason, refused.detail.clone(), refused.obstacle.clone())
        };
        (incoming.obstacle(&offer.name)? == before).then_some((reason, detail))
    }

    /// An offer was refused. Gives whether that is news to the user, and not the same again.
    pub(super) fn refused(
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
            known.insert(offer.id, Refused { reason, detail: detail.to_owned(), obstacle });
        before.is_none_or(|before| before.detail != detail)
    }

    /// It was taken: should it be refused another time, the user hears of it.
    pub(super) fn taken(&self, id: TransferId) {
        self.locked().remove(&id);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<TransferId, Refused>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
