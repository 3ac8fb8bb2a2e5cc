//! One file onto one stream.

pub(crate) mod compress;
pub(crate) mod deliver;
pub(crate) mod rate_limit;
pub(crate) mod read;
