//! Pure: every entry of Outgoing, its life cycle, and the order of sending.
//!
//! [`lifecycle`] has the states and the table of transitions, [`entry`] one entry, [`index`] the
//! queue, the timers and the sums, and [`table`] all entries together. The other files are the
//! operations of the table, one file for each of its callers' reasons:
//!
//! | file | called when |
//! | --- | --- |
//! | `changes` | a scan or an event tells about Outgoing |
//! | `timers` | a wait is over |
//! | `outcomes` | a session takes an item or gives it back; the cleanup of one has ended |
//! | `open_files` | a program has a file open for writing |
//! | `folder_stay` | a folder's user may still name or fill it |
//! | `left_alone` | an unfinished file appears or leaves |
//! | `steering` | the user makes entries urgent, or cancels them |
//! | `receiver` | the receiver of `rft send` is another one; something is not sent |
//! | `waiting` | the user asks why entries are not delivered |

pub(crate) mod changes;
pub(crate) mod entry;
pub(crate) mod folder_stay;
pub(crate) mod index;
pub(crate) mod left_alone;
pub(crate) mod lifecycle;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod model;
pub(crate) mod one_exchange;
pub(crate) mod open_files;
pub(crate) mod order;
pub(crate) mod outcomes;
pub(crate) mod receiver;
pub(crate) mod steered_names;
pub(crate) mod steering;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod timers;
pub(crate) mod transfer_id;
pub(crate) mod unfinished;
pub(crate) mod waiting;
