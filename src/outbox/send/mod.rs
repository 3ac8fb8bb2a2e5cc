//! Sending one entry over one stream (protocol.md section 5).
//!
//! `deliver` is the whole exchange from top to bottom. `offer` has its first message, `answer` the
//! receiver's side of it, `read` and `source_file` read and seal the file, and `compress` decides
//! which chunks are compressed.

pub(crate) mod answer;
pub(crate) mod compress;
pub(crate) mod deliver;
pub(crate) mod error;
pub(crate) mod in_flight;
pub(crate) mod offer;
pub(crate) mod read;
pub(crate) mod source_file;
