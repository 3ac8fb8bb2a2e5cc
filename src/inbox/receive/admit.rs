//! The checks of an offer before its content arrives.

use super::super::error::{ReceiveError, refused};
use super::{Inbox, blocking};
use crate::proto::message::{EntryKind, Offer, Refusal};
use crate::store::Reservation;

impl Inbox {
    /// Refuses an offer that cannot be accepted, and reserves space for a file.
    pub(super) async fn admit(&self, offer: &Offer) -> Result<Option<Reservation>, ReceiveError> {
        if offer.name.to_path().is_err() {
            return Err(refused(Refusal::Name, "choose another name at the source"));
        }
        if let Some((reason, detail)) =
            self.refused.known_refusal(&self.incoming, offer, self.limits.renames)
        {
            return Err(refused(reason, detail));
        }
        let EntryKind::File { size } = offer.kind else { return Ok(None) };
        self.check_is_possible()?;
        if let Some(max) = self.limits.max_file_size
            && size > max
        {
            return Err(refused(Refusal::TooLarge, format!("the limit there is {max} bytes")));
        }
        if let Some(max) = self.limits.max_incoming
            && size > max
        {
            let detail = format!("all of Incoming may hold {max} bytes (--max-incoming-bytes)");
            return Err(refused(Refusal::TooLarge, detail));
        }
        self.incoming.check_size(size)?;
        if self.limits.keep_existing
            && let Ok(existing) = self.incoming.folder().stat(&offer.name)
            && existing.size != size
        {
            return Err(refused(Refusal::Conflict, ""));
        }
        let (incoming, id, min_free) = (self.incoming.clone(), offer.id, self.limits.min_free);
        if !incoming.is_limited() {
            return Ok(Some(incoming.reserve(id, size, min_free)?));
        }
        // With a limit on Incoming, the reservation may have to walk through all of it.
        blocking(move || Ok(Some(incoming.reserve(id, size, min_free)?))).await
    }
}
