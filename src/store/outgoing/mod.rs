//! Files on their way into Outgoing, and out of it: `rft put` copies them there, and those that the
//! peer has received are removed or archived.

pub(crate) mod archive;
pub(crate) mod put;
pub(crate) mod removal_record;
pub(crate) mod remove;
