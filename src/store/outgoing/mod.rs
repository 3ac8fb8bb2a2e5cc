//! What the peer holds leaves Outgoing: removed, archived or kept.

pub(crate) mod archive;
pub(crate) mod removal_record;
pub(crate) mod remove;
