//! The ends of the last attempts to deliver entries, for the entries that still wait.

use super::lock::locked;
use crate::outbox::DeliverError;
use crate::proto::message::Refusal;
use crate::proto::name::Name;
use crate::status::{Setback, SetbackKind};
use std::collections::HashMap;
use std::sync::Mutex;

/// Maximum number of entries that are remembered; beyond that all are forgotten.
const MAX_ENTRIES: usize = 10_000;

/// The setbacks of one peer's entries.
#[derive(Debug, Default)]
pub(super) struct Setbacks(Mutex<HashMap<Name, Setback>>);

impl Setbacks {
    /// An attempt has failed.
    pub(super) fn note(&self, name: &Name, error: &DeliverError, text: String) {
        let Some(kind) = kind_of(error) else { return };
        let mut setbacks = locked(&self.0);
        if setbacks.len() >= MAX_ENTRIES {
            setbacks.clear();
        }
        setbacks.insert(name.clone(), Setback::new(kind, text));
    }

    /// The peer holds the entry.
    pub(super) fn delivered(&self, name: &Name) {
        let mut setbacks = locked(&self.0);
        if !setbacks.is_empty() {
            setbacks.remove(name);
        }
    }

    /// The end of the last attempt, if that is the reason why the entry waits.
    pub(super) fn of(&self, name: &Name) -> Option<Setback> {
        locked(&self.0).get(name).cloned()
    }
}

/// `None` for an entry that is sent again at once, or whose program has it open.
fn kind_of(error: &DeliverError) -> Option<SetbackKind> {
    Some(match error {
        DeliverError::Refused { reason: Refusal::NoSpace | Refusal::Full, .. } => {
            SetbackKind::PeerFull
        }
        DeliverError::Refused { .. } => SetbackKind::Refused,
        DeliverError::Source(_) => SetbackKind::Unreadable,
        DeliverError::Changed
        | DeliverError::Open
        | DeliverError::Opened
        | DeliverError::OtherContent
        | DeliverError::Cancelled => return None,
        DeliverError::Record(_) | DeliverError::Hash(_) | DeliverError::Internal(_) => {
            SetbackKind::Failed
        }
    })
}
