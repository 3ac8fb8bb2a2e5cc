//! Sending one entry over one stream (protocol.md section 5).
//!
//! `deliver` is the whole exchange from top to bottom. `offer` has its first message, `answer` the
//! receiver's side of it, `read` and `source_file` read and seal the file, `compress` decides which
//! chunks are compressed, and `rate_limit` delays the records for `--limit-rate`.

pub(crate) mod answer;
pub(crate) mod compress;
pub(crate) mod deliver;
pub(crate) mod error;
pub(crate) mod offer;
pub(crate) mod rate_limit;
pub(crate) mod read;
pub(crate) mod source_file;
