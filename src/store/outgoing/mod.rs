//! Files that the peer has received leave Outgoing: they are removed or archived.

pub(crate) mod archive;
pub(crate) mod removal_record;
pub(crate) mod remove;
