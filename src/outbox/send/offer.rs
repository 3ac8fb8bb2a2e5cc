//! The offer of an item.

use crate::crypto::seal::{RecordKind, SealError, Sealer};
use crate::outbox::item::Item;
use crate::proto::message::Offer;
use crate::session::record::seal_message;
use bytes::Bytes;

/// The offer of an item. `inline`: its content follows without the receiver's answer.
pub(crate) fn offer_of(item: &Item, inline: bool) -> Offer {
    Offer {
        id: item.id,
        name: item.name.clone(),
        kind: item.kind.clone(),
        modified: item.meta.modified,
        mode: item.meta.mode,
        inline,
    }
}

/// The record with [`offer_of`] an item.
pub(crate) fn seal_offer(
    item: &Item,
    inline: bool,
    sealer: &mut Sealer,
) -> Result<Bytes, SealError> {
    seal_message(sealer, RecordKind::Offer, |out| offer_of(item, inline).encode(out))
}
