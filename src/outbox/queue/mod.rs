//! Pure: every entry of Outgoing, the order of sending, and what becomes of each.

pub(crate) mod folders;
pub(crate) mod handout;
pub(crate) mod left_alone;
pub(crate) mod observe;
pub(crate) mod open;
pub(crate) mod order;
pub(crate) mod table;
pub(crate) mod transfer_id;
pub(crate) mod waiting;
