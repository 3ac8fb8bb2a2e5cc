//! Files on their way into Outgoing, and out of it: `rft put` copies them there, those that the peer
//! has received are removed or archived, and `rft cancel` moves others away.

pub(crate) mod archive;
pub(crate) mod cancelled;
pub(crate) mod put;
pub(crate) mod removal_record;
pub(crate) mod remove;
pub(crate) mod urgent_marks;
