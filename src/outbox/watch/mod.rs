//! Watching Outgoing: file events, scans, and the decision when an entry is complete.

pub(crate) mod events;
pub(crate) mod hints;
pub(crate) mod ignored;
pub(crate) mod reconcile;
pub(crate) mod scan;
pub(crate) mod settle;
pub(crate) mod temp_names;
