//! Pure: what is special about one exchange (`rft send`).

use crate::proto::message::InstallationId;
use crate::proto::name::Name;
use std::collections::BTreeSet;

/// Entries that are not sent, and that are remembered with the reason.
const MAX_SKIPPED: usize = 1000;

/// What is special about one exchange. The default is that of a lasting one.
#[derive(Debug, Default)]
pub(crate) struct OneExchange {
    /// Each entry is sent once.
    pub is_one: bool,
    /// The entries that the user named.
    pub(super) named: Vec<Name>,
    /// Those of them that the present receiver does not hold.
    pub(super) missing: BTreeSet<Name>,
    pub(super) receiver: Option<InstallationId>,
    /// Increases with each receiver that gets everything.
    pub(super) number: u32,
    pub(super) skipped: Vec<(Option<Name>, String)>,
}

impl OneExchange {
    /// One exchange of these entries.
    pub(crate) fn of(named: &[Name]) -> Self {
        let missing = named.iter().cloned().collect();
        Self { is_one: true, named: named.to_vec(), missing, ..Self::default() }
    }

    /// The number of the present receiver.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The receiver holds this entry.
    pub(crate) fn arrived(&mut self, name: &Name) {
        self.missing.remove(name);
    }

    /// These entries are not sent, for the reason that the user is told.
    pub(crate) fn skip(&mut self, skipped: Vec<(Option<Name>, String)>) {
        let room = MAX_SKIPPED.saturating_sub(self.skipped.len());
        self.skipped.extend(skipped.into_iter().take(room));
    }
}
